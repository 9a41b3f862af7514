//! Weights of several predictions, from how well they predict what they have not seen.
//!
//! Stacked regression (Wolpert, Neural Networks 5, 1992; with non-negative weights Breiman, Machine Learning 24, 1996):
//! the weights are those of the least squares fit of held-out values to held-out predictions, drawn to weights that are
//! expected before anything was seen, the more the fewer the pixels. All bands have the same: weights of each band by itself
//! follow its noise and bend spectra.

use nalgebra::DMatrix;

/// Variance of the weights of scenes about the expected ones: they differ by some 0.1.
const VARIANCE: f64 = 0.01;
/// Pixels that lie together err together: so many count as one.
const ALIKE: f64 = 4.0;
/// How much the pixels count as they are once their neighbours have been asked, against as they are. On 13 pairs (×4 to ×32, one to
/// ten MSI bands) pixels as they are alone lost up to 2 dB to the best prediction, both alike 0.5, a quarter 0.3.
const ASKED: f64 = 0.25;
/// Times that the error left is taken from the weights found with it.
const ROUNDS: usize = 3;
/// Sweeps of coordinate descent, and the change of a weight at which it ends.
const SWEEPS: usize = 2000;
const SETTLED: f64 = 1e-9;

/// How K predictions are weighed.
#[derive(Debug, Clone)]
pub struct Mixture {
    /// Weights, K numbers of at least 0.
    pub weights: Vec<f64>,
    /// What the mixture leaves of the observed image, pixels × B for each part.
    pub errors: Vec<DMatrix<f64>>,
}

/// Sums over held-out values: products of the K predictions and of the target, mean over bands of equal power.
struct Products {
    /// K × K, predictions with each other.
    predictions: DMatrix<f64>,
    /// K, predictions with the target.
    target: Vec<f64>,
}

impl Products {
    fn of(images: &[Vec<DMatrix<f64>>], count: usize) -> Products {
        let bands = images.first().and_then(|i| i.first()).map_or(0, DMatrix::ncols);
        let mut sums = Products {
            predictions: DMatrix::zeros(count, count),
            target: vec![0.0; count],
        };
        let powers: Vec<f64> = (0..bands)
            .map(|band| {
                images
                    .iter()
                    .map(|part| part[0].column(band).norm_squared())
                    .sum()
            })
            .collect();
        let alive = powers.iter().filter(|power| **power > 0.0).count().max(1) as f64;
        for (band, power) in powers.iter().enumerate().filter(|(_, power)| **power > 0.0) {
            for part in images {
                for a in 0..count {
                    let own = part[1 + a].column(band);
                    sums.target[a] += own.dot(&part[0].column(band)) / (alive * power);
                    for b in 0..=a {
                        sums.predictions[(a, b)] += own.dot(&part[1 + b].column(band)) / (alive * power);
                    }
                }
            }
        }
        sums.predictions.fill_upper_triangle_with_lower_triangle();
        sums
    }

    /// These and others, which count for `share` of the whole.
    fn with(self, other: Products, share: f64) -> Products {
        let both = self.target.iter().zip(&other.target);
        Products {
            predictions: self.predictions * (1.0 - share) + other.predictions * share,
            target: both.map(|(a, b)| a * (1.0 - share) + b * share).collect(),
        }
    }

    /// What a mixture leaves of the target's power, 0 to (for no prediction at all) 1.
    fn left(&self, weights: &[f64]) -> f64 {
        let mut left = 1.0;
        for (a, &w) in weights.iter().enumerate() {
            let own: f64 = weights
                .iter()
                .enumerate()
                .map(|(b, w)| self.predictions[(a, b)] * w)
                .sum();
            left += w * (own - 2.0 * self.target[a]);
        }
        left.max(0.0)
    }

    /// These and `strength` times the squared distance of the weights from `shares`.
    fn drawn(&self, shares: &[f64], strength: f64) -> Products {
        let k = shares.len();
        Products {
            predictions: &self.predictions + DMatrix::identity(k, k) * strength,
            target: self
                .target
                .iter()
                .zip(shares)
                .map(|(t, s)| t + strength * s)
                .collect(),
        }
    }

    /// Weights of at least 0 that leave least, by cyclic coordinate descent from `start`.
    fn non_negative(&self, start: &[f64]) -> Vec<f64> {
        let k = start.len();
        let mut weights = start.to_vec();
        for _ in 0..SWEEPS {
            let mut change = 0.0f64;
            for a in 0..k {
                let own = self.predictions[(a, a)];
                let others: f64 = (0..k)
                    .filter(|&b| b != a)
                    .map(|b| self.predictions[(a, b)] * weights[b])
                    .sum();
                // What is nothing everywhere says nothing of its weight.
                if own <= 0.0 {
                    continue;
                }
                let best = ((self.target[a] - others) / own).max(0.0);
                change = change.max((best - weights[a]).abs());
                weights[a] = best;
            }
            if change < SETTLED {
                break;
            }
        }
        weights
    }
}

