//! The degradation from the two images alone: PSF and SRF in closed form and by a search of three dimensions.
//!
//! Blurring works on rows and columns, the response on bands, so (Z∗C)↓ ×₃ R is the same whichever comes first:
//! X·R = (Y∗C)↓ up to noise, and Z has gone. For a candidate PSF the best response is a linear least-squares
//! problem; what it leaves is a function of the PSF's parameters alone, and its minimum is the estimate. Stands
//! with the sensors because nothing of a network or an engine is needed for it.

mod evidence;
mod free;
mod mixture;
mod response;
mod search;
#[cfg(test)]
mod tests;
mod windows;

use nalgebra::{DMatrix, DVector};
use ndarray::{Array2, ArrayView2, ArrayView3};

use self::evidence::{Eliminator, Factored};
use self::search::{Found, Problem};
use self::windows::Windows;
use super::psf::{self, GaussianPsf};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

pub use self::mixture::fit_mixture;

/// Fewest LR pixels from which a PSF is searched: with fewer, three parameters fit anything.
const FEWEST_PIXELS: usize = 12;
/// LR pixels in the search; the polish takes [`POLISH_PIXELS`].
const SEARCH_PIXELS: usize = 900;
/// LR pixels that polish what was found.
const POLISH_PIXELS: usize = 6000;
/// MSI samples in the windows of the search (as many pixels as that allows, but the fewest that suffice).
const SEARCH_SAMPLES: usize = 1 << 21;
/// MSI samples in the windows of the polish.
const POLISH_SAMPLES: usize = 1 << 23;
/// Correlation lengths of the response that are tried, as a share of the bands.
const LENGTHS: [f64; 3] = [0.03, 0.1, 0.3];

/// Form of the PSF that is searched.
#[derive(Serialize, Deserialize, ValueEnum, Debug, Clone, Copy, PartialEq, Eq, Default)]
#[serde(rename_all = "lowercase")]
pub enum PsfModel {
    /// A Gaussian unless a disk or a line explains the two images better; then a free kernel.
    Auto,
    /// A Gaussian of three parameters, two more for its centre.
    #[default]
    Gaussian,
    /// Non-negative weights with sum 1, for defocus and motion.
    Free,
}

/// What to estimate, and what is known beforehand.
#[derive(Debug, Clone)]
pub struct Options {
    /// Ratio of the two pixel grids.
    pub scale: usize,
    /// Kernel size K ≥ 1; the window of an LR pixel starts at [`psf::window_start`].
    pub kernel: usize,
    /// Whether the PSF's centre (the misregistration of the two images) is searched too, within half an LR pixel.
    pub learn_centre: bool,
    /// The PSF, K×K with sum 1, where it is known.
    pub known_psf: Option<Array2<f64>>,
    /// The response, B×b, where it is known. Only its shape is trusted: a gain and an offset stay free.
    pub known_srf: Option<Array2<f64>>,
    /// Form of the PSF, where it is not known.
    pub model: PsfModel,
}

impl Options {
    /// Everything unknown, a Gaussian PSF, K = s, centre fixed.
    pub fn blind(scale: usize) -> Self {
        Options {
            scale,
            kernel: scale,
            learn_centre: false,
            known_psf: None,
            known_srf: None,
            model: PsfModel::Gaussian,
        }
    }
}

/// A PSF as it was found or given.
#[derive(Debug, Clone, PartialEq)]
pub enum Psf {
    /// A Gaussian.
    Gaussian(GaussianPsf),
    /// A K×K kernel of no particular form, sum 1.
    Free(Array2<f64>),
}

impl Psf {
    /// The K×K kernel, sum 1. A free kernel keeps its own size.
    pub fn kernel(&self, size: usize) -> Array2<f64> {
        match self {
            Psf::Gaussian(gaussian) => gaussian.kernel(size),
            Psf::Free(kernel) => kernel.clone(),
        }
    }

    /// The Gaussian, if it is one.
    pub fn gaussian(&self) -> Option<&GaussianPsf> {
        match self {
            Psf::Gaussian(gaussian) => Some(gaussian),
            Psf::Free(_) => None,
        }
    }
}

