//! Whether two images show one scene: how much of the LR-MSI the LR-HSI explains where they are laid upon each other, and how much
//! where one is moved.
//!
//! Every MSI band is a weighted sum of HSI bands, so a linear fit of (Y∗C)↓ to the leading principal components of X leaves
//! little at the right place. At a wrong place, as between two scenes, it leaves what any two images leave; how much that
//! is in these two is measured by moving one against the other. Nothing has to be known of sensors, units or noise.

use nalgebra::{DMatrix, SymmetricEigen};
use ndarray::{ArrayView2, ArrayView3};
use serde::Serialize;

/// Components of X at most, and pixels that each of them takes at least.
const COMPONENTS: usize = 8;
const PIXELS_PER_COMPONENT: usize = 12;
/// Side of the part of the LR grid that is looked at, from its middle.
const SIDE: usize = 40;
/// Least share of that part which must overlap when it is moved.
const OVERLAP: f64 = 0.3;
/// Moves that are tried along an axis.
const MOVES: usize = 12;
/// A ridge of this share of a component's power.
const RIDGE: f64 = 1e-9;

/// How well two images agree.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Agreement {
    /// Share of the LR-MSI's variance that the LR-HSI leaves unexplained.
    pub left: f64,
    /// The same at the best of the moves, and that move: rows and columns by which an LR pixel of the HSI lies further down and
    /// to the right than that of the MSI which it explains.
    #[serde(serialize_with = "elsewhere")]
    pub elsewhere: Option<(f64, [isize; 2])>,
    /// By how many standard deviations of the moves' logarithms `left` lies below their mean; none where they are fewer than
    /// can tell.
    pub distance: Option<f64>,
}

/// What a move leaves, and the move.
#[derive(Serialize)]
struct Elsewhere {
    left: f64,
    down: isize,
    across: isize,
}

fn elsewhere<S: serde::Serializer>(
    best: &Option<(f64, [isize; 2])>,
    to: S,
) -> std::result::Result<S::Ok, S::Error> {
    let named = |&(left, [down, across]): &(f64, [isize; 2])| Elsewhere { left, down, across };
    best.as_ref().map(named).serialize(to)
}

/// Agreement of X (h×w×B) and (Y∗C)↓ (h×w×b) over the LR pixels that are `usable`; `None` where these are too few.
pub fn agreement(
    lr_hsi: ArrayView3<f32>,
    lr_msi: ArrayView3<f32>,
    usable: ArrayView2<bool>,
) -> Option<Agreement> {
    let (rows, columns, _) = lr_hsi.dim();
    let middle = |length: usize| {
        let side = length.min(SIDE);
        let first = (length - side) / 2;
        (first, side)
    };
    let ((top, height), (left, width)) = (middle(rows), middle(columns));
    let places: Vec<(usize, usize)> = (0..height * width)
        .map(|k| (top + k / width, left + k % width))
        .collect();
    let known: Vec<(usize, usize)> = places.into_iter().filter(|&at| usable[at]).collect();
    let count = (known.len() / PIXELS_PER_COMPONENT).min(COMPONENTS);
    if count == 0 {
        return None;
    }
    let scores = components(lr_hsi, &known, count);
    // Row of `scores` of every place of the part.
    let mut number = vec![None; height * width];
    for (k, &(r, c)) in known.iter().enumerate() {
        number[(r - top) * width + c - left] = Some(k);
    }
    let moved = |by: [isize; 2]| {
        let pairs: Vec<(usize, (usize, usize))> = known
            .iter()
            .filter_map(|&(r, c)| {
                let row = (r - top).checked_add_signed(by[0]).filter(|&r| r < height)?;
                let column = (c - left).checked_add_signed(by[1]).filter(|&c| c < width)?;
                Some((number[row * width + column]?, (r, c)))
            })
            .collect();
        let enough = pairs.len() as f64 >= OVERLAP * known.len() as f64 && pairs.len() > 3 * (count + 1);
        enough.then(|| unexplained(&scores, lr_msi, &pairs))
    };
    let here = moved([0, 0])?;
    let near = height.min(width).div_ceil(6).max(2) as isize;
    let step = (height.max(width) / MOVES).max(1);
    let reach = |length: usize| (-(length as isize) / 2..=length as isize / 2).step_by(step);
    let far: Vec<(f64, [isize; 2])> = reach(height)
        .flat_map(|r| reach(width).map(move |c| [r, c]))
        .filter(|by| by[0].abs().max(by[1].abs()) >= near)
        .filter_map(|by| Some((moved(by)?, by)))
        .collect();
    let elsewhere = far.iter().copied().min_by(|a, b| a.0.total_cmp(&b.0));
    let logs: Vec<f64> = far.iter().map(|(left, _)| left.max(1e-12).ln()).collect();
    let n = logs.len() as f64;
    let mean = logs.iter().sum::<f64>() / n;
    let spread = (logs.iter().map(|l| (l - mean).powi(2)).sum::<f64>() / n).sqrt();
    Some(Agreement {
        left: here,
        elsewhere,
        distance: (far.len() >= 8).then(|| (mean - here.max(1e-12).ln()) / spread.max(0.05)),
    })
}

