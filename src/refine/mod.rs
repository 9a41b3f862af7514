//! Refinement: what the two images still hold once the network has spoken, and how far noise lets it be taken.
//!
//! Before training, a noisy MSI is denoised ([`denoise()`]); after reconstruction, the result is made to agree with
//! the LR-HSI as far as the residual stands above the noise ([`consistency`]). Noise is measured in the images
//! themselves ([`noise`]), gains follow from it ([`gains`]), and how a residual of LR pixels spreads over HR pixels
//! is chosen by how well it predicts LR pixels that it has not seen ([`spread`]).

pub mod back_projection;
pub mod consistency;
pub mod denoise;
pub mod gains;
pub mod noise;
pub mod prediction;
pub mod spread;
#[cfg(test)]
mod tests;

use serde::Serialize;

pub use consistency::refine;
pub use denoise::denoise;

/// What refinement found and did.
#[derive(Debug, Clone, Default, Serialize)]
pub struct RefinementReport {
    /// Signal-to-noise ratio of each MSI band as estimated, dB; null for a band without noise or signal.
    pub msi_snr_db: Vec<Option<f64>>,
    /// Whether the MSI was denoised before training.
    pub msi_denoised: bool,
    /// Signal-to-noise ratio of the HSI over all bands as estimated, dB; null where it cannot be told.
    pub hsi_snr_db: Option<f64>,
    /// Share of the power of X − (Z∗C)↓ that was taken for signal; 0 where nothing was done.
    pub signal_share: f64,
    /// Directions of the spectrum in which the residual stands above the noise.
    pub directions: usize,
    /// Reach in LR pixels of the guided spread; null where only interpolation was used.
    pub reach: Option<f64>,
    /// Root mean square of X − (Z∗C)↓ before and after, of the scaled image.
    #[serde(serialize_with = "crate::named::before_after")]
    pub residual: (f64, f64),
}

/// 10·log₁₀ of a ratio of powers, where there is one.
pub(crate) fn decibels(signal: f64, noise: f64) -> Option<f64> {
    (signal > 0.0 && noise > 0.0).then(|| 10.0 * (signal / noise).log10())
}
