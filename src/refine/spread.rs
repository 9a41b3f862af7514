//! How a residual on the LR grid spreads over HR pixels: kriging with a kernel of place and colour.
//!
//! What the network missed at an LR pixel it missed at the pixels of the same material around. As a Gaussian process
//! over place and MSI colour with the kernel κ of [`Guide`], the residual at an HR pixel is Σ_k κ(p, k) α_k with
//! (K + νI) α = r on the LR grid. Reach and width of colour are those whose leave-one-out prediction of LR pixels is
//! best; where none predicts, the residual is no more than noise of its own pixel and plain interpolation has to do.

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use crate::cube::scratch::{Buffer, Store};
use crate::engine::refinement::Guide;
use crate::error::Result;
use crate::interrupt;

/// ν: variance of what a kernel cannot explain, relative to what it can.
pub(super) const NUGGET: f64 = 0.03;
/// Squared error of the linear system relative to its right side, and the most steps toward it. Back-projection
/// follows, so more is of no use.
const TOLERANCE: f64 = 1e-4;
const STEPS: usize = 40;
/// Bytes of the vectors of conjugate gradients at most, where they are in memory.
const VECTOR_BYTES: usize = 192 << 20;
/// Bands that are solved side by side at least where they are not: every one of them goes through all of the system.
const SCRATCH_BANDS: usize = 32;
/// LR pixels that are summed at once.
const CHUNK: usize = 2048;

/// LR pixels with their colours.
#[derive(Debug, Clone, Copy)]
pub struct Lattice<'a> {
    /// Rows of the LR grid.
    pub rows: usize,
    /// Columns of the LR grid.
    pub columns: usize,
    /// (Y∗C)↓, rows × columns × b.
    pub colours: &'a [f32],
    /// Mean over the bands of the MSI's variance on the HR grid.
    pub colour_variance: f64,
    /// LR pixels that take part.
    pub usable: &'a [bool],
}

impl Lattice<'_> {
    /// What two LR pixels have in common.
    pub(super) fn kernel(&self, guide: Guide, k: usize, l: usize) -> f64 {
        let b = self.colours.len() / self.usable.len();
        let (dr, dc) = (
            (k / self.columns).abs_diff(l / self.columns) as f64,
            (k % self.columns).abs_diff(l % self.columns) as f64,
        );
        let colour2: f64 = self.colours[k * b..][..b]
            .iter()
            .zip(&self.colours[l * b..][..b])
            .map(|(&x, &y)| f64::from(x - y).powi(2))
            .sum();
        guide.kernel(dr * dr + dc * dc, colour2)
    }
}

/// α of every LR pixel (n × B, row-major) by conjugate gradients, many bands side by side; 0 at pixels not usable. It and
/// what it takes lie in `store`.
///
/// Vectors are in single precision, far finer than the system is solved to, and their products are summed in double.
///
/// # Errors
/// [`crate::Error::Failed`] where `store` has no room, [`crate::Error::Interrupted`] after Ctrl-C.
pub fn weights(lattice: &Lattice, guide: Guide, residuals: &[f32], store: &Store) -> Result<Buffer> {
    let n = lattice.usable.len();
    let bands = residuals.len() / n;
    let system = System::new(lattice, guide, store)?;
    // Four vectors of as many bands as stay below the bound; the bands do not touch each other.
    let least = match store {
        Store::Memory => 1,
        Store::Folder(_) => SCRATCH_BANDS.min(bands),
    };
    let together = (VECTOR_BYTES / (4 * n * size_of::<f32>())).clamp(least, bands);
    let mut alpha = store.zeros(residuals.len())?;
    for first in (0..bands).step_by(together) {
        let part = first..(first + together).min(bands);
        let mut right = store.zeros(n * part.len())?;
        let pixels = right
            .chunks_exact_mut(part.len())
            .zip(residuals.chunks_exact(bands));
        for ((to, from), _) in pixels.zip(lattice.usable).filter(|(_, ok)| **ok) {
            to.copy_from_slice(&from[part.clone()]);
        }
        let solved = system.solve(right, part.len(), store)?;
        for (to, from) in alpha.chunks_exact_mut(bands).zip(solved.chunks_exact(part.len())) {
            to[part.clone()].copy_from_slice(from);
        }
    }
    Ok(alpha)
}

/// K + νI on a lattice.
struct System {
    /// How far the places within reach of a pixel lie behind it in the grid's order, ascending.
    near: Vec<isize>,
    /// Of every pixel what it has in common with these; 0 where there is no pixel or none that is usable.
    values: Buffer,
}

