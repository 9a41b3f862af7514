//! The image: samples, wavelengths, mask and georeference of one hyperspectral or multispectral cube.
//!
//! Everything that moves between files, engines and metrics is a [`Cube`]. Axis order is always
//! rows × columns × bands. The samples keep the unit of the file they came from; `coordination::scene`
//! is where a run divides them into \[0, 1\].

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;

use ndarray::{Array2, Array3, ArrayView1, ArrayView2, ArrayView3, Axis};

use crate::error::{Error, Result};
use grid::Grid;
use sentinel::{Sentinels, is_sentinel};

pub mod bands;
pub mod bicubic;
pub mod demo_scene;
pub mod exact;
pub mod extend;
pub mod fourier;
pub mod grid;
pub mod raster;
pub mod scratch;
pub mod sentinel;
pub mod strips;
pub mod view;

/// Numeric type of the samples in a file, remembered so that a result can be written like its source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SampleType {
    /// Unsigned 8-bit integer.
    U8,
    /// Signed 8-bit integer.
    I8,
    /// Unsigned 16-bit integer.
    U16,
    /// Signed 16-bit integer.
    I16,
    /// Unsigned 32-bit integer.
    U32,
    /// Signed 32-bit integer.
    I32,
    /// Unsigned 64-bit integer.
    U64,
    /// Signed 64-bit integer.
    I64,
    /// IEEE half precision.
    F16,
    /// IEEE single precision.
    F32,
    /// IEEE double precision.
    F64,
}

/// What a file says about its image besides the samples. Every field is optional in every format.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Metadata {
    /// Band centres in nanometres, one a band.
    pub wavelengths: Option<Vec<f64>>,
    /// Full width at half maximum of each band in nanometres.
    pub fwhm: Option<Vec<f64>>,
    /// Name of each band.
    pub band_names: Option<Vec<String>>,
    /// `true` where the file says that the band is not to be used, one a band.
    pub bad_bands: Option<Vec<bool>>,
    /// The value that stands for "no data" in the file, in the unit of the samples.
    pub nodata: Option<f64>,
    /// The pixel grid on the ground, carried from the MSI to the result.
    pub grid: Option<Grid>,
    /// Remaining header fields of the file, kept so that a conversion loses nothing.
    pub extra: BTreeMap<String, String>,
}

impl Metadata {
    /// What a fused image carries: the bands of the HSI (wavelengths, FWHM, names, further fields), the
    /// pixel grid of the MSI, and the HSI's no-data value, or the MSI's if the HSI has none.
    pub fn of_fusion(hsi: &Metadata, msi: &Metadata) -> Metadata {
        Metadata {
            grid: msi.grid.clone(),
            nodata: hsi.nodata.or(msi.nodata),
            ..hsi.clone()
        }
    }

    /// What is true of the part of the image that begins at this row and column.
    pub fn cropped(&self, row: usize, column: usize) -> Metadata {
        Metadata {
            grid: self.grid.as_ref().and_then(|grid| grid.cropped(row, column)),
            ..self.clone()
        }
    }

    /// `true` if the file says that `band` is not to be used.
    pub fn is_bad(&self, band: usize) -> bool {
        self.bad_bands
            .as_ref()
            .is_some_and(|bad| bad.get(band) == Some(&true))
    }

