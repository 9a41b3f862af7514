//! `verify`: every kernel and whole steps on a GPU, against the CPU engine.

use clap::Args;
use serde::Serialize;

use super::Output;
use super::engine_options::{PrecisionOption, pipeline_folder};
use crate::engine::Engine;
use crate::engine::gpu::compare::{Row, compare_all};
use crate::engine::gpu::verified::note;
use crate::engine::gpu::{AdapterChoice, GpuEngine, Options};
use crate::error::{Error, Result};

/// Compare every GPU kernel, and whole steps, with the CPU engine
#[derive(Debug, Args)]
#[command(after_help = "Example: hsr-gpu verify --adapter 0\nExit code 1 if a comparison fails or none ran.")]
pub struct Verify {
    /// GPU adapter by number or part of its name (see `hsr-gpu devices`); the best hardware GPU where left out
    #[arg(long, value_name = "INDEX|NAME")]
    adapter: Option<String>,
    /// Arithmetic of the HR pass and of reconstruction
    #[arg(long, value_enum, default_value_t = PrecisionOption::F32)]
    precision: PrecisionOption,
    /// Compile the shaders with bounds checks and put guard words around all buffers
    #[arg(long)]
    checked: bool,
    /// Print every comparison, not only those that fail
    #[arg(long)]
    all: bool,
}

#[derive(Serialize)]
struct Report {
    adapter: String,
    checked: bool,
    precision: &'static str,
    rows: Vec<Row>,
    failed: usize,
}

impl Verify {
    /// Runs all comparisons and prints their table.
    ///
    /// # Errors
    /// [`Error::Input`] for an adapter that does not exist, [`Error::Failed`] if a comparison failed or none ran.
    pub fn run(&self, output: &Output) -> Result<()> {
        let choice = AdapterChoice::from_option(self.adapter.as_deref());
        let options = Options {
            checked: self.checked,
            precision: self.precision.into(),
            // What is verified here may be used elsewhere.
            unverified_matrices: true,
            ..Options::default()
        };
        let engine = GpuEngine::with_options(&choice, options)?;
        let rows = compare_all(&engine, |case| output.say(&format!("verify: {case}")))?;
        let failed = rows.iter().filter(|r| !r.passed).count();
        let shown: Vec<&Row> = rows.iter().filter(|r| self.all || !r.passed).collect();
        let mut text = format!("{}\n", engine.name());
        if !shown.is_empty() {
            text += &format!(
                "{:<19} {:<22} {:<42} {:>8} {:>8} {:>8}\n",
                "kernel", "tensor", "shape", "NMSE", "worst", "limit"
            );
        }
        for r in shown {
            let verdict = if r.passed { "ok" } else { "FAILED" };
            text += &format!(
                "{:<19} {:<22} {:<42} {:>8.1e} {:>8.1e} {:>8.0e} {verdict}\n",
                r.kernel, r.tensor, r.shape, r.nmse, r.worst, r.limit
            );
        }
        text += &format!("{} comparisons, {failed} failed\n", rows.len());
        let compared = rows.len();
        let report = Report {
            adapter: engine.name(),
            checked: self.checked,
            precision: engine.precision().name(),
            rows,
            failed,
        };
        output.result(&report, &text)?;
        if failed > 0 || compared == 0 {
            return Err(Error::failed(format!(
                "verify: {failed} of {compared} comparisons failed on {}",
                engine.name()
            )));
        }
        let context = &engine.context;
        if let Some(folder) = pipeline_folder().filter(|_| context.has_matrices()) {
            match note(&folder, &context.info) {
                Ok(()) => {
                    output.say("verify: --precision f16 uses this adapter's cooperative matrices from now on")
                }
                Err(e) => output.say(&format!(
                    "verify: {}: no note could be left there: {e}",
                    folder.display()
                )),
            }
        }
        Ok(())
    }
}
