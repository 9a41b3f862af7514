//! Fusion methods without a network, each written from its paper: for comparison, and for whoever wants one of them.
//!
//! A method takes two images on one grid with PSF and SRF ([`Inputs`]), told or estimated, and gives the image on the MSI's
//! pixels. It is left as its paper has it: neither denoised before nor made consistent after (`coordination/method` can do both).
//! What papers leave open is settled in the same way for all:
//!
//! * HSI pixels that are masked hold what a regression says of the MSI there, so that none is missing.
//! * What is interpolated lies where the PSF's centroid is.
//! * Nothing is scaled: both images are in \[0, 1\] where they were not negative.

mod cnmf;
mod fourier;
mod fuse;
mod glp;
mod gsa;
mod hysure;
mod pair;
pub mod regression;
mod sfim;
mod subspace;
#[cfg(test)]
mod tests;

use ndarray::Array3;
use serde::Serialize;

use self::pair::Pair;
use self::regression::Degree;
use crate::error::{Error, Result};
use crate::interrupt;

pub use self::pair::Inputs;

/// A fusion method.
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// Quadratic regression from MSI pixel to spectrum; the control of our tables
    Regression,
    /// Gram-Schmidt adaptive, for each group of HSI bands with the MSI band that they follow (Aiazzi et al. 2007)
    Gsa,
    /// Smoothing-filter-based intensity modulation by a synthesised band (Liu 2000)
    Sfim,
    /// MTF-matched Laplacian pyramid, detail of a synthesised band added (Aiazzi et al. 2006, Selva et al. 2015)
    Glp,
    /// The same, detail multiplied: high-pass modulation (Selva et al. 2015)
    GlpHpm,
    /// Fast fusion by a Sylvester equation in closed form (Wei et al. 2015)
    Fuse,
    /// Subspace with vector total variation (Simoes et al. 2015)
    Hysure,
    /// Coupled non-negative matrix factorisation (Yokoya et al. 2012)
    Cnmf,
}

impl Method {
    /// All of them, the simplest first.
    pub const ALL: [Method; 8] = [
        Method::Regression,
        Method::Gsa,
        Method::Sfim,
        Method::Glp,
        Method::GlpHpm,
        Method::Fuse,
        Method::Hysure,
        Method::Cnmf,
    ];

    /// Its name, as it is asked for.
    pub fn name(self) -> &'static str {
        match self {
            Method::Regression => "regression",
            Method::Gsa => "gsa",
            Method::Sfim => "sfim",
            Method::Glp => "glp",
            Method::GlpHpm => "glp-hpm",
            Method::Fuse => "fuse",
            Method::Hysure => "hysure",
            Method::Cnmf => "cnmf",
        }
    }

    /// Images of one band on the MSI's pixels, in single precision, that it holds at once: of a result of so many bands, with that.
    pub fn planes(self, bands: usize) -> usize {
        match self {
            Method::Regression | Method::Gsa => bands,
            Method::Glp => 2 * bands,
            Method::Sfim | Method::GlpHpm => 3 * bands,
            Method::Fuse => bands + fuse::PLANES,
            Method::Hysure => bands + hysure::PLANES,
            Method::Cnmf => bands + cnmf::PLANES,
        }
    }

    /// Where it is published.
    pub fn citation(self) -> &'static str {
        match self {
            Method::Regression => "least squares, of no one paper",
            Method::Gsa => gsa::CITATION,
            Method::Sfim => sfim::CITATION,
            Method::Glp | Method::GlpHpm => glp::CITATION,
            Method::Fuse => fuse::CITATION,
            Method::Hysure => hysure::CITATION,
            Method::Cnmf => cnmf::CITATION,
        }
    }
}

/// Fuses two images by a method: H×W×B in the unit of the HSI. `progress` is told how much of how much is done.
///
/// # Errors
/// [`Error::Input`] where no LR pixel is usable, or the sizes do not fit each other; [`Error::Interrupted`] after a stop;
/// [`Error::Failed`] where the images leave nothing to solve for.
pub fn fuse(method: Method, inputs: &Inputs, progress: &mut dyn FnMut(usize, usize)) -> Result<Array3<f32>> {
    let pair = Pair::new(inputs)?;
    interrupt::check()?;
    let image = match method {
        Method::Regression => pair.applied(&pair.regression(Degree::Two)?, pair.msi),
        Method::Gsa => gsa::fuse(&pair),
        Method::Sfim => sfim::fuse(&pair),
        Method::Glp => glp::fuse(&pair, glp::Injection::Additive),
        Method::GlpHpm => glp::fuse(&pair, glp::Injection::Modulated),
        Method::Fuse => fuse::fuse(&pair, progress),
        Method::Hysure => hysure::fuse(&pair, progress),
        Method::Cnmf => cnmf::fuse(&pair, progress),
    }?;
    match image.iter().find(|x| !x.is_finite()) {
        Some(x) => Err(Error::failed(format!(
            "{}: {x} came out of these two images; another method may do",
            method.name()
        ))),
        None => Ok(image),
    }
}
