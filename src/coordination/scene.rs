//! Two images of one scene, checked against each other and scaled into \[0, 1\]; in memory or on disk.

use std::ops::Range;

use ndarray::{Array2, ArrayView2, ArrayView3, ArrayViewMut3};
use rayon::prelude::*;

use crate::coordination::model::Calibration;
use crate::coordination::native::{Native, REACH};
use crate::coordination::windows::gather;
use crate::cube::extend::extend;
use crate::cube::raster::Raster;
use crate::cube::scratch::Store;
use crate::cube::strips::{self, Strips};
use crate::cube::{Cube, Oddities, SampleType, in_order};
use crate::engine::{Geometry, TrainingSet};
use crate::error::{Error, Result};
use crate::real::Real;
use crate::sensor::coverage::Coverage;

/// An LR-HSI and an HR-MSI of one scene, scaled.
#[derive(Debug)]
pub struct Scene {
    /// X, h×w×B, in \[0, 1\] for data that were not negative. Masked pixels are 0.
    pub lr_hsi: Raster,
    /// Y, H×W×b, likewise. Masked pixels are those beside them, as those beyond the edge of the image are.
    pub hr_msi: Raster,
    /// LR pixels that may be used; rows × columns.
    pub lr_valid: Array2<bool>,
    /// HR pixels that may be used; rows × columns.
    pub hr_valid: Array2<bool>,
    /// Ratio s of the grids.
    pub scale: usize,
    /// What X was divided by: multiply a result with it to come back to the HSI's unit.
    pub hsi_unit: f32,
    /// What Y was divided by.
    pub msi_unit: f32,
    /// Where the two images lie, and whatever of their sizes is made of them.
    pub store: Store,
    /// The MSI on its own pixels, where Y is resampled from it.
    pub native: Option<Native>,
}

/// Rows and columns of an image.
pub type Part = (Range<usize>, Range<usize>);

/// An image that was read for a scene, in its own unit.
#[derive(Debug)]
pub struct Loaded {
    /// Rows × columns × bands of the part that was asked for.
    samples: Raster,
    /// Pixels of it that may be used.
    valid: Array2<bool>,
    /// Its largest usable sample; `None` where every pixel is masked.
    peak: Option<f32>,
    sample_type: SampleType,
    /// What is unusual about the whole image, without regard to the part.
    pub oddities: Oddities,
}

impl Loaded {
    /// Reads some rows and columns of an image, or all, strip by strip into `store`. `name` is the file's for messages.
    ///
    /// # Errors
    /// Those of the image; [`Error::Input`] where a usable sample is not finite or the image is empty, also beside the
    /// part; [`Error::Failed`] where `store` has no room.
    pub fn read(name: &str, image: &dyn Strips, part: Option<&Part>, store: &Store) -> Result<Loaded> {
        let (all_rows, all_columns, bands) = image.dim();
        if all_rows == 0 || all_columns == 0 || bands == 0 {
            // The message of an empty image.
            image.rows(0..0)?.check(name)?;
        }
        let (rows, columns) = part.cloned().unwrap_or((0..all_rows, 0..all_columns));
        let mut loaded = Loaded {
            samples: Raster::zeros(store, (rows.len(), columns.len(), bands))?,
            valid: Array2::from_elem((rows.len(), columns.len()), true),
            peak: None,
            sample_type: image.sample_type(),
            oddities: Oddities::new(bands),
        };
        strips::for_each(image, |first, strip| {
            strip.check_rows(name, first)?;
            loaded.oddities.add(&strip);
            let here = rows.start.max(first)..rows.end.min(first + strip.rows());
            if here.is_empty() {
                return Ok(());
            }
            let strip = if columns.len() == all_columns && here.len() == strip.rows() {
                strip
            } else {
                strip.part(here.start - first..here.end - first, columns.clone())
            };
            let to = here.start - rows.start..here.end - rows.start;
            let samples = in_order(strip.samples.view());
            loaded.samples.rows_mut(to.clone()).copy_from_slice(&samples);
            loaded.peak = loaded.peak.into_iter().chain(strip.max_valid()).reduce(f32::max);
            if let Some(valid) = &strip.valid {
                loaded.valid.slice_mut(ndarray::s![to, ..]).assign(valid);
            }
            Ok(())
        })?;
        Ok(loaded)
    }

