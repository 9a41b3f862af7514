//! Images as Python hands them over: an array or the name of a file, a mask, and what is known of the pixels.

use hsr_gpu::cube::bands::BandSelection;
use hsr_gpu::cube::grid::{GeoTiffTags, Grid, Source as Words, Transform};
use hsr_gpu::cube::strips::Strips;
use hsr_gpu::cube::view::View;
use hsr_gpu::cube::{Cube, Metadata};
use hsr_gpu::io::{Reading, open_image_as};
use hsr_gpu::{Error, Result};
use ndarray::{ArrayView2, ArrayView3};
use numpy::{PyReadonlyArray2, PyReadonlyArray3};
use pyo3::prelude::*;
use serde::{Deserialize, Serialize};

use crate::work::python_error;

/// Samples, or a file of them.
#[derive(FromPyObject)]
enum Samples<'py> {
    #[pyo3(transparent)]
    Array(PyReadonlyArray3<'py, f32>),
    #[pyo3(transparent)]
    File(String),
}

/// An image: samples, a mask (true where a pixel may be used) and [`Facts`] as JSON.
#[derive(FromPyObject)]
pub struct Image<'py>(Samples<'py>, Option<PyReadonlyArray2<'py, bool>>, String);

/// What is known of an image's pixels, as it crosses to Python and back.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Facts {
    /// Band centres, nm.
    wavelengths: Option<Vec<f64>>,
    /// Full widths at half maximum, nm.
    fwhm: Option<Vec<f64>>,
    /// Names of bands.
    band_names: Option<Vec<String>>,
    /// The value that stands for no data.
    nodata: Option<f64>,
    /// GDAL's six numbers of the pixel grid.
    transform: Option<[f64; 6]>,
    /// EPSG code of its coordinate system.
    epsg: Option<u32>,
    /// The coordinate system as WKT.
    wkt: Option<String>,
}

impl Facts {
    /// What an image knows of itself.
    pub fn of(image: &Cube) -> Self {
        let Metadata {
            wavelengths,
            fwhm,
            band_names,
            nodata,
            grid,
            ..
        } = image.metadata.clone();
        let (transform, epsg, wkt) =
            grid.map_or((None, None, None), |grid| (grid.transform, grid.epsg, grid.wkt));
        Facts {
            wavelengths,
            fwhm,
            band_names,
            // JSON has no NaN; masked pixels are NaN where no other value is named.
            nodata: nodata.filter(|value| value.is_finite()),
            transform: transform.map(|transform| transform.0),
            epsg,
            wkt,
        }
    }

    fn metadata(self) -> Result<Metadata> {
        let transform = match self.transform {
            None => None,
            Some(numbers) => Some(Transform::new(numbers).ok_or_else(|| {
                Error::input(format!(
                    "transform {numbers:?}: six finite numbers with an inverse are needed"
                ))
            })?),
        };
        let placed = transform.is_some() || self.epsg.is_some() || self.wkt.is_some();
        Ok(Metadata {
            wavelengths: self.wavelengths,
            fwhm: self.fwhm,
            band_names: self.band_names,
            nodata: self.nodata,
            grid: placed.then(|| Grid {
                transform,
                epsg: self.epsg,
                wkt: self.wkt,
                source: Words::GeoTiff(GeoTiffTags::default()),
            }),
            ..Metadata::default()
        })
    }
}

/// An [`Image`] without Python in it, so that it may go to another thread.
pub struct Source<'a> {
    samples: Where<'a>,
    valid: Option<ArrayView2<'a, bool>>,
    facts: Facts,
}

enum Where<'a> {
    Array(ArrayView3<'a, f32>),
    File(&'a str),
}

impl Image<'_> {
    /// Borrows it.
    ///
    /// # Errors
    /// `ValueError` where what is known of the pixels is no JSON of [`Facts`].
    pub fn source(&self) -> PyResult<Source<'_>> {
        let facts = serde_json::from_str(&self.2)
            .map_err(|e| python_error(Error::input(format!("what is known of an image: {e}"))))?;
        Ok(Source {
            samples: match &self.0 {
                Samples::Array(array) => Where::Array(array.as_array()),
                Samples::File(path) => Where::File(path),
            },
            valid: self.1.as_ref().map(|mask| mask.as_array()),
            facts,
        })
    }
}

/// An image that is there: borrowed from Python, or read from a file.
pub enum Loaded<'a> {
    /// Borrowed.
    View(Box<View<'a>>),
    /// Read.
    Cube(Box<Cube>),
}

impl<'a> Source<'a> {
    /// Reads the file, where it is one, and of it these bands. `name` is what messages call an array.
    ///
    /// # Errors
    /// [`Error::Input`] where the file cannot be read, the array is empty, or a list of bands or the mask has another size.
    pub fn load(self, name: &str, bands: BandSelection) -> Result<Loaded<'a>> {
        let array = match self.samples {
            Where::Array(array) => array,
            Where::File(path) => {
                let reading = Reading {
                    bands,
                    memory: usize::MAX,
                    ..Reading::default()
                };
                let image = open_image_as(path, &reading)?;
                let mut cube = image.rows(0..image.dim().0)?;
                if let Some(valid) = self.valid {
                    let (rows, columns) = (cube.rows(), cube.columns());
                    if valid.dim() != (rows, columns) {
                        return Err(Error::input(format!(
                            "{path}: {rows} x {columns} pixels, but its mask has {} x {}",
                            valid.dim().0,
                            valid.dim().1
                        )));
                    }
                    cube.valid = Some(match cube.valid.take() {
                        Some(own) => ndarray::Zip::from(&own).and(valid).map_collect(|&a, &b| a && b),
                        None => valid.to_owned(),
                    });
                }
                return Ok(Loaded::Cube(Box::new(cube)));
            }
        };
        let bands = array.dim().2;
        for (what, count) in [
            ("wavelengths", self.facts.wavelengths.as_ref().map(Vec::len)),
            ("widths (fwhm)", self.facts.fwhm.as_ref().map(Vec::len)),
            ("band names", self.facts.band_names.as_ref().map(Vec::len)),
        ] {
            if let Some(count) = count.filter(|&count| count != bands) {
                return Err(Error::input(format!("{name}: {bands} bands, but {count} {what}")));
            }
        }
        let nodata = self.facts.nodata;
        let metadata = self.facts.metadata()?;
        if let Some(value) = nodata {
            // Pixels with the value are masked, which takes an image of our own.
            let mut cube = Cube::new(array.to_owned());
            cube.metadata = metadata;
            cube.valid = self.valid.map(|valid| valid.to_owned());
            cube.mask_value(value);
            return Ok(Loaded::Cube(Box::new(cube)));
        }
        let mut view = View::new(array).with_metadata(metadata);
        if let Some(valid) = self.valid {
            view = view.with_mask(valid)?;
        }
        Ok(Loaded::View(Box::new(view)))
    }
}

impl Loaded<'_> {
    /// It, borrowed.
    pub fn view(&self) -> View<'_> {
        match self {
            Loaded::View(view) => View::from(&**view),
            Loaded::Cube(cube) => View::from(&**cube),
        }
    }

    /// It, owned.
    ///
    /// # Errors
    /// Those of its rows.
    pub fn into_cube(self) -> Result<Cube> {
        match self {
            Loaded::View(view) => view.rows(0..view.dim().0),
            Loaded::Cube(cube) => Ok(*cube),
        }
    }
}
