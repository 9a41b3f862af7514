//! The search for the PSF's parameters: a coarse grid, then Levenberg–Marquardt on what the best response leaves.
//!
//! Variable projection: for every candidate the response is eliminated in closed form (see [`super::evidence`]),
//! so the search has three dimensions, or five with the centre, and needs neither seed nor start from outside.

use nalgebra::{DMatrix, DVector};
use rayon::prelude::*;

use super::evidence::{Eliminated, Eliminator};
use super::windows::Windows;
use crate::sensor::psf::{self, GaussianPsf};

/// Candidates of the grid that are followed downhill.
const STARTS: usize = 6;
/// Steps that every start gets before the best of them goes on alone.
const FIRST_STEPS: usize = 8;
/// Steps of the best start.
const LAST_STEPS: usize = 60;
/// Candidates that are blurred and scored together.
const TOGETHER: usize = 8;
/// Weights below this share of the largest are left out: their sum is below what single precision keeps of a sample.
const NOTHING: f64 = 1e-12;
/// Smallest variance (HR pixels squared): narrower Gaussians are one pixel and cannot be told apart.
const SMALLEST_VARIANCE: f64 = 0.03;

/// The data of the search: windows of the MSI and one eliminator for all bands or one for each.
pub(super) struct Problem {
    /// Windows of the LR pixels.
    pub windows: Windows,
    /// One for all bands, or one a band.
    pub eliminators: Vec<Eliminator>,
    /// Kernel size K.
    pub kernel: usize,
}

/// A point of the search.
#[derive(Clone)]
pub(super) struct Found {
    /// The PSF.
    pub psf: GaussianPsf,
    /// Minus twice the log-likelihood over all bands; lower is better.
    pub score: f64,
    /// JᵀJ of the parameters (see [`psf::PARAMETERS`]) in units of the residual noise.
    pub information: DMatrix<f64>,
}

// Internal coordinates: logarithms of the factor's diagonal, so that no step can change its sign.
fn to_internal(psf: &GaussianPsf) -> [f64; 5] {
    let [m00, m10, m11, r, c] = psf.parameters();
    [m00.ln(), m10, m11.ln(), r, c]
}

fn from_internal(q: &[f64; 5]) -> GaussianPsf {
    GaussianPsf::from_parameters(&[q[0].exp(), q[1], q[2].exp(), q[3], q[4]])
}

impl Problem {
    /// The eliminator of an MSI band.
    pub fn eliminator(&self, band: usize) -> &Eliminator {
        &self.eliminators[band.min(self.eliminators.len() - 1)]
    }

    fn blurred(&self, kernels: &[&[f64]]) -> Vec<DMatrix<f64>> {
        let mut products = self.windows.apply(kernels);
        for product in &mut products {
            for mut column in product.column_iter_mut() {
                let mean = column.mean();
                column.add_scalar_mut(-mean);
            }
        }
        products
    }

    fn eliminate(&self, blurred: &DMatrix<f64>) -> Vec<Eliminated> {
        (0..blurred.ncols())
            .into_par_iter()
            .map(|j| self.eliminator(j).eliminate(&blurred.column(j).into_owned()))
            .collect()
    }

    /// Score of a kernel (K², row-major), λ of each band and the mean relative misfit.
    pub fn score(&self, kernel: &[f64]) -> (f64, Vec<f64>, f64) {
        let blurred = self.blurred(&[kernel]);
        let bands = self.eliminate(&blurred[0]);
        (
            bands.iter().map(|b| b.score).sum(),
            bands.iter().map(|b| b.lambda).collect(),
            bands.iter().map(|b| b.misfit).sum::<f64>() / bands.len() as f64,
        )
    }

    /// Scores of candidates of whatever form, whose kernels (K², row-major) `kernel` makes; infinite where it makes none.
    pub fn scores<C: Sync>(
        &self,
        candidates: &[C],
        kernel: impl Fn(&C) -> Option<Vec<f64>> + Sync,
    ) -> Vec<f64> {
        let some = |candidates: &[C]| {
            let kernels: Vec<Option<Vec<f64>>> = candidates.iter().map(&kernel).collect();
            let made: Vec<&[f64]> = kernels.iter().flatten().map(Vec::as_slice).collect();
            let mut blurred = self.blurred(&made).into_iter();
            let score = |kernel: &Option<Vec<f64>>| {
                let blurred = kernel.as_ref().and_then(|_| blurred.next());
                blurred.map_or(f64::INFINITY, |blurred| {
                    self.eliminate(&blurred).iter().map(|band| band.score).sum()
                })
            };
            kernels.iter().map(score).collect::<Vec<f64>>()
        };
        candidates.par_chunks(TOGETHER).flat_map_iter(some).collect()
    }

