//! An MSI whose pixels are not the HSI's divided by an integer: it is resampled once for the model, and what the model
//! says is brought back to its own pixels.
//!
//! The network acts on single pixels, so the result on the MSI's own pixels is the network's there, with nothing
//! resampled. Only what refinement adds to the network is, from the pixels that the model was made on: it is smooth beside
//! the image itself.

use std::ops::Range;

use ndarray::{Array2, Array3, ArrayView2, Axis, s};
use rayon::prelude::*;

use crate::align::geometry::Between;
use crate::align::resample::{SHARP, SMOOTH, Source};
use crate::cube::extend::extend;
use crate::cube::raster::Raster;
use crate::cube::scratch::Store;
use crate::cube::strips::Strips;
use crate::cube::{Cube, Metadata, SampleType};
use crate::error::Result;

/// LR pixels that the windows of the largest PSF reach beyond their block, and more.
pub const REACH: usize = 4;

/// The MSI on its own pixels.
#[derive(Debug)]
pub struct Native {
    /// Rows × columns × bands, in the unit of the scene's Y.
    pub msi: Raster,
    /// Pixels that may be used.
    pub valid: Array2<bool>,
    /// From places of the scene's HSI to places of `msi`.
    pub geometry: Between,
    /// Whether the result lies on these pixels, and not on the HSI's divided by the scale.
    pub wanted: bool,
}

impl Native {
    /// The MSI on the pixels of an HSI of `size`, each divided by `scale`.
    ///
    /// # Errors
    /// [`crate::Error::Failed`] where `store` has no room.
    pub fn resampled(&self, size: [usize; 2], scale: usize, store: &Store) -> Result<(Raster, Array2<bool>)> {
        let source = Source {
            samples: self.msi.view(),
            valid: self.valid.view(),
            half: SHARP,
        };
        let (mut samples, valid) = on_hsi(&source, &self.geometry, size, scale, store)?;
        extend(samples.samples_mut(), valid.view(), REACH * scale);
        Ok((samples, valid))
    }

    /// Rows of an image on these pixels, of one on the pixels of the model (the Y of `scene`) whose rows `make` makes.
    /// Beyond what that image tells, its edge goes on.
    ///
    /// # Errors
    /// Those of `make`.
    pub fn brought(
        &self,
        rows: Range<usize>,
        (scale, told): (usize, ArrayView2<bool>),
        make: &mut dyn FnMut(Range<usize>) -> Result<Array3<f32>>,
    ) -> Result<Array3<f32>> {
        let size = [told.dim().0, told.dim().1];
        let columns = self.valid.dim().1;
        let fine = scale as f64;
        let middle = [size[0] as f64 / (2.0 * fine), size[1] as f64 / (2.0 * fine)];
        let places: Vec<Vec<[f64; 2]>> = rows
            .clone()
            .into_par_iter()
            .map(|r| {
                let mut near = middle;
                (0..columns)
                    .map(|c| {
                        let found = self.geometry.inverse([r as f64 + 0.5, c as f64 + 0.5], near);
                        near = found.unwrap_or(middle);
                        // Centres of the outermost pixels at most.
                        [0, 1].map(|k| (near[k] * fine).clamp(0.5, size[k] as f64 - 0.5))
                    })
                    .collect()
            })
            .collect();
        let ratio = self.geometry.ratio();
        let stretch = ratio.map(|r| (fine / r).max(1.0));
        let reach = (SMOOTH * stretch[0]).ceil();
        let lines = places.iter().flatten().map(|p| p[0]);
        let (first, last) = lines.fold((f64::INFINITY, 0.0f64), |(a, b), x| (a.min(x), b.max(x)));
        let first = (first - reach).floor().max(0.0) as usize;
        let end = ((last + reach).ceil() as usize + 1).min(size[0]);
        let first = first.min(end);
        let mut image = make(first..end)?;
        if let Some(samples) = image.as_slice_mut() {
            extend(samples, told.slice(s![first..end, ..]), reach as usize + 1);
        }
        let (height, width, bands) = image.dim();
        let valid = Array2::from_elem((height, width), true);
        let source = Source {
            samples: image.view(),
            valid: valid.view(),
            half: SMOOTH,
        };
        let mut out = Array3::zeros((rows.len(), columns, bands));
        out.axis_iter_mut(Axis(0))
            .into_par_iter()
            .zip(places)
            .for_each(|(mut line, mut places)| {
                places.iter_mut().for_each(|p| p[0] -= first as f64);
                if let Some(line) = line.as_slice_mut() {
                    source.row(&places, stretch, line);
                }
            });
        Ok(out)
    }
}

