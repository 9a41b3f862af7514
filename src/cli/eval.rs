//! `eval`: metrics of an estimate against its reference.

use std::fmt::Write;

use clap::Args;
use ndarray::Array2;
use serde::Serialize;

use super::Output;
use super::arrays::{ArrayOptions, MsiArrayOptions};
use super::input::open_matching;
use super::options::{BandOptions, MemoryOptions};
use crate::align::misplacement::{Misplacement, Stage};
use crate::align::same::brought;
use crate::cube::Cube;
use crate::cube::bands::BandSelection;
use crate::cube::strips::{self, Strips};
use crate::error::{Error, Result};
use crate::io::{self, Arrangement, Axes, OutputSet, Reading};
use crate::metrics::no_reference::no_reference;
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
    #[arg(long, value_name = "FILE", required_unless_present = "no_reference")]
    reference: Option<String>,
    /// Compare the estimate with the two images it was made of instead (--hsi, --msi): QNR with its spectral and spatial
    /// distortion, and the hybrid index with Khan's
    #[arg(long, requires_all = ["hsi", "msi"], conflicts_with_all = ["reference", "scale", "mask"])]
    no_reference: bool,
    /// The low-resolution hyperspectral image, for --no-reference
    #[arg(long, value_name = "FILE", requires = "no_reference")]
    hsi: Option<String>,
    /// The high-resolution multispectral image, for --no-reference
    #[arg(long, value_name = "FILE", requires = "no_reference")]
    msi: Option<String>,
    /// Estimated image, same rows, columns and bands
    #[arg(long, value_name = "FILE")]
    estimate: String,
    /// Ratio of the pixel grids of the fusion, which ERGAS is normalised with [default: no ERGAS; daem takes 32]
    #[arg(long)]
    scale: Option<u16>,
    /// Find by what part of a pixel the estimate lies off its reference, say it, and compare after it is taken back
    #[arg(long, conflicts_with = "no_reference")]
    align: bool,
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
    array: ArrayOptions,
    /// Order of the axes of an array of the estimate
    #[arg(long, value_enum)]
    estimate_axes: Option<Axes>,
    #[command(flatten)]
    msi_array: MsiArrayOptions,
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
        let named = [
            ("--reference", &self.reference),
            ("--hsi", &self.hsi),
            ("--msi", &self.msi),
        ];
        for (option, file) in named {
            if let Some(file) = file {
                set.reads(option, file);
            }
        }
        set.reads("--estimate", &self.estimate);
        self.array.files(set);
        self.msi_array.files(set);
        if let Some(file) = &self.mask {
            set.reads("--mask", file);
        }
        Ok(())
    }

    /// Runs the command.
    ///
    /// # Errors
    /// [`Error::Input`] if a file cannot be read or the images cannot be compared.
    pub fn run(self, output: &Output) -> Result<()> {
        let reading = Reading {
            bands: self.bands.selection(),
            nodata: self.nodata,
            mask: self.mask.clone(),
            arrangement: self.array.arrangement(),
            memory: self.memory.max_memory,
        };
        let Some(reference_name) = &self.reference else {
            return self.without_reference(output, &reading);
        };
        let reference = io::open_image_as(reference_name, &reading)?;
        let estimate = open_matching(&self.estimate, &self.of_estimate(&reading), &reference)?;
        output.notes(&[&reference, &estimate]);
        let pair = |e: Error| match e {
            Error::Input(m) => Error::input(format!("{reference_name} and {}: {m}", self.estimate)),
            other => other,
        };
        let scores = |estimate: &dyn Strips| {
            let each = self.convention.0.iter();
            each.map(|&c| {
                let scores = evaluate(&reference, estimate, self.scale.map_or(1, usize::from), c)?;
                Ok(Told::new(&scores, self.scale.is_some()))
            })
            .collect::<Result<Vec<Told>>>()
            .map_err(pair)
        };
        if self.align {
            let (found, image) = aligned(&strips::collect(&reference)?, strips::collect(&estimate)?)?;
            let text = match &found {
                Some(found) if found.stage != Stage::None => format!(
                    "the estimate lies ({:+.3}, {:+.3}) pixels (down, right) off its reference (±{:.3}, ±{:.3}); taken back:\n",
                    found.shift[0], found.shift[1], found.shift_error[0], found.shift_error[1]
                ),
                Some(_) => "the estimate lies on its reference\n".to_owned(),
                None => {
                    "nothing varies in one of the images, or they are too small to be aligned\n".to_owned()
                }
            };
            let scores = scores(&image)?;
            let text = text + &table(&scores);
            return output.result(&Compared { scores, found }, &text);
        }
        let scores = scores(&estimate)?;
        let text = table(&scores);
        output.result(&Compared { scores, found: None }, &text)
    }

    /// How the estimate is read.
    fn of_estimate(&self, reading: &Reading) -> Reading {
        Reading {
            arrangement: Arrangement {
                axes: self.estimate_axes,
                ..Arrangement::default()
            },
            ..reading.clone()
        }
    }

    /// Indices against the two images that the estimate was made of.
    fn without_reference(&self, output: &Output, reading: &Reading) -> Result<()> {
        let missing = || Error::input("--no-reference takes --hsi FILE and --msi FILE");
        let hsi = io::open_image_as(self.hsi.as_ref().ok_or_else(missing)?, reading)?;
        let estimate = open_matching(&self.estimate, &self.of_estimate(reading), &hsi)?;
        let reading = Reading {
            bands: BandSelection::All,
            arrangement: self.msi_array.arrangement(),
            ..reading.clone()
        };
        let msi = io::open_image_as(self.msi.as_ref().ok_or_else(missing)?, &reading)?;
        output.notes(&[&hsi, &msi, &estimate]);
        let [fused, hsi, msi] = [
            strips::collect(&estimate)?,
            strips::collect(&hsi)?,
            strips::collect(&msi)?,
        ];
        let scale = (fused.rows() / hsi.rows().max(1)).max(1);
        let usable = Array2::from_shape_fn((hsi.rows(), hsi.columns()), |(r, c)| {
            let fine = |i: usize, j: usize| {
                let inside = i < fused.rows().min(msi.rows()) && j < fused.columns().min(msi.columns());
                inside && fused.is_valid(i, j) && msi.is_valid(i, j)
            };
            let block = |first: usize| first * scale..(first + 1) * scale;
            hsi.is_valid(r, c) && block(r).all(|i| block(c).all(|j| fine(i, j)))
        });
        let found = no_reference(
            fused.samples.view(),
            hsi.samples.view(),
            msi.samples.view(),
            &usable,
        )
        .map_err(|e| Error::input(format!("{}: {e}", self.estimate)))?;
        let text = format!(
            "QNR {:.4} (spectral distortion D_lambda {:.4}, spatial distortion D_s {:.4}); hybrid {:.4} (Khan's D_lambda {:.4})\n",
            found.qnr, found.d_lambda, found.d_s, found.hqnr, found.d_lambda_khan
        );
        output.result(&found, &text)
    }
}