/// How well the data determine the estimate.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Determined {
    /// Standard errors of the variances v1, v2 (HR pixels squared) and the angle (radians) of
    /// [`GaussianPsf::variances`]; `None` where the PSF was given or the scene does not determine it.
    pub psf: Option<[f64; 3]>,
    /// Standard errors of the centre's row and column (HR pixels), where it was searched.
    pub centre: Option<[f64; 2]>,
    /// Independent directions of each MSI band's response that the data fix, of B at most; the rest is smoothness
    /// and non-negativity. Empty where the response was given.
    pub directions: Vec<f64>,
    /// Plain sentences about what the scene cannot determine.
    pub remarks: Vec<String>,
}

/// The Gaussian that explains the two images best.
#[derive(Debug, Clone, PartialEq)]
pub struct GaussianForm {
    /// It.
    pub psf: GaussianPsf,
    /// Standard errors of its centre (HR pixels), where that was searched.
    pub centre: Option<[f64; 2]>,
    /// As [`Estimate::misfit`].
    pub misfit: f64,
}

/// The estimated degradation.
#[derive(Debug, Clone)]
pub struct Estimate {
    /// The point spread function.
    pub psf: Psf,
    /// The best Gaussian, where a PSF was found that was not asked to be [`PsfModel::Free`].
    pub gaussian: Option<GaussianForm>,
    /// The response, B×b, non-negative, columns sum to 1.
    pub response: Array2<f64>,
    /// Gain of each MSI band: `Y_j ≈ gain_j (Z·R)_j + offset_j`. 1 unless the data speak clearly against it.
    pub gain: Vec<f64>,
    /// Offset of each MSI band in the unit of the MSI; 0 unless the data speak clearly against it.
    pub offset: Vec<f64>,
    /// Root mean square of X·R − (Y∗C)↓ relative to the standard deviation of (Y∗C)↓, for the PSF of the start: an
    /// isotropic Gaussian whose standard deviation is a quarter of the scale (or the PSF that was given).
    pub misfit_start: f64,
    /// The same for the estimate.
    pub misfit: f64,
    /// How well each part is determined.
    pub determined: Determined,
}

/// Estimates PSF and SRF from the LR-HSI (h×w×B) and the HR-MSI (h·s × w·s × b).
///
/// `lr_valid` (h×w) masks LR pixels; pixels with a sample that is not finite in either image are left out too.
/// Where the scene does not determine the PSF (a flat scene, too few pixels) the isotropic start is returned
/// and `determined.remarks` says so. Same input, same bits.
///
/// # Errors
/// [`Error::Input`] if sizes do not fit each other or the options, no LR pixel is usable, or an image is zero
/// everywhere.
pub fn estimate(
    lr_hsi: ArrayView3<f32>,
    hr_msi: ArrayView3<f32>,
    lr_valid: Option<ArrayView2<bool>>,
    options: &Options,
) -> Result<Estimate> {
    check(lr_hsi, hr_msi, lr_valid, options)?;
    let pixels = usable(lr_hsi, hr_msi, lr_valid, options);
    if pixels.is_empty() {
        return Err(Error::input(
            "no LR pixel is usable for the estimate: all are masked or not finite in the HSI or the MSI",
        ));
    }
    let data = Data::new(lr_hsi, hr_msi, &pixels, options)?;
    data.solve(&pixels)
}

