//! Iterated back-projection without an image: what the interpolation of a residual changes in (Z∗C)↓.
//!
//! Interpolation and blur are linear, and between two LR grids their product is a small stencil: a residual on the
//! LR grid says by itself what is left of it after it has been interpolated and added. So corrections are found on
//! the LR grid and the image is touched once, by their sum.

use ndarray::Array2;
use rayon::prelude::*;

use crate::engine::cpu::bicubic_update::taps;
use crate::engine::refinement::RefinementGrid;
use crate::sensor::psf::window_start;

/// `residual` (h×w×B) −= (up(`correction`)∗C)↓, where up is the interpolation of
/// [`bicubic_update`](crate::engine::refinement::Refiner::bicubic_update) and C is `psf` (K×K); on pixels that are
/// not `usable` the residual is 0.
pub fn subtract_interpolated(
    grid: &RefinementGrid,
    psf: &Array2<f64>,
    usable: &[bool],
    correction: &[f32],
    residual: &mut [f32],
) {
    let (columns, bands, size) = (grid.columns, grid.bands, psf.nrows());
    let across: Vec<Seen> = (0..columns).map(|c| Seen::new(grid, c, 1)).collect();
    residual
        .par_chunks_exact_mut(columns * bands)
        .zip(usable.par_chunks_exact(columns))
        .enumerate()
        .for_each(|(r, (line, usable))| {
            let down = Seen::new(grid, r, 0);
            // The PSF's columns seen through the rows of the LR grid: K × rows.
            let mut through = vec![0.0; size * down.count];
            for (i, row) in down.taps.iter().enumerate() {
                for &(d, weight) in row {
                    for j in 0..size {
                        through[j * down.count + d] += psf[[i, j]] * weight;
                    }
                }
            }
            for (c, (out, ok)) in line.chunks_exact_mut(bands).zip(usable).enumerate() {
                if !ok {
                    out.fill(0.0);
                    continue;
                }
                let along = &across[c];
                let mut stencil = vec![0.0f64; down.count * along.count];
                for (j, column) in along.taps.iter().enumerate() {
                    for &(e, weight) in column {
                        for d in 0..down.count {
                            stencil[d * along.count + e] += through[j * down.count + d] * weight;
                        }
                    }
                }
                for (k, &weight) in stencil.iter().enumerate() {
                    let at = (down.first + k / along.count) * columns + along.first + k % along.count;
                    let weight = weight as f32;
                    for (o, &x) in out.iter_mut().zip(&correction[at * bands..][..bands]) {
                        *o -= weight * x;
                    }
                }
            }
        });
}

/// The LR rows or columns that reach one of them by interpolation and blur.
struct Seen {
    first: usize,
    count: usize,
    /// For each of the PSF's K rows or columns: places from `first` on and their weights.
    taps: Vec<[(usize, f64); 4]>,
}

impl Seen {
    fn new(grid: &RefinementGrid, block: usize, axis: usize) -> Seen {
        let (scale, size) = (grid.geometry.scale, grid.geometry.kernel);
        let (low, high) = match axis {
            0 => (grid.rows, grid.hr_rows()),
            _ => (grid.columns, grid.hr_columns()),
        };
        let start = window_start(scale, size);
        let mut taps: Vec<[(usize, f64); 4]> = (0..size)
            .map(|k| {
                let at = (block * scale + k).saturating_add_signed(start).min(high - 1);
                taps::<f64>(grid.lr_position(at, axis), low)
            })
            .collect();
        let places = || taps.iter().flatten().map(|&(at, _)| at);
        let first = places().min().unwrap_or(0);
        let count = places().max().unwrap_or(0) + 1 - first;
        taps.iter_mut().flatten().for_each(|(at, _)| *at -= first);
        Seen { first, count, taps }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Geometry;
    use crate::engine::cpu::bicubic_update::bicubic_update;
    use crate::engine::cpu::consistency_residual::consistency_residual;
    use crate::engine::refinement::Strip;
    use crate::sensor::psf::GaussianPsf;

    // Against the two passes over an image; single precision over some hundred terms of size 1.
    #[test]
    fn is_interpolation_and_blur() {
        for (scale, kernel, centroid) in [
            (4, 4, [0.3, -0.2]),
            (3, 7, [0.0, 0.0]),
            (4, 1, [0.5, 0.5]),
            (1, 3, [0.0; 2]),
        ] {
            let grid = RefinementGrid {
                rows: 6,
                columns: 5,
                bands: 3,
                msi_bands: 1,
                geometry: Geometry { scale, kernel },
                centroid,
            };
            let psf = GaussianPsf::from_variances(2.0, 1.0, 0.5).unwrap().kernel(kernel);
            let wave = |k: f32| -> Vec<f32> { (0..90).map(|i| (k * i as f32).sin()).collect() };
            let (correction, before) = (wave(1.3), wave(0.4));
            let mut usable = vec![true; 30];
            usable[7] = false;
            let mut image = vec![0.0f32; 30 * scale * scale * 3];
            bicubic_update(&grid, Strip::default(), &correction, &mut image);
            let mut expected = vec![0.0f32; 90];
            let single: Vec<f32> = psf.iter().map(|&x| x as f32).collect();
            consistency_residual(&grid, Strip::default(), &single, &before, &image, &mut expected);
            expected[21..24].fill(0.0);
            let mut found = before;
            subtract_interpolated(&grid, &psf, &usable, &correction, &mut found);
            for (f, e) in found.iter().zip(&expected) {
                assert!((f - e).abs() < 1e-5, "x{scale}, K = {kernel}: {f} {e}");
            }
        }
    }
}
