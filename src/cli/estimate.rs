//! `estimate`: PSF and SRF alone, from the two images.

use std::path::PathBuf;

use clap::Args;

use super::Output;
use super::options::{Pair, PairOptions, ScratchOptions, SensorOptions};
use super::progress::Stages;
use super::summary::{DEGRADATION, degradation_text, save_degradation};
use crate::coordination::config::Config;
use crate::coordination::memory::pair_bytes;
use crate::coordination::placement::OnGrid;
use crate::error::Result;
use crate::fusion::Fusion;
use crate::io::OutputSet;

/// Estimate the point spread function and spectral response that relate two images of one scene
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  hsr-gpu estimate lr.npy hr.npy --save-degradation sensors")]
pub struct Estimate {
    #[command(flatten)]
    pair: PairOptions,
    #[command(flatten)]
    sensors: SensorOptions,
    #[command(flatten)]
    scratch: ScratchOptions,
    /// Write psf.npy (K x K) and srf.npy (B x b) into this folder
    #[arg(long, value_name = "DIR")]
    save_degradation: Option<PathBuf>,
}

impl Estimate {
    /// What it reads and writes.
    ///
    /// # Errors
    /// None.
    pub fn files(&self, set: &mut OutputSet) -> Result<()> {
        self.pair.files(set);
        self.sensors.files(set);
        if let Some(folder) = &self.save_degradation {
            set.writes_into("--save-degradation", folder, &DEGRADATION);
        }
        Ok(())
    }

    /// Runs the command.
    ///
    /// # Errors
    /// [`crate::Error`] with the line to show.
    pub fn run(self, output: &Output) -> Result<()> {
        let mut budget = self.scratch.budget(None)?;
        let mut stages = Stages::new(output);
        let Pair {
            placed, msi_bands, ..
        } = stages.run("read", |_| {
            self.pair.read(output, OnGrid::Msi, &mut budget, pair_bytes)
        })?;
        let known = self.sensors.known(&placed.hsi, &msi_bands, &placed.scene)?;
        let mut config = Config::load("single-scene", None)?;
        self.sensors.apply(&mut config);
        let wavelengths = placed.hsi.wavelengths.clone();
        let found = stages.run("estimate", |_| {
            let fusion = Fusion::of_scene(placed.scene, placed.hsi);
            fusion.config(config).known(known).estimate()
        })?;
        if let Some(folder) = &self.save_degradation {
            save_degradation(folder, &found.degradation())?;
        }
        let summary = found.report();
        let text = degradation_text(&found.degradation(), &summary, wavelengths.as_deref());
        output.result(&summary, &text)
    }
}
