//! Iterated back-projection without an image: what the modulated interpolation of a residual changes in (Z∗C)↓.
//!
//! A correction is interpolated and multiplied, at every HR pixel, by a [`Modulation`] that grows with the MSI's
//! brightness: what is dark gets less of it (high-pass modulation of pansharpening: Vivone et al., IEEE TGRS 53, 2015).
//! Interpolation, modulation and blur are linear, and between two LR grids their product is a small stencil: a
//! correction on the LR grid says by itself what is left of the residual after it has been added. So corrections are
//! found on the LR grid and the image is touched once, by their sum.

use std::ops::Range;

use ndarray::{Array2, ArrayView3, s};
use rayon::prelude::*;

use crate::engine::cpu::bicubic_update::taps;
use crate::engine::refinement::RefinementGrid;
use crate::sensor::psf::window_start;

/// Brightness below which a pixel counts as no darker, relative to the mean of the image: keeps corrections where the MSI
/// sees nothing. Between 0.01 and 0.1 no scene of docs/QUALITY.md changes by more than 0.03 dB; the SAM of EnMAP's water
/// is best at 0.01.
const DARKEST: f32 = 0.01;

/// The share of a correction that an HR pixel takes: √(y/ȳ + 0.01) with the mean y over the MSI's bands.
///
/// What a prior misses varies more where more light comes from; that its variance, and not its deviation, goes with the
/// brightness is what the residuals of the CAVE and EnMAP scenes say (their likelihood on the LR grid is greatest so).
#[derive(Debug, Clone, Copy)]
pub struct Modulation {
    /// 1/ȳ, or 0 where the mean is not positive.
    relative: f32,
}

impl Modulation {
    /// For images of this mean.
    pub fn new(hr_msi: ArrayView3<f32>) -> Modulation {
        let rows: Vec<f64> = hr_msi
            .outer_iter()
            .into_par_iter()
            .map(|row| row.iter().map(|&y| f64::from(y)).sum())
            .collect();
        let mean = rows.iter().sum::<f64>() / hr_msi.len().max(1) as f64;
        Modulation {
            relative: if mean > 0.0 { (1.0 / mean) as f32 } else { 0.0 },
        }
    }

    /// The factors of HR rows.
    pub fn of(&self, hr_msi: ArrayView3<f32>, rows: Range<usize>) -> Vec<f32> {
        let share = self.relative / hr_msi.dim().2 as f32;
        let pixels = hr_msi.slice_move(s![rows, .., ..]);
        pixels
            .lanes(ndarray::Axis(2))
            .into_iter()
            .map(|colour| ((colour.sum() * share).max(0.0) + DARKEST).sqrt())
            .collect()
    }
}

/// Back-projection on the LR grid.
pub struct BackProjection<'a> {
    grid: &'a RefinementGrid,
    /// C, K×K.
    psf: &'a Array2<f64>,
    /// LR pixels that take part; the residual of others is 0.
    usable: &'a [bool],
    hr_msi: ArrayView3<'a, f32>,
    modulation: Modulation,
    across: Vec<Seen>,
}

impl<'a> BackProjection<'a> {
    /// With the Y of `hr_msi`.
    pub fn new(
        grid: &'a RefinementGrid,
        psf: &'a Array2<f64>,
        usable: &'a [bool],
        hr_msi: ArrayView3<'a, f32>,
        modulation: Modulation,
    ) -> Self {
        BackProjection {
            grid,
            psf,
            usable,
            hr_msi,
            modulation,
            across: (0..grid.columns).map(|c| Seen::new(grid, c, 1)).collect(),
        }
    }

    /// One iteration: what of `residual` (h×w×B) is to be interpolated is added to `interpolated`, and what that changes
    /// in (Z∗C)↓ is taken from `residual`. `step` is room for a correction.
    pub fn iterate(&self, residual: &mut [f32], step: &mut [f32], interpolated: &mut [f32]) {
        let (grid, bands) = (self.grid, self.grid.bands);
        let line = grid.columns * bands;
        // Relative to the modulation that the LR pixel sees, so that as much arrives as is missing.
        step.par_chunks_exact_mut(line)
            .zip(residual.par_chunks_exact(line))
            .zip(interpolated.par_chunks_exact_mut(line))
            .enumerate()
            .for_each(|(r, ((step, residual), sum))| {
                let row = SeenRow::new(self, r);
                for c in 0..grid.columns {
                    let share = 1.0 / row.modulation(self, c) as f32;
                    for k in c * bands..(c + 1) * bands {
                        step[k] = residual[k] * share;
                        sum[k] += step[k];
                    }
                }
            });
        self.subtract(step, residual);
    }

