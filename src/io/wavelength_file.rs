//! Wavelengths that stand in a file of their own: one that the user names, or `NAME.wl.npy` beside an array `NAME.npy`, as public
//! collections of cubes have them.

use std::ops::Range;
use std::path::Path;

use ndarray::{Array2, Array3};

use super::format::Spec;
use super::wavelength;
use crate::cube::exact::Exact;
use crate::cube::strips::Strips;
use crate::cube::{Cube, Metadata, SampleType};
use crate::error::{Error, Result};

/// An image under other metadata.
struct Described {
    image: Box<dyn Strips>,
    metadata: Metadata,
    notes: Vec<String>,
}

impl Strips for Described {
    fn dim(&self) -> (usize, usize, usize) {
        self.image.dim()
    }

    fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    fn sample_type(&self) -> SampleType {
        self.image.sample_type()
    }

    fn rows(&self, rows: Range<usize>) -> Result<Cube> {
        let mut strip = self.image.rows(rows)?;
        strip.metadata = self.metadata.clone();
        Ok(strip)
    }

    fn exact(&self, rows: Range<usize>) -> Result<Option<Array3<Exact>>> {
        self.image.exact(rows)
    }

    fn notes(&self) -> &[String] {
        &self.notes
    }
}

/// The image that `spec` names under the wavelengths of the file `given`, or of one that lies beside it if it has none.
///
/// # Errors
/// [`Error::Input`] if the file cannot be read or has not one wavelength a band.
pub(super) fn described(
    spec: &str,
    image: Box<dyn Strips>,
    given: Option<&str>,
    read_matrix: impl Fn(&str) -> Result<Array2<f64>>,
) -> Result<Box<dyn Strips>> {
    let beside = Spec::parse(spec).path.with_extension("wl.npy");
    let file = match given {
        Some(file) => file.to_owned(),
        None if image.metadata().wavelengths.is_none() && beside.is_file() && beside != Path::new(spec) => {
            beside.to_string_lossy().into_owned()
        }
        None => return Ok(image),
    };
    let bands = image.dim().2;
    let numbers = read_matrix(&file)?;
    let mut notes = image.notes().to_vec();
    let found = columns(&numbers, bands).and_then(|(centres, fwhm)| wavelength::read(&centres, fwhm, None));
    let Some(found) = found else {
        return Err(Error::input(format!(
            "{file}: {} x {} numbers are no wavelengths of the {bands} bands of {spec}; it has one a band, or centre and width (FWHM) in \
             two columns. Where the array's bands do not come last, say so with the setting axes",
            numbers.nrows(),
            numbers.ncols()
        )));
    };
    if given.is_none() {
        notes.push(format!("{spec}: its wavelengths are those of {file}"));
    }
    let metadata = Metadata {
        wavelengths: Some(found.centres),
        fwhm: found.fwhm.or_else(|| image.metadata().fwhm.clone()),
        ..image.metadata().clone()
    };
    Ok(Box::new(Described {
        image,
        metadata,
        notes,
    }))
}

/// Centres and, where there are two columns, widths.
fn columns(numbers: &Array2<f64>, bands: usize) -> Option<(Vec<f64>, Option<Vec<f64>>)> {
    match numbers.dim() {
        (1, n) | (n, 1) if n == bands => Some((numbers.iter().copied().collect(), None)),
        (n, 2) if n == bands => Some((numbers.column(0).to_vec(), Some(numbers.column(1).to_vec()))),
        _ => None,
    }
}
