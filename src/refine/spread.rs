//! How a residual on the LR grid spreads over HR pixels: kriging with a kernel of place and colour.
//!
//! What the network missed at an LR pixel it missed at the pixels of the same material around. As a Gaussian process
//! over place and MSI colour with the kernel κ of [`Guide`], the residual at an HR pixel is Σ_k κ(p, k) α_k with
//! (K + νI) α = r on the LR grid. Reach and width of colour are those whose leave-one-out prediction of LR pixels is
//! best; where none predicts, the residual is no more than noise of its own pixel and plain interpolation has to do.

use nalgebra::DMatrix;
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
        let inverse = |guide: Guide, sample: &Vec<usize>| {
            let n = sample.len();
            let system = DMatrix::from_fn(n, n, |a, b| {
                lattice.kernel(guide, sample[a], sample[b]) + if a == b { NUGGET } else { 0.0 }
            });
            Some(system.cholesky()?.inverse())
        };
        let inverses = guides.into_par_iter().filter_map(|guide| {
            let inverses: Option<Vec<_>> = samples.iter().map(|sample| inverse(guide, sample)).collect();
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
    fn product(&self, x: &[f32], out: &mut [f32], bands: usize) {
        out.par_chunks_exact_mut(bands)
            .zip(self.values.par_chunks_exact(self.near.len()))
            .enumerate()
            .for_each(|(k, (out, values))| {
                out.fill(0.0);
                // Where the value is above 0 there is a pixel.
                for (&value, &by) in values.iter().zip(&self.near).filter(|(value, _)| **value > 0.0) {
                    let l = k.wrapping_add_signed(by);
                    for (o, &x) in out.iter_mut().zip(&x[l * bands..][..bands]) {
                        *o += value * x;
                    }
                }
            });
    }

    /// x of (K + νI) x = `right` (pixels × `bands`) by conjugate gradients.
    fn solve(&self, right: Buffer, bands: usize, store: &Store) -> Result<Buffer> {
        let mut remainder = right;
        let mut solution = store.zeros(remainder.len())?;
        let mut direction = store.copy(&remainder)?;
        let mut image = store.zeros(remainder.len())?;
        let mut square = dots(&remainder, &remainder, bands);
        let goal: Vec<f64> = square.iter().map(|s| s * TOLERANCE).collect();
        for _ in 0..STEPS {
            if square.iter().zip(&goal).all(|(s, g)| s <= g) {
                break;
            }
            interrupt::check()?;
            self.product(&direction, &mut image, bands);
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
