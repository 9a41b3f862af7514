//! SFIM: smoothing-filter-based intensity modulation, with a synthesised sharp band for every HSI band.
//!
//! [`CITATION`], eq. 9: X̂_k = X̃_k · P_k / P̄_k, P̄_k the mean of P_k over a window of one LR pixel (s×s) and X̃_k the expanded
//! band. For an MSI the sharp band P_k is synthesised: the least-squares fit of X_k by all bands of (Y∗C)↓ and 1, applied to Y
//! (hypersharpening, Selva et al. 2015).
//!
//! Written as X̃ + g (P − P̄) with the gain g = X̃ / P̄, which means nothing where P̄ is about zero and is near 1 elsewhere: it is
//! held between 0 and 2, and is 1 where P̄ is below 1e-3 of the mean of |X_k|. Without that single pixels beside bright edges, where expanded
//! bands undershoot, cost whole images tens of dB.

use ndarray::{Array3, ArrayView3, Axis};
use rayon::prelude::*;

use super::pair::Pair;
use super::regression::Degree;
use crate::error::Result;
use crate::interrupt;

/// Where it is published.
pub const CITATION: &str = "J. G. Liu: Smoothing filter-based intensity modulation: a spectral preserve image fusion technique \
                            for improving spatial details, Int. J. Remote Sens. 21 (2000) 3461-3472";

/// The least that divides, relative to the mean absolute value of a band.
const LEAST: f32 = 1e-3;
/// The largest gain.
const MOST_GAIN: f32 = 2.0;

/// # Errors
/// As [`Pair::regression`].
pub(super) fn fuse(pair: &Pair) -> Result<Array3<f32>> {
    let regression = pair.regression(Degree::One)?;
    let sharp = pair.applied(&regression, pair.msi)?;
    interrupt::check()?;
    // The map is linear, so that it and the mean may change places.
    let smooth = pair.applied(&regression, box_mean(pair.msi, pair.scale).view())?;
    interrupt::check()?;
    Ok(modulated(pair, &sharp, &smooth))
}

/// X̃ · sharp / smooth, with the gain held.
pub(super) fn modulated(pair: &Pair, sharp: &Array3<f32>, smooth: &Array3<f32>) -> Array3<f32> {
    let bands = pair.hsi.dim().2;
    let mut least = vec![0.0f64; bands];
    let mut count = 0.0;
    for (_, hsi) in pair.spectra() {
        count += 1.0;
        least
            .iter_mut()
            .zip(hsi)
            .for_each(|(l, x)| *l += f64::from(x.abs()));
    }
    let least: Vec<f32> = least
        .iter()
        .map(|sum| (LEAST * (sum / f64::max(count, 1.0)) as f32).max(f32::MIN_POSITIVE))
        .collect();
    let mut out = pair.expanded(pair.hsi.view());
    out.axis_iter_mut(Axis(0))
        .into_par_iter()
        .zip(sharp.axis_iter(Axis(0)))
        .zip(smooth.axis_iter(Axis(0)))
        .for_each(|((mut out, sharp), smooth)| {
            for ((mut out, sharp), smooth) in out
                .outer_iter_mut()
                .zip(sharp.outer_iter())
                .zip(smooth.outer_iter())
            {
                for (k, x) in out.iter_mut().enumerate() {
                    let gain = if smooth[k] > least[k] {
                        (*x / smooth[k]).clamp(0.0, MOST_GAIN)
                    } else {
                        1.0
                    };
                    *x += gain * (sharp[k] - smooth[k]);
                }
            }
        });
    out
}

/// Mean over the `side` × `side` pixels around each; beyond the edges the outermost pixels go on. Of an even side the outermost of `side` + 1
/// pixels weigh half, so that the window has its middle on the pixel.
fn box_mean(image: ArrayView3<f32>, side: usize) -> Array3<f32> {
    let reach = (side / 2) as isize;
    let weights: Vec<f32> = (-reach..=reach)
        .map(|k| {
            let half = side.is_multiple_of(2) && k.abs() == reach;
            (if half { 0.5 } else { 1.0 }) / side as f32
        })
        .collect();
    let along = |image: ArrayView3<f32>, axis: usize| {
        let length = image.len_of(Axis(axis));
        let mut out = Array3::zeros(image.raw_dim());
        out.axis_iter_mut(Axis(axis))
            .into_par_iter()
            .enumerate()
            .for_each(|(at, mut line)| {
                for (k, &weight) in weights.iter().enumerate() {
                    let from = (at + k).saturating_sub(reach as usize).min(length - 1);
                    line.scaled_add(weight, &image.index_axis(Axis(axis), from));
                }
            });
        out
    };
    along(along(image, 0).view(), 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_by_hand() {
        let row = Array3::from_shape_vec((1, 5, 1), vec![0.0, 3.0, 6.0, 0.0, 9.0]).unwrap();
        let flat = |image: Array3<f32>| image.into_raw_vec_and_offset().0;
        assert_eq!(flat(box_mean(row.view(), 1)), [0.0, 3.0, 6.0, 0.0, 9.0]);
        let third = flat(box_mean(row.view(), 3));
        assert!(
            third
                .iter()
                .zip([1.0, 3.0, 3.0, 5.0, 6.0])
                .all(|(a, b)| (a - b).abs() < 1e-6)
        );
        // A half, a whole and a half of three neighbours.
        let two = flat(box_mean(row.view(), 2));
        assert!(
            two.iter()
                .zip([0.75, 3.0, 3.75, 3.75, 6.75])
                .all(|(a, b)| (a - b).abs() < 1e-6)
        );
    }
}
