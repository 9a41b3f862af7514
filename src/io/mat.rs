//! MATLAB files as they are written: level 5, an image as the variable `cube` with its wavelengths beside it, a matrix as
//! `matrix`. Reading them is in `named`.

use std::path::Path;

use ndarray::{Array2, ArrayView3};

use super::array::shape_text;
use super::file::replace;
use super::mat5::{self, Output, data_length};
use super::samples::width;
use crate::cube::exact::Exact;
use crate::cube::{Metadata, SampleType};
use crate::error::{Error, Result};

/// Checks that a MATLAB 5 file can hold an array.
///
/// # Errors
/// [`Error::Input`] if it cannot.
pub(crate) fn check_size(path: &Path, kind: SampleType, shape: &[usize]) -> Result<()> {
    data_length(kind, shape).map(drop).ok_or_else(|| {
        Error::input(format!(
            "{}: {} samples of {} bytes are more than the 2 GiB that a MATLAB 5 file may hold; write .npy or ENVI",
            path.display(),
            shape_text(shape),
            width(kind)
        ))
    })
}

/// Writes an image as the variable `cube` of a level 5 file, with its wavelengths beside it.
///
/// # Errors
/// [`Error::Input`] if it is too large for the format, else as [`replace`].
pub(crate) fn write_cube<T: Copy + Into<Exact>>(
    path: &Path,
    samples: ArrayView3<T>,
    kind: SampleType,
    metadata: &Metadata,
) -> Result<()> {
    check_size(path, kind, samples.shape())?;
    let nodata = metadata.nodata.map(|value| vec![value]);
    let first_axis_fastest = samples.t();
    let mut arrays = vec![Output {
        name: "cube",
        kind,
        shape: samples.shape().to_vec(),
        values: Box::new(first_axis_fastest.iter().map(|&x| x.into())),
    }];
    let vectors = [
        ("wavelengths", &metadata.wavelengths),
        ("fwhm", &metadata.fwhm),
        ("nodata", &nodata),
    ];
    for (name, vector) in vectors {
        if let Some(values) = vector {
            arrays.push(Output {
                name,
                kind: SampleType::F64,
                shape: vec![1, values.len()],
                values: Box::new(values.iter().map(|&x| x.into())),
            });
        }
    }
    replace(path, |sink| mat5::write(sink, arrays))
}

/// Writes a matrix as the variable `matrix` of a level 5 file.
///
/// # Errors
/// [`Error::Input`] if it is too large for the format, else as [`replace`].
pub(crate) fn write_matrix(path: &Path, matrix: &Array2<f64>) -> Result<()> {
    check_size(path, SampleType::F64, matrix.shape())?;
    let first_axis_fastest = matrix.t();
    let array = Output {
        name: "matrix",
        kind: SampleType::F64,
        shape: matrix.shape().to_vec(),
        values: Box::new(first_axis_fastest.iter().map(|&x| x.into())),
    };
    replace(path, |sink| mat5::write(sink, vec![array]))
}