/// Weighs K predictions of held-out pixels. `images` has for each part of the image what was observed and the predictions of
/// it, each pixels × B, without the mean of what was observed; `asked` what is left of the same images where each pixel is
/// predicted from its neighbours; `shares` are the weights that are expected (K).
///
/// What counts is what a mixture leaves of the detail within LR pixels, of which LR pixels tell two things: what it leaves of
/// them as they are speaks for a prediction that interpolation would mend, and once neighbours were asked for one whose
/// residual happens to be smooth.
pub fn mix(images: &[Vec<DMatrix<f64>>], asked: Option<&[Vec<DMatrix<f64>>]>, shares: &[f64]) -> Mixture {
    let mut products = Products::of(images, shares.len());
    if let Some(asked) = asked {
        products = products.with(Products::of(asked, shares.len()), ASKED);
    }
    let pixels: usize = images.iter().filter_map(|i| i.first()).map(DMatrix::nrows).sum();
    let k = shares.len().max(1) as f64;
    // Posterior mode under a normal prior about the shares, in units of the predictions' power.
    let unit = ALIKE * products.predictions.trace() / (k * VARIANCE * pixels.max(1) as f64);
    let mut weights = shares.to_vec();
    for _ in 0..ROUNDS {
        let strength = unit * products.left(&weights);
        weights = products.drawn(shares, strength).non_negative(&weights);
    }
    let errors = images.iter().map(|part| {
        let mut error = part[0].clone();
        for (prediction, weight) in part[1..].iter().zip(&weights) {
            error -= prediction * *weight;
        }
        error
    });
    Mixture {
        errors: errors.collect(),
        weights,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{key, normals};

    const BANDS: usize = 6;

    fn noise(of: u32, pixels: usize) -> DMatrix<f64> {
        DMatrix::from_fn(pixels, BANDS, |i, band| {
            normals::<f64>(key(9), of, band as u32, i as u32 / 4, 0)[i % 4]
        })
    }

    // Two predictions with errors of their own of variances 0.04 and 0.16: the best unbiased mixture has 0.8 and 0.2,
    // and shrinks by the noise it keeps, 1 / (1 + 0.032).
    #[test]
    fn weights_of_many_pixels_are_those_of_the_errors() {
        let truth = noise(0, 4000);
        let (first, second) = (&truth + noise(1, 4000) * 0.2, &truth + noise(2, 4000) * 0.4);
        let found = mix(&[vec![truth.clone(), first, second]], None, &[0.5, 0.5]);
        let wanted = [0.8 / 1.032, 0.2 / 1.032];
        assert!(
            found
                .weights
                .iter()
                .zip(wanted)
                .all(|(w, x)| (w - x).abs() < 0.04),
            "{:?}",
            found.weights
        );
        let left = found.errors[0].norm_squared() / truth.norm_squared();
        assert!((left - 0.031).abs() < 0.005, "{left}");
    }

    // The same predictions at few pixels have nearly the weights that were expected.
    #[test]
    fn few_pixels_say_little() {
        let truth = noise(0, 16);
        let (first, second) = (&truth + noise(1, 16) * 0.2, &truth + noise(2, 16) * 0.4);
        let found = mix(&[vec![truth, first, second]], None, &[0.4, 0.6]).weights;
        assert!(
            (found[0] - 0.4).abs() < 0.2 && (found[1] - 0.6).abs() < 0.2,
            "{found:?}"
        );
    }

    // Of two predictions that are off alike, one by what neighbours tell.
    #[test]
    fn what_neighbours_mend_counts_less() {
        let truth = noise(0, 4000);
        let images = [vec![
            truth.clone(),
            &truth + noise(1, 4000) * 0.4,
            &truth + noise(2, 4000) * 0.4,
        ]];
        let asked = [vec![truth.clone(), truth.clone(), images[0][2].clone()]];
        let plain = mix(&images, None, &[0.5, 0.5]).weights;
        let found = mix(&images, Some(&asked), &[0.5, 0.5]).weights;
        assert!(
            (plain[0] - plain[1]).abs() < 0.05 && found[0] > found[1] + 0.1,
            "{plain:?} {found:?}"
        );
    }

    #[test]
    fn what_predicts_nothing_or_the_opposite_has_no_weight() {
        let truth = noise(0, 4000);
        let nothing = DMatrix::zeros(4000, BANDS);
        let images = [vec![truth.clone(), -&truth, nothing, truth]];
        let found = mix(&images, None, &[0.4, 0.3, 0.3]).weights;
        assert!(
            found[0] < 1e-3 && found[1] < 0.31 && (found[2] - 1.0).abs() < 1e-2,
            "{found:?}"
        );
    }

    #[test]
    fn dead_bands_and_no_pixels_give_numbers() {
        let truth = noise(0, 40);
        let mut dead = truth.clone();
        dead.column_mut(2).fill(0.0);
        let found = mix(&[vec![dead, truth]], None, &[1.0]).weights;
        assert!(found[0].is_finite() && found[0] > 0.5, "{found:?}");
        assert_eq!(mix(&[], None, &[0.5, 0.5]).weights, [0.5, 0.5]);
    }
}
