//! How a residual on the LR grid spreads over HR pixels: kriging with a kernel of place and colour.
//!
//! What the network missed at an LR pixel it missed at the pixels of the same material around. As a Gaussian process
//! over place and MSI colour with the kernel κ of [`Guide`], the residual at an HR pixel is Σ_k κ(p, k) α_k with
//! (K + νI) α = r on the LR grid. Reach and width of colour are those whose leave-one-out prediction of LR pixels is
//! best; where none predicts, the residual is no more than noise of its own pixel and plain interpolation has to do.

use nalgebra::DMatrix;
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use crate::cube::scratch::{Buffer, Store};
use crate::engine::refinement::Guide;
use crate::error::Result;
use crate::interrupt;

/// ν: variance of what a kernel cannot explain, relative to what it can.
const NUGGET: f64 = 0.03;
/// Reaches that are tried, LR pixels.
const RADII: [f64; 3] = [2.5, 4.0, Guide::MAX_RADIUS];
/// Widths of colour that are tried, in standard deviations of the MSI.
const WIDTHS: [f64; 3] = [0.5, 1.0, 2.0];
/// Side of the part of the LR grid on which they are compared.
const SAMPLE_SIDE: usize = 20;
/// Fewest LR pixels to compare on.
const FEWEST_PIXELS: usize = 16;
/// A guide must predict better than this, relative to predicting zero.
const WORTH: f64 = 0.98;
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
/// Rows and columns from which on a matrix is inverted by parts of it.
const BLOCK: usize = 48;

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
    fn kernel(&self, guide: Guide, k: usize, l: usize) -> f64 {
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

    /// Usable pixels of some parts of the grid: of its middle, or where it is large, of each quarter's middle.
    fn samples(&self) -> Vec<Vec<usize>> {
        let middles = |length: usize| {
            let parts = if length >= 2 * SAMPLE_SIDE { 2 } else { 1 };
            let side = (length / parts).min(SAMPLE_SIDE);
            (0..parts).map(move |part| {
                let first = length * (2 * part + 1) / (2 * parts) - side / 2;
                first..first + side
            })
        };
        middles(self.rows)
            .flat_map(|rows| middles(self.columns).map(move |columns| (rows.clone(), columns)))
            .map(|(rows, columns)| {
                rows.flat_map(|r| columns.clone().map(move |c| r * self.columns + c))
                    .filter(|&k| self.usable[k])
                    .collect()
            })
            .filter(|sample: &Vec<usize>| sample.len() >= FEWEST_PIXELS)
            .collect()
    }

    /// Rows `sample` of images on the LR grid (each n × B), side by side.
    fn part(&self, sample: &[usize], images: &[&[f32]]) -> DMatrix<f64> {
        let bands = images.first().map_or(0, |image| image.len() / self.usable.len());
        DMatrix::from_fn(sample.len(), bands * images.len(), |k, j| {
            f64::from(images[j / bands][sample[k] * bands + j % bands])
        })
    }
}

/// The guides that are tried, ready to predict LR pixels from their neighbours: made once for all residuals of a lattice.
pub struct Predictor<'a> {
    lattice: Lattice<'a>,
    samples: Vec<Vec<usize>>,
    /// (K + νI)⁻¹ on every sample for every guide; none where there are too few pixels to compare on.
    guides: Vec<(Guide, Vec<DMatrix<f64>>)>,
}

impl<'a> Predictor<'a> {
    /// Of a lattice.
    pub fn new(lattice: Lattice<'a>) -> Self {
        let samples = lattice.samples();
        let mut guides = Vec::new();
        if !samples.is_empty() && lattice.colour_variance > 0.0 {
            guides.extend(RADII.iter().flat_map(|&radius| {
                WIDTHS.iter().map(move |&width| Guide {
                    radius,
                    precision: 1.0 / (2.0 * width * width * lattice.colour_variance),
                })
            }));
        }
        let inverted = |guide: Guide, sample: &Vec<usize>| {
            let n = sample.len();
            let kernel = |a, b| lattice.kernel(guide, sample[a], sample[b]);
            let mut system = DMatrix::from_fn(n, n, |a, b| if a < b { 0.0 } else { kernel(a, b) });
            (0..n).for_each(|k| system[(k, k)] += NUGGET);
            system.fill_upper_triangle_with_lower_triangle();
            inverse(system)
        };
        let inverses = guides.into_par_iter().filter_map(|guide| {
            let inverses: Option<Vec<_>> = samples.iter().map(|sample| inverted(guide, sample)).collect();
            Some((guide, inverses?))
        });
        Predictor {
            guides: inverses.collect(),
            lattice,
            samples,
        }
    }

    /// The rows of `images` (each n × B, side by side) that are predicted, of one sample after the other.
    fn predicted(&self, images: &[&[f32]]) -> Vec<DMatrix<f64>> {
        let parts = self
            .samples
            .iter()
            .map(|sample| self.lattice.part(sample, images));
        parts.collect()
    }

    /// For every guide, what `judge` says of the errors of predicting each of these rows from all others,
    /// α_k / (K + νI)⁻¹_kk.
    fn errors<R: Send>(
        &self,
        predicted: &[DMatrix<f64>],
        judge: impl Fn(&[DMatrix<f64>]) -> R + Sync,
    ) -> Vec<(Guide, R)> {
        let judged = self.guides.par_iter().map(|(guide, inverses)| {
            let errors = inverses.iter().zip(predicted).map(|(inverse, right)| {
                let mut error = inverse * right;
                for (k, mut row) in error.row_iter_mut().enumerate() {
                    row /= inverse[(k, k)];
                }
                error
            });
            (*guide, judge(&errors.collect::<Vec<_>>()))
        });
        judged.collect()
    }

