//! A numeric array as it lies in a file, and its way into an image or a matrix. `.npy` and both MATLAB
//! formats say shape, type and storage order; what follows from that is the same for all of them.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use ndarray::{Array, Array2, Array3, ArrayD, Axis, Dimension, IxDyn, ShapeBuilder};

use super::file::read_error;
use super::samples::{ByteOrder, Float, read_samples, sample_type_name, width};
use crate::cube::{Cube, SampleType};
use crate::error::{Error, Result};

/// Header of an array: everything but the samples.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Layout {
    /// Lengths of the axes.
    pub shape: Vec<usize>,
    /// Numeric type of the samples in the file.
    pub kind: SampleType,
    /// Byte order of the samples in the file.
    pub order: ByteOrder,
    /// `true` if the first axis varies fastest (Fortran, MATLAB), `false` if the last one does.
    pub first_axis_fastest: bool,
}

/// `2 x 3 x 4`, for messages.
pub(crate) fn shape_text(shape: &[usize]) -> String {
    let lengths: Vec<String> = shape.iter().map(usize::to_string).collect();
    lengths.join(" x ")
}

impl Layout {
    /// Number of samples, or `None` if the product of the lengths or its size in bytes is beyond
    /// what the machine can address.
    pub(crate) fn count(&self) -> Option<usize> {
        let count = self.shape.iter().try_fold(1_usize, |n, &d| n.checked_mul(d))?;
        // ndarray wants the product of the nonzero lengths to fit as well.
        self.shape
            .iter()
            .filter(|&&d| d > 0)
            .try_fold(1_usize, |n, &d| n.checked_mul(d))
            .filter(|&n| n <= isize::MAX as usize / size_of::<f64>())
            .map(|_| count)
    }

    /// Number of samples, after checking that `available` bytes can hold them; to be called before
    /// memory is asked for.
    ///
    /// # Errors
    /// [`Error::Input`] with both sizes if they do not.
    pub(crate) fn checked_count(&self, path: &Path, available: u64) -> Result<usize> {
        let claim = || {
            format!(
                "{}: the header claims {} samples of type {}",
                path.display(),
                shape_text(&self.shape),
                sample_type_name(self.kind)
            )
        };
        let count = self.count().ok_or_else(|| {
            Error::input(format!(
                "{}, more than can be addressed; the file is damaged",
                claim()
            ))
        })?;
        let needed = count as u64 * width(self.kind) as u64;
        if needed > available {
            return Err(Error::input(format!(
                "{}, which need {needed} bytes, but {available} bytes of data follow; the file is truncated or damaged",
                claim()
            )));
        }
        Ok(count)
    }

    /// Reads the samples that this header describes from `source`.
    ///
    /// # Errors
    /// [`Error::Input`] if the source ends early or cannot be read.
    pub(crate) fn read<T: Float>(
        &self,
        path: &Path,
        source: &mut dyn std::io::Read,
        count: usize,
    ) -> Result<ArrayD<T>> {
        let samples = read_samples(source, self.kind, self.order, count).map_err(|e| read_error(path, &e))?;
        self.arrange(path, samples)
    }

    /// Puts samples in file order into an array of this shape.
    ///
    /// # Errors
    /// [`Error::Input`] if their number is not that of the shape.
    pub(crate) fn arrange<T>(&self, path: &Path, samples: Vec<T>) -> Result<ArrayD<T>> {
        let shape = IxDyn(&self.shape).set_f(self.first_axis_fastest);
        ArrayD::from_shape_vec(shape, samples)
            .map_err(|e| Error::input(format!("{}: damaged array: {e}", path.display())))
    }

    /// [`Layout::read`] from a file that stands at the first sample and has `available` bytes left.
    ///
    /// # Errors
    /// [`Error::Input`] if the samples do not fit into what is left or cannot be read.
    pub(crate) fn read_file<T: Float>(&self, path: &Path, file: File, available: u64) -> Result<ArrayD<T>> {
        let count = self.checked_count(path, available)?;
        self.read(path, &mut BufReader::with_capacity(1 << 16, file), count)
    }
}

/// The same array stored with its last axis fastest; copies only if it is stored otherwise.
fn row_major<T: Clone, D: Dimension>(array: Array<T, D>) -> Array<T, D> {
    if array.is_standard_layout() {
        return array;
    }
    array.as_standard_layout().into_owned()
}

/// Rows, columns and bands of an array that is an image.
///
/// # Errors
/// [`Error::Input`] if it has not two axes (of one band) or three.
pub(crate) fn image_dim(path: &Path, shape: &[usize]) -> Result<[usize; 3]> {
    match *shape {
        [rows, columns] => Ok([rows, columns, 1]),
        [rows, columns, bands] => Ok([rows, columns, bands]),
        _ => Err(Error::input(format!(
            "{}: holds an array of {} axes ({}); an image has rows x columns x bands",
            path.display(),
            shape.len(),
            shape_text(shape)
        ))),
    }
}

/// An image from an array: rows x columns x bands, or rows x columns for one band.
///
/// # Errors
/// [`Error::Input`] if it has another number of axes.
pub(crate) fn cube_from(path: &Path, kind: SampleType, array: ArrayD<f32>) -> Result<Cube> {
    image_dim(path, array.shape())?;
    let array = match array.ndim() {
        2 => array.insert_axis(Axis(2)),
        _ => array,
    };
    let samples: Array3<f32> = array
        .into_dimensionality()
        .map_err(|e| Error::input(format!("{}: damaged array: {e}", path.display())))?;
    let mut cube = Cube::new(row_major(samples));
    cube.sample_type = kind;
    Ok(cube)
}

/// A matrix from an array of two axes, or of one (a single row).
///
/// # Errors
/// [`Error::Input`] if it has another number of axes.
pub(crate) fn matrix_from(path: &Path, array: ArrayD<f64>) -> Result<Array2<f64>> {
    let shape = array.shape().to_vec();
    let two = match shape.len() {
        1 => array.insert_axis(Axis(0)).into_dimensionality().ok(),
        2 => array.into_dimensionality().ok(),
        _ => None,
    };
    two.map(row_major).ok_or_else(|| {
        Error::input(format!(
            "{}: holds an array of {} axes ({}); a matrix has rows x columns",
            path.display(),
            shape.len(),
            shape_text(&shape)
        ))
    })
}
