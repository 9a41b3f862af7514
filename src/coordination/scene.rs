//! Two images of one scene, checked against each other and scaled into \[0, 1\].

use ndarray::{Array2, Array3, Zip};

use crate::coordination::model::Calibration;
use crate::coordination::windows::gather;
use crate::cube::Cube;
use crate::engine::{Geometry, TrainingSet};
use crate::error::{Error, Result};
use crate::real::Real;

/// An LR-HSI and an HR-MSI of one scene, scaled.
#[derive(Debug, Clone)]
pub struct Scene {
    /// X, h×w×B, in \[0, 1\] for data that were not negative. Masked pixels are 0.
    pub lr_hsi: Array3<f32>,
    /// Y, H×W×b, likewise.
    pub hr_msi: Array3<f32>,
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
}

impl Scene {
    /// Checks the pair and scales it. `hsi_name` and `msi_name` are the files' names for messages.
    ///
    /// Two images of the same sample type whose maxima are within a factor of four are taken to be in one unit
    /// and divided by one number; otherwise each is divided by its own maximum.
    ///
    /// # Errors
    /// [`Error::Input`] where a sample is not finite, an image is empty or zero, the HSI has one band or no more
    /// than the MSI, or the sizes have no integer ratio that is the same on both axes.
    pub fn new(hsi: &Cube, msi: &Cube, hsi_name: &str, msi_name: &str) -> Result<Scene> {
        Scene::of(hsi.clone(), msi.clone(), hsi_name, msi_name)
    }

    /// [`Scene::new`] of images that are not needed any more: their samples are scaled in place.
    ///
    /// # Errors
    /// As [`Scene::new`].
    pub fn of(hsi: Cube, msi: Cube, hsi_name: &str, msi_name: &str) -> Result<Scene> {
        hsi.check(hsi_name)?;
        msi.check(msi_name)?;
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
                 (are --hsi and --msi swapped?)"
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
        Ok(Scene {
            lr_valid: valid(&hsi),
            hr_valid: valid(&msi),
            lr_hsi: scaled(hsi, hsi_unit),
            hr_msi: scaled(msi, msi_unit),
            scale,
            hsi_unit,
            msi_unit,
        })
    }

    /// Brings a freshly read scene to another scale than its own: the one that a model works in.
    pub fn calibrate(&mut self, to: &Calibration) {
        self.lr_hsi *= self.hsi_unit / to.hsi_unit;
        calibrate_msi(&mut self.hr_msi, self.msi_unit, to);
        (self.hsi_unit, self.msi_unit) = (to.hsi_unit, to.msi_unit);
    }

    /// LR pixels (row, column) that are valid and whose window touches valid HR pixels only.
    pub fn usable(&self, geometry: Geometry) -> Array2<bool> {
        let (rows, columns) = self.hr_valid.dim();
        let reach = |at: usize, length: usize| {
            let first = (at * geometry.scale) as isize + geometry.window_start();
            let last = first + geometry.window() as isize;
            first.max(0) as usize..(last as usize).min(length)
        };
        let mut usable = self.lr_valid.clone();
        for ((r, c), ok) in usable.indexed_iter_mut() {
            *ok = *ok && reach(r, rows).all(|i| reach(c, columns).all(|j| self.hr_valid[[i, j]]));
        }
        usable
    }

    /// Appends the window of LR pixel `at` to `set`.
    pub fn append<T: Real>(&self, geometry: Geometry, at: (usize, usize), set: &mut TrainingSet<T>) {
        let spectrum = self.lr_hsi.slice(ndarray::s![at.0, at.1, ..]);
        set.lr_hsi.extend(spectrum.iter().map(|&x| T::of(f64::from(x))));
        gather(self.hr_msi.view(), geometry, at, &mut set.hr_msi);
        set.windows += 1;
    }
}

/// Brings rows of an HR-MSI that was divided by `unit` to the scale that a model works in.
pub fn calibrate_msi(hr_msi: &mut Array3<f32>, unit: f32, to: &Calibration) {
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

fn units(hsi: &Cube, msi: &Cube, hsi_name: &str, msi_name: &str) -> Result<(f32, f32)> {
    let peak = |cube: &Cube, name: &str| match cube.max_valid() {
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

fn scaled(cube: Cube, unit: f32) -> Array3<f32> {
    let mut samples = cube.samples;
    samples.mapv_inplace(|x| x / unit);
    if let Some(valid) = &cube.valid {
        Zip::from(samples.lanes_mut(ndarray::Axis(2)))
            .and(valid)
            .for_each(|mut spectrum, &ok| {
                if !ok {
                    spectrum.fill(0.0);
                }
            });
    }
    samples
}

fn valid(cube: &Cube) -> Array2<bool> {
    cube.valid
        .clone()
        .unwrap_or_else(|| Array2::from_elem((cube.rows(), cube.columns()), true))
}

#[cfg(test)]
mod tests {
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
    fn a_masked_pixel_takes_its_windows_with_it() {
        let mut msi = cube(8, 8, 3);
        msi.samples[[5, 1, 2]] = -9.0;
        msi.mask_value(-9.0);
        let scene = Scene::new(&cube(4, 4, 8), &msi, "x", "y").unwrap();
        assert_eq!(scene.scale, 2);
        let own = scene.usable(Geometry { scale: 2, kernel: 2 });
        assert_eq!(own.iter().filter(|&&ok| !ok).count(), 1);
        assert!(!own[[2, 0]]);
        // K = 4 reaches one pixel further: rows 5 and columns 1 lie in the windows of rows 2, 3 and columns 0, 1.
        let wide = scene.usable(Geometry { scale: 2, kernel: 4 });
        assert_eq!(wide.iter().filter(|&&ok| !ok).count(), 4);
    }
}
