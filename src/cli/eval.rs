//! `eval`: metrics of an estimate against its reference.

use std::fmt::Write;

use clap::Args;

use super::Output;
use super::input::open_matching;
use super::options::{BandOptions, MemoryOptions};
use crate::error::{Error, Result};
use crate::io::{self, OutputSet, Reading};
use crate::metrics::{Convention, Scores, evaluate};

/// Compare an estimated image with its reference: PSNR, SAM, ERGAS, UIQI, SSIM, RMSE
///
/// Under `strict` pixels that are masked, or zero in every band of the reference, are left out and counted. `daem`
/// computes what the code published with Guo et al. 2023 computes. PSNR is capped at 160 dB, which stands
/// for equality.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  hsr-gpu eval --reference scene.npy --estimate z.npy --scale 32 --json")]
pub struct Eval {
    /// Reference image
    #[arg(long, value_name = "FILE")]
    reference: String,
    /// Estimated image, same rows, columns and bands
    #[arg(long, value_name = "FILE")]
    estimate: String,
    /// Ratio of the pixel grids of the fusion (ERGAS is normalised with it)
    #[arg(long)]
    scale: u16,
    /// Definitions of the metrics: strict, daem or all
    #[arg(long, default_value = "strict", value_parser = conventions)]
    convention: Conventions,
    /// Matrix or image of one band, rows x columns; pixels where it is zero are left out
    #[arg(long, value_name = "FILE")]
    mask: Option<String>,
    /// Value that stands for "no data" in either image
    #[arg(long, value_name = "VALUE", allow_negative_numbers = true)]
    nodata: Option<f64>,
    #[command(flatten)]
    bands: BandOptions,
    #[command(flatten)]
    memory: MemoryOptions,
}

/// The conventions to report, in order.
#[derive(Debug, Clone)]
struct Conventions(Vec<Convention>);

fn conventions(name: &str) -> std::result::Result<Conventions, String> {
    match name {
        "all" => Ok(Conventions(Convention::ALL.to_vec())),
        name => match name.parse() {
            Ok(one) => Ok(Conventions(vec![one])),
            Err(_) => Err("use strict, daem or all".to_owned()),
        },
    }
}

impl Eval {
    /// What it reads and writes.
    ///
    /// # Errors
    /// [`crate::Error::Input`] for a name that no result can have.
    pub fn files(&self, set: &mut OutputSet) -> Result<()> {
        set.reads("--reference", &self.reference);
        set.reads("--estimate", &self.estimate);
        if let Some(file) = &self.mask {
            set.reads("--mask", file);
        }
        Ok(())
    }

    /// Runs the command. `--json` prints one object, or an array of them for `--convention all`.
    ///
    /// # Errors
    /// [`Error::Input`] if a file cannot be read or the images cannot be compared.
    pub fn run(self, output: &Output) -> Result<()> {
        let reading = Reading {
            bands: self.bands.selection(),
            nodata: self.nodata,
            mask: self.mask.clone(),
            memory: self.memory.max_memory,
        };
        let reference = io::open_image_as(&self.reference, &reading)?;
        let estimate = open_matching(&self.estimate, &reading, &reference)?;
        output.notes(&[&reference, &estimate]);
        let pair = |e: Error| match e {
            Error::Input(m) => Error::input(format!("{} and {}: {m}", self.reference, self.estimate)),
            other => other,
        };
        let scores = self
            .convention
            .0
            .iter()
            .map(|&c| evaluate(&reference, &estimate, usize::from(self.scale), c))
            .collect::<Result<Vec<Scores>>>()
            .map_err(pair)?;
        match &scores[..] {
            [one] => output.result(one, &table(&scores)),
            _ => output.result(&scores, &table(&scores)),
        }
    }
}

/// The scores as a table for reading.
fn table(scores: &[Scores]) -> String {
    let mut text =
        "convention   PSNR dB   SAM deg     ERGAS     UIQI     SSIM        RMSE    pixels   masked\n"
            .to_owned();
    for s in scores {
        // Writing into a String cannot fail.
        let _ = writeln!(
            text,
            "{:<10} {:>9.3} {:>9.4} {:>9.4} {:>8.5} {:>8.5} {:>11.5e} {:>9} {:>8}",
            s.convention.to_string(),
            s.psnr_db,
            s.sam_deg,
            s.ergas,
            s.uiqi,
            s.ssim,
            s.rmse,
            s.pixels,
            s.masked
        );
    }
    text
}
