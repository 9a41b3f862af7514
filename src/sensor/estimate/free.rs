//! A PSF of no particular form: non-negative weights with sum 1 for defocus, motion and what else cameras do.
//!
//! K² weights are many for few LR pixels, so they start from the shape that explains the data best, Gaussian, disk
//! or line, and depart from it as far as the data ask. With d the departure and a prior d ~ N(0, κ² L⁻¹), the
//! penalised likelihood Σ N log m_j(c) + dᵀ L d / κ² is lowered by majorisation: the logarithm of a quadratic lies
//! below its tangent, which makes every step a non-negative quadratic programme. κ and L are chosen by
//! Laplace's approximation of the evidence, so noise does not grow weights of its own.

use nalgebra::{DMatrix, DVector};
use rayon::prelude::*;

use super::evidence::{Eliminator, Quadratic};
use super::response::non_negative;
use super::search::Problem;

/// Departures κ that are tried, as a share of the largest weight of the start.
const DEPARTURES: [f64; 6] = [0.01, 0.03, 0.1, 0.3, 1.0, 3.0];
/// Majorisation steps for each κ.
const STEPS: usize = 6;
/// By how much a shape's likelihood (minus twice its logarithm) must be lower than the Gaussian's, to be taken for the
/// better one: far more than what one to three more parameters gain by chance.
pub(super) const CLEARLY: f64 = 30.0;
/// Distance from a shape's edge (HR pixels) beyond which all points of a pixel are on one side, soft edge included: they
/// lie up to 0.53 from its middle.
const CLEAR_OF_EDGE: f64 = 0.66;
/// Unknown weights above which fewer κ and steps are tried, because a programme costs their third power.
const MANY: usize = 300;

/// A kernel, where it came from and how well it does.
pub(super) struct FreeKernel {
    /// K², row-major, sum 1.
    pub weights: Vec<f64>,
    /// Words for the shape of the start.
    pub shape: String,
}

/// Shapes with few parameters beside the Gaussian; lengths in HR pixels, the centre's offset last.
#[derive(Clone, Copy)]
enum Shape {
    /// Radius: defocus.
    Disk,
    /// Length, angle from the row towards the next row, half the width: motion.
    Line,
}

impl Shape {
    /// Weights of the shape: the share of each pixel (4×4 points, edges a quarter of a pixel soft) inside it.
    fn kernel(self, p: &[f64], size: usize) -> Option<Vec<f64>> {
        let (extent, centre) = match self {
            Shape::Disk => (p[0], &p[1..3]),
            Shape::Line => (p[0].max(p[2]), &p[3..5]),
        };
        let middle = 0.5 * (size as f64 - 1.0);
        let sizes_fit = match self {
            Shape::Disk => (0.3..=size as f64).contains(&p[0]),
            Shape::Line => {
                (0.0..=2.0 * size as f64).contains(&p[0]) && (0.1..=0.5 * p[0] + 0.7).contains(&p[2])
            }
        };
        let inside = centre.iter().all(|c| c.abs() <= middle.max(0.5));
        if !sizes_fit || !inside || !extent.is_finite() {
            return None;
        }
        let (sin, cos) = match self {
            Shape::Disk => (0.0, 1.0),
            Shape::Line => p[1].sin_cos(),
        };
        // Distance from the shape's edge, positive outside.
        let beyond = |row: f64, column: f64| {
            let (dr, dc) = (row - middle - centre[0], column - middle - centre[1]);
            match self {
                Shape::Disk => dr.hypot(dc) - p[0],
                Shape::Line => {
                    let along = (dc * cos + dr * sin).abs() - 0.5 * p[0];
                    (dr * cos - dc * sin).hypot(along.max(0.0)) - p[2]
                }
            }
        };
        let share = |beyond: f64| (0.5 - 4.0 * beyond).clamp(0.0, 1.0);
        let part = |k: usize| (k as f64 + 0.5) / 4.0 - 0.5;
        let mut weights = vec![0.0; size * size];
        for (at, weight) in weights.iter_mut().enumerate() {
            let (row, column) = ((at / size) as f64, (at % size) as f64);
            let own = beyond(row, column);
            *weight = if own.abs() > CLEAR_OF_EDGE {
                16.0 * share(own)
            } else {
                (0..16)
                    .map(|sub| share(beyond(row + part(sub / 4), column + part(sub % 4))))
                    .sum()
            };
        }
        let sum: f64 = weights.iter().sum();
        if sum <= 0.0 {
            return None;
        }
        weights.iter_mut().for_each(|w| *w /= sum);
        Some(weights)
    }
}

