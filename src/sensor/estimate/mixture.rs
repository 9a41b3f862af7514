//! The parameters of the four-Gaussian response that come nearest to given columns.

use nalgebra::{DMatrix, DVector};
use ndarray::Array2;

use crate::sensor::srf::{GAUSSIANS, mixture};

/// Narrowest width (bands): below it a Gaussian is a single band and its gradient vanishes.
const NARROWEST: f64 = 0.4;

/// Parameters of [`mixture`] (all means, b×4, then all widths, b×4) nearest in least squares to each column of
/// `response` (B×b).
///
/// Means start at quantiles of the column, so they lie where the response is; an all-zero column gets means
/// spread over all bands.
pub fn fit_mixture(response: &Array2<f64>) -> Vec<f64> {
    let (bands, columns) = response.dim();
    let mut parameters = vec![0.0; 2 * GAUSSIANS * columns];
    for j in 0..columns {
        let target = DVector::from_iterator(bands, response.column(j).iter().map(|r| r.max(0.0)));
        let sum = target.sum();
        let target = if sum > 0.0 && sum.is_finite() {
            target / sum
        } else {
            DVector::from_element(bands, 1.0 / bands.max(1) as f64)
        };
        let best = [0.5, 1.0, 2.0]
            .into_iter()
            .map(|spread| descend(&target, start(&target, spread)))
            .min_by(|a, b| a.0.total_cmp(&b.0));
        if let Some((_, best)) = best {
            let widths = GAUSSIANS * columns;
            parameters[j * GAUSSIANS..(j + 1) * GAUSSIANS].copy_from_slice(&best[..GAUSSIANS]);
            parameters[widths + j * GAUSSIANS..widths + (j + 1) * GAUSSIANS]
                .copy_from_slice(&best[GAUSSIANS..]);
        }
    }
    parameters
}

fn start(target: &DVector<f64>, spread: f64) -> [f64; 2 * GAUSSIANS] {
    let mut p = [0.0; 2 * GAUSSIANS];
    let mean: f64 = target.iter().enumerate().map(|(i, r)| i as f64 * r).sum();
    let variance: f64 = target
        .iter()
        .enumerate()
        .map(|(i, r)| (i as f64 - mean).powi(2) * r)
        .sum();
    let width = (spread * variance.sqrt() / 2.0).max(NARROWEST);
    for k in 0..GAUSSIANS {
        let share = (k as f64 + 0.5) / GAUSSIANS as f64;
        let (mut below, mut at) = (0.0, 0);
        while at + 1 < target.len() && below + target[at] < share {
            below += target[at];
            at += 1;
        }
        p[k] = at as f64;
        p[GAUSSIANS + k] = width;
    }
    // Gaussians that start on one spot would stay together for ever.
    for k in 1..GAUSSIANS {
        if p[k] <= p[k - 1] {
            p[k] = p[k - 1] + 0.1 * width;
        }
    }
    p
}

fn error(target: &DVector<f64>, p: &[f64]) -> (f64, DVector<f64>) {
    let mut column = vec![0.0; target.len()];
    mixture(p, &mut column, target.len(), 1);
    let residual = DVector::from_vec(column) - target;
    let error = residual.norm_squared();
    (if error.is_finite() { error } else { f64::INFINITY }, residual)
}

// Levenberg–Marquardt; the Jacobian of a normalised column g/S is (∂g − (g/S) Σ∂g) / S.
fn descend(target: &DVector<f64>, start: [f64; 2 * GAUSSIANS]) -> (f64, [f64; 2 * GAUSSIANS]) {
    let bands = target.len();
    let mut p = start;
    let (mut best, mut residual) = error(target, &p);
    let mut damping = 1e-2;
    for _ in 0..100 {
        let mut jacobian = DMatrix::zeros(bands, 2 * GAUSSIANS);
        let mut total = 0.0;
        for i in 0..bands {
            for k in 0..GAUSSIANS {
                let z = (i as f64 - p[k]) / p[GAUSSIANS + k];
                let g = (-0.5 * z * z).exp();
                total += g;
                jacobian[(i, k)] = g * z / p[GAUSSIANS + k];
                jacobian[(i, GAUSSIANS + k)] = g * z * z / p[GAUSSIANS + k];
            }
        }
        let column = &residual + target;
        for mut slope in jacobian.column_iter_mut() {
            let sum = slope.sum();
            slope.axpy(-sum, &column, 1.0);
            slope /= total;
        }
        let (gradient, normal) = (jacobian.tr_mul(&residual), jacobian.tr_mul(&jacobian));
        let mut improved = false;
        while damping < 1e9 {
            let mut system = normal.clone();
            for k in 0..2 * GAUSSIANS {
                system[(k, k)] += damping * (system[(k, k)] + 1e-12);
            }
            if let Some(cholesky) = system.cholesky() {
                let step = cholesky.solve(&gradient);
                let mut next = p;
                for k in 0..GAUSSIANS {
                    next[k] = (p[k] - step[k]).clamp(-(bands as f64), 2.0 * bands as f64);
                    next[GAUSSIANS + k] =
                        (p[GAUSSIANS + k] - step[GAUSSIANS + k]).clamp(NARROWEST, 2.0 * bands as f64);
                }
                let (value, left) = error(target, &next);
                if value < best {
                    improved = best - value > 1e-9 * best;
                    (p, best, residual) = (next, value, left);
                    damping *= 0.3;
                    break;
                }
            }
            damping *= 4.0;
        }
        if !improved {
            break;
        }
    }
    (best, p)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mixture_is_found_again() {
        let (bands, columns) = (40, 2);
        let truth = [
            5.0, 9.0, 12.0, 16.0, 22.0, 25.0, 29.0, 33.0, 2.0, 1.5, 2.5, 2.0, 3.0, 2.0, 1.5, 2.5,
        ];
        let mut r = vec![0.0; bands * columns];
        mixture(&truth, &mut r, bands, columns);
        let r = Array2::from_shape_vec((bands, columns), r).unwrap();
        let found = fit_mixture(&r);
        let mut again = vec![0.0; bands * columns];
        mixture(&found, &mut again, bands, columns);
        let error: f64 = again.iter().zip(&r).map(|(a, b)| (a - b).powi(2)).sum();
        let norm: f64 = r.iter().map(|b| b * b).sum();
        // The column is a mixture, so the fit is exact up to where the descent stops.
        assert!((error / norm).sqrt() < 0.01, "{}", (error / norm).sqrt());
    }

    #[test]
    fn spikes_and_empty_columns_give_finite_parameters_in_range() {
        let mut r = Array2::zeros((9, 3));
        r[[8, 0]] = 1.0;
        r[[0, 1]] = 1.0;
        for p in fit_mixture(&r) {
            assert!(p.is_finite() && p.abs() <= 18.0);
        }
        let mut again = vec![0.0; 27];
        mixture(&fit_mixture(&r), &mut again, 9, 3);
        assert!(again[8 * 3] > 0.8 && again[1] > 0.8);
    }
}
