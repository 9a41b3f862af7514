//! `simulate`: the two observations of a reference image, for experiments under Wald's protocol.

use std::ops::Range;
use std::path::{Path, PathBuf};

use clap::Args;
use ndarray::Array2;
use serde::Serialize;

use super::Output;
use super::arrays::ArrayOptions;
use super::creation::CreationOptions;
use super::options::{BandOptions, MemoryOptions};
use super::progress::Stages;
use crate::coordination::response::{psf_kernel, srf_response};
use crate::cube::strips::{Cropped, Strips};
use crate::error::{Error, Result};
use crate::io::{self, OutputSet, Reading, Target, TiffOptions, write_strips};
use crate::named::Size;
use crate::sensor::catalogue::{PsfSpec, SrfSpec};
use crate::sensor::observe::Observation;
use crate::sensor::observe_strips::{Blurred, Noisy, Responded};
use crate::sensor::window::{MASS, resized};

/// Make a low-resolution hyperspectral and a high-resolution multispectral image from a reference
///
/// The samples keep their unit and are written as 32-bit floats. Where the PSF is wider than its pixel, the pixels at the
/// reference's edge see what lies beyond it, which nobody knows: the images end before that.
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
    ///
    /// Its middle is the middle of the low-resolution pixel; the published ones have theirs on pixel K/2 as they were
    /// published. Of a FILE with an odd K at an even scale, or the other way round, element K/2 lies on pixel s/2 of the
    /// s x s block (integer divisions, counted from 0).
    #[arg(long)]
    psf: PsfSpec,
    /// Spectral response: a sensor (see `hsr-gpu sensors`), some of its bands as in sentinel-2a:B2,B3,B4, or FILE: B x b, or
    /// text with a first column `wavelength` (nm) and a response a band, which is resampled
    #[arg(long)]
    srf: SrfSpec,
    /// Ratio of the two pixel grids
    #[arg(long)]
    scale: u16,
    /// Side of the window in pixels that the PSF is cut to [default: whole, which is 99.9 % of its mass; a file's size]
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
    #[command(flatten)]
    array: ArrayOptions,
    /// Low-resolution hyperspectral image to write
    #[arg(long, value_name = "FILE")]
    out_hsi: PathBuf,
    /// High-resolution multispectral image to write
    #[arg(long, value_name = "FILE")]
    out_msi: PathBuf,
    /// Write the reference too, cropped to the whole blocks that are seen; without it a reference of which not every
    /// pixel is in one of them is refused
    #[arg(long, value_name = "FILE")]
    out_reference: Option<PathBuf>,
    #[command(flatten)]
    creation: CreationOptions,
    #[command(flatten)]
    memory: MemoryOptions,
}

#[derive(Serialize)]
struct Written {
    hsi: Size,
    msi: Size,
    reference: Size,
    masked_hsi: usize,
    masked_msi: usize,
}

impl Simulate {
    /// What it reads and writes.
    ///
    /// # Errors
    /// [`crate::Error::Input`] for a name that no result can have.
    pub fn files(&self, set: &mut OutputSet) -> Result<()> {
        set.reads("--hsi", &self.hsi);
        self.array.files(set);
        if let PsfSpec::File(file) = &self.psf {
            set.reads("--psf", file);
        }
        if let SrfSpec::File(file) = &self.srf {
            set.reads("--srf", file);
        }
        set.writes_image("--out-hsi", &self.out_hsi)?;
        set.writes_image("--out-msi", &self.out_msi)?;
        if let Some(path) = &self.out_reference {
            set.writes_image("--out-reference", path)?;
        }
        self.tiff().map(drop)
    }

    /// How its images are laid out that are GeoTIFF.
    fn tiff(&self) -> Result<TiffOptions> {
        let mut outputs = vec![self.out_hsi.as_path(), &self.out_msi];
        outputs.extend(self.out_reference.as_deref());
        self.creation.tiff(&outputs)
    }

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
        let reading = Reading {
            bands: self.bands.selection(),
            nodata: self.nodata,
            arrangement: self.array.arrangement(),
            memory: self.memory.max_memory,
            ..Reading::default()
        };
        let file = io::open_image_as(&self.hsi, &reading)?;
        output.notes(&[&file]);
        let psf = psf_kernel(&self.psf, self.kernel.map(usize::from), scale)?
            .ok_or_else(|| Error::input("--psf blind: a simulation needs a PSF; give a file, paper:0 to paper:5, gaussian:VAR1,VAR2,ANGLE, disk:RADIUS or line:LENGTH,ANGLE"))?;
        let (_, _, bands) = file.dim();
        let srf = srf_response(&self.srf, file.metadata(), bands, None)?.ok_or_else(|| {
            Error::input(
                "--srf blind: a simulation needs a response; give a file or a sensor (see hsr-gpu sensors)",
            )
        })?;
        let blurred =
            Blurred::within(&file, &psf, scale).map_err(|e| Error::input(format!("{}: {e}", self.hsi)))?;
        let [rows, columns] = blurred.covered();
        self.check_covered(&file, (&rows, &columns), scale, output)?;
        let reference = Cropped::new(&file, rows, columns);
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
                tiff: self.tiff()?,
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
        self.say_cut(&psf, scale, output)?;
        let written = Written {
            hsi: hsi.dim().into(),
            msi: msi.dim().into(),
            reference: reference.dim().into(),
            masked_hsi,
            masked_msi,
        };
        output.result(&written, &text)
    }

    /// Says how much of a named PSF `--kernel` cuts off.
    fn say_cut(&self, psf: &Array2<f64>, scale: usize, output: &Output) -> Result<()> {
        let whole = match self.kernel {
            Some(_) => self.psf.whole(scale, [0.0; 2])?,
            None => None,
        };
        let Some(whole) = whole else { return Ok(()) };
        let kept = resized(&whole, psf.nrows()).sum();
        if kept < MASS {
            output.say(&format!(
                "note: --kernel {} cuts off {:.1} % of {}; without it the window is {n} x {n} pixels",
                psf.nrows(),
                100.0 * (1.0 - kept),
                self.psf,
                n = whole.nrows()
            ));
        }
        Ok(())
    }

    /// A reference of which not every pixel is seen is cropped where the user wants to have it.
    fn check_covered(
        &self,
        reference: &dyn Strips,
        (rows, columns): (&Range<usize>, &Range<usize>),
        scale: usize,
        output: &Output,
    ) -> Result<()> {
        let (all_rows, all_columns, _) = reference.dim();
        if (rows.len(), columns.len()) == (all_rows, all_columns) {
            return Ok(());
        }
        let part = format!(
            "{} x {} pixels from row {}, column {}",
            rows.len(),
            columns.len(),
            rows.start,
            columns.start
        );
        let why = match rows.start {
            0 => format!("whole blocks of {scale}"),
            margin => {
                format!("whole blocks of {scale} with the {margin} pixels around them that the PSF sees")
            }
        };
        if self.out_reference.is_none() {
            return Err(Error::input(format!(
                "{}: {all_rows} rows x {all_columns} columns are no {why}; give --out-reference FILE to crop to {part} and keep the cropped reference",
                self.hsi
            )));
        }
        output.say(&format!(
            "{}: cropped from {all_rows} x {all_columns} to {part}: {why}",
            self.hsi
        ));
        Ok(())
    }
}
