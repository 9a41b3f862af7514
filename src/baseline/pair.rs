//! The two images as the methods take them: the LR-MSI beside the LR-HSI, no pixel left out, edges mirrored where asked for.

use nalgebra::DMatrix;
use ndarray::{Array2, Array3, ArrayView1, ArrayView2, ArrayView3, Axis, s};
use rayon::prelude::*;

use super::regression::{Blend, Degree, Regression};
use crate::cube::bicubic::keys;
use crate::cube::raster::Raster;
use crate::cube::{filled, in_order};
use crate::error::{Error, Result};
use crate::sensor::observe::blur_samples;
use crate::sensor::psf::{centroid, window_start};

/// Two images of one scene on one grid, and what is known of their sensors.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    /// X, h×w×B.
    pub hsi: ArrayView3<'a, f32>,
    /// Y, h·s × w·s × b, in the unit of X and without gain and offset of its own. No sample may be missing: pixels without data
    /// hold what stands beside them.
    pub msi: ArrayView3<'a, f32>,
    /// Ratio s of the grids.
    pub scale: usize,
    /// C, K×K with sum 1.
    pub psf: &'a Array2<f64>,
    /// R, B×b, columns sum to 1.
    pub response: &'a Array2<f64>,
    /// LR pixels that may be gone by.
    pub usable: ArrayView2<'a, bool>,
}

/// [`Inputs`] with what all methods need.
pub(super) struct Pair<'a> {
    pub msi: ArrayView3<'a, f32>,
    pub scale: usize,
    pub psf: &'a Array2<f64>,
    pub response: &'a Array2<f64>,
    pub usable: ArrayView2<'a, bool>,
    /// X; LR pixels that may not be gone by hold what the MSI says there.
    pub hsi: Raster,
    /// (Y∗C)↓, h×w×b.
    pub lr_msi: Raster,
}

