//! `hsr-gpu convert`: an image from one file format or numeric type to another.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::Output;
use super::arrays::ArrayOptions;
use super::creation::CreationOptions;
use crate::cube::SampleType;
use crate::cube::bands::BandSelection;
use crate::cube::strips::Strips;
use crate::error::Result;
use crate::io::{self, Interleave, OutputSet, Reading, Target, write_exactly};

/// Convert an image to another file format, numeric type or interleave
///
/// The ending of OUT says the format: .npy, .npz, .mat (MATLAB 5), .tif (GeoTIFF), or for ENVI .hdr, .img, .bsq, .bil,
/// .bip. Values are not rescaled; for integer types they are rounded and clamped to the range of the type. Samples that
/// the type holds are written as they are; else a note says the largest difference.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  hsr-gpu convert scene.mat scene.hdr --type u16 --interleave bil")]
pub struct Convert {
    /// The image to read (FILE.mat:NAME, FILE.npz:NAME, FILE.h5:/PATH for one of several arrays)
    input: String,
    /// The file to write
    output: PathBuf,
    /// Numeric type to write: u8, i8, u16, i16, u32, i32, u64, i64, f16, f32, f64 [default: that of the input]
    #[arg(long = "type", value_name = "TYPE", value_parser = io::parse_sample_type)]
    sample_type: Option<SampleType>,
    /// Order of the samples in an ENVI file [default: as the ending says, else bsq]
    #[arg(long, value_enum)]
    interleave: Option<Interleave>,
    /// Mask the pixels that hold this value in any band, and record it as the no-data value
    #[arg(long, value_name = "VALUE", allow_negative_numbers = true)]
    nodata: Option<f64>,
    /// Bands to take, in the order of the list: numbers from 0 and wavelengths, single or from-to, such as 0-99,110 or
    /// 400nm-900nm [default: all]
    #[arg(long, value_name = "LIST")]
    bands: Option<BandSelection>,
    #[command(flatten)]
    array: ArrayOptions,
    #[command(flatten)]
    creation: CreationOptions,
}

/// What was written, for `--json`.
#[derive(Serialize)]
struct Written {
    output: String,
    rows: usize,
    columns: usize,
    bands: usize,
    #[serde(rename = "type")]
    sample_type: &'static str,
    masked_pixels: usize,
    lost: Vec<&'static str>,
}

impl Convert {
    /// What it reads and writes.
    ///
    /// # Errors
    /// [`crate::Error::Input`] for a name that no result can have.
    pub fn files(&self, set: &mut OutputSet) -> Result<()> {
        set.reads("the input", &self.input);
        self.array.files(set);
        set.writes_image("the output", &self.output)?;
        self.creation.tiff(&[&self.output]).map(drop)
    }

    /// Reads, converts and writes.
    ///
    /// # Errors
    /// [`crate::Error::Input`] if the input cannot be read, holds NaN or infinity outside masked pixels
    /// where an integer type is asked for, or the output cannot be written there;
    /// [`crate::Error::Failed`] if writing fails.
    pub fn run(self, output: &Output) -> Result<()> {
        let reading = Reading {
            bands: self.bands.clone().unwrap_or(BandSelection::All),
            nodata: self.nodata,
            arrangement: self.array.arrangement(),
            memory: usize::MAX,
            ..Reading::default()
        };
        let mut image = io::open_image_as(&self.input, &reading)?;
        output.notes(&[&image]);
        let kind = self.sample_type.unwrap_or(image.sample_type());
        // Floats may hold NaN on purpose; integers have no way to say it, and whole numbers of any size are what they are.
        let float = |kind| matches!(kind, SampleType::F16 | SampleType::F32 | SampleType::F64);
        if float(kind) || !float(image.sample_type()) {
            image = image.unchecked();
        }
        let lost = io::metadata_lost(&self.output, image.metadata());
        let target = Target {
            path: &self.output,
            sample_type: kind,
            interleave: self.interleave,
            memory: usize::MAX,
            tiff: self.creation.tiff(&[&self.output])?,
        };
        let name = self.output.display().to_string();
        let (masked_pixels, largest) = write_exactly(&target, &image)?;
        if largest > 0.0 {
            output.say(&format!(
                "note: {name}: {} does not hold every sample; the largest difference is {largest:e}",
                io::sample_type_name(kind)
            ));
        }
        if !lost.is_empty() {
            output.say(&format!("{name}: this format does not carry {}", lost.join(", ")));
        }
        let (rows, columns, bands) = image.dim();
        let written = Written {
            rows,
            columns,
            bands,
            sample_type: io::sample_type_name(kind),
            masked_pixels,
            lost,
            output: name,
        };
        let text = format!(
            "{}: {} rows x {} columns x {} bands, {}",
            written.output, written.rows, written.columns, written.bands, written.sample_type
        );
        output.result(&written, &text)
    }
}