impl System {
    fn new(lattice: &Lattice, guide: Guide, store: &Store) -> Result<System> {
        let reach = guide.radius.floor() as isize;
        let places: Vec<(isize, isize)> = (-reach..=reach)
            .flat_map(|i| (-reach..=reach).map(move |j| (i, j)))
            .filter(|&(i, j)| guide.kernel((i * i + j * j) as f64, 0.0) > 0.0)
            .collect();
        let (rows, columns) = (lattice.rows, lattice.columns);
        let mut values = store.zeros(lattice.usable.len() * places.len())?;
        values
            .par_chunks_exact_mut(places.len())
            .zip(lattice.usable)
            .enumerate()
            .filter(|(_, (_, ok))| **ok)
            .for_each(|(k, (values, _))| {
                let (r, c) = (k / columns, k % columns);
                for (value, &(i, j)) in values.iter_mut().zip(&places) {
                    let row = r.checked_add_signed(i).filter(|&r| r < rows);
                    let column = c.checked_add_signed(j).filter(|&c| c < columns);
                    let Some(l) = row.zip(column).map(|(r, c)| r * columns + c) else {
                        continue;
                    };
                    if lattice.usable[l] {
                        let own = if l == k { NUGGET } else { 0.0 };
                        *value = (lattice.kernel(guide, k, l) + own) as f32;
                    }
                }
            });
        let near = places.iter().map(|(i, j)| i * columns as isize + j);
        Ok(System {
            near: near.collect(),
            values,
        })
    }

    /// `out` = (K + νI) `x`, pixels × `bands`.
    fn product(&self, arch: Arch, x: &[f32], out: &mut [f32], bands: usize) {
        out.par_chunks_exact_mut(bands)
            .zip(self.values.par_chunks_exact(self.near.len()))
            .enumerate()
            .for_each_init(
                || vec![(0.0, 0); self.near.len() + 1],
                |near, (k, (out, values))| {
                    let mut count = 0;
                    for (&value, &by) in values.iter().zip(&self.near) {
                        // Where the value is above 0 there is a pixel.
                        near[count] = (value, k.wrapping_add_signed(by).wrapping_mul(bands));
                        count += usize::from(value > 0.0);
                    }
                    arch.dispatch(WeightedSum {
                        near: &near[..count],
                        x,
                        out,
                    });
                },
            );
    }

    /// x of (K + νI) x = `right` (pixels × `bands`) by conjugate gradients.
    fn solve(&self, right: Buffer, bands: usize, store: &Store) -> Result<Buffer> {
        let mut remainder = right;
        let mut solution = store.zeros(remainder.len())?;
        let mut direction = store.copy(&remainder)?;
        let mut image = store.zeros(remainder.len())?;
        let arch = Arch::new();
        let mut square = dots(&remainder, &remainder, bands);
        let goal: Vec<f64> = square.iter().map(|s| s * TOLERANCE).collect();
        for _ in 0..STEPS {
            if square.iter().zip(&goal).all(|(s, g)| s <= g) {
                break;
            }
            interrupt::check()?;
            self.product(arch, &direction, &mut image, bands);
            let curvature = dots(&direction, &image, bands);
            // A band that has arrived stays where it is.
            let ratio = |a: f64, b: f64, arrived: bool| if arrived || b <= 0.0 { 0.0 } else { a / b };
            let step: Vec<f32> = (0..bands)
                .map(|j| ratio(square[j], curvature[j], square[j] <= goal[j]) as f32)
                .collect();
            add_scaled(&mut solution, &step, &direction);
            let back: Vec<f32> = step.iter().map(|s| -s).collect();
            add_scaled(&mut remainder, &back, &image);
            let next = dots(&remainder, &remainder, bands);
            let share: Vec<f32> = (0..bands)
                .map(|j| ratio(next[j], square[j], false) as f32)
                .collect();
            direction
                .par_chunks_exact_mut(bands)
                .zip(remainder.par_chunks_exact(bands))
                .with_min_len(CHUNK)
                .for_each(|(direction, remainder)| {
                    for ((d, &r), &share) in direction.iter_mut().zip(remainder).zip(&share) {
                        *d = r + share * *d;
                    }
                });
            square = next;
        }
        Ok(solution)
    }
}

/// `out` = Σ value · x, over pairs of a value and the place in `x` where the first band of its pixel lies.
///
/// Products are rounded before they are added, so that all widths of registers give the same bits.
struct WeightedSum<'a> {
    near: &'a [(f32, usize)],
    x: &'a [f32],
    out: &'a mut [f32],
}

