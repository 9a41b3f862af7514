//! Twin of `shaders/guided_update.wgsl`: spreads weights of LR pixels over HR pixels that are alike.

use rayon::prelude::*;

use crate::engine::refinement::{Guide, RefinementGrid};
use crate::real::Real;

/// κ below this is left out: it adds less than single precision resolves.
const NEGLIGIBLE: f64 = 1e-7;

/// See [`crate::engine::refinement::Refiner::guided_update`].
pub fn guided_update<T: Real>(
    grid: &RefinementGrid,
    guide: Guide,
    weights: &[T],
    lr_msi: &[T],
    hr_msi: &[T],
    hr_hsi: &mut [T],
) {
    let (bands, b, columns) = (grid.bands, grid.msi_bands, grid.hr_columns());
    let place = place_kernels::<T>(grid, guide.radius);
    hr_hsi
        .par_chunks_exact_mut(columns * bands)
        .zip(hr_msi.par_chunks_exact(columns * b))
        .enumerate()
        .for_each(|(p, (line, colours))| {
            let near_rows = near(grid.lr_position(p, 0), guide.radius, grid.rows);
            for (q, (out, colour)) in line
                .chunks_exact_mut(bands)
                .zip(colours.chunks_exact(b))
                .enumerate()
            {
                let near_columns = near(grid.lr_position(q, 1), guide.radius, grid.columns);
                for r in near_rows.clone() {
                    for c in near_columns.clone() {
                        let distance2 = place.0[p * grid.rows + r] + place.1[q * grid.columns + c];
                        if distance2 >= T::of(guide.radius * guide.radius) {
                            continue;
                        }
                        let k = r * grid.columns + c;
                        let mut colour2 = T::zero();
                        for (&y, &of) in colour.iter().zip(&lr_msi[k * b..][..b]) {
                            colour2 += (y - of) * (y - of);
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

/// Squared distances along one axis: HR rows × LR rows, and HR columns × LR columns.
fn place_kernels<T: Real>(grid: &RefinementGrid, radius: f64) -> (Vec<T>, Vec<T>) {
    let axis = |hr: usize, lr: usize, axis: usize| {
        (0..hr * lr)
            .map(|i| {
                let d = grid.lr_position(i / lr, axis) - (i % lr) as f64;
                T::of((d * d).min(2.0 * radius * radius))
            })
            .collect()
    };
    (
        axis(grid.hr_rows(), grid.rows, 0),
        axis(grid.hr_columns(), grid.columns, 1),
    )
}

/// LR rows or columns closer than `radius` to `position`.
fn near(position: f64, radius: f64, length: usize) -> std::ops::Range<usize> {
    let first = (position - radius).ceil().max(0.0) as usize;
    let end = (position + radius).floor() + 1.0;
    first..(end.max(0.0) as usize).min(length)
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
            guided_update(&grid, guide, &weights, &lr_msi, &hr_msi, &mut out);
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
        }
    }
}
