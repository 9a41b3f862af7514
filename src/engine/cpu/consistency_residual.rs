//! Twin of `shaders/consistency_residual.wgsl`: what X asks for that (Z∗C)↓ has not.

use std::ops::Range;

use rayon::prelude::*;

use crate::engine::Geometry;
use crate::engine::refinement::{RefinementGrid, Strip};
use crate::engine::work::Work;
use crate::real::Real;
use crate::sensor::psf;

/// See [`crate::engine::refinement::Refiner::consistency_residual`].
pub fn consistency_residual<T: Real>(
    grid: &RefinementGrid,
    strip: Strip,
    kernel: &[T],
    target: &[T],
    hr_hsi: &[T],
    residual: &mut [T],
) {
    let (bands, scale, size) = (grid.bands, grid.geometry.scale, grid.geometry.kernel);
    let (rows, columns) = (grid.hr_rows(), grid.hr_columns());
    let start = psf::window_start(scale, size);
    let inside = |block: usize, k: usize, length: usize| {
        (block * scale + k).saturating_add_signed(start).min(length - 1)
    };
    residual
        .par_chunks_exact_mut(bands)
        .zip(target.par_chunks_exact(bands))
        .enumerate()
        .for_each(|(k, (out, target))| {
            let (r, c) = (strip.lr_row + k / grid.columns, k % grid.columns);
            out.copy_from_slice(target);
            for i in 0..size {
                let row = (inside(r, i, rows) - strip.hr_row) * columns;
                for j in 0..size {
                    let weight = kernel[i * size + j];
                    let pixel = &hr_hsi[(row + inside(c, j, columns)) * bands..][..bands];
                    for (o, &z) in out.iter_mut().zip(pixel) {
                        *o -= weight * z;
                    }
                }
            }
        });
}

/// Work of what the LR rows `lr` see of the HR rows `hr`.
pub fn work<T>(grid: &RefinementGrid, lr: &Range<usize>, hr: &Range<usize>) -> Work {
    let Geometry { scale, kernel } = grid.geometry;
    let start = psf::window_start(scale, kernel);
    let rows = lr.clone().flat_map(|r| (0..kernel).map(move |i| r * scale + i));
    let seen = rows
        .map(|row| row.saturating_add_signed(start).min(grid.hr_rows() - 1))
        .filter(|row| hr.contains(row))
        .count();
    let line = grid.columns * grid.bands;
    Work::of::<T>(
        2 * seen * kernel * line,
        2 * lr.len() * line + hr.len() * grid.hr_columns() * grid.bands + kernel * kernel,
    )
}

#[cfg(test)]
mod tests {
    use ndarray::Array3;

    use super::*;
    use crate::cube::Cube;
    use crate::sensor::observe::blur_and_downsample;
    use crate::sensor::psf::GaussianPsf;

    // Against the observation model, which is written apart; single precision over at most 49 terms.
    #[test]
    fn is_the_observation_model() {
        let image = Array3::from_shape_fn((12, 8, 3), |(r, c, b)| ((r * 5 + c * 7 + b) % 13) as f32 / 13.0);
        for kernel in [1, 4, 7] {
            let psf = GaussianPsf::from_variances(2.0, 1.0, 0.5).unwrap().kernel(kernel);
            let expected = blur_and_downsample(&Cube::new(image.clone()), &psf, 4)
                .unwrap()
                .samples;
            let grid = RefinementGrid {
                rows: 3,
                columns: 2,
                bands: 3,
                msi_bands: 1,
                geometry: Geometry { scale: 4, kernel },
                centroid: [0.0; 2],
            };
            let psf: Vec<f32> = psf.iter().map(|&x| x as f32).collect();
            let mut residual = vec![9.0; 18];
            let whole = image.as_slice().unwrap();
            consistency_residual(&grid, Strip::default(), &psf, &[2.0; 18], whole, &mut residual);
            for (r, e) in residual.iter().zip(&expected) {
                assert!((2.0 - r - e).abs() < 1e-5, "{kernel}: {r} {e}");
            }
            // The last two LR rows by themselves, from the HR rows that they see.
            let seen = grid.hr_rows_of(&(1..3));
            let strip = Strip {
                hr_row: seen.start,
                lr_row: 1,
            };
            let mut part = vec![9.0; 12];
            let rows = &whole[seen.start * 24..seen.end * 24];
            consistency_residual(&grid, strip, &psf, &[2.0; 12], rows, &mut part);
            assert_eq!(part, residual[6..]);
        }
    }
}