    /// What is left for an image made of `bands` of the `all` bands that this describes: lists with an entry for each
    /// band follow, further fields of the file that are such lists in braces too. Which bands a viewer shows first
    /// (ENVI's `default bands`) is dropped.
    pub fn of_bands(&self, bands: &[usize], all: usize) -> Metadata {
        fn of<T: Clone>(list: &Option<Vec<T>>, bands: &[usize], all: usize) -> Option<Vec<T>> {
            let list = list.as_ref().filter(|l| l.len() == all)?;
            Some(bands.iter().filter_map(|&b| list.get(b).cloned()).collect())
        }
        let field = |(name, value): (&String, &String)| {
            let inside = value.trim().strip_prefix('{').and_then(|v| v.strip_suffix('}'));
            let entries = inside.map(|v| v.split(',').map(|e| e.trim().to_owned()).collect());
            let value = match of(&entries, bands, all) {
                Some(entries) if name != "description" => format!("{{{}}}", entries.join(", ")),
                _ => value.clone(),
            };
            (name != "default bands").then(|| (name.clone(), value))
        };
        Metadata {
            wavelengths: of(&self.wavelengths, bands, all),
            fwhm: of(&self.fwhm, bands, all),
            band_names: of(&self.band_names, bands, all),
            bad_bands: of(&self.bad_bands, bands, all),
            extra: self.extra.iter().filter_map(field).collect(),
            ..self.clone()
        }
    }
}

/// Samples of `dim` rows, columns and bands as `fill` writes them over zeros.
///
/// # Errors
/// What `fill` returns.
pub fn filled(
    dim: (usize, usize, usize),
    fill: impl FnOnce(&mut [f32]) -> Result<()>,
) -> Result<Array3<f32>> {
    let mut samples = vec![0.0; dim.0 * dim.1 * dim.2];
    fill(&mut samples)?;
    Array3::from_shape_vec(dim, samples).map_err(|e| Error::failed(format!("samples of an image: {e}")))
}

