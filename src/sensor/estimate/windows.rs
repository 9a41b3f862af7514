//! The K×K windows of the MSI that belong to a list of LR pixels, and their product with kernels: (Y∗C)↓.
//!
//! The search blurs the same windows with hundreds of kernels, so they are gathered once, edge-replicated,
//! each one contiguous.

use nalgebra::DMatrix;
use ndarray::ArrayView3;
use rayon::prelude::*;

use crate::sensor::psf::window_start;

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
        products
            .par_chunks_mut(per_pixel.max(1))
            .zip(self.samples.par_chunks((self.bands * self.area).max(1)))
            .with_min_len(16)
            .for_each(|(out, window)| {
                for (band, samples) in window.chunks_exact(self.area).enumerate() {
                    for (k, kernel) in kernels.iter().enumerate() {
                        out[k * self.bands + band] = dot(samples, kernel);
                    }
                }
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

// Eight running sums: one would chain every addition to the one before it.
fn dot(samples: &[f32], kernel: &[f64]) -> f64 {
    let mut lanes = [0.0f64; 8];
    let (s, k) = (samples.chunks_exact(8), kernel.chunks_exact(8));
    let tail: f64 = s
        .remainder()
        .iter()
        .zip(k.remainder())
        .map(|(&a, &b)| f64::from(a) * b)
        .sum();
    for (a, b) in s.zip(k) {
        for lane in 0..8 {
            lanes[lane] += f64::from(a[lane]) * b[lane];
        }
    }
    tail + lanes.iter().sum::<f64>()
}
