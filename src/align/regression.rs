//! The MSI regressed on the HSI's components, where some pixels may show something else: a cloud, a change, a dead detector.
//!
//! Errors are taken to follow Student's t distribution, over all channels of a pixel at once, with a scale for each channel.
//! Its tails are heavy, so a pixel that nothing explains costs the logarithm of its error and draws nothing with it. The fit
//! is expectation maximisation (Lange, Little and Taylor 1989), with the scale's faster step (Kent, Tyler and Vardi 1994).

use nalgebra::{Cholesky, DMatrix, Dyn};

/// Degrees of freedom of the errors.
const TAIL: f64 = 4.0;
/// Steps of expectation maximisation at most, and the change of a weight at which they end.
const STEPS: usize = 30;
const SETTLED: f64 = 1e-3;
/// Runs of neighbouring pixels that a fit starts from, and steps from each before the likeliest goes on: where a cloud covers
/// much of the image, some of them are clear.
const RUNS: usize = 5;
const TRIED: usize = 3;
/// Share of a channel's variance below which what is left of it is rounding: a channel that the HSI tells exactly must not rule
/// alone.
const ROUNDING: f64 = 1e-8;

/// Errors of pixels (rows) by channels, as a distribution sees them.
#[derive(Debug, Clone)]
struct Tails {
    /// Squared scale of each channel.
    scale: Vec<f64>,
    /// Weight of each pixel: 1 + channels / [`TAIL`] where its errors are 0, falling towards 0.
    weight: Vec<f64>,
    /// Logarithm of the density at all pixels, less a constant for each.
    likelihood: f64,
}

/// Squared errors in units of the scale, summed over channels.
fn distances(left: &DMatrix<f64>, scale: &[f64]) -> Vec<f64> {
    let mut sums = vec![0.0; left.nrows()];
    for (column, scale) in left.column_iter().zip(scale) {
        sums.iter_mut()
            .zip(column.iter())
            .for_each(|(sum, x)| *sum += x * x / scale);
    }
    sums
}

/// What a pixel at this distance costs, without the scale's part.
fn cost(distance: f64, channels: usize) -> f64 {
    0.5 * (TAIL + channels as f64) * (distance / TAIL).ln_1p()
}

impl Tails {
    fn start(left: usize) -> Vec<f64> {
        vec![1.0; left]
    }

    /// One step: scale from weights, then weights from the scale. `free` numbers of each channel were fitted.
    fn of(left: &DMatrix<f64>, weight: &[f64], free: usize, least: &[f64]) -> Tails {
        let (n, channels) = left.shape();
        let sum: f64 = weight.iter().sum();
        let unbiased = n as f64 / (n - free.min(n - 1)) as f64 / sum;
        let scale: Vec<f64> = left
            .column_iter()
            .zip(least)
            .map(|(column, least)| {
                let sum: f64 = column.iter().zip(weight).map(|(x, w)| w * x * x).sum();
                (unbiased * sum).max(*least)
            })
            .collect();
        let distances = distances(left, &scale);
        let logarithms: f64 = scale.iter().map(|s| s.ln()).sum();
        Tails {
            weight: distances
                .iter()
                .map(|d| (TAIL + channels as f64) / (TAIL + d))
                .collect(),
            likelihood: -0.5 * n as f64 * logarithms
                - distances.iter().map(|&d| cost(d, channels)).sum::<f64>(),
            scale,
        }
    }

    /// With the scale that suits these errors best.
    fn settled(left: &DMatrix<f64>, free: usize, least: &[f64]) -> Tails {
        let mut tails = Tails::of(left, &Tails::start(left.nrows()), free, least);
        for _ in 0..STEPS {
            let next = Tails::of(left, &tails.weight, free, least);
            let moved = change(&tails.weight, &next.weight);
            tails = next;
            if moved < SETTLED {
                break;
            }
        }
        tails
    }
}

fn change(before: &[f64], after: &[f64]) -> f64 {
    before
        .iter()
        .zip(after)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f64::max)
}