/// Shapes that explain the data of `problem` best, two at most, the better first. `gaussian` is the best Gaussian
/// (K², row-major), `centre` its centre's offset. With a `least`, none where no other shape is better than it by
/// that much (of minus twice the log-likelihood).
pub(super) fn shapes(
    problem: &Problem,
    gaussian: &[f64],
    centre: [f64; 2],
    learn_centre: bool,
    least: Option<f64>,
) -> Vec<FreeKernel> {
    let mut starts = vec![(
        problem.score(gaussian).0,
        gaussian.to_vec(),
        "a Gaussian".to_string(),
    )];
    let reach = problem.kernel as f64 / 2.0;
    let fit = |shape| fit_shape(problem, shape, reach, centre, learn_centre);
    let (disk, line) = rayon::join(|| fit(Shape::Disk), || fit(Shape::Line));
    for (shape, fitted) in [(Shape::Disk, disk), (Shape::Line, line)] {
        if let Some((score, p, weights)) = fitted {
            let words = match shape {
                Shape::Disk => format!("a disk of radius {:.2} pixels", p[0]),
                Shape::Line => format!(
                    "a line {:.2} pixels long and {:.2} wide at {:.2} rad",
                    p[0] + 2.0 * p[2],
                    2.0 * p[2],
                    p[1].rem_euclid(std::f64::consts::PI)
                ),
            };
            starts.push((score, weights, words));
        }
    }
    let own = starts[0].0;
    if least.is_some_and(|least| starts[1..].iter().all(|other| own - other.0 < least)) {
        return Vec::new();
    }
    starts.sort_by(|a, b| a.0.total_cmp(&b.0));
    // A second start is worth its time where it is another kernel and programmes are cheap.
    let far = |a: &[f64], b: &[f64]| {
        let distance: f64 = a.iter().zip(b).map(|(x, y)| (x - y).powi(2)).sum();
        distance > 0.01 * a.iter().map(|x| x * x).sum::<f64>()
    };
    let second = support(&starts[0].1, problem.kernel).len() <= MANY
        && starts.get(1).is_some_and(|other| far(&starts[0].1, &other.1));
    starts.truncate(if second { 2 } else { 1 });
    let found = |(_, weights, shape)| FreeKernel { weights, shape };
    starts.into_iter().map(found).collect()
}

/// Lets each of `starts` depart from its shape and returns the kernel of the highest evidence.
pub(super) fn refine(problem: &Problem, starts: Vec<FreeKernel>) -> Option<FreeKernel> {
    starts
        .into_iter()
        .map(|start| {
            let (evidence, weights) = depart(problem, &start.weights);
            (evidence, FreeKernel { weights, ..start })
        })
        .min_by(|a, b| a.0.total_cmp(&b.0))
        .map(|best| best.1)
}

type Fitted = (f64, Vec<f64>, Vec<f64>);

/// Best parameters of a shape: a coarse grid, then the simplex method of Nelder and Mead from its two best points.
fn fit_shape(
    problem: &Problem,
    shape: Shape,
    reach: f64,
    centre: [f64; 2],
    learn_centre: bool,
) -> Option<Fitted> {
    let mut grid: Vec<Vec<f64>> = Vec::new();
    for k in 1..=8 {
        let length = reach * f64::from(k) / 8.0;
        match shape {
            Shape::Disk => grid.push(vec![length.max(0.5), centre[0], centre[1]]),
            Shape::Line => {
                for a in 0..8 {
                    let angle = std::f64::consts::PI * f64::from(a) / 8.0;
                    grid.push(vec![2.0 * length, angle, 0.6, centre[0], centre[1]]);
                }
            }
        }
    }
    let shape_size = grid[0].len() - 2;
    let free = if learn_centre { shape_size + 2 } else { shape_size };
    let score = |p: &[f64]| match shape.kernel(p, problem.kernel) {
        Some(kernel) => problem.score(&kernel).0,
        None => f64::INFINITY,
    };
    let scores = problem.scores(&grid, |p| shape.kernel(p, problem.kernel));
    let mut scored: Vec<(f64, Vec<f64>)> = scores.into_iter().zip(grid).collect();
    scored.sort_by(|a, b| a.0.total_cmp(&b.0));
    let step = [0.1 * reach, 0.15, 0.15, 0.3, 0.3];
    let steps: &[f64] = match shape {
        Shape::Disk => &[0.1, 0.02, 0.02],
        Shape::Line => &step,
    };
    scored.truncate(2);
    let found: Vec<(f64, Vec<f64>)> = scored
        .par_iter()
        .map(|(_, p)| simplex(p, &steps[..free], &score))
        .collect();
    found
        .into_iter()
        .filter_map(|(value, p)| shape.kernel(&p, problem.kernel).map(|kernel| (value, p, kernel)))
        .min_by(|a, b| a.0.total_cmp(&b.0))
}

