//! Twin of `shaders/consistency_residual.wgsl`: what X asks for that (Z∗C)↓ has not.

use rayon::prelude::*;

use crate::engine::refinement::RefinementGrid;
use crate::real::Real;
use crate::sensor::psf;

/// See [`crate::engine::refinement::Refiner::consistency_residual`].
pub fn consistency_residual<T: Real>(
    grid: &RefinementGrid,
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
            let (r, c) = (k / grid.columns, k % grid.columns);
            out.copy_from_slice(target);
            for i in 0..size {
                let row = inside(r, i, rows) * columns;
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
