//! MATLAB files as images and matrices: which variable is meant, in level 5 files (`mat5`) and in the
//! HDF5 files of version 7.3 alike, and what is written.
//!
//! An image may have its wavelengths beside it: vectors named `wavelengths` and `fwhm` in nanometres
//! with one number a band, and a number `nodata`. They are read if they fit and written if known.

use std::path::Path;

use ndarray::{Array2, ArrayD, ArrayView3};

use super::array::{Layout, cube_from, matrix_from, shape_text};
use super::file::replace;
use super::hdf5::Hdf5;
use super::mat5::{self, Mat5, Output, data_length};
use super::samples::{Float, width};
use crate::cube::{Cube, Metadata, SampleType};
use crate::error::{Error, Result};

/// Whether an array of this shape could be what is looked for.
type ShapeTest<'a> = &'a dyn Fn(&[usize]) -> bool;

/// An open MATLAB file of either kind.
enum Source {
    Level5(Mat5),
    Version73(Hdf5),
}

/// A MATLAB file with the numeric variables that it holds.
pub(crate) struct MatFile<'a> {
    path: &'a Path,
    source: Source,
    /// Name, layout with MATLAB's axes, and whether it is complex.
    variables: Vec<(String, Layout, bool)>,
}

impl<'a> MatFile<'a> {
    /// Opens a level 5 file (`-v6`, `-v7`).
    ///
    /// # Errors
    /// [`Error::Input`] if the file is missing, truncated or damaged.
    pub(crate) fn open_level5(path: &'a Path) -> Result<Self> {
        let mat = Mat5::open(path)?;
        let variables = mat
            .variables
            .iter()
            .map(|v| (v.name.clone(), v.layout.clone(), v.complex))
            .collect();
        Ok(MatFile {
            path,
            source: Source::Level5(mat),
            variables,
        })
    }

    /// Opens a version 7.3 file. MATLAB stores its arrays with the order of the axes reversed, and
    /// marks text, cells and empty arrays, which look like numbers, by an attribute.
    ///
    /// # Errors
    /// [`Error::Input`] if the file is missing, truncated or damaged.
    pub(crate) fn open_version73(path: &'a Path) -> Result<Self> {
        let hdf5 = Hdf5::open(path)?;
        let variables = hdf5
            .numeric_datasets(path, "MATLAB_class")?
            .into_iter()
            .filter(|(_, _, class)| {
                !matches!(
                    class.as_deref(),
                    Some("char" | "cell" | "struct" | "function_handle")
                )
            })
            .map(|(name, mut layout, _)| {
                layout.shape.reverse();
                layout.first_axis_fastest = true;
                (name, layout, false)
            })
            .collect();
        Ok(MatFile {
            path,
            source: Source::Version73(hdf5),
            variables,
        })
    }

    fn read<T: Float>(&self, index: usize) -> Result<ArrayD<T>> {
        let (name, layout, complex) = &self.variables[index];
        if *complex {
            return Err(Error::input(format!(
                "{}: {name} is complex; save its real part or modulus",
                self.path.display()
            )));
        }
        match &self.source {
            Source::Level5(mat) => mat.read(self.path, &mat.variables[index]),
            Source::Version73(hdf5) => {
                // In the file the axes stand in reverse, last one fastest: the same bytes.
                let mut stored = layout.clone();
                stored.shape.reverse();
                stored.first_axis_fastest = false;
                let array = hdf5.read(self.path, name, &stored)?;
                Ok(array.reversed_axes())
            }
        }
    }

    /// All variables with their shapes, for messages.
    fn listing(&self, of: &[usize]) -> String {
        const SHOWN: usize = 20;
        let mut names: Vec<String> = of
            .iter()
            .take(SHOWN)
            .map(|&i| {
                format!(
                    "{} ({})",
                    self.variables[i].0,
                    shape_text(&self.variables[i].1.shape)
                )
            })
            .collect();
        if of.len() > SHOWN {
            names.push(format!("and {} more", of.len() - SHOWN));
        }
        names.join(", ")
    }

