//! LR pixels that the others cannot explain: clouds, shadows, changes, dead detectors.
//!
//! (Y∗C)↓ is fitted to the leading components of X by iteratively reweighted least squares, with a scale from the median, so that
//! what a minority does leaves the fit alone (Holland and Welsch, Commun. Stat. A6, 1977). What lies far off and together is
//! suspect. It is left out only where the rest is then explained much better: edges that a PSF blurs otherwise lie off,
//! too, but do no harm.

use nalgebra::DMatrix;
use ndarray::{Array2, ArrayView2, ArrayView3};

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

/// 0 for an LR pixel that is in order or was not usable, 1 where the HSI is suspect, 2 where the MSI is; `None` where nothing
/// is. `lr_msi` is (Y∗C)↓, h×w×b.
pub fn suspects(
    lr_hsi: ArrayView3<f32>,
    lr_msi: ArrayView3<f32>,
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
    let (n, b) = (places.len(), lr_msi.dim().2);
    // As many as there are bands, at most.
    let columns = scores.ncols();
    let inputs = scores.clone().insert_column(columns, 1.0);
    let wanted = standard(DMatrix::from_fn(n, b, |k, j| {
        f64::from(lr_msi[[places[k].0, places[k].1, j]])
    }));
    let residual = |weights: &[f64]| fitted(&inputs, &wanted, weights).map(|fit| norms(&(&wanted - fit)));
    let mut weights = vec![1.0; n];
    let mut off = residual(&weights)?;
    for round in 0..2 * ROUNDS {
        let sigma = median(&off)? / MEDIAN_ABSOLUTE;
        if sigma <= 0.0 {
            return None;
        }
        weights = off
            .iter()
            .map(|r| {
                if round < ROUNDS {
                    sigma / r.max(0.1 * sigma)
                } else {
                    (1.0 - (r / (REACH * sigma)).min(1.0).powi(2)).powi(2)
                }
            })
            .collect();
        off = residual(&weights)?;
    }
    let sigma = median(&off)? / MEDIAN_ABSOLUTE;
    let mut deviation = Array2::zeros(usable.dim());
    places
        .iter()
        .zip(&off)
        .for_each(|(&at, r)| deviation[at] = r / sigma.max(f64::MIN_POSITIVE));
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
            assert!(suspects(hsi.view(), msi.view(), all().view()).is_none(), "{seed}");
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
        let marks = suspects(hsi.view(), msi.view(), all().view()).unwrap();
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
        let marks = suspects(hsi.view(), msi.view(), all().view()).unwrap();
        assert!(
            marks.column(7).iter().filter(|m| **m == 1).count() >= 20,
            "{:?}",
            marks.column(7)
        );
        assert!(marks.iter().filter(|m| **m > 0).count() <= 30);
    }
}
