//! LR pixels that the others cannot explain: clouds, shadows, changes, dead detectors.
//!
//! (Y∗C)↓ is fitted to the leading components of X by iteratively reweighted least squares, with a scale from the median, so that
//! what a minority does leaves the fit alone (Holland and Welsch, Commun. Stat. A6, 1977). What lies far off and together is
//! suspect. It is left out only where the rest is then explained much better. Edges that a PSF blurs otherwise lie off, too: of several
//! PSFs that one is taken by which most pixels are explained best.

use nalgebra::DMatrix;
use ndarray::{Array2, Array3, ArrayView2, ArrayView3};

use crate::evidence::agreement::components;

/// Components of X, and pixels that each of them takes at least.
const COMPONENTS: usize = 8;
const PIXELS_PER_COMPONENT: usize = 12;
/// Rounds of reweighting with weights 1/|r|, and then with Tukey's, whose reach is so many σ.
const ROUNDS: usize = 12;
const REACH: f64 = 4.685;
/// Deviations from which on a pixel is suspect, and from which on beside one that is.
const FAR: f64 = 6.0;
const BESIDE: f64 = 3.0;
/// Fewest pixels together.
const TOGETHER: usize = 3;
/// Largest share of the pixels.
const MOST: f64 = 0.35;
/// What the others leave of their residual without the suspects, at most.
const RELIEF: f64 = 0.7;
/// What the suspects do to the others' residual matters from this share of the MSI's deviation on.
const HARM: f64 = 0.03;
/// Median of the absolute value of a standard normal.
const MEDIAN_ABSOLUTE: f64 = 0.674_489_75;

/// How (Y∗C)↓ is explained by X as most pixels have it.
struct Explained {
    /// (Y∗C)↓, columns with mean 0 and deviation 1.
    wanted: DMatrix<f64>,
    /// What is left of each pixel.
    off: Vec<f64>,
    /// Deviation of what is left, from its median.
    sigma: f64,
}

impl Explained {
    /// `None` where most pixels are explained exactly, or nothing can be solved for.
    fn new(inputs: &DMatrix<f64>, wanted: DMatrix<f64>) -> Option<Explained> {
        let mut off = residual(inputs, &wanted, &vec![1.0; wanted.nrows()])?;
        for round in 0..2 * ROUNDS {
            let sigma = deviation(&off)?;
            let weights: Vec<f64> = off
                .iter()
                .map(|r| {
                    if round < ROUNDS {
                        sigma / r.max(0.1 * sigma)
                    } else {
                        (1.0 - (r / (REACH * sigma)).min(1.0).powi(2)).powi(2)
                    }
                })
                .collect();
            off = residual(inputs, &wanted, &weights)?;
        }
        Some(Explained {
            sigma: deviation(&off)?,
            wanted,
            off,
        })
    }
}

/// Deviation of a majority, by the median; `None` for 0.
fn deviation(off: &[f64]) -> Option<f64> {
    median(off)
        .map(|m| m / MEDIAN_ABSOLUTE)
        .filter(|&sigma| sigma > 0.0)
}

/// What a weighted fit leaves of each row.
fn residual(inputs: &DMatrix<f64>, wanted: &DMatrix<f64>, weights: &[f64]) -> Option<Vec<f64>> {
    fitted(inputs, wanted, weights).map(|fit| norms(&(wanted - fit)))
}