    /// The variable called `name`, or the only one that passes the first of `tests` that any passes.
    fn choose(&self, name: Option<&str>, what: &str, tests: &[ShapeTest]) -> Result<usize> {
        let path = self.path.display();
        let all: Vec<usize> = (0..self.variables.len()).collect();
        let has = |all: &[usize]| match all {
            [] => "it holds no numeric variable".to_owned(),
            _ => format!("it holds {}", self.listing(all)),
        };
        if let Some(name) = name {
            return all
                .iter()
                .copied()
                .find(|&i| self.variables[i].0 == name)
                .ok_or_else(|| Error::input(format!("{path}: no numeric variable {name:?}; {}", has(&all))));
        }
        for test in tests {
            let fits: Vec<usize> = all
                .iter()
                .copied()
                .filter(|&i| test(&self.variables[i].1.shape))
                .collect();
            match fits.as_slice() {
                [] => {}
                [only] => return Ok(*only),
                several => {
                    return Err(Error::input(format!(
                        "{path}: several variables could be the {what}: {}; say which one as {path}:NAME",
                        self.listing(several)
                    )));
                }
            }
        }
        Err(Error::input(format!(
            "{path}: no variable could be the {what}; {}",
            has(&all)
        )))
    }

    /// Numbers of the vector variable called `name` if it has `count` of them.
    fn vector(&self, name: &str, count: usize) -> Result<Option<Vec<f64>>> {
        let index = self.variables.iter().position(|(n, layout, complex)| {
            n.eq_ignore_ascii_case(name) && layout.count() == Some(count) && !complex
        });
        index
            .map(|i| self.read(i).map(|a: ArrayD<f64>| a.iter().copied().collect()))
            .transpose()
    }

    /// The image: the variable called `name`, else the only one of three axes, else (MATLAB drops a
    /// last axis of length 1) the only one of two axes that is no vector.
    ///
    /// # Errors
    /// [`Error::Input`] if no variable or several could be meant, the data are damaged, or the image would take more
    /// than `memory` bytes.
    pub(crate) fn cube(&self, name: Option<&str>, memory: usize) -> Result<Cube> {
        let three = |shape: &[usize]| shape.len() == 3;
        let plane = |shape: &[usize]| shape.len() == 2 && shape.iter().all(|&d| d > 1);
        let index = self.choose(name, "image", &[&three, &plane])?;
        let layout = &self.variables[index].1;
        let kind = layout.kind;
        if layout
            .count()
            .is_none_or(|count| count > memory / size_of::<f32>())
        {
            return Err(Error::input(format!(
                "{}: a MATLAB file is read whole, and {} samples are more than --max-memory allows; give more, or convert it to .npy or ENVI",
                self.path.display(),
                shape_text(&layout.shape)
            )));
        }
        let mut cube = cube_from(self.path, kind, self.read(index)?)?;
        cube.metadata.wavelengths = self.vector("wavelengths", cube.bands())?;
        cube.metadata.fwhm = self.vector("fwhm", cube.bands())?;
        if let Some(&[value]) = self.vector("nodata", 1)?.as_deref() {
            cube.metadata.nodata = Some(value);
        }
        Ok(cube)
    }

    /// The matrix: the variable called `name`, else the only one of two axes that is no single number,
    /// else the only single number.
    ///
    /// # Errors
    /// [`Error::Input`] if no variable or several could be meant, or the data are damaged.
    pub(crate) fn matrix(&self, name: Option<&str>) -> Result<Array2<f64>> {
        let larger = |shape: &[usize]| shape.len() == 2 && shape.iter().any(|&d| d > 1);
        let single = |shape: &[usize]| shape == [1, 1];
        let index = self.choose(name, "matrix", &[&larger, &single])?;
        matrix_from(self.path, self.read(index)?)
    }
}

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
pub(crate) fn write_cube(
    path: &Path,
    samples: ArrayView3<f32>,
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
        values: Box::new(first_axis_fastest.iter().map(|&x| f64::from(x))),
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
                values: Box::new(values.iter().copied()),
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
        values: Box::new(first_axis_fastest.iter().copied()),
    };
    replace(path, |sink| mat5::write(sink, vec![array]))
}