/// Scores of the `count` leading principal components of these pixels, pixels × count.
pub(crate) fn components(image: ArrayView3<f32>, places: &[(usize, usize)], count: usize) -> DMatrix<f64> {
    let bands = image.dim().2;
    let mut data = DMatrix::from_fn(places.len(), bands, |k, band| {
        f64::from(image[[places[k].0, places[k].1, band]])
    });
    for mut column in data.column_iter_mut() {
        let mean = column.mean();
        column.add_scalar_mut(-mean);
    }
    // The smaller of the two Gram matrices has the same eigenvalues.
    let wide = bands > places.len();
    let gram = if wide {
        &data * data.transpose()
    } else {
        data.tr_mul(&data)
    };
    let eigen = SymmetricEigen::new(gram);
    let mut order: Vec<usize> = (0..eigen.eigenvalues.len()).collect();
    order.sort_by(|&a, &b| eigen.eigenvalues[b].total_cmp(&eigen.eigenvalues[a]));
    order.truncate(count);
    let leading = eigen.eigenvectors.select_columns(&order);
    if wide { leading } else { data * leading }
}

/// Share of the variance of `lr_msi` at the second places that a linear fit to the first ones' scores leaves, mean over the bands and
/// freed of what fitting takes.
fn unexplained(scores: &DMatrix<f64>, lr_msi: ArrayView3<f32>, pairs: &[(usize, (usize, usize))]) -> f64 {
    let (n, k, b) = (pairs.len(), scores.ncols(), lr_msi.dim().2);
    let centred = |mut m: DMatrix<f64>| {
        for mut column in m.column_iter_mut() {
            let mean = column.mean();
            column.add_scalar_mut(-mean);
        }
        m
    };
    let known = centred(DMatrix::from_fn(n, k, |i, j| scores[(pairs[i].0, j)]));
    let wanted = centred(DMatrix::from_fn(n, b, |i, j| {
        f64::from(lr_msi[[pairs[i].1.0, pairs[i].1.1, j]])
    }));
    let mut normal = known.tr_mul(&known);
    let ridge = RIDGE * normal.trace() / k as f64 + f64::MIN_POSITIVE;
    (0..k).for_each(|j| normal[(j, j)] += ridge);
    let right = known.tr_mul(&wanted);
    let Some(factor) = normal.cholesky() else {
        return 1.0;
    };
    let rest = &wanted - &known * factor.solve(&right);
    let freedom = (n - 1) as f64 / (n - 1 - k) as f64;
    let shares = (0..b).filter_map(|j| {
        let power = wanted.column(j).norm_squared();
        (power > 0.0).then(|| freedom * rest.column(j).norm_squared() / power)
    });
    let (sum, count) = shares.fold((0.0, 0usize), |(s, c), x| (s + x, c + 1));
    if count == 0 {
        1.0
    } else {
        (sum / count as f64).min(1.0)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use ndarray::{Array2, Array3};

    use super::*;
    use crate::random::{key, normals};

    /// A smooth random field of a scene: `seed` names it.
    pub(crate) fn scene(rows: usize, columns: usize, seed: u64) -> (Array3<f32>, Array3<f32>) {
        let white =
            |r: usize, c: usize, m: usize| normals::<f64>(key(seed), (r * 64 + c) as u32, 0, m as u32, 0)[0];
        let smooth = Array3::from_shape_fn((rows, columns, 4), |(r, c, m)| {
            let mut sum = 0.0;
            for (i, j) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
                sum += white(r + i, c + j, m);
            }
            sum
        });
        let hsi = Array3::from_shape_fn((rows, columns, 12), |(r, c, band)| {
            let mix = |m: usize| smooth[[r, c, m]] * ((band as f64 * 0.4 + 1.3 * m as f64).sin() + 1.2);
            (20.0 + (0..4).map(mix).sum::<f64>()) as f32
        });
        let msi = Array3::from_shape_fn((rows, columns, 2), |(r, c, j)| {
            let bands = hsi.slice(ndarray::s![r, c, 6 * j..6 * j + 6]);
            bands.mean().unwrap_or(0.0)
        });
        (hsi, msi)
    }

    #[test]
    fn one_scene_agrees_and_two_do_not() {
        let usable = Array2::from_elem((16, 16), true);
        let (hsi, msi) = scene(16, 16, 1);
        let own = agreement(hsi.view(), msi.view(), usable.view()).unwrap();
        assert!(own.left < 1e-6 && own.distance.unwrap() > 10.0, "{own:?}");
        for seed in 2..12 {
            let (_, other) = scene(16, 16, seed);
            let foreign = agreement(hsi.view(), other.view(), usable.view()).unwrap();
            assert!(
                foreign.left > 0.5 && foreign.distance.unwrap() < 3.0,
                "{seed} {foreign:?}"
            );
        }
    }

    #[test]
    fn a_moved_image_is_found_where_it_lies() {
        let (hsi, msi) = scene(24, 24, 1);
        let moved = Array3::from_shape_fn((24, 24, 2), |(r, c, j)| msi[[(r + 6) % 24, (c + 24 - 4) % 24, j]]);
        let usable = Array2::from_elem((24, 24), true);
        let found = agreement(hsi.view(), moved.view(), usable.view()).unwrap();
        let (left, by) = found.elsewhere.unwrap();
        assert!(left < 1e-6 && by == [6, -4] && found.left > 0.3, "{found:?}");
    }

    #[test]
    fn too_few_pixels_say_nothing() {
        let (hsi, msi) = scene(3, 3, 1);
        let usable = Array2::from_elem((3, 3), true);
        assert!(agreement(hsi.view(), msi.view(), usable.view()).is_none());
        let (hsi, msi) = scene(16, 16, 1);
        let usable = Array2::from_elem((16, 16), false);
        assert!(agreement(hsi.view(), msi.view(), usable.view()).is_none());
    }
}
