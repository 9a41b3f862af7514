//! Weights of several predictions, band by band, from how well they predict what they have not seen.
//!
//! Stacked regression (Wolpert, Neural Networks 5, 1992; with non-negative weights Breiman, Machine Learning 24, 1996):
//! the weights are those of the least squares fit of held-out values to held-out predictions. A band alone has few
//! values, so its weights are drawn to those of all bands together, the more the less its values say.

/// Variance of a band's weights about those of all bands: bands of one scene differ by some 0.2.
const VARIANCE: f64 = 0.05;
/// Pixels that lie together err together: so many count as one.
const ALIKE: f64 = 4.0;
/// Pull of all bands' weights toward equal shares, relative to the power of each prediction: decides where predictions
/// cannot be told apart.
const EQUAL: f64 = 1e-3;
/// Sweeps of coordinate descent, and the change of a weight at which it ends.
const SWEEPS: usize = 2000;
const SETTLED: f64 = 1e-9;

/// Sums over held-out values of one band: products of the K predictions and of the target.
#[derive(Debug, Clone)]
pub struct Products {
    /// K × K, predictions with each other.
    pub predictions: Vec<f64>,
    /// K, predictions with the target.
    pub target: Vec<f64>,
    /// The target with itself.
    pub power: f64,
}

/// Weights of K predictions.
#[derive(Debug, Clone, PartialEq)]
pub struct Weights {
    /// Band by band, K numbers of at least 0 each.
    pub bands: Vec<Vec<f64>>,
    /// Share of the target's power that they leave, each band by itself.
    pub left: Vec<f64>,
}

impl Products {
    /// Of a target and K predictions of it (as many values each).
    pub fn of(target: &[f64], predictions: &[&[f64]]) -> Products {
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
        Products {
            predictions: predictions
                .iter()
                .flat_map(|a| predictions.iter().map(move |b| dot(a, b)))
                .collect(),
            target: predictions.iter().map(|p| dot(p, target)).collect(),
            power: dot(target, target),
        }
    }

    /// Of two sets of values that count alike, each in units of its target's power.
    pub fn with(&self, other: &Products) -> Products {
        let unit = |p: &Products| if p.power > 0.0 { 0.5 / p.power } else { 0.0 };
        let (mut sum, other) = (self.scaled(unit(self)), other.scaled(unit(other)));
        let add = |to: &mut [f64], from: &[f64]| to.iter_mut().zip(from).for_each(|(t, f)| *t += f);
        add(&mut sum.predictions, &other.predictions);
        add(&mut sum.target, &other.target);
        sum.power += other.power;
        sum
    }

    /// What a mixture leaves of the target's power, 0 to (for no prediction at all) 1.
    fn left(&self, weights: &[f64]) -> f64 {
        let k = weights.len();
        let mut left = self.power;
        for (a, &w) in weights.iter().enumerate() {
            let own: f64 = (0..k).map(|b| self.predictions[a * k + b] * weights[b]).sum();
            left += w * (own - 2.0 * self.target[a]);
        }
        (left / self.power).max(0.0)
    }

    fn scaled(&self, by: f64) -> Products {
        Products {
            predictions: self.predictions.iter().map(|x| x * by).collect(),
            target: self.target.iter().map(|x| x * by).collect(),
            power: self.power * by,
        }
    }
}

/// Weights of the predictions for every band; `values` is the number of held-out values of a band. A band whose target is
/// zero has the weights of all.
pub fn stack(bands: &[Products], values: usize) -> Weights {
    let k = bands.first().map_or(0, |b| b.target.len());
    let relative: Vec<Option<Products>> = bands
        .iter()
        .map(|band| (band.power > 0.0).then(|| band.scaled(1.0 / band.power)))
        .collect();
    let count = relative.iter().flatten().count().max(1) as f64;
    let mut all = Products {
        predictions: vec![0.0; k * k],
        target: vec![0.0; k],
        power: 1.0,
    };
    for band in relative.iter().flatten() {
        let add = |to: &mut [f64], from: &[f64]| to.iter_mut().zip(from).for_each(|(t, f)| *t += f / count);
        add(&mut all.predictions, &band.predictions);
        add(&mut all.target, &band.target);
    }
    let pull = |a: usize| EQUAL * all.predictions[a * k + a];
    let mut together = all.clone();
    for a in 0..k {
        together.predictions[a * k + a] += pull(a);
        together.target[a] += pull(a) / k as f64;
    }
    let common = non_negative(&together, &vec![1.0 / k.max(1) as f64; k]);
    let of_band = |band: &Option<Products>| match band {
        None => (common.clone(), 0.0),
        Some(band) => {
            // Posterior mode under a normal prior about the common weights, in the metric of all bands' predictions.
            let strength = ALIKE * band.left(&common) / (VARIANCE * values.max(1) as f64);
            let mut drawn = band.clone();
            for a in 0..k {
                for (b, &weight) in common.iter().enumerate() {
                    let prior = strength * all.predictions[a * k + b];
                    drawn.predictions[a * k + b] += prior;
                    drawn.target[a] += prior * weight;
                }
                drawn.predictions[a * k + a] += strength * pull(a);
                drawn.target[a] += strength * pull(a) * common[a];
            }
            let weights = non_negative(&drawn, &common);
            let left = band.left(&weights);
            (weights, left)
        }
    };
    let (bands, left) = relative.iter().map(of_band).unzip();
    Weights { bands, left }
}

