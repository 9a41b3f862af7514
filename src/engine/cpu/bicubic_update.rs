//! Twin of `shaders/bicubic_update.wgsl`: adds the cubic convolution of a residual on the LR grid.

use rayon::prelude::*;

use crate::cube::bicubic::keys;
use crate::engine::refinement::RefinementGrid;
use crate::real::Real;

/// See [`crate::engine::refinement::Refiner::bicubic_update`].
pub fn bicubic_update<T: Real>(grid: &RefinementGrid, residual: &[T], hr_hsi: &mut [T]) {
    let (bands, columns) = (grid.bands, grid.hr_columns());
    let across: Vec<_> = (0..columns)
        .map(|q| taps::<T>(grid.lr_position(q, 1), grid.columns))
        .collect();
    hr_hsi
        .par_chunks_exact_mut(columns * bands)
        .enumerate()
        .for_each(|(p, line)| {
            // Rows first, into one line of the LR grid, then along it.
            let mut low = vec![T::zero(); grid.columns * bands];
            for (r, weight) in taps::<T>(grid.lr_position(p, 0), grid.rows) {
                let row = &residual[r * grid.columns * bands..][..grid.columns * bands];
                for (l, &x) in low.iter_mut().zip(row) {
                    *l += weight * x;
                }
            }
            for (out, taps) in line.chunks_exact_mut(bands).zip(&across) {
                for &(c, weight) in taps {
                    for (o, &x) in out.iter_mut().zip(&low[c * bands..][..bands]) {
                        *o += weight * x;
                    }
                }
            }
        });
}

/// The four LR rows or columns around `position`, held inside the image, and their weights.
fn taps<T: Real>(position: f64, length: usize) -> [(usize, T); 4] {
    let below = position.floor();
    [-1.0, 0.0, 1.0, 2.0].map(|offset| {
        let at = below + offset;
        let inside = at.clamp(0.0, (length - 1) as f64) as usize;
        (inside, T::of(keys((position - at).abs())))
    })
}