impl<'a> Pair<'a> {
    /// # Errors
    /// [`Error::Input`] where no LR pixel is usable or the sizes do not fit each other.
    pub fn new(inputs: &Inputs<'a>) -> Result<Pair<'a>> {
        let &Inputs {
            hsi,
            msi,
            scale,
            psf,
            response,
            usable,
        } = inputs;
        let ((h, w, bands), (rows, columns, msi_bands)) = (hsi.dim(), msi.dim());
        if (h * scale, w * scale) != (rows, columns)
            || usable.dim() != (h, w)
            || response.dim() != (bands, msi_bands)
        {
            return Err(Error::input(format!(
                "an HSI of {h} x {w} x {bands}, an MSI of {rows} x {columns} x {msi_bands}, a ratio of {scale} and a response of {} x \
                 {} do not go together",
                response.nrows(),
                response.ncols()
            )));
        }
        let mut pair = Pair {
            msi,
            scale,
            psf,
            response,
            usable,
            hsi: hsi.to_owned().into(),
            lr_msi: blur_samples(msi, psf, scale)?.into(),
        };
        if !usable.iter().all(|ok| *ok) {
            let regression = pair.regression(Degree::Two)?;
            let mut told = pair.applied(&regression, pair.lr_msi.view())?;
            for ((r, c), _) in usable.indexed_iter().filter(|(_, ok)| **ok) {
                let from = ArrayView1::from(pair.hsi.pixel(r, c));
                told.slice_mut(s![r, c, ..]).assign(&from);
            }
            pair.hsi = told.into();
        }
        Ok(pair)
    }

    /// Spectra of the usable LR pixels, (Y∗C)↓ and X.
    pub fn spectra(&self) -> impl Iterator<Item = (&[f32], &[f32])> + Clone {
        let usable = self.usable.indexed_iter().filter(|(_, ok)| **ok);
        usable.map(|((r, c), _)| (self.lr_msi.pixel(r, c), self.hsi.pixel(r, c)))
    }

    /// The regression of X on (Y∗C)↓.
    ///
    /// # Errors
    /// [`Error::Input`] where no LR pixel is usable.
    pub fn regression(&self, degree: Degree) -> Result<Blend> {
        Regression::fit(self.spectra(), degree)
            .map(Blend::alone)
            .ok_or_else(|| {
                Error::input("no LR pixel is usable: all are masked or see masked pixels of the MSI")
            })
    }

    /// What a regression makes of an MSI (rows × columns × b).
    ///
    /// # Errors
    /// None that can be met.
    pub fn applied(&self, regression: &Blend, msi: ArrayView3<f32>) -> Result<Array3<f32>> {
        let (rows, columns, _) = msi.dim();
        let msi = in_order(msi);
        filled((rows, columns, self.hsi.dim().2), |out| {
            regression.apply(&msi, out);
            Ok(())
        })
    }

    /// An LR image on the HR grid; see [`interpolated`].
    pub fn expanded(&self, low: ArrayView3<f32>) -> Array3<f32> {
        let middle = self.scale as f64 / 2.0;
        let start = window_start(self.scale, self.psf.nrows()) as f64;
        let centre = centroid(self.psf).map(|at| at + 0.5 + start - middle);
        interpolated(low, self.scale, centre)
    }
}

/// Cubic convolution (Keys 1981, a = −1/2) of an LR image (h×w×n) to h·s × w·s × n. A sample lies `centre` HR pixels (row,
/// column) from the middle of its s×s block; beyond the edges the outermost samples go on.
pub(super) fn interpolated(low: ArrayView3<f32>, scale: usize, centre: [f64; 2]) -> Array3<f32> {
    let (h, w, bands) = low.dim();
    let taps = |length: usize, centre: f64| -> Vec<[(usize, f32); 4]> {
        (0..length * scale)
            .map(|p| {
                let place = (p as f64 + 0.5 - centre) / scale as f64 - 0.5;
                let below = place.floor();
                [-1.0, 0.0, 1.0, 2.0].map(|k| {
                    let at = (below + k).clamp(0.0, length as f64 - 1.0);
                    (at as usize, keys((place - below - k).abs()) as f32)
                })
            })
            .collect()
    };
    let (down, across) = (taps(h, centre[0]), taps(w, centre[1]));
    let mut high = Array3::zeros((h * scale, w * scale, bands));
    high.axis_iter_mut(Axis(0))
        .into_par_iter()
        .zip(&down)
        .for_each(|(mut line, taps)| {
            let mut sum = Array2::<f32>::zeros((w, bands));
            for &(row, weight) in taps {
                sum.scaled_add(weight, &low.index_axis(Axis(0), row));
            }
            for (mut out, taps) in line.outer_iter_mut().zip(&across) {
                for &(column, weight) in taps {
                    out.scaled_add(weight, &sum.row(column));
                }
            }
        });
    high
}

/// Pixels of an image through a matrix: rows × columns × n becomes rows × columns × m by `map` (m×n).
pub(super) fn mapped(image: ArrayView3<f32>, map: &DMatrix<f64>) -> Array3<f32> {
    let (rows, columns, _) = image.dim();
    let map = Array2::from_shape_fn((map.nrows(), map.ncols()), |(i, j)| map[(i, j)] as f32);
    let mut out = Array3::zeros((rows, columns, map.nrows()));
    out.axis_iter_mut(Axis(0))
        .into_par_iter()
        .zip(image.axis_iter(Axis(0)))
        .for_each(|(mut to, from)| to.assign(&from.dot(&map.t())));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interpolation_keeps_a_plane_and_knows_where_samples_lie() {
        // Cubic convolution reproduces what is linear, away from the edges.
        let plane = |r: f64, c: f64| (2.0 + 0.5 * r - 0.25 * c) as f32;
        for (scale, centre) in [(1, [0.0, 0.0]), (3, [0.0, 0.5]), (4, [-0.7, 1.0])] {
            let s = scale as f64;
            let low = Array3::from_shape_fn((7, 8, 2), |(r, c, b)| {
                let at = |k: usize, centre: f64| (k as f64 + 0.5) * s - 0.5 + centre;
                plane(at(r, centre[0]), at(c, centre[1])) * (1 + b) as f32
            });
            let high = interpolated(low.view(), scale, centre);
            assert_eq!(high.dim(), (7 * scale, 8 * scale, 2));
            for r in 3 * scale..4 * scale {
                for c in 3 * scale..5 * scale {
                    let error = high[[r, c, 1]] - 2.0 * plane(r as f64, c as f64);
                    assert!(error.abs() < 1e-5, "{scale} {r} {c}: {error}");
                }
            }
        }
    }

    #[test]
    fn pixels_through_a_matrix() {
        let image = Array3::from_shape_fn((1, 2, 2), |(_, c, b)| (1 + 2 * c + b) as f32);
        let map = DMatrix::from_row_slice(3, 2, &[1.0, 0.0, 1.0, 1.0, 0.0, -2.0]);
        let out = mapped(image.view(), &map);
        assert_eq!(out.into_raw_vec_and_offset().0, [1.0, 3.0, -4.0, 3.0, 7.0, -8.0]);
    }
}