/// The samples of a view in the order rows, columns, bands; a copy where they do not lie so.
pub fn in_order(view: ArrayView3<'_, f32>) -> Cow<'_, [f32]> {
    match view.to_slice() {
        Some(samples) => Cow::Borrowed(samples),
        None => Cow::Owned(view.iter().copied().collect()),
    }
}

/// Whether a sample stands for no data where `value` does: it equals it (NaN equals NaN). Files give such values as text of some
/// digits, so one that is no integer or huge (the lowest single) is also met by what six digits do not tell from it.
pub fn is_nodata(x: f32, value: f64) -> bool {
    if value.is_nan() || x.is_nan() {
        return value.is_nan() && x.is_nan();
    }
    if x == value as f32 {
        return true;
    }
    let rounded = value.fract() != 0.0 || value.abs() > 1e18;
    rounded && (f64::from(x) - value).abs() <= 2e-6 * value.abs()
}

/// An image of rows × columns × bands.
#[derive(Debug, Clone)]
pub struct Cube {
    /// Samples, rows × columns × bands, in the unit of the file.
    pub samples: Array3<f32>,
    /// `true` where a pixel is usable; `None` when every pixel is. Rows × columns.
    pub valid: Option<Array2<bool>>,
    /// What the file said about the image.
    pub metadata: Metadata,
    /// Numeric type in the file that the samples came from.
    pub sample_type: SampleType,
}

/// No measured sample is as large: its square is beyond single precision. It stands for no data that no file names.
pub const LARGEST: f32 = 1e18;

/// The sample next to a no-data value that is none: one step toward 0, from 0 the smallest positive normal number, which no
/// arithmetic takes for 0.
pub fn beside(nodata: f32) -> f32 {
    if nodata == 0.0 {
        f32::MIN_POSITIVE
    } else {
        f32::from_bits(nodata.to_bits() - 1)
    }
}

impl Cube {
    /// A cube of single-precision samples without metadata.
    pub fn new(samples: Array3<f32>) -> Self {
        Cube {
            samples,
            valid: None,
            metadata: Metadata::default(),
            sample_type: SampleType::F32,
        }
    }

    /// Number of pixel rows.
    pub fn rows(&self) -> usize {
        self.samples.dim().0
    }

    /// Number of pixel columns.
    pub fn columns(&self) -> usize {
        self.samples.dim().1
    }

    /// Number of spectral bands.
    pub fn bands(&self) -> usize {
        self.samples.dim().2
    }

    /// `true` if the pixel at (`row`, `column`) is usable.
    pub fn is_valid(&self, row: usize, column: usize) -> bool {
        self.valid.as_ref().is_none_or(|v| v[[row, column]])
    }

    /// Masks every pixel that holds `value` in any band (as [`is_nodata`] has it) and remembers it as the
    /// no-data value. Masked pixels keep their samples.
    pub fn mask_value(&mut self, value: f64) {
        let matches = |x: f32| is_nodata(x, value);
        let (rows, columns, _) = self.samples.dim();
        let mut valid = self
            .valid
            .take()
            .unwrap_or_else(|| Array2::from_elem((rows, columns), true));
        for ((r, c), v) in valid.indexed_iter_mut() {
            if self
                .samples
                .slice(ndarray::s![r, c, ..])
                .iter()
                .any(|&x| matches(x))
            {
                *v = false;
            }
        }
        self.valid = Some(valid);
        self.metadata.nodata = Some(value);
    }

    /// Masks every pixel that holds a number in any band that cannot be a measurement. Samples and metadata stay.
    pub fn mask_sentinels(&mut self) {
        if self.samples.iter().any(|&x| is_sentinel(x)) {
            let usable = self
                .samples
                .map_axis(Axis(2), |spectrum| !spectrum.iter().any(|&x| is_sentinel(x)));
            self.mask_pixels(usable.view());
        }
    }

    /// Moves the samples of usable pixels that are the no-data value to [`beside`] it, so that they are not taken for no data
    /// where the image is read again.
    pub fn keep_off_nodata(&mut self) {
        let Some(value) = self
            .metadata
            .nodata
            .map(|value| value as f32)
            .filter(|value| value.is_finite())
        else {
            return;
        };
        let valid = &self.valid;
        for ((r, c, _), x) in self.samples.indexed_iter_mut() {
            if *x == value && valid.as_ref().is_none_or(|valid| valid[[r, c]]) {
                *x = beside(value);
            }
        }
    }

    /// Number of pixels that are masked out.
    pub fn masked_pixels(&self) -> usize {
        self.valid
            .as_ref()
            .map_or(0, |v| v.iter().filter(|&&ok| !ok).count())
    }

    /// Checks that the image has pixels and bands and that every sample of a usable pixel is finite
    /// and below [`LARGEST`].
    ///
    /// `name` is the file's name for the message.
    ///
    /// # Errors
    /// [`Error::Input`] naming the file and the first offending row, column and band (counted from 0).
    pub fn check(&self, name: &str) -> Result<()> {
        self.check_rows(name, 0)
    }

    /// [`Cube::check`] of rows of a larger image, from `first` on.
    ///
    /// # Errors
    /// As [`Cube::check`].
    pub fn check_rows(&self, name: &str, first: usize) -> Result<()> {
        let (rows, columns, bands) = self.samples.dim();
        if rows == 0 || columns == 0 || bands == 0 {
            return Err(Error::input(format!(
                "{name}: the image is empty ({rows} rows x {columns} columns x {bands} bands)"
            )));
        }
        // Most images have nothing to look for; a plain look goes through vectors. False for NaN, too.
        let plain = |row: &[f32]| row.iter().fold(true, |all, x| all & (x.abs() < LARGEST));
        let all = self.samples.as_slice();
        if all.is_some_and(|all| all.chunks(4096).all(plain)) {
            return Ok(());
        }
        for ((r, c, b), &x) in self.samples.indexed_iter() {
            if (x.is_nan() || x.abs() >= LARGEST) && self.is_valid(r, c) {
                let r = first + r;
                return Err(Error::input(format!(
                    "{name}: {x:?} at row {r}, column {c}, band {b} (counted from 0); repair it or mask it with the setting nodata {x:?}"
                )));
            }
        }
        Ok(())
    }

    /// The first `rows` × `columns` pixels (all of an axis that is shorter), with mask and metadata.
    pub fn cropped(&self, rows: usize, columns: usize) -> Cube {
        self.part(0..rows.min(self.rows()), 0..columns.min(self.columns()))
    }

    /// Some rows and columns, which it must have, with mask and metadata; the grid begins where they do.
    pub fn part(&self, rows: Range<usize>, columns: Range<usize>) -> Cube {
        let metadata = self.metadata.cropped(rows.start, columns.start);
        let valid = self.valid.as_ref();
        Cube {
            valid: valid.map(|v| v.slice(ndarray::s![rows.clone(), columns.clone()]).to_owned()),
            samples: self.samples.slice(ndarray::s![rows, columns, ..]).to_owned(),
            metadata,
            sample_type: self.sample_type,
        }
    }

    /// The image made of `bands` of this one, in that order, with mask and the metadata of those bands.
    ///
    /// # Panics
    /// If there is no such band; [`bands::BandSelection::resolve`] gives those there are.
    pub fn of_bands(&self, bands: &[usize]) -> Cube {
        Cube {
            samples: self.samples.select(Axis(2), bands),
            valid: self.valid.clone(),
            metadata: self.metadata.of_bands(bands, self.bands()),
            sample_type: self.sample_type,
        }
    }

    /// Leaves the pixels out where `usable` (rows × columns) is `false`, besides those that are left out already.
    pub fn mask_pixels(&mut self, usable: ArrayView2<bool>) {
        match &mut self.valid {
            Some(valid) => valid.zip_mut_with(&usable, |ok, &usable| *ok &= usable),
            None => self.valid = Some(usable.to_owned()),
        }
    }

    /// Place (row, column) and spectrum of every pixel.
    fn spectra(&self) -> impl Iterator<Item = ((usize, usize), ArrayView1<'_, f32>)> {
        let columns = self.columns().max(1);
        self.samples
            .lanes(Axis(2))
            .into_iter()
            .enumerate()
            .map(move |(k, spectrum)| ((k / columns, k % columns), spectrum))
    }

    /// Largest sample over the usable pixels, or `None` if there is no usable pixel.
    pub fn max_valid(&self) -> Option<f32> {
        let mut max: Option<f32> = None;
        for ((r, c, _), &x) in self.samples.indexed_iter() {
            if self.is_valid(r, c) && x.is_finite() {
                max = Some(max.map_or(x, |m| m.max(x)));
            }
        }
        max
    }
}

/// What is unusual about the samples of an image, gathered strip by strip.
#[derive(Debug, Clone)]
pub struct Oddities {
    /// The first usable pixel's spectrum.
    first: Option<Vec<f32>>,
    /// Bands in which another one differs.
    alive: Vec<bool>,
    /// The first masked pixel's spectrum.
    first_masked: Option<Vec<f32>>,
    /// Bands in which another masked one differs.
    varied: Vec<bool>,
    /// Number of negative samples of usable pixels.
    pub negative_samples: usize,
    /// Number of usable pixels.
    pub usable_pixels: usize,
    /// Numbers that stand for no data though no header says so.
    pub sentinels: Sentinels,
}

impl Oddities {
    /// Of an image of so many bands, of which nothing has been seen yet.
    pub fn new(bands: usize) -> Self {
        Oddities {
            first: None,
            alive: vec![false; bands],
            first_masked: None,
            varied: vec![false; bands],
            negative_samples: 0,
            usable_pixels: 0,
            sentinels: Sentinels::default(),
        }
    }

    /// Looks at more rows of the image.
    pub fn add(&mut self, strip: &Cube) {
        for ((r, c), spectrum) in strip.spectra() {
            let usable = strip.is_valid(r, c);
            self.sentinels
                .add(spectrum, usable, strip.sample_type == SampleType::U16);
            if !usable {
                let first = self.first_masked.get_or_insert_with(|| spectrum.to_vec());
                for ((varied, x), first) in self.varied.iter_mut().zip(spectrum).zip(first) {
                    *varied |= x != first && !(x.is_nan() && first.is_nan());
                }
                continue;
            }
            self.usable_pixels += 1;
            self.negative_samples += spectrum.iter().filter(|&&x| x < 0.0).count();
            let first = self.first.get_or_insert_with(|| spectrum.to_vec());
            for ((alive, x), first) in self.alive.iter_mut().zip(spectrum).zip(first) {
                *alive |= x != first;
            }
        }
    }

    /// Bands whose usable pixels all hold one value: a detector that is dead or was never switched on. None where there
    /// is only one such pixel.
    pub fn dead_bands(&self) -> Vec<usize> {
        let told = self.usable_pixels > 1;
        (0..self.alive.len())
            .filter(|&band| told && !self.alive[band])
            .collect()
    }

    /// Bands that hold one value at all pixels of an image whose pixels are all masked, and that value; else none.
    pub fn masked_bands(&self) -> Vec<(usize, f32)> {
        let first = self.first_masked.iter().filter(|_| self.usable_pixels == 0);
        first
            .flatten()
            .copied()
            .enumerate()
            .filter(|&(band, _)| !self.varied[band])
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bands_take_their_lists_along() {
        let mut cube = Cube::new(Array3::from_shape_fn((2, 2, 3), |(r, c, b)| {
            (100 * r + 10 * c + b) as f32
        }));
        cube.metadata.wavelengths = Some(vec![400.0, 500.0, 600.0]);
        cube.metadata.bad_bands = Some(vec![false, true, false]);
        for (name, value) in [
            ("data gain values", "{1, 2, 3}"),
            ("default bands", "{3, 2, 1}"),
            ("sensor type", "X"),
        ] {
            cube.metadata.extra.insert(name.to_owned(), value.to_owned());
        }
        let some = cube.of_bands(&[2, 0]);
        assert_eq!(some.samples[[1, 1, 0]], 112.0);
        assert_eq!(some.metadata.wavelengths, Some(vec![600.0, 400.0]));
        assert_eq!(some.metadata.bad_bands, Some(vec![false, false]));
        assert_eq!(some.metadata.extra["data gain values"], "{3, 1}");
        assert_eq!(some.metadata.extra["sensor type"], "X");
        assert_eq!(some.metadata.extra.len(), 2);
    }

    #[test]
    fn dead_bands_and_negative_samples_of_usable_pixels() {
        let mut cube = Cube::new(Array3::from_shape_fn((2, 3, 3), |(r, c, b)| match b {
            0 => 5.0,
            1 => r as f32 - 0.5,
            _ => c as f32,
        }));
        let seen = |cube: &Cube| {
            let mut whole = Oddities::new(3);
            whole.add(cube);
            // Row by row it is the same.
            let mut rows = Oddities::new(3);
            (0..2).for_each(|r| rows.add(&cube.part(r..r + 1, 0..3)));
            assert_eq!(whole.dead_bands(), rows.dead_bands());
            assert_eq!(whole.negative_samples, rows.negative_samples);
            (whole.dead_bands(), whole.negative_samples, whole.usable_pixels)
        };
        assert_eq!(seen(&cube), (vec![0], 3, 6));
        // What moves in band 1 is masked away.
        let upper = Array2::from_shape_fn((2, 3), |(r, _)| r == 0);
        cube.mask_pixels(upper.view());
        assert_eq!(seen(&cube), (vec![0, 1], 3, 3));
        cube.mask_pixels(upper.map(|ok| !ok).view());
        assert_eq!(seen(&cube), (vec![], 0, 0));
        assert_eq!(cube.masked_pixels(), 6);
        let mut rows = Oddities::new(3);
        rows.add(&cube.part(0..1, 0..3));
        assert_eq!(rows.masked_bands(), [(0, 5.0), (1, -0.5)]);
        rows.add(&cube.part(1..2, 0..3));
        assert_eq!(rows.masked_bands(), [(0, 5.0)]);
    }
}
