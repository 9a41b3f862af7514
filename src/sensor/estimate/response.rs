//! The spectral response, given the blurred MSI: smooth non-negative columns, and a gain and an offset where the
//! two sensors turn out not to be calibrated to each other.

use nalgebra::{DMatrix, DVector};
use ndarray::Array2;
use rayon::prelude::*;

use super::evidence::covariance_inverse;

/// The response of all bands with what it leaves.
pub(super) struct Response {
    /// B×b, columns sum to 1.
    pub columns: Array2<f64>,
    /// Gain of each MSI band.
    pub gain: Vec<f64>,
    /// Offset of each MSI band, in the unit of the MSI.
    pub offset: Vec<f64>,
}

/// One way to explain a band: column (any sum), offset and mean squared residual relative to the band's variance.
struct Fit {
    column: DVector<f64>,
    offset: f64,
    misfit: f64,
}

/// Relative misfit below which two fits are equally exact.
const FLOOR: f64 = 1e-10;
/// Two sensors are taken as calibrated to each other unless in some band a gain or an offset brings the misfit
/// below this share. Less is no proof: noise in the HSI makes small gains look significant, because least squares
/// takes its regressors as exact.
const CLEAR: f64 = 0.4;

/// Fits `blurred` (pixels × b) by `pixels` (pixels × B). `lambda` weighs the smoothness of each band's column
/// against its squared residual (see [`super::evidence`]), `length` is its correlation length in bands.
pub(super) fn fit(pixels: &DMatrix<f64>, blurred: &DMatrix<f64>, lambda: &[f64], length: f64) -> Response {
    let bands = pixels.ncols();
    let prior = covariance_inverse(bands, length);
    let gram = pixels.tr_mul(pixels);
    let mean = DVector::from_fn(bands, |i, _| pixels.column(i).mean());
    let count = pixels.nrows() as f64;
    let centred = &gram - (&mean * mean.transpose()) * count;
    let power = gram.trace() / bands as f64;
    let ones = DVector::from_element(bands, 1.0);
    let fits: Vec<[Fit; 3]> = (0..blurred.ncols())
        .into_par_iter()
        .map(|j| {
            let target = blurred.column(j).into_owned();
            let level = target.mean();
            let to_target = pixels.tr_mul(&target);
            let smooth = &prior * lambda[j].max(1e-15 * power);
            let finish = |column: DVector<f64>, offset: f64| {
                let misfit = relative_misfit(&target, &(pixels * &column), 1.0, offset);
                Fit {
                    column,
                    offset,
                    misfit,
                }
            };
            // Sum 1, as calibrated sensors have it. The weight holds the sum without spoiling the condition.
            let weight = 10.0 * power;
            let mut column = non_negative(
                &(&gram + &smooth + (&ones * ones.transpose()) * weight),
                &(&to_target + &ones * weight),
            );
            let sum = column.sum();
            column = if sum > 0.0 {
                column / sum
            } else {
                &ones / bands as f64
            };
            let shape = non_negative(&(&centred + &smooth), &(&to_target - &mean * (count * level)));
            let offset = level - mean.dot(&shape);
            [
                finish(column, 0.0),
                finish(non_negative(&(&gram + &smooth), &to_target), 0.0),
                finish(shape, offset),
            ]
        })
        .collect();
    let chosen = choose(count, &fits);
    Response {
        columns: Array2::from_shape_fn((bands, chosen.len()), |(i, j)| {
            chosen[j].column[i] / chosen[j].column.sum()
        }),
        gain: chosen
            .iter()
            .zip(&fits)
            .map(|(fit, ways)| {
                if std::ptr::eq(*fit, &ways[0]) {
                    1.0
                } else {
                    fit.column.sum()
                }
            })
            .collect(),
        offset: chosen.iter().map(|fit| fit.offset).collect(),
    }
}

/// Gain and offset of each band for a known response (B×b); its columns are normalised to sum 1.
pub(super) fn calibrate(pixels: &DMatrix<f64>, blurred: &DMatrix<f64>, srf: &Array2<f64>) -> Response {
    let mut columns = srf.clone();
    let count = pixels.nrows() as f64;
    let mut fits = Vec::new();
    for (j, mut column) in columns.columns_mut().into_iter().enumerate() {
        let sum = column.sum();
        if sum > 0.0 {
            column /= sum;
        }
        let predicted = pixels * DVector::from_iterator(column.len(), column.iter().copied());
        let target = blurred.column(j).into_owned();
        let (level, base) = (target.mean(), predicted.mean());
        let spread = predicted.norm_squared() - count * base * base;
        let scaled = predicted.dot(&target) / predicted.norm_squared();
        let shifted = (predicted.dot(&target) - count * base * level) / spread;
        fits.push(
            [(1.0, 0.0), (scaled, 0.0), (shifted, level - shifted * base)].map(|(gain, offset)| Fit {
                column: DVector::from_element(1, gain),
                offset,
                misfit: relative_misfit(&target, &predicted, gain, offset),
            }),
        );
    }
    let chosen = choose(count, &fits);
    Response {
        columns,
        gain: chosen.iter().map(|fit| fit.column[0]).collect(),
        offset: chosen.iter().map(|fit| fit.offset).collect(),
    }
}

