//! Which LR pixels the estimate looks at, and their samples as a problem of the search.

use nalgebra::{DMatrix, DVector};
use ndarray::{Array2, ArrayView3};

use super::Options;
use super::evidence::{Eliminator, Factored};
use super::search::Problem;
use super::windows::Windows;
use crate::error::{Error, Result};
use crate::sensor::coverage::Coverage;

/// Rows and columns of the pixels that are set.
fn places(mask: &Array2<bool>) -> Vec<(usize, usize)> {
    let set = mask.indexed_iter().filter(|(_, ok)| **ok);
    set.map(|(place, _)| place).collect()
}

/// A deterministic choice of `count` pixels, scattered so that no raster pattern shows.
fn scattered(pixels: &[(usize, usize)], count: usize) -> Vec<(usize, usize)> {
    if pixels.len() <= count {
        return pixels.to_vec();
    }
    let mut order: Vec<(u32, usize)> = (0..pixels.len())
        // Multiples of 2³² / golden ratio, modulo 2³²: any prefix of their order is spread evenly.
        .map(|k| {
            (
                (k as u32)
                    .wrapping_mul(2_654_435_769)
                    .rotate_left(16)
                    .wrapping_mul(0x85eb_ca6b),
                k,
            )
        })
        .collect();
    order.sort_unstable();
    let mut chosen: Vec<usize> = order.into_iter().take(count).map(|(_, k)| k).collect();
    chosen.sort_unstable();
    chosen.into_iter().map(|k| pixels[k]).collect()
}

/// Whether every column is constant up to the rounding of single-precision samples.
pub(super) fn constant(columns: &DMatrix<f64>) -> bool {
    columns.column_iter().all(|band| {
        let level = band.mean();
        band.iter().all(|x| (x - level).abs() <= 1e-5 * level.abs())
    })
}

/// The two images and what is asked of them. The HSI's samples are divided by their root mean
/// square, so that thresholds mean the same for reflectances and for digital numbers.
pub(super) struct Data<'a> {
    lr_hsi: ArrayView3<'a, f32>,
    hr_msi: ArrayView3<'a, f32>,
    coverage: Coverage<'a>,
    pub options: &'a Options,
    /// Root mean square of the HSI's samples.
    pub hsi_unit: f64,
}

/// A problem of the search, and the HSI's spectra that it was made of.
pub(super) struct Posed {
    pub problem: Problem,
    /// Pixels × bands, in units of [`Data::hsi_unit`].
    pub x: DMatrix<f64>,
    /// Of `x`, where the response is not known.
    pub factored: Option<Factored>,
}

impl<'a> Data<'a> {
    pub fn new(
        lr_hsi: ArrayView3<'a, f32>,
        hr_msi: ArrayView3<'a, f32>,
        coverage: Coverage<'a>,
        options: &'a Options,
    ) -> Result<Self> {
        let pixels: Vec<(usize, usize)> = places(&coverage.clear(options.scale));
        if pixels.is_empty() {
            return Err(Error::input(
                "no LR pixel is usable for the estimate: all are masked or not finite in the HSI or the MSI",
            ));
        }
        let square = |x: f32| f64::from(x) * f64::from(x);
        let hsi_sum: f64 = pixels
            .iter()
            .map(|&(r, c)| {
                lr_hsi
                    .slice(ndarray::s![r, c, ..])
                    .iter()
                    .map(|&x| square(x))
                    .sum::<f64>()
            })
            .sum();
        let finite = |x: &f32| x.is_finite();
        let msi_sum: f64 = hr_msi.iter().copied().filter(finite).map(square).sum();
        for (name, sum) in [("HSI", hsi_sum), ("MSI", msi_sum)] {
            if sum <= 0.0 {
                return Err(Error::input(format!(
                    "the {name} is zero in every usable pixel: nothing can be estimated from it"
                )));
            }
        }
        Ok(Data {
            lr_hsi,
            hr_msi,
            coverage,
            options,
            hsi_unit: (hsi_sum / (pixels.len() * lr_hsi.dim().2) as f64).sqrt(),
        })
    }

    /// Bands of the HSI.
    pub fn bands(&self) -> usize {
        self.lr_hsi.dim().2
    }

    fn matrix(&self, pixels: &[(usize, usize)]) -> DMatrix<f64> {
        DMatrix::from_fn(pixels.len(), self.bands(), |p, i| {
            f64::from(self.lr_hsi[[pixels[p].0, pixels[p].1, i]]) / self.hsi_unit
        })
    }

    /// Share of the usable LR pixels whose windows of this side see no masked pixel.
    pub fn share(&self, kernel: usize) -> f64 {
        let count = |side| places(&self.coverage.clear(side)).len() as f64;
        count(kernel) / count(self.options.scale)
    }

    /// As many LR pixels as `samples` of the MSI allow in windows of this side, `most` at most, but enough to outnumber the
    /// bands; such whose `inner` window lies within the image, where they are most.
    pub fn choose(
        &self,
        (kernel, inner): (usize, usize),
        (most, samples): (usize, usize),
    ) -> Vec<(usize, usize)> {
        let pixels = places(&self.coverage.explained(kernel, inner));
        let window = kernel.pow(2) * self.hr_msi.dim().2;
        scattered(&pixels, most.min(samples / window).max(4 * self.bands()))
    }

    /// The search's problem on these pixels with windows of side `kernel`; `length` is the correlation length of a
    /// response that is not known, in bands.
    pub fn posed(&self, pixels: &[(usize, usize)], kernel: usize, length: f64) -> Posed {
        let x = self.matrix(pixels);
        let (eliminators, factored) = match &self.options.known_srf {
            Some(srf) => (known_eliminators(&x, srf), None),
            None => {
                let factored = Factored::new(&x);
                (vec![factored.eliminator(length)], Some(factored))
            }
        };
        Posed {
            problem: Problem {
                windows: Windows::gather(self.hr_msi, pixels, self.options.scale, kernel),
                eliminators,
                kernel,
            },
            x,
            factored,
        }
    }
}

fn known_eliminators(x: &DMatrix<f64>, srf: &Array2<f64>) -> Vec<Eliminator> {
    srf.columns()
        .into_iter()
        .map(|column| Eliminator::known(&(x * DVector::from_iterator(column.len(), column.iter().copied()))))
        .collect()
}