    /// Rows × columns × bands.
    pub fn samples(&self) -> ArrayView3<'_, f32> {
        self.samples.view()
    }

    /// Pixels that may be used.
    pub fn valid(&self) -> ArrayView2<'_, bool> {
        self.valid.view()
    }

    /// Some rows and columns of it.
    ///
    /// # Errors
    /// [`Error::Failed`] where `store` has no room.
    pub fn part(self, (rows, columns): Part, store: &Store) -> Result<Loaded> {
        let (all_rows, all_columns, bands) = self.samples.dim();
        if (rows.len(), columns.len()) == (all_rows, all_columns) {
            return Ok(self);
        }
        let here = ndarray::s![rows.clone(), columns.clone(), ..];
        let mut samples = Raster::zeros(store, (rows.len(), columns.len(), bands))?;
        samples.view_mut().assign(&self.samples.view().slice(here));
        Ok(Loaded {
            samples,
            valid: self.valid.slice(ndarray::s![rows, columns]).to_owned(),
            ..self
        })
    }

    /// The same image on other pixels.
    pub fn on(&self, samples: Raster, valid: Array2<bool>) -> Loaded {
        Loaded {
            samples,
            valid,
            peak: self.peak,
            sample_type: self.sample_type,
            oddities: Oddities::new(self.samples.dim().2),
        }
    }

    /// Divided by `unit`, masked pixels 0.
    pub fn scaled(self, unit: f32) -> (Raster, Array2<bool>) {
        let mut samples = self.samples;
        let (_, columns, bands) = samples.dim();
        samples
            .samples_mut()
            .par_chunks_mut(columns * bands)
            .zip(self.valid.axis_iter(ndarray::Axis(0)).into_par_iter())
            .for_each(|(line, valid)| {
                for (spectrum, &ok) in line.chunks_mut(bands).zip(valid) {
                    spectrum
                        .iter_mut()
                        .for_each(|x| *x = if ok { *x / unit } else { 0.0 });
                }
            });
        (samples, self.valid)
    }
}

impl Scene {
    /// Checks the pair and scales it, in memory. `hsi_name` and `msi_name` are the files' names for messages.
    ///
    /// # Errors
    /// As [`Scene::of`], and [`Error::Input`] where a usable sample is not finite or an image is empty.
    pub fn new(hsi: &Cube, msi: &Cube, hsi_name: &str, msi_name: &str) -> Result<Scene> {
        let read = |name: &str, image: &Cube| Loaded::read(name, image, None, &Store::Memory);
        let (x, y) = (read(hsi_name, hsi)?, read(msi_name, msi)?);
        Scene::of(x, y, hsi_name, msi_name, Store::Memory)
    }

    /// Checks the pair and scales it where it lies.
    ///
    /// Two images of the same sample type whose maxima are within a factor of four are taken to be in one unit
    /// and divided by one number; otherwise each is divided by its own maximum.
    ///
    /// # Errors
    /// [`Error::Input`] where an image is zero or masked throughout, the HSI has one band or no more than the MSI, or the
    /// sizes have no integer ratio that is the same on both axes.
    pub fn of(hsi: Loaded, msi: Loaded, hsi_name: &str, msi_name: &str, store: Store) -> Result<Scene> {
        let (h, w, bands) = hsi.samples.dim();
        let (rows, columns, msi_bands) = msi.samples.dim();
        if bands < 2 {
            return Err(Error::input(format!(
                "{hsi_name}: one band is no hyperspectral image; it needs at least 2"
            )));
        }
        if msi_bands >= bands {
            return Err(Error::input(format!(
                "{msi_name}: {msi_bands} bands, but {hsi_name} has {bands}; the HSI must have more bands than the MSI \
                 (are the two images swapped?)"
            )));
        }
        let scale = ratio(rows, h).filter(|&s| ratio(columns, w) == Some(s)).ok_or_else(|| {
            Error::input(format!(
                "{msi_name}: {rows} x {columns} pixels against {h} x {w} of {hsi_name}: the ratio ({:.4} and {:.4}) must be \
                 one integer on both axes; crop or resample one of them",
                rows as f64 / h as f64,
                columns as f64 / w as f64
            ))
        })?;
        let (hsi_unit, msi_unit) = units(&hsi, &msi, hsi_name, msi_name)?;
        let (lr_hsi, lr_valid) = hsi.scaled(hsi_unit);
        let (mut hr_msi, hr_valid) = msi.scaled(msi_unit);
        extend(hr_msi.samples_mut(), hr_valid.view(), REACH * scale);
        Ok(Scene {
            lr_hsi,
            hr_msi,
            lr_valid,
            hr_valid,
            scale,
            hsi_unit,
            msi_unit,
            store,
            native: None,
        })
    }

    /// Brings a freshly read scene to another scale than its own: the one that a model works in.
    pub fn calibrate(&mut self, to: &Calibration) {
        let ratio = self.hsi_unit / to.hsi_unit;
        self.lr_hsi.samples_mut().par_iter_mut().for_each(|x| *x *= ratio);
        calibrate_msi(self.hr_msi.view_mut(), self.msi_unit, to);
        if let Some(native) = &mut self.native {
            calibrate_msi(native.msi.view_mut(), self.msi_unit, to);
        }
        (self.hsi_unit, self.msi_unit) = (to.hsi_unit, to.msi_unit);
    }

    /// The MSI on its own pixels, where the result lies on these and not on those of Y.
    pub fn wanted(&self) -> Option<&Native> {
        self.native.as_ref().filter(|native| native.wanted)
    }

