//! Files that hold several arrays under names, as images and matrices: MATLAB of both kinds, NumPy's `.npz` and HDF5.
//! Which array is meant is settled here, for all of them alike: the one named (`FILE:NAME`), else the only one that could be.
//!
//! An image may have its wavelengths beside it (in HDF5: in its own group): vectors named `wavelengths` and `fwhm` in
//! nanometres with one number a band, and a number `nodata`. They are read if they fit.

use std::path::Path;

use ndarray::{Array2, ArrayD};

use super::array::{Layout, cube_from, matrix_from, shape_text};
use super::hdf5::Hdf5;
use super::mat5::Mat5;
use super::npz::Npz;
use super::samples::Float;
use crate::cube::Cube;
use crate::error::{Error, Result};

/// Whether an array of this shape could be what is looked for.
type ShapeTest<'a> = &'a dyn Fn(&[usize]) -> bool;

/// An open file.
enum Source {
    Level5(Mat5),
    Version73(Hdf5),
    Hdf5(Hdf5),
    Npz(Npz),
}

/// A file with the numeric arrays that it holds.
pub(crate) struct NamedFile<'a> {
    path: &'a Path,
    source: Source,
    /// Name, layout with the axes as the program that wrote it has them, and whether it is complex.
    variables: Vec<(String, Layout, bool)>,
}

/// Group and name of an array; only HDF5 has groups.
fn split(name: &str) -> (&str, &str) {
    name.rsplit_once('/').unwrap_or(("", name))
}

impl<'a> NamedFile<'a> {
    /// Opens a MATLAB file of level 5 (`-v6`, `-v7`).
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
        Ok(NamedFile {
            path,
            source: Source::Level5(mat),
            variables,
        })
    }

    /// Opens a MATLAB file of version 7.3. MATLAB stores its arrays with the order of the axes reversed, and
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
        Ok(NamedFile {
            path,
            source: Source::Version73(hdf5),
            variables,
        })
    }

    /// Opens an HDF5 file: datasets of all groups, or of that of the dataset `wanted`, named by their path, with axes as
    /// they are stored.
    ///
    /// # Errors
    /// [`Error::Input`] if the file is missing, truncated or damaged.
    pub(crate) fn of_hdf5(path: &'a Path, hdf5: Hdf5, wanted: Option<&str>) -> Result<Self> {
        let beside = wanted.and_then(|wanted| hdf5.datasets_beside(wanted));
        let variables = match beside {
            Some(datasets) => datasets,
            None => hdf5.all_datasets(path)?,
        };
        let variables = variables
            .into_iter()
            .map(|(name, layout)| (name, layout, false))
            .collect();
        Ok(NamedFile {
            path,
            source: Source::Hdf5(hdf5),
            variables,
        })
    }

    /// Opens a `.npz` file.
    ///
    /// # Errors
    /// [`Error::Input`] if the file is missing, truncated or damaged.
    pub(crate) fn open_npz(path: &'a Path) -> Result<Self> {
        let npz = Npz::open(path)?;
        let variables = npz
            .arrays
            .iter()
            .map(|a| (a.name.clone(), a.layout.clone(), false))
            .collect();
        Ok(NamedFile {
            path,
            source: Source::Npz(npz),
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
            Source::Hdf5(hdf5) => hdf5.read(self.path, name, layout),
            Source::Npz(npz) => npz.read(self.path, index),
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

    /// All arrays with their shapes, for messages.
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

    /// The array called `name`, or the only one that passes the first of `tests` that any passes.
    fn choose(&self, name: Option<&str>, what: &str, tests: &[ShapeTest]) -> Result<usize> {
        let path = self.path.display();
        let all: Vec<usize> = (0..self.variables.len()).collect();
        let has = |all: &[usize]| match all {
            [] => "it holds no numeric array".to_owned(),
            _ => format!("it holds {}", self.listing(all)),
        };
        if let Some(name) = name {
            return all
                .iter()
                .copied()
                .find(|&i| self.variables[i].0.trim_start_matches('/') == name.trim_start_matches('/'))
                .ok_or_else(|| Error::input(format!("{path}: no numeric array {name:?}; {}", has(&all))));
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
                        "{path}: several arrays could be the {what}: {}; say which one as {path}:NAME",
                        self.listing(several)
                    )));
                }
            }
        }
        Err(Error::input(format!(
            "{path}: no array could be the {what}; {}",
            has(&all)
        )))
    }

    /// Numbers of the vector called `name` beside the array `image` if it has `count` of them.
    fn vector(&self, image: usize, name: &str, count: usize) -> Result<Option<Vec<f64>>> {
        let (group, _) = split(&self.variables[image].0);
        let index = self.variables.iter().position(|(n, layout, complex)| {
            let (beside, leaf) = split(n);
            beside == group
                && leaf.eq_ignore_ascii_case(name)
                && layout.count() == Some(count)
                && layout.shape.iter().filter(|&&d| d != 1).count() <= 1
                && !complex
        });
        index
            .map(|i| self.read(i).map(|a: ArrayD<f64>| a.iter().copied().collect()))
            .transpose()
    }

    /// The image: the array called `name`, else the only one of three axes, else (MATLAB drops a
    /// last axis of length 1) the only one of two axes that is no vector.
    ///
    /// # Errors
    /// [`Error::Input`] if no array or several could be meant, the data are damaged, or the image would take more
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
                "{}: a file of this kind is read whole, and {} samples are more than the setting max-memory allows; give more, or convert it to .npy or ENVI",
                self.path.display(),
                shape_text(&layout.shape)
            )));
        }
        let mut cube = cube_from(self.path, kind, self.read(index)?)?;
        cube.metadata.wavelengths = self.vector(index, "wavelengths", cube.bands())?;
        cube.metadata.fwhm = self.vector(index, "fwhm", cube.bands())?;
        if let Some(&[value]) = self.vector(index, "nodata", 1)?.as_deref() {
            cube.metadata.nodata = Some(value);
        }
        Ok(cube)
    }

    /// The matrix: the array called `name`, else the only one of two axes that is no single number,
    /// else the only single number.
    ///
    /// # Errors
    /// [`Error::Input`] if no array or several could be meant, or the data are damaged.
    pub(crate) fn matrix(&self, name: Option<&str>) -> Result<Array2<f64>> {
        let larger = |shape: &[usize]| shape.len() == 2 && shape.iter().any(|&d| d > 1);
        let single = |shape: &[usize]| shape == [1, 1];
        let index = self.choose(name, "matrix", &[&larger, &single])?;
        matrix_from(self.path, self.read(index)?)
    }
}