    /// The kernel of a Gaussian without the weights that are nothing, which [`Windows::apply`] then has not to look at.
    fn weights(&self, psf: &GaussianPsf) -> Vec<f64> {
        let mut kernel: Vec<f64> = psf.kernel(self.kernel).into_iter().collect();
        let least = NOTHING * kernel.iter().fold(0.0, |a: f64, &b| a.max(b));
        kernel.iter_mut().filter(|w| **w < least).for_each(|w| *w = 0.0);
        kernel
    }

    fn score_psf(&self, psf: &GaussianPsf) -> f64 {
        self.score(&self.weights(psf)).0
    }

    fn score_psfs(&self, psfs: &[GaussianPsf]) -> Vec<f64> {
        self.scores(psfs, |psf| Some(self.weights(psf)))
    }

    fn allowed(&self, psf: &GaussianPsf) -> bool {
        let (v1, v2, _) = psf.variances();
        let size = self.kernel as f64;
        let centred = psf.centre.iter().all(|c| c.abs() <= 0.5 * size);
        v2.is_finite() && v2 >= SMALLEST_VARIANCE && v1 <= 2.0 * size * size + 1.0 && centred
    }

    /// Finds the PSF with its centre at `centre`, or, where `centre` is `None`, within ± half of `scale`.
    pub fn solve(&self, scale: usize, centre: Option<[f64; 2]>) -> Found {
        let learn_centre = centre.is_none();
        let centre = centre.unwrap_or_else(|| self.scan_centre(scale));
        let grid: Vec<GaussianPsf> = grid(self.kernel, scale)
            .into_iter()
            .map(|psf| GaussianPsf { centre, ..psf })
            .collect();
        let mut candidates: Vec<(f64, GaussianPsf)> = self.score_psfs(&grid).into_iter().zip(grid).collect();
        candidates.sort_by(|a, b| a.0.total_cmp(&b.0));
        candidates.truncate(STARTS);
        let mut found: Vec<Found> = candidates
            .par_iter()
            .map(|(_, psf)| self.descend(psf, learn_centre, FIRST_STEPS))
            .collect();
        found.sort_by(|a, b| a.score.total_cmp(&b.score));
        self.descend(&found[0].psf, learn_centre, LAST_STEPS)
    }

    // A wide PSF sees a misregistration from afar; the narrower ones then say where it is.
    fn scan_centre(&self, scale: usize) -> [f64; 2] {
        let reach = 0.5 * scale as f64;
        let mut candidates = Vec::new();
        for part in [0.08, 0.16, 0.3] {
            let variance = (part * scale as f64).powi(2).max(0.3);
            let Some(psf) = GaussianPsf::from_variances(variance, variance, 0.0) else {
                continue;
            };
            for i in -4..=4 {
                for k in -4..=4 {
                    let centre = [reach * f64::from(i) / 4.0, reach * f64::from(k) / 4.0];
                    candidates.push(GaussianPsf { centre, ..psf });
                }
            }
        }
        let scores = self.score_psfs(&candidates);
        let scored = scores
            .iter()
            .zip(&candidates)
            .filter(|(score, _)| score.is_finite());
        let best = scored.min_by(|a, b| a.0.total_cmp(b.0));
        best.map_or([0.0; 2], |(_, psf)| {
            self.descend(psf, true, FIRST_STEPS).psf.centre
        })
    }

    /// Levenberg–Marquardt from `start`.
    pub fn descend(&self, start: &GaussianPsf, learn_centre: bool, steps: usize) -> Found {
        let free = if learn_centre { 5 } else { 3 };
        let mut q = to_internal(start);
        let mut damping = 1e-3;
        let mut found = self.linearise(&from_internal(&q));
        for _ in 0..steps {
            let (here, gradient, normal) = &found;
            let mut moved = None;
            while damping < 1e12 {
                let mut system = normal.view((0, 0), (free, free)).into_owned();
                for k in 0..free {
                    system[(k, k)] = system[(k, k)] * (1.0 + damping) + 1e-300;
                }
                let step = match system.cholesky() {
                    Some(cholesky) => cholesky.solve(&gradient.rows(0, free).into_owned()),
                    None => DVector::zeros(free),
                };
                let mut next = q;
                for k in 0..free {
                    // No step may change a width by more than a factor of two.
                    let limit = if k == 1 || k > 2 { f64::INFINITY } else { 0.7 };
                    next[k] -= step[k].clamp(-limit, limit);
                }
                let psf = from_internal(&next);
                if next.iter().all(|x| x.is_finite()) && self.allowed(&psf) {
                    let score = self.score_psf(&psf);
                    if score < here.score {
                        moved = Some((next, here.score - score));
                        damping = (damping * 0.2).max(1e-12);
                        break;
                    }
                }
                damping *= 5.0;
            }
            let Some((next, gain)) = moved else { break };
            q = next;
            found = self.linearise(&from_internal(&q));
            if gain < 1e-7 {
                break;
            }
        }
        found.0
    }