/// An image that lies on the pixels of the model, on the MSI's own, made when rows are asked for.
pub struct OnMsi<'a> {
    image: &'a dyn Strips,
    native: &'a Native,
    scale: usize,
    told: Array2<bool>,
}

impl<'a> OnMsi<'a> {
    /// Of `image`, `scale` of whose pixels are an LR pixel.
    pub fn new(image: &'a dyn Strips, native: &'a Native, scale: usize) -> Self {
        let (rows, columns, _) = image.dim();
        OnMsi {
            image,
            native,
            scale,
            told: Array2::from_elem((rows, columns), true),
        }
    }
}

impl Strips for OnMsi<'_> {
    fn dim(&self) -> (usize, usize, usize) {
        let (rows, columns) = self.native.valid.dim();
        (rows, columns, self.image.dim().2)
    }

    fn metadata(&self) -> &Metadata {
        self.image.metadata()
    }

    fn sample_type(&self) -> SampleType {
        self.image.sample_type()
    }

    fn rows(&self, rows: Range<usize>) -> Result<Cube> {
        let mut make = |rows| Ok(self.image.rows(rows)?.samples);
        let samples = self
            .native
            .brought(rows, (self.scale, self.told.view()), &mut make)?;
        let mut cube = Cube::new(samples);
        cube.metadata = self.metadata().clone();
        Ok(cube)
    }
}

/// An MSI on the pixels of an HSI of `size`, each divided by `scale`.
///
/// # Errors
/// [`crate::Error::Failed`] where `store` has no room.
pub fn on_hsi(
    msi: &Source,
    geometry: &Between,
    size: [usize; 2],
    scale: usize,
    store: &Store,
) -> Result<(Raster, Array2<bool>)> {
    let fine = scale as f64;
    let stretch = geometry.ratio().map(|r| r / fine);
    msi.resampled(size.map(|n| n * scale), stretch, store, |r, c| {
        geometry.at([(r as f64 + 0.5) / fine, (c as f64 + 0.5) / fine])
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::align::geometry::{Base, Geometry};

    #[test]
    fn what_is_brought_to_the_hsi_comes_back() {
        let wave = |r: f64, c: f64| (2.0 + (0.31 * r).sin() + (0.27 * c - 0.1 * r).cos()) as f32;
        let mut geometry = Geometry::new([14, 16], Base::affine([2.5, 1.0], [[2.7, 0.0], [0.0, 2.7]]));
        geometry.displacement.linear = [[0.0, 0.02], [-0.02, 0.0]];
        let msi = Array3::from_shape_fn((46, 48, 1), |(r, c, _)| wave(r as f64 + 0.5, c as f64 + 0.5));
        let native = Native {
            valid: Array2::from_elem((46, 48), true),
            msi: msi.clone().into(),
            geometry: geometry.between([0, 0], [0, 0]),
            wanted: true,
        };
        let (to, valid) = native.resampled([14, 16], 3, &Store::Memory).unwrap();
        assert!(valid.iter().filter(|ok| **ok).count() > 42 * 44);
        let mut asked = 0..0;
        let back = native
            .brought(20..26, (3, valid.view()), &mut |rows| {
                asked = rows.clone();
                Ok(to.view().slice(s![rows, .., ..]).to_owned())
            })
            .unwrap();
        assert!(asked.len() < 25, "{asked:?}");
        for r in 0..6 {
            for c in 8..40 {
                let error = (back[[r, c, 0]] - msi[[20 + r, c, 0]]).abs();
                // The kernel's ripple on two smooth waves of amplitude 1, there and back: 0.7 % at most.
                assert!(error < 1e-2, "{r} {c}: {error}");
            }
        }
    }
}
