//! `fuse --dry-run`: what a run would do, as far as that is known before it computes.

use std::path::PathBuf;

use serde::Serialize;

use super::written::size;
use crate::coordination::memory::whole_bytes;
use crate::coordination::placement::{OnGrid, Placement};
use crate::coordination::scene::Scene;
use crate::coordination::start::Foreseen;
use crate::io::Planned;
use crate::named::Size;

/// What a run holds in memory.
#[derive(Debug, Serialize)]
struct Memory {
    /// Bytes to stay below.
    limit_bytes: usize,
    /// Bytes of a run that holds everything, its result included.
    whole_bytes: usize,
    /// Whether the result is held; else it is made and written strip by strip.
    result_held: bool,
    /// Folder of the images on disk; null where they are in memory.
    scratch: Option<PathBuf>,
}

/// What a run would do.
#[derive(Debug, Serialize)]
pub struct Plan {
    engine: String,
    size: Size,
    placement: Placement,
    #[serde(flatten)]
    foreseen: Foreseen,
    steps: u32,
    memory: Memory,
    files: Vec<Planned>,
}

impl Plan {
    /// Of a scene that is placed, with `limit` bytes of memory.
    pub fn new(
        (scene, placement): (&Scene, &Placement),
        (foreseen, steps): (Foreseen, u32),
        engine: String,
        limit: usize,
        files: Vec<Planned>,
    ) -> Self {
        let (rows, columns) = scene.result_valid().dim();
        let whole = whole_bytes(scene);
        Plan {
            engine,
            size: (rows, columns, scene.lr_hsi.dim().2).into(),
            placement: placement.clone(),
            foreseen,
            steps,
            memory: Memory {
                limit_bytes: limit,
                whole_bytes: whole,
                result_held: whole <= limit,
                scratch: scene.store.path().map(ToOwned::to_owned),
            },
            files,
        }
    }

    /// A line a fact.
    pub fn text(&self) -> String {
        let (shape, placement, foreseen) = (&self.size, &self.placement, &self.foreseen);
        let grid = match placement.grid {
            OnGrid::Msi => "the MSI's pixels",
            OnGrid::Hsi => "the HSI's pixels, divided",
        };
        let resampled = if placement.resampled {
            "; the MSI is resampled for the model"
        } else {
            ""
        };
        let part = |name: &str, (rows, columns): &crate::coordination::scene::Part| {
            format!(
                "{name} rows {}-{}, columns {}-{}",
                rows.start,
                rows.end - 1,
                columns.start,
                columns.end - 1
            )
        };
        let [least, most] = [foreseen.kernel.least, foreseen.kernel.most];
        let kernel = if least == most {
            format!("{least} x {least} pixels of the MSI")
        } else {
            format!("{least} x {least} to {most} x {most} pixels of the MSI, as the two images ask for")
        };
        let bytes = |n: usize| size(n as u64);
        let memory = &self.memory;
        let held = if memory.result_held {
            "everything is held"
        } else {
            "the result is made strip by strip"
        };
        let scratch = memory.scratch.as_ref().map_or(String::new(), |folder| {
            format!("; images lie on disk, in {}", folder.display())
        });
        let mut lines = vec![
            format!(
                "result   {} x {} x {} on {grid}, ratio {}{resampled}",
                shape.rows, shape.columns, shape.bands, placement.scale
            ),
            format!(
                "parts    {}; {}",
                part("HSI", &placement.hsi_part),
                part("MSI", &placement.msi_part)
            ),
            format!("PSF      {kernel}"),
            format!(
                "network  {} members of {} weights, {} steps",
                foreseen.members, foreseen.weights, self.steps
            ),
            format!(
                "memory   {} of {}: {held}{scratch}",
                bytes(memory.whole_bytes),
                bytes(memory.limit_bytes)
            ),
            format!("engine   {}", self.engine),
        ];
        lines.extend(self.files.iter().map(|file| {
            let what = if file.replaces { "replaces" } else { "writes  " };
            format!("{what} {} ({})", file.path.display(), file.option)
        }));
        lines.push("nothing was computed or written: --dry-run".to_owned());
        lines.join("\n")
    }
}
