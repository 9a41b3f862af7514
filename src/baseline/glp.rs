//! MTF-GLP: detail of a generalised Laplacian pyramid whose low-pass filter is that of the HSI's own sensor.
//!
//! [`CITATION`]. With P_k the sharp band synthesised for band k, the least-squares fit of X_k by all bands of (Y∗C)↓ and 1, applied to Y, and
//! P̃_k = expand((P_k∗C)↓), C the PSF (whose transform is the MTF):
//!
//! * added: X̂_k = X̃_k + P_k − P̃_k
//! * high-pass modulation: X̂_k = X̃_k · P_k / P̃_k
//!
//! The synthesised band has the gain of X_k already, so the detail is added with weight 1. The gain of the modulation, X̃_k / P̃_k, is held
//! as in [`super::sfim`].

use ndarray::Array3;

use super::pair::Pair;
use super::regression::Degree;
use super::sfim::modulated;
use crate::error::Result;
use crate::interrupt;

/// Where it is published.
pub const CITATION: &str = "M. Selva, B. Aiazzi, F. Butera, L. Chiarantini, S. Baronti: Hyper-sharpening: a first approach on \
                            SIM-GA data, IEEE J. Sel. Top. Appl. Earth Obs. Remote Sens. 8 (2015) 3008-3024, on B. Aiazzi et al.: \
                            MTF-tailored multiscale fusion, Photogramm. Eng. Remote Sens. 72 (2006) 591-596";

/// How detail comes into a band.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Injection {
    /// It is added.
    Additive,
    /// It multiplies.
    Modulated,
}

/// # Errors
/// As [`Pair::regression`].
pub(super) fn fuse(pair: &Pair, injection: Injection) -> Result<Array3<f32>> {
    let regression = pair.regression(Degree::One)?;
    let mut sharp = pair.applied(&regression, pair.msi)?;
    interrupt::check()?;
    // The map is linear and the PSF sums to 1, so that they may change places.
    let low = pair.applied(&regression, pair.lr_msi.view())?;
    Ok(match injection {
        Injection::Additive => {
            sharp += &pair.expanded((&pair.hsi.view() - &low).view());
            sharp
        }
        Injection::Modulated => modulated(pair, &sharp, &pair.expanded(low.view())),
    })
}