    /// The guide that predicts LR pixels of `residuals` (n × B, row-major) best from their neighbours, and the error
    /// of its prediction relative to predicting zero; `None` where no guide is worth it.
    pub fn choose(&self, residuals: &[f32]) -> Option<(Guide, f64)> {
        let square = |parts: &[DMatrix<f64>]| parts.iter().map(DMatrix::norm_squared).sum::<f64>();
        let predicted = self.predicted(&[residuals]);
        let power = square(&predicted);
        if power <= 0.0 {
            return None;
        }
        let errors = self.errors(&predicted, square).into_iter();
        errors
            .map(|(guide, error)| (guide, (error / power).sqrt()))
            .min_by(|a, b| a.1.total_cmp(&b.1))
            .filter(|&(_, error)| error < WORTH)
    }

    /// Share of a second prior in a blend of two, for every band, from the residuals that each leaves (n × B,
    /// row-major): those with which the blend's residual is predicted best from its neighbours, which is what decides
    /// once it is spread. Prediction is linear in the residuals, so the best share is closed form for every guide. All
    /// 0 where no guide is worth it: the residual itself is no judge between two that have both been fitted to it.
    pub fn second_share(&self, first: &[f32], second: &[f32]) -> Vec<f64> {
        let predicted = self.predicted(&[first, second]);
        let bands = first.len() / self.lattice.usable.len();
        let power = Products::of(&predicted);
        let best = self
            .errors(&predicted, Products::of)
            .into_iter()
            .filter_map(|(_, errors)| {
                let shares: Vec<f64> = errors.iter().map(Products::best_share).collect();
                let sum =
                    |of: &[Products]| -> f64 { of.iter().zip(&shares).map(|(p, &s)| p.of_blend(s)).sum() };
                let left = sum(&errors);
                (left < WORTH * WORTH * sum(&power)).then_some((shares, left))
            })
            .min_by(|a, b| a.1.total_cmp(&b.1));
        best.map_or_else(|| vec![0.0; bands], |(shares, _)| shares)
    }
}

/// The inverse of a symmetric positive definite matrix, by that of its first half and of what is left of the other: nearly
/// all of it is products, which are several times as fast as substitution. `None` where rounding makes a part indefinite.
fn inverse(matrix: DMatrix<f64>) -> Option<DMatrix<f64>> {
    let n = matrix.nrows();
    if n <= BLOCK {
        return Some(matrix.cholesky()?.inverse());
    }
    let (half, rest) = (n / 2, n - n / 2);
    let beside = matrix.view((0, half), (half, rest));
    let first = inverse(matrix.view((0, 0), (half, half)).into_owned())?;
    let carried = &first * beside;
    let second = inverse(matrix.view((half, half), (rest, rest)) - beside.transpose() * &carried)?;
    let corner = &carried * -&second;
    let mut whole = DMatrix::zeros(n, n);
    whole
        .view_mut((0, 0), (half, half))
        .copy_from(&(first - &corner * carried.transpose()));
    whole.view_mut((half, 0), (rest, half)).tr_copy_from(&corner);
    whole.view_mut((0, half), (half, rest)).copy_from(&corner);
    whole.view_mut((half, half), (rest, rest)).copy_from(&second);
    Some(whole)
}

/// ‖a‖², a·b and ‖b‖² of one band of two images.
#[derive(Debug, Clone, Copy, Default)]
struct Products {
    first: f64,
    both: f64,
    second: f64,
}

impl Products {
    /// Of every band of images that stand side by side, summed over `parts`.
    fn of(parts: &[DMatrix<f64>]) -> Vec<Products> {
        let bands = parts.first().map_or(0, |part| part.ncols() / 2);
        let mut products = vec![Products::default(); bands];
        for part in parts {
            for (j, sums) in products.iter_mut().enumerate() {
                let (a, b) = (part.column(j), part.column(bands + j));
                sums.first += a.norm_squared();
                sums.both += a.dot(&b);
                sums.second += b.norm_squared();
            }
        }
        products
    }

    /// ‖(1 − share) a + share b‖².
    fn of_blend(&self, share: f64) -> f64 {
        let rest = 1.0 - share;
        rest * rest * self.first + 2.0 * share * rest * self.both + share * share * self.second
    }

    /// The share in 0..=1 for which the blend is smallest; 0 where it does not matter.
    fn best_share(&self) -> f64 {
        let curvature = self.first - 2.0 * self.both + self.second;
        let share = (self.first - self.both) / curvature;
        if share.is_finite() {
            share.clamp(0.0, 1.0)
        } else {
            0.0
        }
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

    // The inverse times the matrix is 1 up to the rounding of n terms at a condition below n / NUGGET.
    #[test]
    fn matrices_are_inverted_by_parts() {
        for n in [1, BLOCK, BLOCK + 1, 2 * BLOCK + 3, 5 * BLOCK + 2] {
            let alike =
                |a: usize, b: usize| (-(a.abs_diff(b) as f64) / 9.0).exp() * (a * b % 7 + 1) as f64 / 7.0;
            let half = DMatrix::from_fn(n, n, |a, b| if b <= a { alike(a, b) } else { 0.0 });
            let matrix = &half * half.transpose() / n as f64 + DMatrix::identity(n, n) * NUGGET;
            let found = inverse(matrix.clone()).unwrap();
            let error = (&found * &matrix - DMatrix::identity(n, n)).amax();
            assert!(error < 1e-11, "{n}: {error}");
            let asymmetry = (&found - found.transpose()).amax() / found.amax();
            assert!(asymmetry < 1e-13, "{n}: {asymmetry}");
        }
        assert!(inverse(DMatrix::from_element(BLOCK + 9, BLOCK + 9, 1.0)).is_none());
    }

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
