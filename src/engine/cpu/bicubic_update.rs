//! Twin of `shaders/bicubic_update.wgsl`: adds the modulated cubic convolution of a residual on the LR grid.

use rayon::prelude::*;

use crate::cube::bicubic::keys;
use crate::engine::refinement::{RefinementGrid, Strip};
use crate::engine::work::Work;
use crate::real::Real;

/// See [`crate::engine::refinement::Refiner::bicubic_update`].
pub fn bicubic_update<T: Real>(
    grid: &RefinementGrid,
    strip: Strip,
    residual: &[T],
    modulation: &[T],
    hr_hsi: &mut [T],
) {
    let (bands, columns) = (grid.bands, grid.hr_columns());
    let across: Vec<_> = (0..columns)
        .map(|q| taps::<T>(grid.lr_position(q, 1), grid.columns))
        .collect();
    hr_hsi
        .par_chunks_exact_mut(columns * bands)
        .zip(modulation.par_chunks_exact(columns))
        .enumerate()
        .for_each(|(p, (line, modulation))| {
            // Rows first, into one line of the LR grid, then along it.
            let mut low = vec![T::zero(); grid.columns * bands];
            for (r, weight) in taps::<T>(grid.lr_position(strip.hr_row + p, 0), grid.rows) {
                let row = &residual[(r - strip.lr_row) * grid.columns * bands..][..grid.columns * bands];
                for (l, &x) in low.iter_mut().zip(row) {
                    *l += weight * x;
                }
            }
            let pixels = line.chunks_exact_mut(bands).zip(&across).zip(modulation);
            for ((out, taps), &factor) in pixels {
                for &(c, weight) in taps {
                    let weight = factor * weight;
                    for (o, &x) in out.iter_mut().zip(&low[c * bands..][..bands]) {
                        *o += weight * x;
                    }
                }
            }
        });
}

/// The four LR rows or columns around `position`, held inside the image, and their weights.
pub fn taps<T: Real>(position: f64, length: usize) -> [(usize, T); 4] {
    let below = position.floor();
    [-1.0, 0.0, 1.0, 2.0].map(|offset| {
        let at = below + offset;
        let inside = at.clamp(0.0, (length - 1) as f64) as usize;
        (inside, T::of(keys((position - at).abs())))
    })
}

/// Work of `hr` rows of the HR grid that read `lr` rows of the LR grid.
pub fn work<T>(grid: &RefinementGrid, hr: usize, lr: usize) -> Work {
    let (line, lr_line) = (grid.hr_columns() * grid.bands, grid.columns * grid.bands);
    let pixels = hr * grid.hr_columns();
    Work::of::<T>(
        4 * pixels + 8 * hr * (line + lr_line),
        pixels + 2 * hr * line + lr * lr_line,
    )
}

#[cfg(test)]
mod tests {
    use ndarray::Array3;

    use super::*;
    use crate::cube::{Cube, bicubic};
    use crate::engine::Geometry;
    use crate::engine::refinement::BICUBIC_REACH;

    // With the centroid on the block's centre it is the bicubic interpolation of `cube::bicubic`, modulated.
    #[test]
    fn is_bicubic_interpolation() {
        let low = Array3::from_shape_fn((3, 5, 2), |(r, c, b)| ((r * 7 + c * 3 + b * 5) % 11) as f32);
        let grid = RefinementGrid {
            rows: 3,
            columns: 5,
            bands: 2,
            msi_bands: 1,
            geometry: Geometry { scale: 4, kernel: 4 },
            centroid: [0.0; 2],
        };
        let mut high = vec![1.0f32; 3 * 5 * 16 * 2];
        let modulation: Vec<f32> = (0..3 * 5 * 16).map(|p| (p % 9) as f32 / 4.0).collect();
        bicubic_update(
            &grid,
            Strip::default(),
            low.as_slice().unwrap(),
            &modulation,
            &mut high,
        );
        let expected = bicubic::upsample(&Cube::new(low.clone()), 4).unwrap().samples;
        for ((k, h), e) in high.iter().enumerate().zip(&expected) {
            assert!((h - 1.0 - modulation[k / 2] * e).abs() < 1e-5, "{h} {e}");
        }
        for rows in [0..1, 3..7, 9..12] {
            let lr = grid.lr_rows(&rows, BICUBIC_REACH);
            let strip = Strip {
                hr_row: rows.start,
                lr_row: lr.start,
            };
            let mut part = vec![1.0f32; rows.len() * 40];
            bicubic_update(
                &grid,
                strip,
                &low.as_slice().unwrap()[lr.start * 10..lr.end * 10],
                &modulation[rows.start * 20..rows.end * 20],
                &mut part,
            );
            assert_eq!(part, high[rows.start * 40..rows.end * 40]);
        }
    }

    // A plane through the centroids: moved by (0.5, −1) HR pixels it is the plane through the moved points.
    #[test]
    fn a_moved_centroid_moves_the_plane() {
        let low: Vec<f64> = (0..64)
            .map(|k| 3.0 * (k / 8) as f64 - 2.0 * (k % 8) as f64)
            .collect();
        let grid = RefinementGrid {
            rows: 8,
            columns: 8,
            bands: 1,
            msi_bands: 1,
            geometry: Geometry { scale: 3, kernel: 3 },
            centroid: [0.5, -1.0],
        };
        let mut high = vec![0.0; 24 * 24];
        bicubic_update(&grid, Strip::default(), &low, &[1.0; 24 * 24], &mut high);
        for p in 8..14 {
            for q in 8..14 {
                let at = |p: usize, moved: f64| (p as f64 + 0.5 - moved) / 3.0 - 0.5;
                let expected = 3.0 * at(p, 0.5) - 2.0 * at(q, -1.0);
                assert!((high[p * 24 + q] - expected).abs() < 1e-9);
            }
        }
    }
}
