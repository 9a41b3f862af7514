//! Twin of `shaders/guided_update.wgsl`: spreads weights of LR pixels over HR pixels that are alike.

use std::ops::Range;

use rayon::prelude::*;

use crate::engine::refinement::{Guide, RefinementGrid, Strip};
use crate::engine::work::Work;
use crate::real::Real;

/// κ below this is left out: it adds less than single precision resolves.
pub const NEGLIGIBLE: f64 = 1e-7;

/// See [`crate::engine::refinement::Refiner::guided_update`].
pub fn guided_update<T: Real>(
    grid: &RefinementGrid,
    strip: Strip,
    guide: Guide,
    weights: &[T],
    lr_msi: &[T],
    hr_msi: &[T],
    hr_hsi: &mut [T],
) {
    let (bands, b, columns) = (grid.bands, grid.msi_bands, grid.hr_columns());
    let across: Vec<_> = (0..columns)
        .map(|q| distances::<T>(grid.lr_position(q, 1), guide.radius, grid.columns))
        .collect();
    hr_hsi
        .par_chunks_exact_mut(columns * bands)
        .zip(hr_msi.par_chunks_exact(columns * b))
        .enumerate()
        .for_each(|(p, (line, colours))| {
            let near_rows = distances::<T>(grid.lr_position(strip.hr_row + p, 0), guide.radius, grid.rows);
            for ((out, colour), near_columns) in line
                .chunks_exact_mut(bands)
                .zip(colours.chunks_exact(b))
                .zip(&across)
            {
                for &(r, row2) in &near_rows {
                    for &(c, column2) in near_columns {
                        let distance2 = row2 + column2;
                        if distance2 >= T::of(guide.radius * guide.radius) {
                            continue;
                        }
                        let k = (r - strip.lr_row) * grid.columns + c;
                        let mut colour2 = T::zero();
                        for (&y, &of) in colour.iter().zip(&lr_msi[k * b..][..b]) {
                            let d = y - of;
                            colour2 += d * d;
                        }
                        let t = distance2.sqrt() / T::of(guide.radius);
                        let near = T::one() - t;
                        let kernel = near
                            * near
                            * near
                            * near
                            * (T::of(4.0) * t + T::one())
                            * (-T::of(guide.precision) * colour2).exp();
                        if kernel < T::of(NEGLIGIBLE) {
                            continue;
                        }
                        for (o, &a) in out.iter_mut().zip(&weights[k * bands..][..bands]) {
                            *o += kernel * a;
                        }
                    }
                }
            }
        });
}

/// LR rows or columns closer than `radius` to `position`, with their squared distances.
fn distances<T: Real>(position: f64, radius: f64, length: usize) -> Vec<(usize, T)> {
    let first = (position - radius).ceil().max(0.0) as usize;
    let end = ((position + radius).floor() + 1.0).max(0.0) as usize;
    (first..end.min(length))
        .map(|at| (at, T::of((position - at as f64).powi(2))))
        .collect()
}

/// Work of `bands` bands of the HR rows `hr` where no neighbour is negligible: at most.
pub fn work<T: Real>(grid: &RefinementGrid, hr: &Range<usize>, guide: Guide, bands: usize) -> Work {
    let (b, columns) = (grid.msi_bands, grid.hr_columns());
    let near = |p: usize, axis: usize| {
        let length = [grid.rows, grid.columns][axis];
        distances::<T>(grid.lr_position(p, axis), guide.radius, length)
    };
    let across: Vec<_> = (0..columns).map(|q| near(q, 1)).collect();
    let limit = T::of(guide.radius * guide.radius);
    let (mut pairs, mut inside) = (0, 0);
    for p in hr.clone() {
        for &(_, row2) in &near(p, 0) {
            for near_columns in &across {
                pairs += near_columns.len();
                inside += near_columns.iter().filter(|&&(_, c)| row2 + c < limit).count();
            }
        }
    }
    let lr = grid.lr_rows(hr, guide.radius).len() * grid.columns;
    Work::of::<T>(
        // Distance; colour, place, exponential function and sum.
        pairs + inside * (3 * b + 12 + 2 * bands),
        lr * (bands + b) + hr.len() * columns * (2 * bands + b),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Geometry;

    // Against the sum over every LR pixel with the kernel as `Guide` states it.
    #[test]
    fn is_the_sum_over_all_pixels() {
        let grid = RefinementGrid {
            rows: 6,
            columns: 7,
            bands: 2,
            msi_bands: 3,
            geometry: Geometry { scale: 3, kernel: 3 },
            centroid: [0.4, -0.8],
        };
        let wave = |n: usize, k: f64| -> Vec<f64> { (0..n).map(|i| (k * i as f64).sin()).collect() };
        let (weights, lr_msi, hr_msi) = (wave(84, 1.3), wave(126, 0.7), wave(18 * 21 * 3, 0.9));
        for guide in [(2.5, 0.5), (4.0, 2.0)].map(|(radius, precision)| Guide { radius, precision }) {
            let mut out = vec![1.0; 18 * 21 * 2];
            guided_update(
                &grid,
                Strip::default(),
                guide,
                &weights,
                &lr_msi,
                &hr_msi,
                &mut out,
            );
            for (i, &found) in out.iter().enumerate() {
                let (p, band) = (i / 2, i % 2);
                let mut expected = 1.0;
                for k in 0..42 {
                    let dr = grid.lr_position(p / 21, 0) - (k / 7) as f64;
                    let dc = grid.lr_position(p % 21, 1) - (k % 7) as f64;
                    let colour2 = (0..3)
                        .map(|j| (hr_msi[3 * p + j] - lr_msi[3 * k + j]).powi(2))
                        .sum();
                    expected += guide.kernel(dr * dr + dc * dc, colour2) * weights[2 * k + band];
                }
                // 64 terms below the negligible 1e-7 may be left out.
                assert!((found - expected).abs() < 1e-5, "{i}: {found} {expected}");
            }
            for rows in [0..2, 7..8, 11..18] {
                let lr = grid.lr_rows(&rows, Guide::MAX_RADIUS);
                let strip = Strip {
                    hr_row: rows.start,
                    lr_row: lr.start,
                };
                let mut part = vec![1.0; rows.len() * 42];
                guided_update(
                    &grid,
                    strip,
                    guide,
                    &weights[lr.start * 14..lr.end * 14],
                    &lr_msi[lr.start * 21..lr.end * 21],
                    &hr_msi[rows.start * 63..rows.end * 63],
                    &mut part,
                );
                assert_eq!(part, out[rows.start * 42..rows.end * 42]);
            }
        }
    }
}
