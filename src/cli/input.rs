//! Reading what several commands take: images with a no-data value, PSFs and SRFs by name or file.

use ndarray::Array2;

use crate::cube::bands::{BandSelection, TakenBands};
use crate::cube::strips::Strips;
use crate::error::{Error, Result};
use crate::io;
use crate::io::{Image, Reading};
use crate::sensor::catalogue::{PsfSpec, psf_from_matrix};
use crate::sensor::window::of_parity;

/// The kernel behind `spec` for a scale, sum 1: a file's, or a named one as a whole or, where `kernel` (`--kernel`) says
/// so, in a window of that side; `None` for `blind`. Its side is of the parity of the scale ([`of_parity`]).
///
/// # Errors
/// [`Error::Input`] if the file holds no PSF, or one of another size than an explicit `--kernel`.
pub fn psf_kernel(spec: &PsfSpec, kernel: Option<usize>, scale: usize) -> Result<Option<Array2<f64>>> {
    if let PsfSpec::File(path) = spec {
        let psf = psf_from_matrix(io::read_matrix(path)?, path)?;
        return match kernel {
            Some(size) if size != psf.nrows() => Err(Error::input(format!(
                "{path}: the PSF is {0} x {0} and --kernel asks for {size}; leave --kernel out",
                psf.nrows()
            ))),
            _ => Ok(Some(of_parity(psf, scale))),
        };
    }
    spec.sized(scale, kernel)
}

/// Opens an image that is to be compared with `other`: of the bands of `other`, where its file has as many as that of
/// `other`; as it is, where bands have been left out of it already.
///
/// # Errors
/// As [`io::open_image_as`].
pub fn open_matching(file: &str, reading: &Reading, other: &Image) -> Result<Image> {
    let open = |bands| {
        let reading = Reading {
            bands,
            ..reading.clone()
        };
        io::open_image_as(file, &reading)
    };
    let image = open(BandSelection::All)?;
    let TakenBands { all, taken } = other.bands();
    match image.dim().2 == all && taken.len() != all {
        true => open(BandSelection::numbers(&taken)),
        false => Ok(image),
    }
}