    /// Pixels of the result that hold data; rows × columns.
    pub fn result_valid(&self) -> ArrayView2<'_, bool> {
        self.wanted()
            .map_or(self.hr_valid.view(), |native| native.valid.view())
    }

    /// LR pixels (row, column) that are valid, and most of which the MSI shows.
    pub fn usable(&self) -> Array2<bool> {
        let coverage = Coverage {
            lr: self.lr_valid.view(),
            hr: self.hr_valid.view(),
            scale: self.scale,
        };
        coverage.shown()
    }

    /// Appends the window of LR pixel `at` to `set`.
    pub fn append<T: Real>(&self, geometry: Geometry, at: (usize, usize), set: &mut TrainingSet<T>) {
        let spectrum = self.lr_hsi.pixel(at.0, at.1);
        set.lr_hsi.extend(spectrum.iter().map(|&x| T::of(f64::from(x))));
        gather(self.hr_msi.view(), geometry, at, &mut set.hr_msi);
        set.windows += 1;
    }
}

/// Brings rows of an HR-MSI that was divided by `unit` to the scale that a model works in.
pub fn calibrate_msi(mut hr_msi: ArrayViewMut3<f32>, unit: f32, to: &Calibration) {
    let ratio = unit / to.msi_unit;
    for mut spectrum in hr_msi.lanes_mut(ndarray::Axis(2)) {
        for ((y, &gain), &offset) in spectrum.iter_mut().zip(&to.gain).zip(&to.offset) {
            *y = (*y * ratio - offset as f32) / gain as f32;
        }
    }
}

/// `large / small` if that is an integer of at least 1.
fn ratio(large: usize, small: usize) -> Option<usize> {
    (large >= small && large.is_multiple_of(small)).then(|| large / small)
}

fn units(hsi: &Loaded, msi: &Loaded, hsi_name: &str, msi_name: &str) -> Result<(f32, f32)> {
    let peak = |image: &Loaded, name: &str| match image.peak {
        None => Err(Error::input(format!("{name}: every pixel is masked"))),
        Some(max) if max <= 0.0 => Err(Error::input(format!(
            "{name}: no sample is above 0 (the largest is {max}); an image of zeros cannot be fused"
        ))),
        Some(max) => Ok(max),
    };
    let (x, y) = (peak(hsi, hsi_name)?, peak(msi, msi_name)?);
    if hsi.sample_type == msi.sample_type && x <= 4.0 * y && y <= 4.0 * x {
        let unit = x.max(y);
        return Ok((unit, unit));
    }
    Ok((x, y))
}

#[cfg(test)]
mod tests {
    use ndarray::Array3;

    use super::*;

    fn cube(rows: usize, columns: usize, bands: usize) -> Cube {
        Cube::new(Array3::from_shape_fn((rows, columns, bands), |(r, c, b)| {
            1.0 + (r + 2 * c + 3 * b) as f32
        }))
    }

    fn refusal(hsi: &Cube, msi: &Cube) -> String {
        let error = Scene::new(hsi, msi, "x", "y").unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(!error.to_string().contains('\n'));
        error.to_string()
    }

    #[test]
    fn pairs_that_do_not_fit_are_refused() {
        let x = cube(4, 4, 8);
        assert!(refusal(&x, &cube(9, 8, 3)).contains("ratio"));
        assert!(refusal(&x, &cube(8, 16, 3)).contains("ratio"));
        assert!(refusal(&x, &cube(2, 2, 3)).contains("ratio"));
        assert!(refusal(&x, &cube(8, 8, 8)).contains("more bands"));
        assert!(refusal(&cube(4, 4, 1), &cube(8, 8, 1)).contains("one band"));
        let mut nan = cube(8, 8, 3);
        nan.samples[[1, 2, 0]] = f32::NAN;
        assert!(refusal(&x, &nan).contains("row 1, column 2, band 0"));
        assert!(refusal(&Cube::new(Array3::zeros((4, 4, 8))), &cube(8, 8, 3)).contains("zeros"));
    }

    #[test]
    fn an_lr_pixel_is_usable_where_most_of_it_is_shown() {
        let mut msi = cube(8, 8, 3);
        for at in [[5, 1, 2], [5, 6, 2], [4, 6, 2]] {
            msi.samples[at] = -9.0;
        }
        msi.mask_value(-9.0);
        let scene = Scene::new(&cube(4, 4, 8), &msi, "x", "y").unwrap();
        assert_eq!(scene.scale, 2);
        let usable = scene.usable();
        // One of four pixels of (2, 0), two of (2, 3).
        assert_eq!(usable.iter().filter(|&&ok| !ok).count(), 1);
        assert!(!usable[[2, 3]]);
        // Windows see the pixels beside the masked ones.
        assert_eq!(scene.hr_msi.pixel(5, 1), scene.hr_msi.pixel(5, 0));
        assert_eq!(scene.hr_msi.pixel(4, 6), scene.hr_msi.pixel(4, 5));
    }
}
