//! The response that a user names: a sensor's, or a file's, which may be curves over wavelength or a matrix that is made
//! for the image. Here and not in `sensor`, which reads no files.

use ndarray::{Array2, Axis};

use crate::cube::Metadata;
use crate::cube::bands::TakenBands;
use crate::error::Result;
use crate::io::{self, ResponseTable};
use crate::sensor::catalogue::{SrfSpec, selected, srf_from_matrix};
use crate::sensor::spectral_response::{Band, Curve, resample};

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
        SrfSpec::File(file) => response_file(file, metadata, bands, msi).map(Some),
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
