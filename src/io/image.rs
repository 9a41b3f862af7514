//! An image file as a command wants it: some of its bands, pixels masked by value and by file, samples checked. What is
//! masked is settled after the bands are, so that a band that is not used (water absorption, filled with the no-data
//! value) takes no pixel with it.

use std::ops::Range;

use ndarray::{Array2, Array3, Axis, s};

use super::array::Arrangement;
use super::format::{Format, format_of};
use super::open::{open_cube, open_samples, read_matrix};
use crate::cube::bands::{BandSelection, TakenBands};
use crate::cube::exact::Exact;
use crate::cube::strips::Strips;
use crate::cube::{Cube, Metadata, SampleType, is_nodata};
use crate::error::{Error, Result};

/// How [`open_image_as`] is to read an image.
#[derive(Debug, Clone, Default)]
pub struct Reading {
    /// Which bands are taken.
    pub bands: BandSelection,
    /// A value that masks a pixel that holds it in any band that is taken (NaN masks NaN), besides the file's own.
    pub nodata: Option<f64>,
    /// A file that says which pixels are used; see [`read_mask`].
    pub mask: Option<String>,
    /// What the user says of an array's axes and wavelengths.
    pub arrangement: Arrangement,
    /// Bytes that a format which can only be read whole may take.
    pub memory: usize,
}

/// An image file that [`open_image_as`] opened.
pub struct Image {
    name: String,
    samples: Box<dyn Strips>,
    /// Bands of the file that are taken; `None` for all in their order.
    bands: Option<Vec<usize>>,
    /// The file's no-data value and the user's.
    nodata: Vec<f64>,
    usable: Option<Array2<bool>>,
    metadata: Metadata,
    checked: bool,
}

/// [`open_image_as`] of all bands, with a no-data value and without a mask file.
///
/// # Errors
/// As [`open_image_as`].
pub fn open_image(spec: &str, nodata: Option<f64>, memory: usize) -> Result<Image> {
    let reading = Reading {
        bands: BandSelection::All,
        nodata,
        memory,
        ..Reading::default()
    };
    open_image_as(spec, &reading)
}

/// Opens an image whose strips have the bands and the mask that are asked for and are checked: a sample of a usable pixel
/// that is not finite is refused when it is met.
///
/// # Errors
/// As [`super::open_cube`], and [`Error::Input`] for an image without pixels, bands that it has not, or a mask that does
/// not fit.
pub fn open_image_as(spec: &str, reading: &Reading) -> Result<Image> {
    let samples = open_samples(spec, &reading.arrangement, reading.memory)?;
    let (rows, columns, all) = samples.dim();
    if rows == 0 || columns == 0 || all == 0 {
        // The message of an empty image.
        samples.rows(0..0)?.check(spec)?;
    }
    let chosen = reading.bands.resolve(samples.metadata(), all, spec)?;
    let bands = (!chosen.iter().copied().eq(0..all)).then_some(chosen);
    let mut metadata = match &bands {
        Some(bands) => samples.metadata().of_bands(bands, all),
        None => samples.metadata().clone(),
    };
    let nodata = metadata.nodata.into_iter().chain(reading.nodata).collect();
    metadata.nodata = reading.nodata.or(metadata.nodata);
    let usable = reading
        .mask
        .as_deref()
        .map(|mask| read_mask(mask, (rows, columns), spec))
        .transpose()?;
    Ok(Image {
        name: spec.to_owned(),
        samples,
        bands,
        nodata,
        usable,
        metadata,
        checked: true,
    })
}

/// [`open_image`] as a whole.
///
/// # Errors
/// [`Error::Input`] if the file cannot be read, is empty or holds a sample that is not finite.
pub fn read_image(path: &str, nodata: Option<f64>) -> Result<Cube> {
    let image = open_image(path, nodata, usize::MAX)?;
    image.rows(0..image.dim().0)
}