/// What `--json` tells.
#[derive(Serialize)]
struct Compared {
    /// One for each convention.
    scores: Vec<Told>,
    /// Where the estimate lay against its reference, in their pixels, before that was taken back; null where it was not looked
    /// for, or nothing could be found.
    #[serde(rename = "alignment")]
    found: Option<Misplacement>,
}

/// The estimate, its shift against the reference taken back, and what was found of it.
fn aligned(reference: &Cube, estimate: Cube) -> Result<(Option<Misplacement>, Cube)> {
    let mask =
        |image: &Cube| Array2::from_shape_fn((image.rows(), image.columns()), |(r, c)| image.is_valid(r, c));
    let (usable, valid) = (mask(reference), mask(&estimate));
    let pair = (reference.samples.view(), usable.view());
    let Some(brought) = brought(pair, (estimate.samples.view(), valid.view()))? else {
        return Ok((None, estimate));
    };
    let image = Cube {
        samples: brought.samples,
        valid: Some(brought.valid),
        ..estimate
    };
    Ok((Some(brought.found), image))
}

/// Scores as they are told.
#[derive(Serialize)]
struct Told {
    convention: Convention,
    psnr_db: f64,
    sam_deg: f64,
    /// Under `strict` null where the ratio of the grids is not known.
    ergas: Option<f64>,
    uiqi: f64,
    ssim: f64,
    rmse: f64,
    pixels: usize,
    masked: usize,
}

impl Told {
    fn new(scores: &Scores, scale: bool) -> Self {
        Told {
            convention: scores.convention,
            psnr_db: scores.psnr_db,
            sam_deg: scores.sam_deg,
            ergas: (scale || scores.convention == Convention::Daem).then_some(scores.ergas),
            uiqi: scores.uiqi,
            ssim: scores.ssim,
            rmse: scores.rmse,
            pixels: scores.pixels,
            masked: scores.masked,
        }
    }
}

/// The scores as a table for reading.
fn table(scores: &[Told]) -> String {
    let mut text =
        "convention   PSNR dB   SAM deg     ERGAS     UIQI     SSIM        RMSE    pixels   masked\n"
            .to_owned();
    for s in scores {
        // Writing into a String cannot fail.
        let normalised = s.ergas.map_or("-".to_owned(), |ergas| format!("{ergas:.4}"));
        let _ = writeln!(
            text,
            "{:<10} {:>9.3} {:>9.4} {normalised:>9} {:>8.5} {:>8.5} {:>11.5e} {:>9} {:>8}",
            s.convention.to_string(),
            s.psnr_db,
            s.sam_deg,
            s.uiqi,
            s.ssim,
            s.rmse,
            s.pixels,
            s.masked
        );
    }
    text
}