/// Least scales of channels: parts of their variance about the mean.
fn least(value: &DMatrix<f64>) -> Vec<f64> {
    value
        .column_iter()
        .map(|column| (ROUNDING * column.variance()).max(1e-30))
        .collect()
}

/// The logarithm of the density of values about a constant of their own; `None` where there are too few.
fn about_constant(value: &DMatrix<f64>) -> Option<Tails> {
    let ones = DMatrix::from_element(value.nrows(), 1, 1.0);
    Regression::fitted(&ones, value, None).map(|r| r.tails)
}

/// How much better values are told by errors `left` than by a constant, each with its own scale; nats.
pub fn gain(value: &DMatrix<f64>, left: &DMatrix<f64>) -> f64 {
    let tails = Tails::settled(left, 0, &least(value));
    about_constant(value).map_or(0.0, |constant| tails.likelihood - constant.likelihood)
}

/// A regression of channels on components, with the weights it gives to pixels.
pub struct Regression {
    /// (1 + components) × channels.
    pub coefficients: DMatrix<f64>,
    /// Of each pixel by channel.
    pub left: DMatrix<f64>,
    /// Weighted.
    pub normal: Cholesky<f64, Dyn>,
    tails: Tails,
}

impl Regression {
    /// Of `value` (pixels × channels) on `known` (pixels × numbers, the first of them 1). `weight` are those of a regression
    /// nearby, which saves steps; without them it starts from all pixels and from each of some runs of neighbours, of which
    /// the likeliest goes on. `None` where there are too few pixels.
    pub fn fitted(known: &DMatrix<f64>, value: &DMatrix<f64>, weight: Option<&[f64]>) -> Option<Regression> {
        let (n, numbers) = known.shape();
        if n < 2 * numbers || n == 0 {
            return None;
        }
        let least = least(value);
        let stepped = |weight: &[f64]| Regression::step(known, value, weight, &least);
        let mut regression = match weight {
            Some(weight) if weight.len() == n => stepped(weight)?,
            _ => {
                let run = n.div_ceil(RUNS).max(2 * numbers);
                let runs = (0..n).step_by(run).map(|first| first..(first + run).min(n));
                let starts =
                    std::iter::once(0..n).chain(runs.filter(|r| r.len() < n && r.len() >= 2 * numbers));
                let likelier = starts.filter_map(|run| {
                    let start: Vec<f64> = (0..n).map(|i| f64::from(u8::from(run.contains(&i)))).collect();
                    let mut at = stepped(&start)?;
                    for _ in 0..TRIED {
                        at = stepped(&at.tails.weight)?;
                    }
                    Some(at)
                });
                likelier.max_by(|a, b| a.tails.likelihood.total_cmp(&b.tails.likelihood))?
            }
        };
        for _ in 0..STEPS {
            let next = stepped(&regression.tails.weight)?;
            let moved = change(&regression.tails.weight, &next.tails.weight);
            regression = next;
            if moved < SETTLED {
                break;
            }
        }
        Some(regression)
    }

    /// One step of expectation maximisation from these weights.
    fn step(known: &DMatrix<f64>, value: &DMatrix<f64>, weight: &[f64], least: &[f64]) -> Option<Regression> {
        let numbers = known.ncols();
        let mut weighted = known.clone();
        for mut column in weighted.column_iter_mut() {
            column.iter_mut().zip(weight).for_each(|(x, w)| *x *= w);
        }
        let mut normal = weighted.tr_mul(known);
        let ridge = 1e-10 * normal.trace() / numbers as f64;
        (0..numbers).for_each(|k| normal[(k, k)] += ridge);
        let normal = normal.cholesky()?;
        let coefficients = normal.solve(&weighted.tr_mul(value));
        let left = value - known * &coefficients;
        Some(Regression {
            tails: Tails::of(&left, weight, numbers, least),
            coefficients,
            left,
            normal,
        })
    }