    /// `residual` (h×w×B) −= ((m·up(`correction`))∗C)↓, where up is the interpolation of
    /// [`bicubic_update`](crate::engine::refinement::Refiner::bicubic_update) and m the modulation.
    fn subtract(&self, correction: &[f32], residual: &mut [f32]) {
        let (columns, bands) = (self.grid.columns, self.grid.bands);
        residual
            .par_chunks_exact_mut(columns * bands)
            .zip(self.usable.par_chunks_exact(columns))
            .enumerate()
            .for_each(|(r, (line, usable))| {
                let row = SeenRow::new(self, r);
                for (c, (out, ok)) in line.chunks_exact_mut(bands).zip(usable).enumerate() {
                    if !ok {
                        out.fill(0.0);
                        continue;
                    }
                    let (down, along) = (&row.down, &self.across[c]);
                    let stencil = row.stencil(self, c);
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
}

/// The LR rows or columns that reach one of them by interpolation and blur.
struct Seen {
    first: usize,
    count: usize,
    /// For each of the PSF's K rows or columns: the HR row or column.
    places: Vec<usize>,
    /// For each of them: LR places from `first` on and their weights.
    taps: Vec<[(usize, f64); 4]>,
}

/// What the pixels of one LR row see.
struct SeenRow {
    down: Seen,
    /// First HR row of `factors`.
    first: usize,
    /// Modulation of the HR rows that are seen.
    factors: Vec<f32>,
}

impl SeenRow {
    fn new(of: &BackProjection, r: usize) -> SeenRow {
        let hr = of.grid.hr_rows_of(&(r..r + 1));
        SeenRow {
            down: Seen::new(of.grid, r, 0),
            first: hr.start,
            factors: of.modulation.of(of.hr_msi, hr),
        }
    }

    /// C·m at the HR pixel that the PSF's weight (i, j) falls on from LR column `c`.
    fn weight(&self, of: &BackProjection, c: usize, (i, j): (usize, usize)) -> f64 {
        let at = (self.down.places[i] - self.first) * of.grid.hr_columns() + of.across[c].places[j];
        of.psf[[i, j]] * f64::from(self.factors[at])
    }

    /// (m∗C)↓ at LR column `c`: positive, as a modulation is and a PSF sums to 1.
    fn modulation(&self, of: &BackProjection, c: usize) -> f64 {
        let sum = of.psf.indexed_iter().map(|(at, _)| self.weight(of, c, at));
        sum.sum()
    }

    /// What the LR pixels around contribute to the one at column `c`, rows of `down` × columns of `across`.
    fn stencil(&self, of: &BackProjection, c: usize) -> Vec<f64> {
        let (down, along) = (&self.down, &of.across[c]);
        let mut stencil = vec![0.0; down.count * along.count];
        let mut line = vec![0.0; along.count];
        for (i, row) in down.taps.iter().enumerate() {
            line.fill(0.0);
            for (j, column) in along.taps.iter().enumerate() {
                let weight = self.weight(of, c, (i, j));
                for &(e, near) in column {
                    line[e] += weight * near;
                }
            }
            for &(d, near) in row {
                for (sum, x) in stencil[d * along.count..].iter_mut().zip(&line) {
                    *sum += near * x;
                }
            }
        }
        stencil
    }
}

impl Seen {
    fn new(grid: &RefinementGrid, block: usize, axis: usize) -> Seen {
        let (scale, size) = (grid.geometry.scale, grid.geometry.kernel);
        let (low, high) = match axis {
            0 => (grid.rows, grid.hr_rows()),
            _ => (grid.columns, grid.hr_columns()),
        };
        let start = window_start(scale, size);
        let places: Vec<usize> = (0..size)
            .map(|k| (block * scale + k).saturating_add_signed(start).min(high - 1))
            .collect();
        let mut taps: Vec<[(usize, f64); 4]> = places
            .iter()
            .map(|&at| taps::<f64>(grid.lr_position(at, axis), low))
            .collect();
        let near = || taps.iter().flatten().map(|&(at, _)| at);
        let first = near().min().unwrap_or(0);
        let count = near().max().unwrap_or(0) + 1 - first;
        taps.iter_mut().flatten().for_each(|(at, _)| *at -= first);
        Seen {
            first,
            count,
            places,
            taps,
        }
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array3;

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
            let pixels = 30 * scale * scale;
            let hr_msi = Array3::from_shape_fn((6 * scale, 5 * scale, 2), |(r, c, b)| {
                ((r * 5 + c * 3 + b) % 7) as f32 / 7.0
            });
            let modulation = Modulation::new(hr_msi.view());
            let factors = modulation.of(hr_msi.view(), 0..6 * scale);
            let mut image = vec![0.0f32; pixels * 3];
            bicubic_update(&grid, Strip::default(), &correction, &factors, &mut image);
            let mut expected = vec![0.0f32; 90];
            let single: Vec<f32> = psf.iter().map(|&x| x as f32).collect();
            consistency_residual(&grid, Strip::default(), &single, &before, &image, &mut expected);
            expected[21..24].fill(0.0);
            let projection = BackProjection::new(&grid, &psf, &usable, hr_msi.view(), modulation);
            let mut found = before.clone();
            projection.subtract(&correction, &mut found);
            for (f, e) in found.iter().zip(&expected) {
                assert!((f - e).abs() < 1e-5, "x{scale}, K = {kernel}: {f} {e}");
            }
        }
    }

    // Three quarters of the scene at a hundredth of the rest's brightness. The residual is smooth, so that interpolation can
    // put it right: two iterations leave a tenth of it, whatever the light.
    #[test]
    fn dark_pixels_take_less_and_what_is_missing_arrives() {
        let grid = RefinementGrid {
            rows: 8,
            columns: 8,
            bands: 2,
            msi_bands: 3,
            geometry: Geometry { scale: 4, kernel: 6 },
            centroid: [0.0; 2],
        };
        let hr_msi = Array3::from_shape_fn((32, 32, 3), |(_, c, _)| if c < 24 { 0.01f32 } else { 1.0 });
        let modulation = Modulation::new(hr_msi.view());
        let row = modulation.of(hr_msi.view(), 3..4);
        assert_eq!(row.len(), 32);
        // The mean is 0.2575.
        let expected = |y: f32| (y / 0.2575 + DARKEST).sqrt();
        assert!((row[0] - expected(0.01)).abs() < 1e-4 && (row[31] - expected(1.0)).abs() < 1e-4);
        let psf = GaussianPsf::from_variances(2.0, 2.0, 0.0).unwrap().kernel(6);
        let usable = vec![true; 64];
        let projection = BackProjection::new(&grid, &psf, &usable, hr_msi.view(), modulation);
        let before: Vec<f32> = (0..128).map(|k| 1.0 + 0.02 * (k / 16) as f32).collect();
        let (mut residual, mut step, mut sum) = (before.clone(), vec![0.0; 128], vec![0.0; 128]);
        for _ in 0..2 {
            projection.iterate(&mut residual, &mut step, &mut sum);
        }
        let power = |x: &[f32]| x.iter().map(|x| x * x).sum::<f32>();
        assert!(power(&residual) < 0.01 * power(&before), "{}", power(&residual));
        let mut image = vec![0.0f32; 32 * 32 * 2];
        let factors = modulation.of(hr_msi.view(), 0..32);
        bicubic_update(&grid, Strip::default(), &sum, &factors, &mut image);
        let mut left = vec![0.0f32; 128];
        let single: Vec<f32> = psf.iter().map(|&x| x as f32).collect();
        consistency_residual(&grid, Strip::default(), &single, &before, &image, &mut left);
        for (l, r) in left.iter().zip(&residual) {
            assert!((l - r).abs() < 1e-5, "{l} {r}");
        }
    }

    // An MSI without light: all alike.
    #[test]
    fn without_light_all_pixels_are_alike() {
        let hr_msi = Array3::from_elem((2, 3, 2), -1.0f32);
        let factors = Modulation::new(hr_msi.view()).of(hr_msi.view(), 0..2);
        assert_eq!(factors, [DARKEST.sqrt(); 6]);
    }
}
