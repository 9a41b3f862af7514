//! Files in and out. One module a format; this file tells the formats apart and is the only door to
//! them: [`read_cube`], [`write_cube`], [`read_matrix`], [`write_matrix`].
//!
//! A format is told by the first bytes of the file, then by its name.

use std::path::Path;

use ndarray::Array2;

use crate::cube::Cube;
use crate::error::Result;

mod array;
mod file;
mod npy;
mod samples;

pub use file::{check_writable, replace};
pub use npy::read_array;
pub use samples::{parse_sample_type, sample_type_name};

/// Reads the image in a file.
///
/// # Errors
/// [`crate::Error::Input`] with one line that names the file and what is wrong with it.
pub fn read_cube(spec: &str) -> Result<Cube> {
    npy::read_cube(Path::new(spec))
}

/// Writes an image in its [`Cube::sample_type`].
///
/// # Errors
/// [`crate::Error::Input`] if the folder cannot take the file, [`Error::Failed`] if writing fails.
pub fn write_cube(path: impl AsRef<Path>, cube: &Cube) -> Result<()> {
    npy::write_cube(path.as_ref(), cube.samples.view(), cube.sample_type)
}

/// Reads a matrix (PSF, SRF).
///
/// # Errors
/// [`crate::Error::Input`] with one line that names the file and what is wrong with it.
pub fn read_matrix(spec: &str) -> Result<Array2<f64>> {
    let path = Path::new(spec);
    array::matrix_from(path, npy::read_array(path)?)
}

/// Writes a matrix.
///
/// # Errors
/// [`crate::Error::Input`] if the folder cannot take the file, [`Error::Failed`] if writing fails.
pub fn write_matrix(path: impl AsRef<Path>, matrix: &Array2<f64>) -> Result<()> {
    npy::write_matrix(path.as_ref(), matrix)
}