/// 0 for an LR pixel that is in order or was not usable, 1 where the HSI is suspect, 2 where the MSI is; `None` where nothing
/// is. `lr_msis` are (Y∗C)↓, h×w×b each, by the PSFs that are plausible.
pub fn suspects(
    lr_hsi: ArrayView3<f32>,
    lr_msis: &[Array3<f32>],
    usable: ArrayView2<bool>,
) -> Option<Array2<u8>> {
    let places: Vec<(usize, usize)> = usable
        .indexed_iter()
        .filter(|(_, ok)| **ok)
        .map(|(at, _)| at)
        .collect();
    let count = (places.len() / PIXELS_PER_COMPONENT).min(COMPONENTS);
    if count < 2 {
        return None;
    }
    let scores = standard(components(lr_hsi, &places, count));
    let n = places.len();
    // As many as there are bands, at most.
    let columns = scores.ncols();
    let inputs = scores.clone().insert_column(columns, 1.0);
    let mut best: Option<Explained> = None;
    for lr_msi in lr_msis {
        let seen = |k: usize, j: usize| f64::from(lr_msi[[places[k].0, places[k].1, j]]);
        let wanted = standard(DMatrix::from_fn(n, lr_msi.dim().2, seen));
        let explained = Explained::new(&inputs, wanted)?;
        if best.as_ref().is_none_or(|best| explained.sigma < best.sigma) {
            best = Some(explained);
        }
    }
    let Explained { wanted, off, sigma } = best?;
    let residual = |weights: &[f64]| residual(&inputs, &wanted, weights);
    let mut deviation = Array2::zeros(usable.dim());
    places
        .iter()
        .zip(&off)
        .for_each(|(&at, r)| deviation[at] = r / sigma);
    let found = connected(&deviation);
    let kept: Vec<f64> = places.iter().map(|&at| f64::from(u8::from(!found[at]))).collect();
    let suspected = n as f64 - kept.iter().sum::<f64>();
    if suspected == 0.0 || suspected > MOST * n as f64 {
        return None;
    }
    let rest = |off: &[f64]| off.iter().zip(&kept).map(|(r, k)| k * r * r).sum::<f64>().sqrt();
    let (without, with) = (rest(&residual(&kept)?), rest(&residual(&vec![1.0; n])?));
    if without > RELIEF * with || with < HARM * (n as f64 - suspected).sqrt() {
        return None;
    }
    // The one of the two images that is the stranger there.
    let strange = |image: &DMatrix<f64>| -> Option<Vec<f64>> {
        let mut most = vec![0.0f64; n];
        for column in image.column_iter() {
            let good: Vec<f64> = column
                .iter()
                .zip(&kept)
                .filter(|(_, k)| **k > 0.0)
                .map(|(x, _)| *x)
                .collect();
            let middle = median(&good)?;
            let width =
                median(&good.iter().map(|x| (x - middle).abs()).collect::<Vec<_>>())?.max(f64::MIN_POSITIVE);
            most.iter_mut()
                .zip(&column)
                .for_each(|(m, x)| *m = m.max((x - middle).abs() / width));
        }
        Some(most)
    };
    let (in_hsi, in_msi) = (strange(&scores)?, strange(&wanted)?);
    let mut marks = Array2::zeros(usable.dim());
    for (k, &at) in places.iter().enumerate() {
        if found[at] {
            marks[at] = if in_hsi[k] >= in_msi[k] { 1 } else { 2 };
        }
    }
    Some(marks)
}

/// Columns with mean 0 and deviation 1 (0 for one of a single value).
fn standard(mut image: DMatrix<f64>) -> DMatrix<f64> {
    for mut column in image.column_iter_mut() {
        let mean = column.mean();
        column.add_scalar_mut(-mean);
        let norm = column.norm() / (column.len() as f64).sqrt();
        if norm > 0.0 {
            column /= norm;
        }
    }
    image
}

/// Weighted least squares fit of `wanted` to `inputs`.
fn fitted(inputs: &DMatrix<f64>, wanted: &DMatrix<f64>, weights: &[f64]) -> Option<DMatrix<f64>> {
    let mut weighed = inputs.clone();
    for (mut row, &w) in weighed.row_iter_mut().zip(weights) {
        row *= w;
    }
    let mut normal = weighed.tr_mul(inputs);
    let ridge = 1e-9 * normal.trace() / normal.nrows() as f64 + f64::MIN_POSITIVE;
    (0..normal.nrows()).for_each(|j| normal[(j, j)] += ridge);
    Some(inputs * normal.cholesky()?.solve(&weighed.tr_mul(wanted)))
}