/// Weights of at least 0 that leave least, by cyclic coordinate descent from `start`.
fn non_negative(products: &Products, start: &[f64]) -> Vec<f64> {
    let k = start.len();
    let mut weights = start.to_vec();
    for _ in 0..SWEEPS {
        let mut change = 0.0f64;
        for a in 0..k {
            let own = products.predictions[a * k + a];
            if own <= 0.0 {
                weights[a] = 0.0;
                continue;
            }
            let others: f64 = (0..k)
                .filter(|&b| b != a)
                .map(|b| products.predictions[a * k + b] * weights[b])
                .sum();
            let best = ((products.target[a] - others) / own).max(0.0);
            change = change.max((best - weights[a]).abs());
            weights[a] = best;
        }
        if change < SETTLED {
            break;
        }
    }
    weights
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{key, normals};

    const VALUES: usize = 200;

    fn noise(of: u32) -> Vec<f64> {
        let draw = |i: u32| normals::<f64>(key(9), of, 0, i / 4, 0)[i as usize % 4];
        (0..VALUES as u32).map(draw).collect()
    }

    fn sum(a: &[f64], b: &[f64], by: f64) -> Vec<f64> {
        a.iter().zip(b).map(|(x, y)| x + by * y).collect()
    }

    // Two predictions with errors of their own of variances 0.04 and 0.16: the best unbiased mixture has 0.8 and 0.2,
    // and shrinks by the noise it keeps, 1 / (1 + 0.032). From 200 values the weights of a band scatter by some 0.03.
    #[test]
    fn weights_are_those_of_the_errors() {
        let truth = noise(0);
        let bands: Vec<Products> = (0..6)
            .map(|band| {
                let first = sum(&truth, &noise(1 + band), 0.2);
                let second = sum(&truth, &noise(20 + band), 0.4);
                Products::of(&truth, &[&first, &second])
            })
            .collect();
        let found = stack(&bands, VALUES);
        for (weights, left) in found.bands.iter().zip(&found.left) {
            let wanted = [0.8 / 1.032, 0.2 / 1.032];
            assert!(
                weights.iter().zip(wanted).all(|(w, x)| (w - x).abs() < 0.1),
                "{weights:?}"
            );
            assert!((left - 0.031).abs() < 0.01, "{left}");
        }
    }

    #[test]
    fn what_predicts_nothing_or_the_opposite_has_no_weight() {
        let truth = noise(0);
        let opposite: Vec<f64> = truth.iter().map(|x| -x).collect();
        let nothing = vec![0.0; VALUES];
        let found = stack(&[Products::of(&truth, &[&opposite, &nothing, &truth])], VALUES);
        assert!(found.bands[0][0] == 0.0 && found.bands[0][1] == 0.0);
        assert!((found.bands[0][2] - 1.0).abs() < 1e-2);
    }

    // A band of four values says little and has nearly the weights of the others; one of many values has its own.
    #[test]
    fn bands_that_say_little_follow_the_others() {
        let truth = noise(0);
        let (good, bad) = (sum(&truth, &noise(1), 0.1), sum(&truth, &noise(2), 1.0));
        let all = Products::of(&truth, &[&good, &bad]);
        let other = Products::of(&truth, &[&bad, &good]);
        let mut bands = vec![all; 9];
        bands.push(other);
        let (many, few) = (stack(&bands, 100_000), stack(&bands, 4));
        assert!(many.bands[9][1] > 0.9, "{:?}", many.bands[9]);
        assert!(few.bands[9][0] > 0.3, "{:?}", few.bands[9]);
    }

    #[test]
    fn a_dead_band_is_no_number_out_of_range() {
        let truth = noise(0);
        let zeros = vec![0.0; VALUES];
        let found = stack(
            &[Products::of(&truth, &[&truth]), Products::of(&zeros, &[&zeros])],
            VALUES,
        );
        assert!(
            found
                .bands
                .iter()
                .flatten()
                .chain(&found.left)
                .all(|x| x.is_finite())
        );
    }
}
