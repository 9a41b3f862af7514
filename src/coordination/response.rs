//! The PSF and the response that a user names: known ones by name, or a file's. Here and not in `sensor`, which reads no files.

use ndarray::{Array2, Axis};

use crate::cube::Metadata;
use crate::cube::bands::TakenBands;
use crate::error::{Error, Result, meant};
use crate::io::{self, ResponseTable};
use crate::sensor::catalogue::{PsfSpec, SrfSpec, psf_from_matrix, selected, sensor_names, srf_from_matrix};
use crate::sensor::spectral_response::{Band, Curve, resample};
use crate::sensor::window::of_parity;

/// The kernel behind `spec` for a scale, sum 1: a file's, or a named one as a whole or, where `side` says so, in a window of
/// that side; `None` for `blind`. Its side is of the parity of the scale ([`of_parity`]).
///
/// # Errors
/// [`Error::Input`] if the file holds no PSF, or one of another size than the side that is asked for.
pub fn psf_kernel(spec: &PsfSpec, side: Option<usize>, scale: usize) -> Result<Option<Array2<f64>>> {
    if let PsfSpec::File(path) = spec {
        psf_file(path)?;
        let psf = psf_from_matrix(io::read_matrix(path)?, path)?;
        return match side {
            Some(size) if size != psf.nrows() => Err(Error::input(format!(
                "{path}: the PSF is {0} x {0} and the setting kernel asks for {size}; leave that out",
                psf.nrows()
            ))),
            _ => Ok(Some(of_parity(psf, scale))),
        };
    }
    spec.sized(scale, side)
}

/// Refuses the name of a PSF, none of the known ones, that is no file's either.
///
/// # Errors
/// [`Error::Input`] with the known name that is nearest, where one is near.
pub fn psf_file(name: &str) -> Result<()> {
    file_or_slip(
        name,
        "PSF",
        ["blind", "paper", "gaussian", "disk", "line"].into_iter(),
    )
}

/// [`psf_file`] of a response.
///
/// # Errors
/// As [`psf_file`].
pub fn srf_file(name: &str) -> Result<()> {
    file_or_slip(name, "sensor", sensor_names().chain(["blind"]))
}

fn file_or_slip(name: &str, what: &str, known: impl Iterator<Item = &'static str>) -> Result<()> {
    if io::is_there(name) {
        return Ok(());
    }
    let word = name.split(':').next().unwrap_or(name).to_lowercase();
    let meant = meant(&word, known);
    Err(Error::input(format!(
        "{name}: there is no file and no {what} of this name{meant}"
    )))
}

/// The response behind `spec` for an image of `bands` bands with these metadata (B×b, columns sum to 1); `None` for
/// `blind`. Where it has a column for each band of the file that `msi` selects from, columns follow the selection.
///
/// # Errors
/// [`crate::Error::Input`] if the file holds no SRF for this image, or the image does not reach over a band of the sensor.
pub fn srf_response(
    spec: &SrfSpec,
    metadata: &Metadata,
    bands: usize,
    msi: Option<&TakenBands>,
) -> Result<Option<Array2<f64>>> {
    match spec {
        SrfSpec::File(file) => {
            srf_file(file)?;
            response_file(file, metadata, bands, msi).map(Some)
        }
        _ => spec.response(metadata, bands, msi),
    }
}

/// [`srf_response`] of a file: a text table with a column of wavelengths is resampled to the image's bands, anything else
/// is a matrix of one row a band.
///
/// # Errors
/// As [`srf_response`].
pub fn response_file(
    file: &str,
    metadata: &Metadata,
    bands: usize,
    msi: Option<&TakenBands>,
) -> Result<Array2<f64>> {
    match io::read_response(file)? {
        ResponseTable::Curves {
            names,
            wavelengths,
            responses,
        } => {
            let curves: Vec<Band> = names
                .into_iter()
                .zip(responses.columns())
                .map(|(name, column)| Band {
                    name,
                    curve: Curve::through(wavelengths.iter().copied().zip(column.iter().copied())),
                    named_only: false,
                })
                .collect();
            let all: Vec<&Band> = curves.iter().collect();
            resample(&selected(&all, msi), metadata, bands, file, None)
        }
        ResponseTable::Matrix(matrix) => {
            let matrix = match msi {
                Some(msi) if msi.all == matrix.ncols() => matrix.select(Axis(1), &msi.taken),
                _ => matrix,
            };
            srf_from_matrix(matrix, bands, file)
        }
    }
}