/// Minimum of `score` over the first `steps.len()` entries of `start` (Nelder and Mead 1965).
fn simplex(start: &[f64], steps: &[f64], score: &dyn Fn(&[f64]) -> f64) -> (f64, Vec<f64>) {
    let free = steps.len();
    let mut corners: Vec<(f64, Vec<f64>)> = (0..=free)
        .map(|k| {
            let mut p = start.to_vec();
            if k > 0 {
                p[k - 1] += steps[k - 1];
            }
            (score(&p), p)
        })
        .collect();
    for _ in 0..60 * free {
        corners.sort_by(|a, b| a.0.total_cmp(&b.0));
        if corners[free].0 - corners[0].0 < 1e-6 {
            break;
        }
        let (worst, last) = (corners[free].clone(), corners[free - 1].0);
        let along = |t: f64| {
            let mut p = worst.1.clone();
            for (k, x) in p.iter_mut().enumerate().take(free) {
                let middle = corners[..free].iter().map(|c| c.1[k]).sum::<f64>() / free as f64;
                *x = middle + t * (*x - middle);
            }
            (score(&p), p)
        };
        let mirrored = along(-1.0);
        let next = if mirrored.0 < corners[0].0 {
            let further = along(-2.0);
            if further.0 < mirrored.0 { further } else { mirrored }
        } else if mirrored.0 < last {
            mirrored
        } else if mirrored.0 < worst.0 {
            along(-0.5)
        } else {
            along(0.5)
        };
        if next.0 < worst.0 {
            corners[free] = next;
        } else {
            let best = corners[0].1.clone();
            for corner in &mut corners[1..] {
                for (x, b) in corner.1.iter_mut().zip(&best) {
                    *x = 0.5 * (*x + b);
                }
                corner.0 = score(&corner.1);
            }
        }
    }
    corners.sort_by(|a, b| a.0.total_cmp(&b.0));
    corners.swap_remove(0)
}

/// Lets the weights depart from `start`; returns minus twice the log-evidence and the kernel.
fn depart(problem: &Problem, start: &[f64]) -> (f64, Vec<f64>) {
    let support = support(start, problem.kernel);
    let size = support.len();
    let largest = start.iter().fold(0.0, |a: f64, &b| a.max(b));
    let (departures, steps): (&[f64], usize) = if size > MANY {
        (&DEPARTURES[1..4], STEPS / 2)
    } else {
        (&DEPARTURES, STEPS)
    };
    let bands: Vec<(&Eliminator, Quadratic)> = (0..problem.windows.bands())
        .into_par_iter()
        .map(|j| {
            let eliminator = problem.eliminator(j);
            (
                eliminator,
                eliminator.quadratic(&problem.windows.band(j, &support)),
            )
        })
        .collect();
    let score = |c: &DVector<f64>| -> f64 {
        bands
            .iter()
            .map(|(eliminator, quadratic)| eliminator.eliminate_weights(quadratic, c).score)
            .sum()
    };
    let origin = DVector::from_iterator(size, support.iter().map(|&k| start[k]));
    let priors = [DMatrix::identity(size, size), laplacian(&support, problem.kernel)];
    let cases: Vec<(&DMatrix<f64>, f64)> = priors
        .iter()
        .flat_map(|prior| departures.iter().map(move |&share| (prior, share)))
        .collect();
    let tried: Vec<(f64, DVector<f64>)> = cases
        .into_par_iter()
        .filter_map(|(prior, share)| {
            let precision = prior / (share * largest).powi(2);
            let mut c = origin.clone();
            let mut hessian = DMatrix::zeros(size, size);
            for _ in 0..steps {
                hessian.fill(0.0);
                let mut pull = &precision * &origin;
                for (eliminator, quadratic) in &bands {
                    let freedom = (quadratic.pixels.max(2) - 1) as f64;
                    let left = eliminator.eliminate_weights(quadratic, &c);
                    let spread = &quadratic.spread * &c;
                    let variance = c.dot(&spread).max(f64::MIN_POSITIVE);
                    hessian += eliminator.form(quadratic, left.lambda) * (freedom / (left.misfit * variance));
                    pull += spread * (freedom / variance);
                }
                // A heavy weight holds the sum at 1; what is left of the deviation is divided out.
                let weight = 10.0 * hessian.diagonal().max().max(precision.diagonal().max());
                pull.add_scalar_mut(weight);
                let next = non_negative(&(&hessian + &precision).add_scalar(weight), &pull);
                let sum = next.sum();
                if !(sum > 0.0 && sum.is_finite()) {
                    break;
                }
                let moved = (&next / sum - &c).norm();
                c = next / sum;
                if moved < 1e-6 * c.norm() {
                    break;
                }
            }
            let departed = &c - &origin;
            let volume = log_determinant(&hessian + &precision)? - log_determinant(precision.clone())?;
            let evidence = score(&c) + departed.dot(&(&precision * &departed)) + volume;
            evidence.is_finite().then_some((evidence, c))
        })
        .collect();
    let best = tried.into_iter().fold(
        (score(&origin), origin.clone()),
        |a, b| if b.0 < a.0 { b } else { a },
    );
    let mut kernel = vec![0.0; start.len()];
    let sum = best.1.sum();
    for (&k, w) in support.iter().zip(best.1.iter()) {
        kernel[k] = w / sum;
    }
    (best.0, kernel)
}