    /// Pixels that it is made of.
    pub fn pixels(&self) -> usize {
        self.left.nrows()
    }

    /// Weight of each pixel.
    pub fn weight(&self) -> &[f64] {
        &self.tails.weight
    }

    /// Squared scale of the errors of each channel.
    pub fn scale(&self) -> &[f64] {
        &self.tails.scale
    }

    /// How much better than by constants the values are told; nats.
    pub fn evidence(&self, value: &DMatrix<f64>) -> f64 {
        about_constant(value).map_or(0.0, |constant| self.tails.likelihood - constant.likelihood)
    }

    /// Share of the variance of the pixels it believes that is left, over all channels.
    pub fn misfit(&self, value: &DMatrix<f64>) -> f64 {
        let sum = |scale: &[f64]| scale.iter().sum::<f64>();
        about_constant(value).map_or(1.0, |all| {
            (sum(&self.tails.scale) / sum(&all.scale).max(1e-30)).min(1.0)
        })
    }

    /// Less the logarithm of the density that it gives to other pixels, one for each.
    pub fn costs(&self, known: &DMatrix<f64>, value: &DMatrix<f64>) -> Vec<f64> {
        let left = value - known * &self.coefficients;
        let logarithms: f64 = self.tails.scale.iter().map(|s| s.ln()).sum();
        distances(&left, &self.tails.scale)
            .into_iter()
            .map(|d| cost(d, left.ncols()) + 0.5 * logarithms)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two channels that one component tells, with small errors; every fifth pixel from `first` on shows something else.
    fn seen(first: usize) -> (DMatrix<f64>, DMatrix<f64>) {
        let wave = |k: usize, f: f64| (f * k as f64).sin();
        let known = DMatrix::from_fn(120, 2, |k, j| if j == 0 { 1.0 } else { wave(k, 0.7) });
        let value = DMatrix::from_fn(120, 2, |k, b| {
            if k >= first && k % 5 == 0 {
                return 9.0 + wave(k, 3.1);
            }
            (1.0 + b as f64) * wave(k, 0.7) + 0.5 + 0.01 * wave(k + b, 2.3)
        });
        (known, value)
    }

    #[test]
    fn pixels_that_nothing_explains_draw_nothing_with_them() {
        let (known, value) = seen(0);
        let regression = Regression::fitted(&known, &value, None).unwrap();
        let expected = [[0.5, 0.5], [1.0, 2.0]];
        for (k, row) in expected.iter().enumerate() {
            for (b, expected) in row.iter().enumerate() {
                assert!((regression.coefficients[(k, b)] - expected).abs() < 0.01);
            }
        }
        let weights = regression.weight();
        assert!(weights[0] < 1e-3 && weights[1] > 0.5);
        assert!(regression.misfit(&value) < 0.01);
        // From weights nearby the same is found.
        let again = Regression::fitted(&known, &value, Some(regression.weight())).unwrap();
        assert!((again.evidence(&value) - regression.evidence(&value)).abs() < 0.5);
        assert!(Regression::fitted(&known.rows(0, 3).into(), &value.rows(0, 3).into(), None).is_none());
    }

    #[test]
    fn evidence_and_gain_tell_what_is_known_from_what_is_not() {
        let (known, value) = seen(120);
        let regression = Regression::fitted(&known, &value, None).unwrap();
        assert!(regression.evidence(&value) > 500.0);
        assert!(gain(&value, &regression.left) > 500.0);
        let costs: f64 = regression.costs(&known, &value).iter().sum();
        assert!((costs + regression.tails.likelihood).abs() < 1e-6 * costs.abs());
        let other = DMatrix::from_fn(120, 2, |k, j| if j == 0 { 1.0 } else { (1.9 * k as f64).cos() });
        let none = Regression::fitted(&other, &value, None).unwrap();
        assert!(none.evidence(&value).abs() < 5.0, "{}", none.evidence(&value));
        assert!(none.misfit(&value) > 0.9);
    }
}