/// Reads which pixels of an image of so many rows and columns are used: an image of one band or a matrix of that size in
/// any format, 0 where a pixel is left out. `image` is the image's name for messages.
///
/// # Errors
/// [`Error::Input`] if the file cannot be read, has another size or holds NaN.
pub fn read_mask(spec: &str, (rows, columns): (usize, usize), image: &str) -> Result<Array2<bool>> {
    let values: Array2<f64> = match format_of(spec)? {
        Format::Text => read_matrix(spec)?,
        _ => {
            // What can only be read whole is not read where it is larger than a mask of this image.
            let memory = rows.saturating_mul(columns).saturating_mul(size_of::<f64>());
            let file = open_cube(spec, memory.max(MASK_BYTES))?;
            let (mask_rows, mask_columns, bands) = file.dim();
            if bands != 1 {
                return Err(Error::input(format!(
                    "{spec}: has {bands} bands; a mask has one, 0 for pixels to leave out and 1 for others"
                )));
            }
            check_size(spec, (mask_rows, mask_columns), (rows, columns), image)?;
            let mask = file.rows(0..mask_rows)?;
            let mut values = mask.samples.slice(s![.., .., 0]).mapv(f64::from);
            // What the mask itself marks as no data is not used.
            if let Some(valid) = &mask.valid {
                values.zip_mut_with(valid, |x, &ok| *x = if ok { *x } else { 0.0 });
            }
            values
        }
    };
    check_size(spec, values.dim(), (rows, columns), image)?;
    if let Some(((r, c), x)) = values.indexed_iter().find(|(_, x)| x.is_nan()) {
        return Err(Error::input(format!(
            "{spec}: {x} at row {r}, column {c} of the mask; use 0 for pixels to leave out and 1 for others"
        )));
    }
    Ok(values.mapv(|x| x != 0.0))
}

/// Bytes of a file that is small enough to be read to say what is wrong with it.
const MASK_BYTES: usize = 1 << 24;

/// Whether a mask is of the image's size.
fn check_size(spec: &str, mask: (usize, usize), of: (usize, usize), image: &str) -> Result<()> {
    if mask == of {
        Ok(())
    } else {
        Err(Error::input(format!(
            "{spec}: the mask is {} x {} and {image} {} x {} pixels; they must agree",
            mask.0, mask.1, of.0, of.1
        )))
    }
}

impl Image {
    /// The image under other metadata: those that its format could not hold.
    pub fn with_metadata(mut self, metadata: Metadata) -> Self {
        self.metadata = metadata;
        self
    }

    /// The image with whatever its samples are: floats may hold NaN on purpose.
    pub fn unchecked(mut self) -> Self {
        self.checked = false;
        self
    }

    /// The name under which it was opened.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether `x` stands for no data.
    pub fn is_nodata(&self, x: f32) -> bool {
        self.nodata.iter().any(|&value| is_nodata(x, value))
    }

    /// Which bands of the file these are.
    pub fn bands(&self) -> TakenBands {
        let all = self.samples.dim().2;
        TakenBands {
            all,
            taken: self.bands.clone().unwrap_or_else(|| (0..all).collect()),
        }
    }
}

impl Strips for Image {
    fn dim(&self) -> (usize, usize, usize) {
        let (rows, columns, all) = self.samples.dim();
        (rows, columns, self.bands.as_ref().map_or(all, Vec::len))
    }

    fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    fn sample_type(&self) -> SampleType {
        self.samples.sample_type()
    }

    fn rows(&self, rows: Range<usize>) -> Result<Cube> {
        let mut strip = self.samples.rows(rows.clone())?;
        if let Some(bands) = &self.bands {
            strip = strip.of_bands(bands);
        }
        for &value in &self.nodata {
            strip.mask_value(value);
        }
        if self.checked {
            strip.mask_sentinels();
        }
        if let Some(usable) = &self.usable {
            strip.mask_pixels(usable.slice(s![rows.clone(), ..]));
        }
        if self.checked {
            strip.check_rows(&self.name, rows.start)?;
        }
        strip.metadata = self.metadata.clone();
        Ok(strip)
    }

    fn exact(&self, rows: Range<usize>) -> Result<Option<Array3<Exact>>> {
        let samples = self.samples.exact(rows)?;
        Ok(match &self.bands {
            Some(bands) => samples.map(|samples| samples.select(Axis(2), bands)),
            None => samples,
        })
    }

    fn notes(&self) -> &[String] {
        self.samples.notes()
    }
}