impl WithSimd for WeightedSum<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let bands = self.out.len();
        if bands < S::F32_LANES {
            self.out.fill(0.0);
            for &(value, from) in self.near {
                for (o, &x) in self.out.iter_mut().zip(&self.x[from..][..bands]) {
                    *o += value * x;
                }
            }
            return;
        }
        let mut at = 0;
        while at < bands {
            at += match (bands - at).div_ceil(S::F32_LANES) {
                1 => self.sum::<S, 1>(simd, at),
                2 => self.sum::<S, 2>(simd, at),
                3 => self.sum::<S, 3>(simd, at),
                _ => self.sum::<S, 4>(simd, at),
            };
        }
    }
}

impl WeightedSum<'_> {
    /// Sums V vectors of bands from band `at` on; the last of all ends with the last band and repeats some of the one
    /// before. Returns how many bands follow `at` that are done.
    #[inline(always)]
    fn sum<S: Simd, const V: usize>(&mut self, simd: S, at: usize) -> usize {
        let (bands, lanes) = (self.out.len(), S::F32_LANES);
        let places: [usize; V] = std::array::from_fn(|v| (at + v * lanes).min(bands - lanes));
        let mut sums = [simd.splat_f32s(0.0); V];
        for &(value, from) in self.near {
            let (value, pixel) = (simd.splat_f32s(value), &self.x[from..][..bands]);
            for v in 0..V {
                let x = S::as_simd_f32s(&pixel[places[v]..][..lanes]).0[0];
                sums[v] = simd.add_f32s(simd.mul_f32s(value, x), sums[v]);
            }
        }
        for v in 0..V {
            S::as_mut_simd_f32s(&mut self.out[places[v]..][..lanes]).0[0] = sums[v];
        }
        V * lanes
    }
}

/// Sum over the pixels of a·b, each band by itself; in chunks, so that the bits do not depend on threads.
fn dots(a: &[f32], b: &[f32], bands: usize) -> Vec<f64> {
    let parts: Vec<Vec<f64>> = a
        .par_chunks(CHUNK * bands)
        .zip(b.par_chunks(CHUNK * bands))
        .map(|(a, b)| {
            let mut sums = vec![0.0; bands];
            for (a, b) in a.chunks_exact(bands).zip(b.chunks_exact(bands)) {
                for ((sum, &a), &b) in sums.iter_mut().zip(a).zip(b) {
                    *sum += f64::from(a) * f64::from(b);
                }
            }
            sums
        })
        .collect();
    (0..bands)
        .map(|j| parts.iter().map(|part| part[j]).sum())
        .collect()
}

/// y += `factor` · x, each band with its own.
fn add_scaled(y: &mut [f32], factor: &[f32], x: &[f32]) {
    y.par_chunks_exact_mut(factor.len())
        .zip(x.par_chunks_exact(factor.len()))
        .with_min_len(CHUNK)
        .for_each(|(y, x)| {
            for ((y, &x), &factor) in y.iter_mut().zip(x).zip(factor) {
                *y += factor * x;
            }
        });
}

#[cfg(test)]
mod tests {
    use super::*;

    // Bit by bit, with the vectors of this machine and without any.
    #[test]
    fn a_product_is_that_of_plain_loops() {
        let wave = |n: usize| -> Vec<f32> { (0..n).map(|i| (i as f32 * 0.7).sin()).collect() };
        for bands in [1, 3, 7, 8, 9, 16, 17, 31, 33, 63, 70, 129] {
            let (rows, columns) = (5, 6);
            let n = rows * columns;
            let mut usable = vec![true; n];
            usable[8] = false;
            let colours = wave(n * 2);
            let lattice = Lattice {
                rows,
                columns,
                colours: &colours,
                colour_variance: 0.5,
                usable: &usable,
            };
            let guide = Guide {
                radius: 2.5,
                precision: 1.0,
            };
            let system = System::new(&lattice, guide, &Store::Memory).unwrap();
            let x = wave(n * bands);
            let mut plain = vec![0.0; n * bands];
            for k in 0..n {
                let values = &system.values[k * system.near.len()..][..system.near.len()];
                for (&value, &by) in values.iter().zip(&system.near).filter(|(v, _)| **v > 0.0) {
                    let l = k.checked_add_signed(by).unwrap();
                    for j in 0..bands {
                        plain[k * bands + j] += value * x[l * bands + j];
                    }
                }
            }
            for arch in [Arch::new(), Arch::Scalar] {
                let mut found = vec![f32::NAN; n * bands];
                system.product(arch, &x, &mut found, bands);
                assert_eq!(found, plain, "{bands} bands");
            }
        }
    }
}