fn log_determinant(matrix: DMatrix<f64>) -> Option<f64> {
    let lower = matrix.cholesky()?.l();
    Some(2.0 * lower.diagonal().iter().map(|x| x.ln()).sum::<f64>())
}

/// Weights that may be positive: all of a small window; in a large one the surroundings of the start.
fn support(start: &[f64], size: usize) -> Vec<usize> {
    if size * size <= MANY {
        return (0..size * size).collect();
    }
    let largest = start.iter().fold(0.0, |a: f64, &b| a.max(b));
    let margin = 3;
    (0..size * size)
        .filter(|&k| {
            let (r, c) = (k / size, k % size);
            (r.saturating_sub(margin)..(r + margin + 1).min(size)).any(|i| {
                (c.saturating_sub(margin)..(c + margin + 1).min(size))
                    .any(|j| start[i * size + j] > 0.02 * largest)
            })
        })
        .collect()
}

/// Five-point Laplacian on the support, zero around it: neighbouring departures are alike.
fn laplacian(support: &[usize], size: usize) -> DMatrix<f64> {
    DMatrix::from_fn(support.len(), support.len(), |a, b| {
        let (a, b) = (support[a], support[b]);
        let apart = (a / size).abs_diff(b / size) + (a % size).abs_diff(b % size);
        match apart {
            0 => 4.0,
            1 => -1.0,
            _ => 0.0,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    // The share of 4 × 4 points a pixel, with the distance from the shape's edge by its definition: of a disk from its
    // circle, of a line from the segment that it is drawn along.
    #[test]
    fn shapes_are_sampled_as_if_every_pixel_was_sampled_finely() {
        let size = 13;
        for (shape, p) in [
            (Shape::Disk, vec![3.3, 0.2, -0.4]),
            (Shape::Disk, vec![0.5, 0.0, 0.0]),
            (Shape::Line, vec![7.0, 0.7, 0.6, -0.3, 0.1]),
            (Shape::Line, vec![9.5, 2.9, 2.0, 0.0, 0.0]),
        ] {
            let centre = &p[p.len() - 2..];
            let outside = |row: f64, column: f64| match shape {
                Shape::Disk => (row * row + column * column).sqrt() - p[0],
                Shape::Line => {
                    let (dr, dc) = (p[1].sin(), p[1].cos());
                    let along = (row * dr + column * dc).clamp(-0.5 * p[0], 0.5 * p[0]);
                    (row - along * dr).hypot(column - along * dc) - p[2]
                }
            };
            let mut expected = vec![0.0; size * size];
            for (at, weight) in expected.iter_mut().enumerate() {
                for point in 0..16 {
                    let place = |pixel: usize, part: usize, centre: f64| {
                        pixel as f64 + (part as f64 - 1.5) / 4.0 - 0.5 * (size as f64 - 1.0) - centre
                    };
                    let row = place(at / size, point / 4, centre[0]);
                    let column = place(at % size, point % 4, centre[1]);
                    *weight += (0.5 - 4.0 * outside(row, column)).clamp(0.0, 1.0);
                }
            }
            let sum: f64 = expected.iter().sum();
            let found = shape.kernel(&p, size).unwrap();
            for (at, (a, b)) in found.iter().zip(&expected).enumerate() {
                assert!(
                    (a - b / sum).abs() < 1e-12,
                    "{p:?}, weight {at}: {a} for {}",
                    b / sum
                );
            }
        }
    }
}
