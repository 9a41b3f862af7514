//! `simulate`: the two observations of a reference image, for experiments under Wald's protocol.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use super::options::{BandOptions, MemoryOptions};
use super::progress::Stages;
use super::{Output, input};
use crate::coordination::response::srf_response;
use crate::cube::strips::{Cropped, Strips};
use crate::error::{Error, Result};
use crate::io::{self, Reading, Target, write_strips};
use crate::sensor::catalogue::{PsfSpec, SrfSpec};
use crate::sensor::observe::Observation;
use crate::sensor::observe_strips::{Blurred, Noisy, Responded};

/// Make a low-resolution hyperspectral and a high-resolution multispectral image from a reference
///
/// The samples keep their unit and are written as 32-bit floats. A PSF window that leaves the image sees its edge
/// pixels repeated.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  hsr-gpu simulate --hsi scene.npy --psf paper:5 --srf nikon-d700 --scale 32 \
                        --out-hsi lr.npy --out-msi hr.npy"
)]
pub struct Simulate {
    /// Reference hyperspectral image
    #[arg(long, value_name = "FILE")]
    hsi: String,
    /// Point spread function: FILE (K x K), paper:0 to paper:5, gaussian:VAR1,VAR2,ANGLE (pixels squared,
    /// radians), disk:RADIUS (defocus) or line:LENGTH,ANGLE (motion)
    #[arg(long)]
    psf: PsfSpec,
    /// Spectral response: a sensor (see `hsr-gpu sensors`), some of its bands as in sentinel-2a:B2,B3,B4, or FILE: B x b, or
    /// text with a first column `wavelength` (nm) and a response a band, which is resampled
    #[arg(long)]
    srf: SrfSpec,
    /// Ratio of the two pixel grids
    #[arg(long)]
    scale: u16,
    /// Side of the PSF's window in pixels [default: the scale, or a file's size]
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u16).range(1..=1024))]
    kernel: Option<u16>,
    /// Signal-to-noise ratio of every band of the hyperspectral image, 10 log10(mean(signal²)/variance) [default: no noise]
    #[arg(long, value_name = "DB", allow_negative_numbers = true)]
    snr_hsi: Option<f64>,
    /// Signal-to-noise ratio of every band of the multispectral image [default: no noise]
    #[arg(long, value_name = "DB", allow_negative_numbers = true)]
    snr_msi: Option<f64>,
    /// Seed of the noise
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Value that stands for "no data" in the reference
    #[arg(long, value_name = "VALUE", allow_negative_numbers = true)]
    nodata: Option<f64>,
    #[command(flatten)]
    bands: BandOptions,
    /// Low-resolution hyperspectral image to write
    #[arg(long, value_name = "FILE")]
    out_hsi: PathBuf,
    /// High-resolution multispectral image to write
    #[arg(long, value_name = "FILE")]
    out_msi: PathBuf,
    /// Write the reference too, cropped at the bottom and right to whole blocks; without it a reference that
    /// is no multiple of the scale is refused
    #[arg(long, value_name = "FILE")]
    out_reference: Option<PathBuf>,
    #[command(flatten)]
    memory: MemoryOptions,
}

#[derive(Serialize)]
struct Written {
    hsi: [usize; 3],
    msi: [usize; 3],
    reference: [usize; 3],
    masked_hsi: usize,
    masked_msi: usize,
}

