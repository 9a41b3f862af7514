//! Twin of `shaders/dct_denoise.wgsl`: sliding-window DCT, one pass.

use rayon::prelude::*;

use crate::engine::refinement::{DCT_SIDE, PlaneShape};
use crate::engine::work::Work;
use crate::real::Real;

/// Coefficients of the first pass below this many standard deviations are taken for noise.
pub const THRESHOLD: f64 = 2.7;
/// Rows of blocks that one task sums into its own strip; fixed, so that the bits do not depend on threads.
pub const STRIP: usize = 16;

/// DCT-II of length [`DCT_SIDE`], orthonormal, row k the k-th frequency.
pub fn dct_matrix<T: Real>() -> [[T; DCT_SIDE]; DCT_SIDE] {
    let n = DCT_SIDE as f64;
    std::array::from_fn(|k| {
        let norm = if k == 0 {
            (1.0 / n).sqrt()
        } else {
            (2.0 / n).sqrt()
        };
        std::array::from_fn(|i| T::of(norm * (std::f64::consts::PI * (i as f64 + 0.5) * k as f64 / n).cos()))
    })
}

type Block<T> = [[T; DCT_SIDE]; DCT_SIDE];

/// See [`crate::engine::refinement::Refiner::dct_denoise`].
pub fn dct_denoise<T: Real>(
    shape: PlaneShape,
    stride: usize,
    noisy: &[T],
    pilot: Option<&[T]>,
    out: &mut [T],
) {
    let PlaneShape { rows, columns, .. } = shape;
    let matrix = dct_matrix::<T>();
    let inverse = transposed(&matrix);
    let (tops, lefts) = (starts(rows, stride), starts(columns, stride));
    let strips: Vec<&[usize]> = tops.chunks(STRIP).collect();
    for (channel, out) in out.chunks_exact_mut(rows * columns).enumerate() {
        let plane = &noisy[channel * rows * columns..][..rows * columns];
        let pilot = pilot.map(|p| &p[channel * rows * columns..][..rows * columns]);
        let sums = |tops: &&[usize]| {
            let first = tops[0];
            let height = tops[tops.len() - 1] + DCT_SIDE - first;
            let mut sum = vec![T::zero(); height * columns];
            let mut weights = sum.clone();
            for &top in *tops {
                for &left in &lefts {
                    let mut block = forward(&matrix, &inverse, plane, columns, top, left);
                    let weight = match pilot {
                        None => threshold(&mut block),
                        Some(p) => wiener(&mut block, &forward(&matrix, &inverse, p, columns, top, left)),
                    };
                    let block = product(&product(&inverse, &block), &matrix);
                    for (i, values) in block.iter().enumerate() {
                        let at = (top - first + i) * columns + left;
                        for (j, &v) in values.iter().enumerate() {
                            sum[at + j] += weight * v;
                            weights[at + j] += weight;
                        }
                    }
                }
            }
            (first, sum, weights)
        };
        out.fill(T::zero());
        let mut total = vec![T::zero(); rows * columns];
        // Sums of a few strips at a time are in memory; they are added in order, whatever their number.
        for group in strips.chunks(2 * rayon::current_num_threads()) {
            let done: Vec<(usize, Vec<T>, Vec<T>)> = group.par_iter().map(sums).collect();
            for (first, sum, weights) in &done {
                for (i, (&s, &w)) in sum.iter().zip(weights).enumerate() {
                    out[first * columns + i] += s;
                    total[first * columns + i] += w;
                }
            }
        }
        for (o, &w) in out.iter_mut().zip(&total) {
            *o /= w;
        }
    }
}

/// Work of `count` blocks, there and back; of what the first pass compares and counts, nothing.
pub fn block_work<T>(count: usize, pilot: bool) -> Work {
    let samples = DCT_SIDE * DCT_SIDE;
    let product = 2 * DCT_SIDE * samples;
    // A pilot is transformed, gains are made of it and their squares summed.
    let operations = 4 * product
        + 1
        + if pilot {
            2 * product + 5 * samples + 2 * (samples - 1)
        } else {
            0
        };
    Work::of::<T>(count * operations, count * samples * (2 + usize::from(pilot)))
}

/// Work of weighing `count` blocks and averaging them into `pixels` pixels.
pub fn pixel_work<T>(count: usize, pixels: usize) -> Work {
    let samples = DCT_SIDE * DCT_SIDE;
    Work::of::<T>(3 * count * samples + pixels, count * (samples + 1) + pixels)
}

