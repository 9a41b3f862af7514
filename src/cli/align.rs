//! `align`: the MSI alone, brought onto the HSI's grid.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::Output;
use super::creation::CreationOptions;
use super::options::{PairOptions, ScratchOptions};
use super::progress::Stages;
use crate::coordination::fused_scene::finish;
use crate::coordination::memory::pair_bytes;
use crate::coordination::placement::{OnGrid, Placement};
use crate::cube::SampleType;
use crate::error::Result;
use crate::io::{OutputSet, Target, write_strips};
use crate::named::Size;

/// Bring an MSI onto the pixels of an HSI, each divided by the ratio rounded up, and say what was found of its place
///
/// The MSI is registered as `fuse` does it and resampled once. Where it shows nothing the result has no data.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  hsr-gpu align lr.tif hr.tif -o aligned.tif")]
pub struct Align {
    #[command(flatten)]
    pair: PairOptions,
    /// Aligned MSI to write (.npy, .npz, .mat, .hdr, .tif)
    #[arg(short, long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    creation: CreationOptions,
    #[command(flatten)]
    scratch: ScratchOptions,
}

/// What `align --json` tells.
#[derive(Serialize)]
struct Aligned {
    size: Size,
    placement: Placement,
}

impl Align {
    /// What it reads and writes.
    ///
    /// # Errors
    /// [`crate::Error::Input`] for a name that no result can have.
    pub fn files(&self, set: &mut OutputSet) -> Result<()> {
        self.pair.files(set);
        set.writes_image("--out", &self.out)?;
        self.creation.tiff(&[&self.out]).map(drop)
    }

    /// Runs the command.
    ///
    /// # Errors
    /// [`crate::Error`] with the line to show.
    pub fn run(self, output: &Output) -> Result<()> {
        let mut budget = self.scratch.budget(Some(&self.out))?;
        let mut stages = Stages::new(output);
        let pair = stages.run("read", |_| {
            self.pair.read(output, OnGrid::Hsi, &mut budget, pair_bytes)
        })?;
        let scene = &pair.placed.scene;
        let shape = scene.hr_msi.dim();
        let target = Target {
            path: &self.out,
            sample_type: SampleType::F32,
            interleave: None,
            memory: self.scratch.memory.max_memory,
            tiff: self.creation.tiff(&[&self.out])?,
        };
        target.check(shape)?;
        let image = finish(
            scene.hr_msi.view().to_owned(),
            scene.msi_unit,
            scene.hr_valid.view(),
            pair.placed.msi.clone(),
        )?;
        stages.run("write", |w| {
            write_strips(&target, &image, &mut |done, total| w.progress(done, total, None))
        })?;
        let placement = pair.placed.placement;
        let text = match &placement.found {
            Some(found) => found.line(),
            None => "not registered (--align off)".to_owned(),
        };
        output.result(
            &Aligned {
                size: shape.into(),
                placement,
            },
            &text,
        )
    }
}
