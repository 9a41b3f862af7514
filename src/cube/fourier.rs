//! Fourier transforms of images.

use std::sync::Arc;

use num_traits::Zero;
use rustfft::num_complex::Complex;
use rustfft::{Fft, FftNum, FftPlanner};

use crate::real::Real;

/// A number that images are transformed in.
pub trait Sample: FftNum + Real {}
impl<T: FftNum + Real> Sample for T {}

/// A complex image row by row, or its spectrum column by column (row frequencies innermost): what a transform leaves when it does
/// not turn its data twice.
pub type Plane<T> = Vec<Complex<T>>;

/// Two-dimensional transforms of one size.
pub struct Fourier<T: Sample> {
    rows: usize,
    columns: usize,
    /// Along rows and along columns, each forward and inverse.
    along: [[Arc<dyn Fft<T>>; 2]; 2],
}

impl<T: Sample> Fourier<T> {
    /// Of images of this size.
    pub fn new(rows: usize, columns: usize) -> Self {
        let mut planner = FftPlanner::new();
        let mut both = |n| [planner.plan_fft_forward(n), planner.plan_fft_inverse(n)];
        Fourier {
            rows,
            columns,
            along: [both(columns), both(rows)],
        }
    }

    /// The spectrum of an image.
    pub fn forward(&self, image: &mut Plane<T>) {
        self.along[0][0].process(image);
        *image = turned(image, self.rows, self.columns);
        self.along[1][0].process(image);
    }

    /// The image of a spectrum.
    pub fn inverse(&self, spectrum: &mut Plane<T>) {
        self.along[1][1].process(spectrum);
        *spectrum = turned(spectrum, self.columns, self.rows);
        self.along[0][1].process(spectrum);
        let unit = T::of(1.0 / (self.rows * self.columns) as f64);
        spectrum.iter_mut().for_each(|x| *x = x.scale(unit));
    }
}

/// Rows and columns exchanged.
fn turned<T: Copy + Zero>(from: &[T], rows: usize, columns: usize) -> Vec<T> {
    const TILE: usize = 16;
    let mut to = vec![T::zero(); from.len()];
    for first in (0..rows).step_by(TILE) {
        for left in (0..columns).step_by(TILE) {
            for r in first..(first + TILE).min(rows) {
                for c in left..(left + TILE).min(columns) {
                    to[c * rows + r] = from[r * columns + c];
                }
            }
        }
    }
    to
}

/// The next number from `n` on that has no prime factor above 7: transforms of such sizes are quick.
pub fn quick(n: usize) -> usize {
    let left = |n: usize| {
        [2, 3, 5, 7].into_iter().fold(n, |mut n, prime| {
            while n.is_multiple_of(prime) {
                n /= prime;
            }
            n
        })
    };
    (n..).find(|&n| left(n) == 1).unwrap_or(n)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transform_by_hand_and_back() {
        let fourier = Fourier::<f64>::new(2, 3);
        let image: Plane<f64> = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
            .map(|x| Complex::new(x, 0.0))
            .to_vec();
        let mut spectrum = image.clone();
        fourier.forward(&mut spectrum);
        // Sum of all; sum of the first row less that of the second, which is next: column by column.
        assert!((spectrum[0].re - 21.0).abs() < 1e-12 && (spectrum[1].re + 9.0).abs() < 1e-12);
        fourier.inverse(&mut spectrum);
        assert!(spectrum.iter().zip(&image).all(|(a, b)| (a - b).norm() < 1e-12));
    }

    #[test]
    fn sizes_without_large_primes() {
        assert_eq!([1, 11, 67, 75, 143].map(quick), [1, 12, 70, 75, 144]);
    }
}