fn check(
    lr_hsi: ArrayView3<f32>,
    hr_msi: ArrayView3<f32>,
    lr_valid: Option<ArrayView2<bool>>,
    options: &Options,
) -> Result<()> {
    let (h, w, hsi_bands) = lr_hsi.dim();
    let (rows, columns, msi_bands) = hr_msi.dim();
    let (s, k) = (options.scale, options.kernel);
    if s == 0 || k == 0 {
        return Err(Error::input(format!(
            "scale {s} and kernel size {k} must both be at least 1"
        )));
    }
    if h == 0 || w == 0 || hsi_bands == 0 || msi_bands == 0 {
        return Err(Error::input(format!(
            "an image is empty: HSI {h} x {w} x {hsi_bands}, MSI {rows} x {columns} x {msi_bands}"
        )));
    }
    if h.checked_mul(s) != Some(rows) || w.checked_mul(s) != Some(columns) {
        return Err(Error::input(format!(
            "the MSI ({rows} x {columns} pixels) is not {s} times the HSI ({h} x {w} pixels)"
        )));
    }
    if k > 4 * rows.max(columns) {
        return Err(Error::input(format!(
            "kernel size {k} is far larger than the MSI ({rows} x {columns} pixels)"
        )));
    }
    if let Some(valid) = lr_valid
        && valid.dim() != (h, w)
    {
        return Err(Error::input(format!(
            "the mask has {:?} pixels, the HSI {:?}",
            valid.dim(),
            (h, w)
        )));
    }
    if let Some(psf) = &options.known_psf {
        let sum = psf.sum();
        if psf.dim() != (k, k) || !psf.iter().all(|c| c.is_finite()) || (sum - 1.0).abs() > 1e-3 {
            return Err(Error::input(format!(
                "the known PSF is {:?} with sum {sum}; a {k} x {k} kernel of finite weights with sum 1 is needed",
                psf.dim()
            )));
        }
    }
    if let Some(srf) = &options.known_srf
        && (srf.dim() != (hsi_bands, msi_bands) || !srf.iter().all(|r| r.is_finite() && *r >= 0.0))
    {
        return Err(Error::input(format!(
            "the known SRF is {:?}; {hsi_bands} x {msi_bands} finite, non-negative values are needed",
            srf.dim()
        )));
    }
    Ok(())
}

/// LR pixels that are valid and finite, with a window of the MSI that is finite.
fn usable(
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
fn constant(columns: &DMatrix<f64>) -> bool {
    columns.column_iter().all(|band| {
        let level = band.mean();
        band.iter().all(|x| (x - level).abs() <= 1e-5 * level.abs())
    })
}

/// The two images and what is asked of them. The HSI's samples are divided by their root mean
/// square, so that thresholds mean the same for reflectances and for digital numbers.
struct Data<'a> {
    lr_hsi: ArrayView3<'a, f32>,
    hr_msi: ArrayView3<'a, f32>,
    options: &'a Options,
    hsi_unit: f64,
}