/// Of each band's three fits (calibrated, with a gain, with gain and offset) the one to believe.
fn choose(count: f64, fits: &[[Fit; 3]]) -> Vec<&Fit> {
    let sound = |fit: &Fit| fit.column.sum() > 0.0 && fit.column.sum().is_finite() && fit.misfit.is_finite();
    let uncalibrated = fits.iter().any(|ways| {
        ways[1..]
            .iter()
            .any(|fit| sound(fit) && fit.misfit < CLEAR * ways[0].misfit)
    });
    // Each further parameter must earn more than chance gives (Schwarz's criterion), three times over because the
    // fits are penalised.
    let price = 3.0 * count.max(2.0).ln();
    fits.iter()
        .map(|ways| {
            let (mut best, mut lowest) = (&ways[0], count * ways[0].misfit.ln());
            for (fit, prices) in ways[1..].iter().zip([1.0, 2.0]) {
                let score = count * fit.misfit.ln() + prices * price;
                if uncalibrated && sound(fit) && score < lowest {
                    (best, lowest) = (fit, score);
                }
            }
            best
        })
        .collect()
}

/// Squared residual of gain · predicted + offset, relative to the target's variance.
fn relative_misfit(target: &DVector<f64>, predicted: &DVector<f64>, gain: f64, offset: f64) -> f64 {
    let level = target.mean();
    let variance = (target.norm_squared() - target.len() as f64 * level * level).max(f64::MIN_POSITIVE);
    let mut residual = target - predicted * gain;
    residual.add_scalar_mut(-offset);
    residual.norm_squared() / variance + FLOOR
}

/// Minimum of ½ rᵀ G r − gᵀ r over r ≥ 0 by block principal pivoting (Portugal, Júdice, Vicente 1994): whole
/// sets of variables change sides at once, and one at a time where that stops helping, which cannot cycle.
pub(super) fn non_negative(gram: &DMatrix<f64>, target: &DVector<f64>) -> DVector<f64> {
    let size = target.len();
    let tolerance = 1e-12 * target.amax().max(f64::MIN_POSITIVE);
    let mut passive = vec![true; size];
    let mut best = DVector::zeros(size);
    let (mut fewest, mut patience) = (size + 1, 3);
    for _ in 0..10 * size + 100 {
        let inside: Vec<usize> = (0..size).filter(|&k| passive[k]).collect();
        let mut solution = DVector::zeros(size);
        let system = gram.select_rows(&inside).select_columns(&inside);
        let right = target.select_rows(&inside);
        let Some(part) = solve(system, &right) else {
            return best;
        };
        for (k, &at) in inside.iter().enumerate() {
            solution[at] = part[k];
        }
        let slope = gram * &solution - target;
        let wrong: Vec<usize> = (0..size)
            .filter(|&k| {
                if passive[k] {
                    solution[k] < 0.0
                } else {
                    slope[k] < -tolerance
                }
            })
            .collect();
        best = solution.map(|x: f64| x.max(0.0));
        if wrong.is_empty() {
            break;
        }
        if wrong.len() < fewest {
            (fewest, patience) = (wrong.len(), 3);
        } else if patience > 0 {
            patience -= 1;
        } else {
            // The backup rule of the method: only the last offender moves.
            let last = wrong[wrong.len() - 1];
            passive[last] = !passive[last];
            continue;
        }
        for k in wrong {
            passive[k] = !passive[k];
        }
    }
    best
}

/// Solution of a system that is positive definite but for rounding: bands that repeat each other or are dead leave no
/// more than that, and a little weight on the diagonal stands in for what rounding took.
fn solve(mut system: DMatrix<f64>, right: &DVector<f64>) -> Option<DVector<f64>> {
    let largest = if system.is_empty() {
        0.0
    } else {
        system.diagonal().max()
    };
    for exponent in -15..-5 {
        if let Some(cholesky) = system.clone().cholesky() {
            return Some(cholesky.solve(right));
        }
        let weight = largest * 10f64.powi(exponent);
        for k in 0..system.nrows() {
            system[(k, k)] += weight;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    // The conditions of Karush, Kuhn and Tucker say that the point found is the minimum, whatever the path.
    #[test]
    fn non_negative_solution_meets_the_optimality_conditions() {
        for seed in 0..5u64 {
            let mut state = seed + 1;
            let mut next = || {
                state = state
                    .wrapping_mul(6364136223846793005)
                    .wrapping_add(1442695040888963407);
                (state >> 33) as f64 / (1u64 << 31) as f64 - 0.5
            };
            let a = DMatrix::from_fn(30, 12, |_, _| next());
            let y = DVector::from_fn(30, |_, _| next());
            let (gram, target) = (a.tr_mul(&a), a.tr_mul(&y));
            let r = non_negative(&gram, &target);
            let slope = &gram * &r - &target;
            assert!(r.iter().any(|&x| x > 0.0) && r.iter().any(|&x| x == 0.0));
            for k in 0..12 {
                assert!(r[k] >= 0.0 && slope[k] > -1e-10, "{k}: {} {}", r[k], slope[k]);
                assert!((r[k] * slope[k]).abs() < 1e-10);
            }
        }
    }
}
