//! The samples of an image in memory or on disk, by rows, columns and bands; which of the two is for its
//! [`Store`] to say. What else is known of an image stands in a [`Cube`](super::Cube).

use std::ops::Range;

use ndarray::{Array3, ArrayView3, ArrayViewMut3};

use super::scratch::{Buffer, Store};
use crate::error::{Error, Result};

/// Samples of rows × columns × bands, bands innermost.
#[derive(Debug)]
pub struct Raster {
    samples: Buffer,
    dim: (usize, usize, usize),
}

impl From<Array3<f32>> for Raster {
    fn from(samples: Array3<f32>) -> Self {
        let dim = samples.dim();
        let samples = if samples.is_standard_layout() {
            samples
        } else {
            samples.as_standard_layout().into_owned()
        };
        let (mut samples, first) = samples.into_raw_vec_and_offset();
        // What has been sliced may lie within a larger allocation.
        let first = first.unwrap_or(0);
        samples.truncate(first + dim.0 * dim.1 * dim.2);
        samples.drain(..first);
        Raster {
            samples: samples.into(),
            dim,
        }
    }
}

impl Raster {
    /// Zeros in `store`.
    ///
    /// # Errors
    /// As [`Store::zeros`].
    pub fn zeros(store: &Store, dim: (usize, usize, usize)) -> Result<Raster> {
        let (rows, columns, bands) = dim;
        let length = rows
            .checked_mul(columns)
            .and_then(|n| n.checked_mul(bands))
            .ok_or_else(|| {
                Error::input(format!(
                    "{rows} x {columns} x {bands} samples are more than can be addressed"
                ))
            })?;
        Ok(Raster {
            samples: store.zeros(length)?,
            dim,
        })
    }

    /// Rows, columns and bands.
    pub fn dim(&self) -> (usize, usize, usize) {
        self.dim
    }

    /// Number of samples.
    pub fn len(&self) -> usize {
        self.samples.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }

    /// All samples, row by row.
    pub fn samples(&self) -> &[f32] {
        &self.samples
    }

    /// All samples, row by row.
    pub fn samples_mut(&mut self) -> &mut [f32] {
        &mut self.samples
    }

    /// Samples of a row: columns × bands.
    pub fn line(&self) -> usize {
        self.dim.1 * self.dim.2
    }

    /// The samples of some rows, which it must have.
    pub fn rows_mut(&mut self, rows: Range<usize>) -> &mut [f32] {
        let line = self.line();
        &mut self.samples[rows.start * line..rows.end * line]
    }

    /// The spectrum of a pixel, which it must have.
    pub fn pixel(&self, row: usize, column: usize) -> &[f32] {
        let (_, columns, bands) = self.dim;
        &self.samples[(row * columns + column) * bands..][..bands]
    }

    /// The samples as an array.
    pub fn view(&self) -> ArrayView3<'_, f32> {
        ArrayView3::from_shape(self.dim, &self.samples).expect("as many samples as the image has")
    }

    /// The samples as an array.
    pub fn view_mut(&mut self) -> ArrayViewMut3<'_, f32> {
        ArrayViewMut3::from_shape(self.dim, &mut self.samples).expect("as many samples as the image has")
    }
}

#[cfg(test)]
mod tests {
    use ndarray::s;

    use super::*;

    #[test]
    fn arrays_in_any_layout_become_the_same_image() {
        let whole = Array3::from_shape_fn((4, 3, 2), |(r, c, b)| (100 * r + 10 * c + b) as f32);
        let turned = Array3::from_shape_fn((2, 3, 4), |(b, c, r)| whole[[r, c, b]]).reversed_axes();
        assert!(!turned.is_standard_layout());
        let sliced = whole.clone().slice_move(s![1..3, .., ..]);
        for array in [whole.clone(), turned, sliced] {
            let raster = Raster::from(array.clone());
            assert_eq!(raster.view(), array);
            assert_eq!(raster.samples().len(), array.len());
            assert_eq!(raster.pixel(1, 2), array.slice(s![1, 2, ..]).to_vec());
        }
        let mut zeros = Raster::zeros(&Store::Memory, (4, 3, 2)).unwrap();
        zeros.rows_mut(1..3).fill(1.0);
        zeros.view_mut()[[3, 2, 1]] = 5.0;
        assert_eq!((zeros.line(), zeros.len(), zeros.is_empty()), (6, 24, false));
        assert_eq!(zeros.view().sum(), 17.0);
        assert!(Raster::zeros(&Store::Memory, (1 << 30, 1 << 30, 1 << 30)).is_err());
    }
}
