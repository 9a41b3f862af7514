//! The K×K windows of the MSI that belong to a list of LR pixels, and their product with kernels: (Y∗C)↓.
//!
//! The search blurs the same windows with hundreds of kernels, so they are gathered once, edge-replicated,
//! each one contiguous.

use std::ops::Range;

use nalgebra::DMatrix;
use ndarray::ArrayView3;
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use crate::sensor::psf::window_start;

/// Multiply-adds that are worth a thread's while.
const WORTH_SHARING: usize = 1 << 16;
/// Kernels that go over a window together: a sample is loaded and made double for all of them at once.
const TOGETHER: usize = 4;
/// Running sums of a product: one would chain every addition to the one before it.
const LANES: usize = 8;

/// Windows of a list of LR pixels, `pixel × band × K²`.
pub(super) struct Windows {
    area: usize,
    bands: usize,
    pixels: usize,
    samples: Vec<f32>,
}

impl Windows {
    /// Gathers the windows of the LR pixels (row, column), with the edge pixels repeated outside the image.
    pub fn gather(msi: ArrayView3<f32>, pixels: &[(usize, usize)], scale: usize, kernel: usize) -> Self {
        let (rows, columns, bands) = msi.dim();
        let (area, start) = (kernel * kernel, window_start(scale, kernel));
        let inside = |base: usize, k: usize, size: usize| {
            ((base * scale) as isize + start + k as isize).clamp(0, size as isize - 1) as usize
        };
        let mut samples = vec![0.0f32; pixels.len() * bands * area];
        samples
            .par_chunks_mut((bands * area).max(1))
            .zip(pixels)
            .for_each(|(window, &(r, c))| {
                for i in 0..kernel {
                    let row = inside(r, i, rows);
                    for k in 0..kernel {
                        let column = inside(c, k, columns);
                        for band in 0..bands {
                            window[band * area + i * kernel + k] = msi[[row, column, band]];
                        }
                    }
                }
            });
        Windows {
            area,
            bands,
            pixels: pixels.len(),
            samples,
        }
    }

    /// The products with `kernels` (each K², row-major): for every kernel a matrix pixels × bands.
    pub fn apply(&self, kernels: &[&[f64]]) -> Vec<DMatrix<f64>> {
        let per_pixel = kernels.len() * self.bands;
        let mut products = vec![0.0; self.pixels * per_pixel];
        let groups: Vec<Group> = kernels.chunks(TOGETHER).map(Group::new).collect();
        let arch = Arch::new();
        products
            .par_chunks_mut(per_pixel.max(1))
            .zip(self.samples.par_chunks((self.bands * self.area).max(1)))
            .with_min_len(WORTH_SHARING / (per_pixel * self.area).max(1) + 1)
            .for_each(|(out, window)| {
                arch.dispatch(Products {
                    groups: &groups,
                    window,
                    area: self.area,
                    out,
                });
            });
        (0..kernels.len())
            .map(|k| {
                DMatrix::from_fn(self.pixels, self.bands, |p, j| {
                    products[p * per_pixel + k * self.bands + j]
                })
            })
            .collect()
    }

    /// Number of MSI bands.
    pub fn bands(&self) -> usize {
        self.bands
    }

    /// The weights `support` of the windows of one band, pixels × support, their means removed.
    pub fn band(&self, band: usize, support: &[usize]) -> DMatrix<f64> {
        let mut windows = DMatrix::from_fn(self.pixels, support.len(), |p, a| {
            f64::from(self.samples[(p * self.bands + band) * self.area + support[a]])
        });
        for mut column in windows.column_iter_mut() {
            let mean = column.mean();
            column.add_scalar_mut(-mean);
        }
        windows
    }
}

/// Kernels that go over a window together.
struct Group<'a> {
    kernels: &'a [&'a [f64]],
    /// Where one of them has weights other than zero, in units of [`LANES`] of them; a disk or a line has few.
    spans: Vec<Range<usize>>,
}

impl<'a> Group<'a> {
    fn new(kernels: &'a [&'a [f64]]) -> Self {
        let count = kernels
            .iter()
            .map(|kernel| kernel.len() / LANES)
            .min()
            .unwrap_or(0);
        let mut spans: Vec<Range<usize>> = Vec::new();
        for at in 0..count {
            let weights = |kernel: &&[f64]| kernel[at * LANES..][..LANES].iter().any(|&w| w != 0.0);
            if kernels.iter().any(weights) {
                match spans.last_mut() {
                    Some(last) if last.end == at => last.end += 1,
                    _ => spans.push(at..at + 1),
                }
            }
        }
        Group { kernels, spans }
    }
}