impl Simulate {
    /// Runs the command.
    ///
    /// # Errors
    /// [`Error::Input`] for bad input, before any file is written; [`Error::Failed`] if writing fails.
    pub fn run(self, output: &Output) -> Result<()> {
        let scale = usize::from(self.scale);
        if scale == 0 {
            return Err(Error::input(
                "--scale 0: the ratio of the pixel grids is an integer from 1",
            ));
        }
        self.check_outputs()?;
        let reading = Reading {
            bands: self.bands.selection(),
            nodata: self.nodata,
            mask: None,
            memory: self.memory.max_memory,
        };
        let file = io::open_image_as(&self.hsi, &reading)?;
        output.notes(&[&file]);
        let (rows, columns) = self.whole_blocks(&file, scale, output)?;
        let reference = Cropped::new(&file, 0..rows, 0..columns);
        let psf = input::psf_kernel(&self.psf, self.kernel.map(usize::from), scale)?
            .ok_or_else(|| Error::input("--psf blind: a simulation needs a PSF; give a file, paper:0 to paper:5, gaussian:VAR1,VAR2,ANGLE, disk:RADIUS or line:LENGTH,ANGLE"))?;
        let (_, _, bands) = reference.dim();
        let srf = srf_response(&self.srf, reference.metadata(), bands, None)?.ok_or_else(|| {
            Error::input(
                "--srf blind: a simulation needs a response; give a file or a sensor (see hsr-gpu sensors)",
            )
        })?;
        let blurred = Blurred::new(&reference, &psf, scale)?;
        let responded = Responded::new(&reference, &srf)?;
        let hsi = Noisy::new(&blurred, self.snr_hsi, self.seed, Observation::LrHsi)?;
        let msi = Noisy::new(&responded, self.snr_msi, self.seed, Observation::HrMsi)?;
        let mut stages = Stages::new(output);
        let mut text = String::new();
        let mut write = |path: &Path, what: &str, image: &dyn Strips| -> Result<usize> {
            let target = Target {
                path,
                sample_type: image.sample_type(),
                interleave: None,
                memory: self.memory.max_memory,
            };
            let masked = stages.run("write", |w| {
                write_strips(&target, image, &mut |done, total| w.progress(done, total, None))
            })?;
            let note = match masked {
                0 => String::new(),
                n => format!(", {n} pixels masked"),
            };
            let (rows, columns, bands) = image.dim();
            text += &format!(
                "{}: {what}, {rows} rows x {columns} columns x {bands} bands{note}\n",
                path.display()
            );
            Ok(masked)
        };
        let masked_hsi = write(&self.out_hsi, "low-resolution hyperspectral image", &hsi)?;
        let masked_msi = write(&self.out_msi, "high-resolution multispectral image", &msi)?;
        if let Some(path) = &self.out_reference {
            write(path, "reference", &reference)?;
        }
        let written = Written {
            hsi: hsi.dim().into(),
            msi: msi.dim().into(),
            reference: reference.dim().into(),
            masked_hsi,
            masked_msi,
        };
        output.result(&written, &text)
    }

    /// Every output can be written, and none is another one or the input.
    fn check_outputs(&self) -> Result<()> {
        let outputs: Vec<&PathBuf> = [&self.out_hsi, &self.out_msi]
            .into_iter()
            .chain(&self.out_reference)
            .collect();
        for (i, path) in outputs.iter().enumerate() {
            io::check_writable(path)?;
            let is_input = match (path.canonicalize(), Path::new(&self.hsi).canonicalize()) {
                (Ok(a), Ok(b)) => a == b,
                _ => false,
            };
            if is_input || outputs[..i].contains(path) {
                return Err(Error::input(format!(
                    "{}: named twice; give every input and output its own file",
                    path.display()
                )));
            }
        }
        Ok(())
    }

    /// Rows and columns of the reference that are whole blocks.
    fn whole_blocks(&self, reference: &dyn Strips, scale: usize, output: &Output) -> Result<(usize, usize)> {
        let (rows, columns, _) = reference.dim();
        let (whole_rows, whole_columns) = (rows - rows % scale, columns - columns % scale);
        if (whole_rows, whole_columns) == (rows, columns) {
            return Ok((rows, columns));
        }
        if whole_rows == 0 || whole_columns == 0 {
            return Err(Error::input(format!(
                "{}: {rows} rows x {columns} columns are less than one block of scale {scale}",
                self.hsi
            )));
        }
        if self.out_reference.is_none() {
            return Err(Error::input(format!(
                "{}: {rows} rows x {columns} columns are no multiples of {scale}; give --out-reference FILE to crop to {whole_rows} x {whole_columns} and keep the cropped reference",
                self.hsi
            )));
        }
        output.say(&format!(
            "{}: cropped from {rows} x {columns} to {whole_rows} x {whole_columns} pixels, whole blocks of {scale}",
            self.hsi
        ));
        Ok((whole_rows, whole_columns))
    }
}