/// Root mean square of every row.
fn norms(rows: &DMatrix<f64>) -> Vec<f64> {
    let columns = (rows.ncols() as f64).sqrt();
    rows.row_iter().map(|row| row.norm() / columns).collect()
}

fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied()
}

/// Pixels far off, grown by those beside them that are off, in groups of at least [`TOGETHER`].
fn connected(deviation: &Array2<f64>) -> Array2<bool> {
    let (rows, columns) = deviation.dim();
    let mut group = Array2::from_elem((rows, columns), false);
    for (start, &z) in deviation.indexed_iter() {
        if z <= FAR || group[start] {
            continue;
        }
        let mut members = vec![start];
        group[start] = true;
        let mut next = 0;
        while let Some(&(r, c)) = members.get(next) {
            next += 1;
            for i in r.saturating_sub(1)..(r + 2).min(rows) {
                for j in c.saturating_sub(1)..(c + 2).min(columns) {
                    if !group[[i, j]] && deviation[[i, j]] > BESIDE {
                        group[[i, j]] = true;
                        members.push((i, j));
                    }
                }
            }
        }
        if members.len() < TOGETHER {
            members.iter().for_each(|&at| group[at] = false);
        }
    }
    group
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::agreement::tests::scene;

    fn all() -> Array2<bool> {
        Array2::from_elem((24, 24), true)
    }

    #[test]
    fn a_clean_pair_has_no_suspects() {
        for seed in 1..6 {
            let (hsi, msi) = scene(24, 24, seed);
            assert!(
                suspects(hsi.view(), std::slice::from_ref(&msi), all().view()).is_none(),
                "{seed}"
            );
        }
    }

    // Edges that a wrong PSF blurs otherwise are no strangers, whichever PSF comes first.
    #[test]
    fn of_several_psfs_the_one_that_fits_decides() {
        let (hsi, msi) = scene(24, 24, 3);
        let mut wrong = msi.clone();
        for ((r, c, b), x) in wrong.indexed_iter_mut() {
            // Some places are very sharp.
            let edge = if (r / 5 + c / 7) % 3 == 0 { 2.0 } else { 0.0 };
            *x += edge * (msi[[r, (c + 1).min(23), b]] - msi[[r, c, b]]);
        }
        assert!(suspects(hsi.view(), std::slice::from_ref(&wrong), all().view()).is_some());
        for both in [[wrong.clone(), msi.clone()], [msi, wrong]] {
            assert!(suspects(hsi.view(), &both, all().view()).is_none());
        }
    }

    // A cloud over 10 % of one image, and a dead column of the other: nearly all of it, next to nothing else, and the
    // right image.
    #[test]
    fn a_cloud_and_a_dead_column_are_found() {
        let (hsi, mut msi) = scene(24, 24, 1);
        let mut noise = 0.0f32;
        let cloud = |r: usize, c: usize| (4..11).contains(&r) && (10..18).contains(&c);
        for ((r, c, _), y) in msi.indexed_iter_mut() {
            noise = (noise + 0.37) % 1.0;
            *y += if cloud(r, c) { 30.0 } else { 0.0 } + 0.05 * noise;
        }
        let marks = suspects(hsi.view(), std::slice::from_ref(&msi), all().view()).unwrap();
        let hit = marks
            .indexed_iter()
            .filter(|((r, c), m)| cloud(*r, *c) && **m == 2)
            .count();
        let wrong = marks
            .indexed_iter()
            .filter(|((r, c), m)| !cloud(*r, *c) && **m > 0)
            .count();
        assert!(hit >= 53 && wrong <= 5, "{hit} {wrong}");
        let (mut hsi, msi) = scene(24, 24, 2);
        hsi.slice_mut(ndarray::s![.., 7, ..]).fill(0.0);
        let marks = suspects(hsi.view(), std::slice::from_ref(&msi), all().view()).unwrap();
        assert!(
            marks.column(7).iter().filter(|m| **m == 1).count() >= 20,
            "{:?}",
            marks.column(7)
        );
        assert!(marks.iter().filter(|m| **m > 0).count() <= 30);
    }
}