/// The products of one LR pixel's windows with all kernels.
struct Products<'a> {
    groups: &'a [Group<'a>],
    /// Bands × K².
    window: &'a [f32],
    /// K².
    area: usize,
    /// Kernels × bands.
    out: &'a mut [f64],
}

impl WithSimd for Products<'_> {
    type Output = ();

    // Plain loops: the instruction set that they are compiled for makes vectors of the lanes, and no bit depends on it.
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let bands = self.window.len() / self.area;
        for (band, samples) in self.window.chunks_exact(self.area).enumerate() {
            for (at, group) in self.groups.iter().enumerate() {
                let out = &mut self.out[at * TOGETHER * bands + band..];
                let spans = &group.spans;
                match *group.kernels {
                    [a, b, c, d] => spread(dots(samples, spans, [a, b, c, d]), out, bands),
                    [a, b, c] => spread(dots(samples, spans, [a, b, c]), out, bands),
                    [a, b] => spread(dots(samples, spans, [a, b]), out, bands),
                    [a] => spread(dots(samples, spans, [a]), out, bands),
                    _ => {}
                }
            }
        }
    }
}

#[inline(always)]
fn spread<const N: usize>(products: [f64; N], out: &mut [f64], bands: usize) {
    for (out, product) in out.iter_mut().step_by(bands).zip(products) {
        *out = product;
    }
}

#[inline(always)]
fn dots<const N: usize>(samples: &[f32], spans: &[Range<usize>], kernels: [&[f64]; N]) -> [f64; N] {
    let mut sums = [[0.0f64; LANES]; N];
    let whole = samples.len() / LANES * LANES;
    for span in spans {
        let inside = span.start * LANES..span.end * LANES;
        let kernels = kernels.map(|kernel| &kernel[inside.clone()]);
        for (at, samples) in samples[inside].chunks_exact(LANES).enumerate() {
            let samples: [f64; LANES] = std::array::from_fn(|lane| f64::from(samples[lane]));
            for (sums, kernel) in sums.iter_mut().zip(kernels) {
                let weights = &kernel[at * LANES..][..LANES];
                for lane in 0..LANES {
                    sums[lane] += samples[lane] * weights[lane];
                }
            }
        }
    }
    std::array::from_fn(|k| {
        let rest = samples[whole..].iter().zip(&kernels[k][whole..]);
        let rest: f64 = rest.map(|(&sample, &weight)| f64::from(sample) * weight).sum();
        rest + sums[k].iter().sum::<f64>()
    })
}

#[cfg(test)]
mod tests {
    use ndarray::Array3;

    use super::*;

    /// Numbers in [−0.5, 0.5) that repeat late.
    fn numbers() -> impl FnMut() -> f64 {
        let mut state = 7_u32;
        move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f64::from(state >> 8) / f64::from(1 << 24) - 0.5
        }
    }

    // 49 weights are six times the lanes and one more; groups of four kernels and of one, two, three; kernels of few weights.
    #[test]
    fn products_are_plain_sums_whoever_is_beside_them() {
        let mut next = numbers();
        let (scale, size, bands) = (3, 7, 2);
        let msi = Array3::from_shape_simple_fn((9, 12, bands), || next() as f32);
        let pixels = [(0, 0), (1, 2), (2, 3), (1, 1), (0, 3)];
        let windows = Windows::gather(msi.view(), &pixels, scale, size);
        let kernels: Vec<Vec<f64>> = (0..7)
            .map(|k| {
                let weight = |at: usize| {
                    if (at / 8).is_multiple_of(k + 1) {
                        next()
                    } else {
                        0.0
                    }
                };
                (0..size * size).map(weight).collect()
            })
            .collect();
        let all: Vec<&[f64]> = kernels.iter().map(Vec::as_slice).collect();
        for count in 1..=all.len() {
            for (k, product) in windows.apply(&all[..count]).iter().enumerate() {
                assert!(product == &windows.apply(&[all[k]])[0], "kernel {k} of {count}");
                for (p, &(r, c)) in pixels.iter().enumerate() {
                    for band in 0..bands {
                        let inside = |base: usize, at: usize, most: usize| {
                            let start = window_start(scale, size);
                            ((base * scale + at) as isize + start).clamp(0, most as isize - 1) as usize
                        };
                        let plain: f64 = (0..size * size)
                            .map(|at| {
                                let (i, j) = (inside(r, at / size, 9), inside(c, at % size, 12));
                                f64::from(msi[[i, j, band]]) * all[k][at]
                            })
                            .sum();
                        // Sums of 49 in another order.
                        assert!((product[(p, band)] - plain).abs() < 1e-14, "kernel {k}");
                    }
                }
            }
        }
    }
}
