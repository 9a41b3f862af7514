//! PSF, SRF and the degradation that they make: what the two cameras did to the scene.

pub mod catalogue;
pub mod coverage;
pub mod demo_pair;
pub mod estimate;
pub mod observe;
pub mod observe_strips;
pub mod psf;
pub mod shapes;
pub mod spectral_response;
pub mod srf;
pub mod window;