impl<'a> Data<'a> {
    fn new(
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

    fn matrix(&self, pixels: &[(usize, usize)]) -> DMatrix<f64> {
        DMatrix::from_fn(pixels.len(), self.lr_hsi.dim().2, |p, i| {
            f64::from(self.lr_hsi[[pixels[p].0, pixels[p].1, i]]) / self.hsi_unit
        })
    }

    fn windows(&self, pixels: &[(usize, usize)]) -> Windows {
        Windows::gather(self.hr_msi, pixels, self.options.scale, self.options.kernel)
    }

    /// As many pixels as `samples` of the MSI allow, `most` at most, but enough to outnumber the bands.
    fn choose(&self, pixels: &[(usize, usize)], most: usize, samples: usize) -> Vec<(usize, usize)> {
        let bands = self.lr_hsi.dim().2;
        let window = self.options.kernel.pow(2) * self.hr_msi.dim().2;
        scattered(pixels, most.min(samples / window).max(4 * bands))
    }

    fn known_eliminators(&self, x: &DMatrix<f64>, srf: &Array2<f64>) -> Vec<Eliminator> {
        srf.columns()
            .into_iter()
            .map(|column| {
                Eliminator::known(&(x * DVector::from_iterator(column.len(), column.iter().copied())))
            })
            .collect()
    }

    fn solve(&self, pixels: &[(usize, usize)]) -> Result<Estimate> {
        let bands = self.lr_hsi.dim().2;
        let chosen = self.choose(pixels, SEARCH_PIXELS, SEARCH_SAMPLES);
        let x = self.matrix(&chosen);
        let start = self.start();
        let start_kernel = self
            .options
            .known_psf
            .clone()
            .unwrap_or_else(|| start.kernel(self.options.kernel));

        // Search on a part of the pixels, polish on more of them.
        let windows = self.windows(&chosen);
        let (eliminators, factored) = match &self.options.known_srf {
            Some(srf) => (self.known_eliminators(&x, srf), None),
            None => {
                let factored = Factored::new(&x);
                (
                    vec![factored.eliminator(LENGTHS[1] * bands as f64)],
                    Some(factored),
                )
            }
        };
        let mut problem = Problem {
            windows,
            eliminators,
            kernel: self.options.kernel,
        };
        let mut determined = Determined::default();
        let flat = constant(&x) || self.flat(&problem, &start_kernel);
        let mut length = LENGTHS[1] * bands as f64;
        let mut found = None;
        if self.options.known_psf.is_none() {
            if flat || chosen.len() < FEWEST_PIXELS {
                determined.remarks.push(if flat {
                    "the scene has no contrast, so it says nothing about the PSF; a broad Gaussian is assumed"
                        .into()
                } else {
                    format!(
                        "{} usable LR pixels are too few to find a PSF; a broad Gaussian is assumed",
                        chosen.len()
                    )
                });
            } else {
                let mut best = problem.solve(self.options.scale, self.options.learn_centre);
                if let Some(factored) = &factored {
                    let mut kept = LENGTHS[1];
                    for share in [LENGTHS[0], LENGTHS[2]] {
                        let other = factored.eliminator(share * bands as f64);
                        let usual = std::mem::replace(&mut problem.eliminators, vec![other]);
                        let candidate = problem.descend(&best.psf, self.options.learn_centre, 20);
                        if candidate.score < best.score {
                            (best, kept) = (candidate, share);
                        } else {
                            problem.eliminators = usual;
                        }
                    }
                    length = kept * bands as f64;
                }
                found = Some(best);
            }
        }
        let shapes = match &found {
            Some(found) if self.options.model != PsfModel::Gaussian => {
                let gaussian: Vec<f64> = found.psf.kernel(self.options.kernel).iter().copied().collect();
                let least = (self.options.model == PsfModel::Auto).then_some(free::CLEARLY);
                free::shapes(
                    &problem,
                    &gaussian,
                    found.psf.centre,
                    self.options.learn_centre,
                    least,
                )
            }
            _ => Vec::new(),
        };
        let more = self.choose(
            pixels,
            POLISH_PIXELS.min(200_000_000 / (bands * bands)),
            POLISH_SAMPLES,
        );
        if more.len() > chosen.len() {
            let x = self.matrix(&more);
            problem = Problem {
                windows: self.windows(&more),
                eliminators: match &self.options.known_srf {
                    Some(srf) => self.known_eliminators(&x, srf),
                    None => vec![Factored::new(&x).eliminator(length)],
                },
                kernel: self.options.kernel,
            };
            if let Some(before) = found {
                found = Some(problem.descend(&before.psf, self.options.learn_centre, 20));
            }
        }
        let x = self.matrix(&more);

        let size = self.options.kernel;
        let psf = match (&self.options.known_psf, &found, free::refine(&problem, shapes)) {
            (Some(kernel), ..) => Psf::Free(kernel.clone()),
            (None, _, Some(free)) => {
                determined
                    .remarks
                    .push(format!("the free PSF started from {}", free.shape));
                Psf::Free(Array2::from_shape_fn((size, size), |(i, k)| {
                    free.weights[i * size + k]
                }))
            }
            (None, Some(found), None) => Psf::Gaussian(found.psf),
            (None, None, None) => Psf::Gaussian(start),
        };
        let gaussian = found
            .filter(|_| self.options.model != PsfModel::Free)
            .map(|found| {
                let mut judged = Determined::default();
                self.judge(&found, &mut judged);
                let form = GaussianForm {
                    psf: found.psf,
                    centre: judged.centre,
                    misfit: problem
                        .score(&found.psf.kernel(size).into_iter().collect::<Vec<f64>>())
                        .2
                        .sqrt(),
                };
                if matches!(psf, Psf::Gaussian(_)) {
                    determined.remarks.append(&mut judged.remarks);
                    (determined.psf, determined.centre) = (judged.psf, judged.centre);
                }
                form
            });
        let kernel: Vec<f64> = psf.kernel(self.options.kernel).iter().copied().collect();
        let (_, lambda, misfit) = problem.score(&kernel);
        let start_kernel: Vec<f64> = start_kernel.iter().copied().collect();
        let (_, _, misfit_start) = problem.score(&start_kernel);
        // Both images in one unit, so that a gain of 1 means that the sensors agree.
        let blurred = problem.windows.apply(&[&kernel]).remove(0) / self.hsi_unit;
        let mut fitted = match &self.options.known_srf {
            Some(srf) => response::calibrate(&x, &blurred, srf),
            None => {
                determined.directions = lambda
                    .iter()
                    .map(|&l| problem.eliminators[0].directions(l))
                    .collect();
                response::fit(&x, &blurred, &lambda, length)
            }
        };
        for offset in &mut fitted.offset {
            *offset *= self.hsi_unit;
        }
        Ok(Estimate {
            psf,
            gaussian,
            response: fitted.columns,
            gain: fitted.gain,
            offset: fitted.offset,
            misfit_start: misfit_start.sqrt(),
            misfit: misfit.sqrt(),
            determined,
        })
    }

    /// The guess that stands where the data say nothing: isotropic, a standard deviation of a quarter of the scale.
    fn start(&self) -> GaussianPsf {
        let deviation = (0.25 * self.options.scale as f64).max(0.5);
        GaussianPsf {
            factor: [1.0 / deviation, 0.0, 1.0 / deviation],
            centre: [0.0; 2],
        }
    }

    /// Whether every band of the blurred MSI is constant up to single-precision rounding.
    fn flat(&self, problem: &Problem, kernel: &Array2<f64>) -> bool {
        let kernel: Vec<f64> = kernel.iter().copied().collect();
        let blurred = problem.windows.apply(&[&kernel]).remove(0);
        constant(&blurred)
    }

    /// Standard errors from the curvature, and sentences on what they mean.
    fn judge(&self, found: &Found, determined: &mut Determined) {
        let free = if self.options.learn_centre { 5 } else { 3 };
        let inverse = found
            .information
            .view((0, 0), (free, free))
            .into_owned()
            .try_inverse();
        let (v1, v2, angle) = found.psf.variances();
        let covariance =
            inverse.filter(|c| c.iter().all(|x| x.is_finite()) && (0..free).all(|k| c[(k, k)] >= 0.0));
        let Some(covariance) = covariance else {
            determined.remarks.push(
                "the scene does not determine the PSF: many PSFs fit the two images equally well".into(),
            );
            return;
        };
        // Delta method with central differences of the three quantities to the factor.
        let mut slopes = DMatrix::zeros(3, 3);
        for k in 0..3 {
            let step = 1e-5 * found.psf.factor.iter().fold(0.0, |a: f64, f| a.max(f.abs()));
            let moved = |by: f64| {
                let mut psf = found.psf;
                psf.factor[k] += by;
                psf.variances()
            };
            let (plus, minus) = (moved(step), moved(-step));
            // The angle is known modulo π.
            let half = std::f64::consts::FRAC_PI_2;
            let turn = (plus.2 - minus.2 + half).rem_euclid(2.0 * half) - half;
            for (row, difference) in [plus.0 - minus.0, plus.1 - minus.1, turn].into_iter().enumerate() {
                slopes[(row, k)] = difference / (2.0 * step);
            }
        }
        let shape = &slopes * covariance.view((0, 0), (3, 3)) * slopes.transpose();
        let errors = [shape[(0, 0)].sqrt(), shape[(1, 1)].sqrt(), shape[(2, 2)].sqrt()];
        determined.psf = Some(errors);
        if self.options.learn_centre {
            determined.centre = Some([covariance[(3, 3)].sqrt(), covariance[(4, 4)].sqrt()]);
        }
        for (name, value, error) in [("larger", v1, errors[0]), ("smaller", v2, errors[1])] {
            if error > 0.5 * value {
                determined.remarks.push(format!(
                    "the {name} variance of the PSF ({value:.2} square pixels) is uncertain: standard error {error:.2}"
                ));
            }
        }
        if errors[2] > 0.5 && v1 > 1.2 * v2 {
            determined.remarks.push(format!(
                "the direction of the PSF ({angle:.2} rad) is uncertain: standard error {:.2}",
                errors[2]
            ));
        }
    }
}
