//! Blur and decimation of an image whose edges are joined, in the Fourier domain: (Z∗C)↓ is a product and a sum of aliases.
//!
//! The image is mirrored beyond its edges before ([`Frame`]), so that what is joined is alike and far from what is kept.

use ndarray::{Array2, ArrayView3};
use num_traits::Zero;
use rustfft::num_complex::Complex;

use crate::cube::fourier::{Fourier, Plane, Sample, quick};
use crate::sensor::psf::window_start;

/// An image of whole LR pixels with a mirrored border around it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame {
    /// LR rows and columns of the image.
    pub inner: [usize; 2],
    /// LR pixels of border above and to the left; at the other sides there are as many or more.
    pub border: usize,
    /// Ratio s of the grids.
    pub scale: usize,
}

impl Frame {
    /// Around an LR image of `inner` rows and columns, as wide as a window of the PSF reaches.
    pub fn new(inner: [usize; 2], scale: usize, kernel: usize) -> Self {
        let beyond = kernel.saturating_sub(scale).div_ceil(2);
        Frame {
            inner,
            border: beyond.div_ceil(scale) + 1,
            scale,
        }
    }

    /// Rows and columns with the border, LR pixels.
    pub fn low(&self) -> [usize; 2] {
        self.inner.map(|n| quick(n + 2 * self.border))
    }

    /// Rows and columns with the border, HR pixels.
    pub fn high(&self) -> [usize; 2] {
        self.low().map(|n| n * self.scale)
    }

    /// Where in an image of `length` pixels the pixel of this number of the framed one is taken from: the edge is a mirror.
    fn source(at: usize, border: usize, length: usize) -> usize {
        let period = 2 * length;
        let at = (at + period * border.div_ceil(period) - border) % period;
        at.min(period - 1 - at)
    }

    /// One band of an LR or HR image, whose pixels are `fine` × `fine` to an LR pixel, and another as imaginary part.
    pub fn plane<T: Sample>(
        &self,
        image: ArrayView3<T>,
        fine: usize,
        bands: (usize, Option<usize>),
    ) -> Plane<T> {
        let border = self.border * fine;
        let [rows, columns] = self.low().map(|n| n * fine);
        let (height, width, _) = image.dim();
        let across: Vec<usize> = (0..columns).map(|c| Self::source(c, border, width)).collect();
        let mut plane = Vec::with_capacity(rows * columns);
        for r in 0..rows {
            let row = Self::source(r, border, height);
            plane.extend(across.iter().map(|&c| {
                let second = bands.1.map_or(T::zero(), |band| image[[row, c, band]]);
                Complex::new(image[[row, c, bands.0]], second)
            }));
        }
        plane
    }

    /// Number of an HR pixel of the image in the framed one.
    pub fn place(&self, row: usize, column: usize) -> usize {
        let border = self.border * self.scale;
        (row + border) * self.high()[1] + column + border
    }
}

/// Blur by a PSF and decimation on a frame.
pub(super) struct Blur<T: Sample> {
    /// Transforms of framed HR images.
    pub fourier: Fourier<T>,
    /// Factor of each frequency that blurs: the sample of an LR pixel stands on the first HR pixel of its block.
    pub transfer: Plane<T>,
    frame: Frame,
}

impl<T: Sample> Blur<T> {
    /// By `psf` (K×K).
    pub fn new(frame: Frame, psf: &Array2<f64>) -> Self {
        let [rows, columns] = frame.high();
        let fourier = Fourier::new(rows, columns);
        let start = window_start(frame.scale, psf.nrows());
        let mut transfer = vec![Complex::zero(); rows * columns];
        let joined = |k: usize, length: usize| (k as isize + start).rem_euclid(length as isize) as usize;
        for ((i, j), &weight) in psf.indexed_iter() {
            let at = joined(i, rows) * columns + joined(j, columns);
            transfer[at].re += T::of(weight);
        }
        fourier.forward(&mut transfer);
        // A window is a correlation.
        transfer.iter_mut().for_each(|x| *x = x.conj());
        Blur {
            fourier,
            transfer,
            frame,
        }
    }

    /// The spectrum of every s-th pixel of an image with this spectrum.
    pub fn decimated(&self, spectrum: &[Complex<T>]) -> Plane<T> {
        let [rows, _] = self.frame.high();
        let [low_rows, low_columns] = self.frame.low();
        let mut folded = vec![Complex::zero(); low_rows * low_columns];
        for (c, column) in spectrum.chunks_exact(rows).enumerate() {
            let to = (c % low_columns) * low_rows;
            for part in column.chunks_exact(low_rows) {
                for (sum, x) in folded[to..to + low_rows].iter_mut().zip(part) {
                    *sum += *x;
                }
            }
        }
        let share = T::of(1.0 / (self.frame.scale * self.frame.scale) as f64);
        folded.iter_mut().for_each(|x| *x = x.scale(share));
        folded
    }

    /// Calls `with` for every frequency (its number) and the value that an LR spectrum has there: that of its pixels with zeros
    /// between them.
    pub fn for_each_alias(&self, low: &[Complex<T>], mut with: impl FnMut(usize, Complex<T>)) {
        let [rows, columns] = self.frame.high();
        let [low_rows, low_columns] = self.frame.low();
        for c in 0..columns {
            let from = &low[(c % low_columns) * low_rows..][..low_rows];
            for r in 0..rows {
                with(c * rows + r, from[r % low_rows]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array3;

    use super::*;
    use crate::sensor::observe::blur_samples;

    #[test]
    fn a_mirror_at_either_edge() {
        let at: Vec<usize> = (0..11).map(|at| Frame::source(at, 4, 3)).collect();
        assert_eq!(at, [2, 2, 1, 0, 0, 1, 2, 2, 1, 0, 0]);
    }

    // Windows that stay within the image see no border: the product is the sum of `blur_samples`.
    #[test]
    fn it_blurs_as_windows_do() {
        for (scale, kernel) in [(1, 3), (2, 4), (3, 5), (4, 2)] {
            let psf = Array2::from_shape_fn((kernel, kernel), |(i, j)| (1 + i + 3 * j * j) as f64);
            let psf = &psf / psf.sum();
            let (h, w) = (6, 7);
            let image = Array3::from_shape_fn((h * scale, w * scale, 1), |(r, c, _)| {
                ((r * 7 + c * 3) % 11) as f32
            });
            let expected = blur_samples(image.view(), &psf, scale).unwrap();
            let frame = Frame::new([h, w], scale, kernel);
            let blur = Blur::<f64>::new(frame, &psf);
            let mut plane = frame.plane(image.mapv(f64::from).view(), scale, (0, None));
            blur.fourier.forward(&mut plane);
            let blurred: Plane<f64> = plane.iter().zip(&blur.transfer).map(|(x, b)| x * b).collect();
            let mut low = blur.decimated(&blurred);
            let [rows, columns] = frame.low();
            Fourier::new(rows, columns).inverse(&mut low);
            for r in 2..h - 2 {
                for c in 2..w - 2 {
                    let found = low[(r + frame.border) * columns + c + frame.border];
                    assert!(
                        (found.re - f64::from(expected[[r, c, 0]])).abs() < 1e-5,
                        "{scale} {kernel}"
                    );
                    assert!(found.im.abs() < 1e-9);
                }
            }
        }
    }
}