/// Work of a whole pass over planes.
pub fn work<T>(shape: PlaneShape, stride: usize, pilot: bool) -> Work {
    let blocks = shape.channels * starts(shape.rows, stride).len() * starts(shape.columns, stride).len();
    block_work::<T>(blocks, pilot) + pixel_work::<T>(blocks, shape.channels * shape.rows * shape.columns)
}

/// First rows or columns of the blocks: every `stride`, and the last that fits.
fn starts(length: usize, stride: usize) -> Vec<usize> {
    let last = length - DCT_SIDE;
    let mut starts: Vec<usize> = (0..=last).step_by(stride).collect();
    if starts.last() != Some(&last) {
        starts.push(last);
    }
    starts
}

fn forward<T: Real>(
    matrix: &Block<T>,
    transposed: &Block<T>,
    plane: &[T],
    columns: usize,
    top: usize,
    left: usize,
) -> Block<T> {
    let mut block = [[T::zero(); DCT_SIDE]; DCT_SIDE];
    for (i, row) in block.iter_mut().enumerate() {
        row.copy_from_slice(&plane[(top + i) * columns + left..][..DCT_SIDE]);
    }
    product(&product(matrix, &block), transposed)
}

/// Keeps what stands out; the weight is one over the number of coefficients kept.
fn threshold<T: Real>(block: &mut Block<T>) -> T {
    let (limit, mean) = (T::of(THRESHOLD), block[0][0]);
    let mut kept = T::one();
    for c in block.iter_mut().flatten() {
        if c.abs() > limit {
            kept += T::one();
        } else {
            *c = T::zero();
        }
    }
    if mean.abs() > limit {
        kept -= T::one();
    }
    block[0][0] = mean;
    T::one() / kept
}

/// Weighs by the pilot's Wiener gains; the weight is one over their sum of squares.
fn wiener<T: Real>(block: &mut Block<T>, pilot: &Block<T>) -> T {
    let mean = block[0][0];
    let mut power = T::one();
    for (k, (c, &p)) in block.iter_mut().flatten().zip(pilot.iter().flatten()).enumerate() {
        let gain = p * p / (p * p + T::one());
        if k > 0 {
            power += gain * gain;
        }
        *c *= gain;
    }
    block[0][0] = mean;
    T::one() / power
}

fn transposed<T: Real>(a: &Block<T>) -> Block<T> {
    std::array::from_fn(|i| std::array::from_fn(|j| a[j][i]))
}

fn product<T: Real>(a: &Block<T>, b: &Block<T>) -> Block<T> {
    let mut out = [[T::zero(); DCT_SIDE]; DCT_SIDE];
    for (out, a) in out.iter_mut().zip(a) {
        for (&x, b) in a.iter().zip(b) {
            for (o, &y) in out.iter_mut().zip(b) {
                *o += x * y;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transform_is_orthonormal() {
        let m = dct_matrix::<f64>();
        let identity = product(&m, &transposed(&m));
        for (i, row) in identity.iter().enumerate() {
            for (j, &x) in row.iter().enumerate() {
                assert!((x - if i == j { 1.0 } else { 0.0 }).abs() < 1e-14);
            }
        }
    }

    // A cosine of the block's own grid with coefficient 40 stands, ripples of 2 σ go; sizes that no stride divides.
    #[test]
    fn what_stands_out_is_kept() {
        let (rows, columns) = (13, 19);
        let shape = PlaneShape {
            channels: 2,
            rows,
            columns,
        };
        let flat: Vec<f64> = (0..2 * rows * columns).map(|i| 7.0 + (i / 247) as f64).collect();
        let ripple = |strength: f64| -> Vec<f64> {
            flat.iter()
                .enumerate()
                .map(|(i, f)| f + strength * [1.0, -1.0][i % 247 % columns % 2])
                .collect()
        };
        for stride in [1, 2, 3] {
            let mut out = vec![0.0; flat.len()];
            // A ripple of amplitude a has its largest coefficient at 7.2 a: below the threshold, then far above.
            dct_denoise(shape, stride, &ripple(0.3), None, &mut out);
            assert!(out.iter().zip(&flat).all(|(o, f)| (o - f).abs() < 1e-12));
            let strong = ripple(30.0);
            dct_denoise(shape, stride, &strong, None, &mut out);
            assert!(out.iter().zip(&strong).all(|(o, f)| (o - f).abs() < 1e-9));
            // Wiener: a pilot of nothing takes everything but the mean.
            dct_denoise(shape, stride, &strong, Some(&vec![1.0; flat.len()]), &mut out);
            let off = out
                .iter()
                .zip(&flat)
                .map(|(o, f)| (o - f).abs())
                .fold(0.0, f64::max);
            assert!(off < 1e-9, "{off}");
        }
    }
}