    // Score, gradient/2 and Gauss–Newton matrix in the internal coordinates, each band weighed by its residual.
    fn linearise(&self, psf: &GaussianPsf) -> (Found, DVector<f64>, DMatrix<f64>) {
        let parameters = psf.parameters();
        let area = self.kernel * self.kernel;
        let kernel = self.weights(psf);
        let mut bank = vec![0.0; psf::PARAMETERS * area];
        psf::gaussian_derivatives(&parameters, &kernel, &mut bank, self.kernel);
        let mut kernels: Vec<&[f64]> = vec![&kernel];
        kernels.extend(bank.chunks_exact(area));
        let products = self.blurred(&kernels);
        let bands = self.eliminate(&products[0]);

        let mut gradient = DVector::zeros(psf::PARAMETERS);
        let mut normal = DMatrix::zeros(psf::PARAMETERS, psf::PARAMETERS);
        let mut information = DMatrix::zeros(psf::PARAMETERS, psf::PARAMETERS);
        // Of each band, so that they may be made side by side and are summed in order.
        let slopes = |(j, band): (usize, &Eliminated)| {
            let columns: Vec<DVector<f64>> = products.iter().map(|p| p.column(j).into_owned()).collect();
            let deviation = columns[0].norm().max(f64::MIN_POSITIVE);
            let vectors = DMatrix::from_columns(&columns);
            let mut residual = self.eliminator(j).residual(&vectors, band.lambda) / deviation;
            // The misfit is relative: its reference, the band's variance, moves with the PSF too.
            let value = residual.column(0).into_owned();
            for p in 0..psf::PARAMETERS {
                let relative = columns[0].dot(&columns[p + 1]) / (deviation * deviation);
                residual.column_mut(p + 1).axpy(-relative, &value, 1.0);
            }
            let pixels = value.len() as f64;
            let directions = self.eliminator(j).directions(band.lambda);
            let freedom = (pixels - 1.0 - directions).max(0.05 * pixels).max(1.0);
            let slopes = residual.columns(1, psf::PARAMETERS);
            let weight = (pixels - 1.0).max(1.0) / band.misfit;
            (
                slopes.tr_mul(&value) * weight,
                slopes.tr_mul(&slopes),
                weight,
                freedom / band.misfit,
            )
        };
        let bands_slopes: Vec<_> = bands.par_iter().enumerate().map(slopes).collect();
        for (slope, curvature, weight, certainty) in bands_slopes {
            gradient += slope;
            information += &curvature * certainty;
            normal += curvature * weight;
        }
        let chain = [parameters[0], 1.0, parameters[2], 1.0, 1.0];
        for a in 0..psf::PARAMETERS {
            gradient[a] *= chain[a];
            for b in 0..psf::PARAMETERS {
                normal[(a, b)] *= chain[a] * chain[b];
            }
        }
        let found = Found {
            psf: *psf,
            score: bands.iter().map(|b| b.score).sum(),
            information,
        };
        (found, gradient, normal)
    }
}

/// The coarse grid: variances from a fraction of a pixel to a third of the window, six directions.
fn grid(kernel: usize, scale: usize) -> Vec<GaussianPsf> {
    let reach = kernel.min(2 * scale) as f64 / 3.0;
    let largest = (reach * reach).max(1.0);
    let levels = ((largest / 0.25).ln() / 2.2f64.ln()).ceil().max(2.0) as usize;
    let level = |k: usize| 0.25 * (largest / 0.25).powf(k as f64 / (levels - 1) as f64);
    let mut grid = Vec::new();
    for long in 0..levels {
        for short in 0..=long {
            let directions = if short == long { 1 } else { 6 };
            for d in 0..directions {
                let angle = std::f64::consts::PI * d as f64 / 6.0;
                grid.extend(GaussianPsf::from_variances(level(long), level(short), angle));
            }
        }
    }
    grid
}
