//! `hsr-gpu info`: what is in an image file.

use std::collections::BTreeMap;
use std::fmt::Write;

use clap::Args;
use serde::Serialize;

use super::Output;
use super::arrays::ArrayOptions;
use crate::cube::strips::{self, Strips};
use crate::error::Result;
use crate::io::{self, OutputSet};

/// Show what is in an image file: size, type, wavelengths, range of values, masked pixels, metadata
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  hsr-gpu info scene.hdr\n  hsr-gpu info scene.mat:cube --json")]
pub struct Info {
    /// The image: .npy, .npz, .mat, HDF5 (FILE:NAME for one of several arrays), ENVI (.hdr or its data file), PNG, or a
    /// folder of bands
    file: String,
    /// Mask the pixels that hold this value in any band
    #[arg(long, value_name = "VALUE", allow_negative_numbers = true)]
    nodata: Option<f64>,
    #[command(flatten)]
    array: ArrayOptions,
}

/// The facts, with the names that `--json` shows. Numbers that JSON cannot say (NaN) are null.
#[derive(Serialize)]
struct Facts {
    file: String,
    format: &'static str,
    rows: usize,
    columns: usize,
    bands: usize,
    #[serde(rename = "type")]
    sample_type: &'static str,
    min: Option<f32>,
    max: Option<f32>,
    mean: Option<f64>,
    not_finite: usize,
    masked_pixels: usize,
    nodata: Option<f64>,
    wavelengths_nm: Option<Vec<f64>>,
    fwhm_nm: Option<Vec<f64>>,
    band_names: Option<Vec<String>>,
    bad_bands: Option<Vec<usize>>,
    georeference: BTreeMap<String, String>,
    other_fields: BTreeMap<String, String>,
}

impl Facts {
    fn of(file: String, format: &'static str, image: &dyn Strips, nodata: Option<f64>) -> Result<Self> {
        let mut range: Option<(f32, f32)> = None;
        let (mut sum, mut count, mut not_finite) = (0.0_f64, 0_usize, 0_usize);
        let mut masked_pixels = 0;
        strips::for_each(image, |_, mut cube| {
            if let Some(value) = nodata {
                cube.mask_value(value);
            }
            masked_pixels += cube.masked_pixels();
            for ((row, column, _), &x) in cube.samples.indexed_iter() {
                if !cube.is_valid(row, column) {
                    continue;
                }
                if !x.is_finite() {
                    not_finite += 1;
                    continue;
                }
                range = Some(range.map_or((x, x), |(low, high)| (low.min(x), high.max(x))));
                sum += f64::from(x);
                count += 1;
            }
            Ok(())
        })?;
        let (rows, columns, bands) = image.dim();
        let metadata = image.metadata().clone();
        Ok(Facts {
            file,
            format,
            rows,
            columns,
            bands,
            sample_type: io::sample_type_name(image.sample_type()),
            min: range.map(|r| r.0),
            max: range.map(|r| r.1),
            mean: (count > 0).then(|| sum / count as f64),
            not_finite,
            masked_pixels,
            nodata: nodata.or(metadata.nodata),
            wavelengths_nm: metadata.wavelengths,
            fwhm_nm: metadata.fwhm,
            band_names: metadata.band_names,
            bad_bands: metadata
                .bad_bands
                .map(|bad| (0..bad.len()).filter(|&b| bad[b]).collect()),
            georeference: metadata.grid.map(|grid| grid.facts()).unwrap_or_default(),
            other_fields: metadata.extra,
        })
    }

    fn text(&self) -> String {
        let mut lines: Vec<(&str, String)> = vec![
            ("file", format!("{} ({})", self.file, self.format)),
            (
                "size",
                format!(
                    "{} rows x {} columns x {} bands",
                    self.rows, self.columns, self.bands
                ),
            ),
            ("type", self.sample_type.to_owned()),
        ];
        if let (Some(min), Some(max), Some(mean)) = (self.min, self.max, self.mean) {
            lines.push(("values", format!("{min} to {max}, mean {mean:.6}")));
        }
        if self.not_finite > 0 {
            lines.push(("NaN or infinite", format!("{} samples", self.not_finite)));
        }
        lines.push((
            "masked",
            format!("{} of {} pixels", self.masked_pixels, self.rows * self.columns),
        ));
        if let Some(value) = self.nodata {
            lines.push(("no-data value", value.to_string()));
        }
        for (name, values) in [("wavelengths", &self.wavelengths_nm), ("FWHM", &self.fwhm_nm)] {
            if let Some(values) = values {
                let low = values.iter().copied().fold(f64::INFINITY, f64::min);
                let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                lines.push((name, format!("{low} to {high} nm")));
            }
        }
        if let Some(names) = &self.band_names {
            lines.push(("band names", shortened(&names.join(", "))));
        }
        if let Some(bad) = self.bad_bands.as_ref().filter(|bad| !bad.is_empty()) {
            let list: Vec<String> = bad.iter().map(usize::to_string).collect();
            lines.push(("bad bands", shortened(&list.join(", "))));
        }
        for (name, value) in self.georeference.iter().chain(&self.other_fields) {
            lines.push((name, shortened(value)));
        }
        let width = lines
            .iter()
            .map(|(name, _)| name.chars().count())
            .max()
            .unwrap_or(0);
        let mut text = String::new();
        for (name, value) in lines {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{name:<width$}  {value}");
        }
        text
    }
}

/// A value on one line of bearable length; `--json` has the whole of it. Control characters, which could
/// steer a terminal, become blanks.
fn shortened(value: &str) -> String {
    const LONGEST: usize = 100;
    let clean: String = value
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    let line = clean.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= LONGEST {
        return line;
    }
    line.chars().take(LONGEST).chain(" ...".chars()).collect()
}

impl Info {
    /// What it reads and writes.
    ///
    /// # Errors
    /// None.
    pub fn files(&self, set: &mut OutputSet) -> Result<()> {
        set.reads("the file", &self.file);
        self.array.files(set);
        Ok(())
    }

    /// Reads the file and shows what is in it.
    ///
    /// # Errors
    /// [`crate::Error::Input`] if the file cannot be read as an image.
    pub fn run(self, output: &Output) -> Result<()> {
        let format = io::format_of(&self.file)?.name();
        let image = io::open_cube_as(&self.file, &self.array.arrangement(), usize::MAX)?;
        output.notes(&[image.as_ref()]);
        let facts = Facts::of(self.file, format, image.as_ref(), self.nodata)?;
        output.result(&facts, &facts.text())
    }
}
