//! The built-in scene as two cameras would see it: what `demo` fuses, with the truth beside it.

use ndarray::Array2;

use super::catalogue::SrfSpec;
use super::observe::{apply_response, blur_and_downsample};
use super::psf::GaussianPsf;
use crate::cube::Cube;
use crate::cube::demo_scene::demo_scene;
use crate::error::Result;

/// Ratio of the two grids.
pub const SCALE: usize = 8;

/// Two images of the built-in scene, and what they were made of.
pub struct DemoPair {
    /// The scene, 144×144×200.
    pub reference: Cube,
    /// Blurred and decimated, 18×18×200.
    pub hsi: Cube,
    /// Through six Landsat-like bands, 144×144×6.
    pub msi: Cube,
    /// The PSF, 8×8: variances 2.5 and 1.5 pixels², turned by 0.6 rad.
    pub psf: Array2<f64>,
}

/// Makes the two images, without noise.
///
/// # Errors
/// [`crate::Error::Failed`] if the program was built with a broken asset.
pub fn demo_pair() -> Result<DemoPair> {
    let reference = demo_scene()?;
    let gaussian = GaussianPsf::from_variances(2.5, 1.5, 0.6).unwrap_or(GaussianPsf {
        factor: [1.0, 0.0, 1.0],
        centre: [0.0; 2],
    });
    let psf = gaussian.kernel(SCALE);
    let srf = SrfSpec::landsat_oli6().response(&reference.metadata, reference.bands(), None)?;
    Ok(DemoPair {
        hsi: blur_and_downsample(&reference, &psf, SCALE)?,
        // The response of a named sensor is always there; a blind one would be an empty image.
        msi: apply_response(&reference, &srf.unwrap_or_default())?,
        reference,
        psf,
    })
}
