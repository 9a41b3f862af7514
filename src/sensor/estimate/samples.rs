//! Which LR pixels the estimate looks at, and their samples as a problem of the search.

use nalgebra::{DMatrix, DVector};
use ndarray::{Array2, ArrayView2, ArrayView3};

use super::Options;
use super::evidence::{Eliminator, Factored};
use super::search::Problem;
use super::windows::Windows;
use crate::error::{Error, Result};
use crate::sensor::psf;

/// LR pixels that are valid and finite, with a window of the MSI that is finite.
pub(super) fn usable(
    lr_hsi: ArrayView3<f32>,
    hr_msi: ArrayView3<f32>,
    lr_valid: Option<ArrayView2<bool>>,
    options: &Options,
) -> Vec<(usize, usize)> {
    let (h, w, _) = lr_hsi.dim();
    let (rows, columns, _) = hr_msi.dim();
    let (s, k) = (options.scale, options.kernel);
    let start = psf::window_start(s, k);
    let span = |at: usize, size: usize| {
        let first = (at * s) as isize + start;
        let clamp = |x: isize| x.clamp(0, size as isize - 1) as usize;
        clamp(first)..clamp(first + k as isize - 1) + 1
    };
    // One pass over the MSI when it is finite throughout, which is the rule.
    let clean = hr_msi.iter().all(|x| x.is_finite());
    let mut pixels = Vec::new();
    for r in 0..h {
        for c in 0..w {
            let ok = lr_valid.is_none_or(|v| v[[r, c]])
                && lr_hsi.slice(ndarray::s![r, c, ..]).iter().all(|x| x.is_finite())
                && (clean
                    || hr_msi
                        .slice(ndarray::s![span(r, rows), span(c, columns), ..])
                        .iter()
                        .all(|x| x.is_finite()));
            if ok {
                pixels.push((r, c));
            }
        }
    }
    pixels
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
        pixels: &[(usize, usize)],
        options: &'a Options,
    ) -> Result<Self> {
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

    /// As many pixels as `samples` of the MSI allow, `most` at most, but enough to outnumber the bands.
    pub fn choose(&self, pixels: &[(usize, usize)], most: usize, samples: usize) -> Vec<(usize, usize)> {
        let window = self.options.kernel.pow(2) * self.hr_msi.dim().2;
        scattered(pixels, most.min(samples / window).max(4 * self.bands()))
    }

    /// The search's problem on these pixels; `length` is the correlation length of a response that is not known, in bands.
    pub fn posed(&self, pixels: &[(usize, usize)], length: f64) -> Posed {
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
                windows: Windows::gather(self.hr_msi, pixels, self.options.scale, self.options.kernel),
                eliminators,
                kernel: self.options.kernel,
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
