//! What refinement needs of a device: the passes over HR pixels, as one trait beside [`Engine`](super::Engine).
//!
//! Everything that happens on the LR grid or on band statistics stays on the host (`refine`); what touches every
//! HR pixel is a kernel of its own. `engine/cpu` holds the twins that define them. A pass works on a [`Strip`] of
//! rows, of the whole image or of a small part of it: the bits of a row do not depend on which.

use std::ops::Range;

use crate::engine::Geometry;
use crate::error::Result;
use crate::real::Real;
use crate::sensor::psf::window_start;

/// Side of the blocks of [`Refiner::dct_denoise`].
pub const DCT_SIDE: usize = 8;

/// The two grids of a refinement.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RefinementGrid {
    /// Rows h of the LR grid.
    pub rows: usize,
    /// Columns w of the LR grid.
    pub columns: usize,
    /// Bands B.
    pub bands: usize,
    /// Bands b of the MSI.
    pub msi_bands: usize,
    /// Scale s and PSF side K.
    pub geometry: Geometry,
    /// Where the PSF's centroid lies, relative to the centre of an LR pixel's block, in HR pixels (row, column).
    pub centroid: [f64; 2],
}

impl RefinementGrid {
    /// Rows of the HR grid.
    pub fn hr_rows(&self) -> usize {
        self.rows * self.geometry.scale
    }

    /// Columns of the HR grid.
    pub fn hr_columns(&self) -> usize {
        self.columns * self.geometry.scale
    }

    /// HR row (`axis` 0) or column (`axis` 1) `p` in units of LR pixels, 0 at the centroid of the first one's PSF.
    pub fn lr_position(&self, p: usize, axis: usize) -> f64 {
        let s = self.geometry.scale as f64;
        (p as f64 + 0.5 - self.centroid[axis]) / s - 0.5
    }

    /// LR rows less than `reach` (LR pixels) away from the HR rows `hr`, and at least the nearest one: what the
    /// updates of those rows read, with [`Guide::MAX_RADIUS`] and with [`BICUBIC_REACH`].
    pub fn lr_rows(&self, hr: &Range<usize>, reach: f64) -> Range<usize> {
        let last = self.rows.saturating_sub(1) as f64;
        let inside = |position: f64| position.clamp(0.0, last) as usize;
        let below = self.lr_position(hr.start, 0) - reach;
        let above = self.lr_position(hr.end.saturating_sub(1), 0) + reach;
        inside(below.floor())..inside(above.ceil()) + 1
    }

    /// HR rows that the PSF sees from the LR rows `lr`.
    pub fn hr_rows_of(&self, lr: &Range<usize>) -> Range<usize> {
        let Geometry { scale, kernel } = self.geometry;
        let start = window_start(scale, kernel);
        let first = (lr.start * scale).saturating_add_signed(start);
        let end = ((lr.end.max(1) - 1) * scale + kernel).saturating_add_signed(start);
        // A window beyond the image sees its edge row.
        first.min(self.hr_rows() - 1)..end.clamp(1, self.hr_rows())
    }
}

/// How far the cubic convolution of [`Refiner::bicubic_update`] reads, LR pixels.
pub const BICUBIC_REACH: f64 = 2.0;

/// Rows at which the buffers of a pass begin; how many they hold follows from their lengths. The default is that of
/// whole images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Strip {
    /// First row of buffers on the HR grid.
    pub hr_row: usize,
    /// First row of buffers on the LR grid.
    pub lr_row: usize,
}

/// The kernel κ of the guided update: alike in place and in colour.
///
/// κ(p, k) = φ(|p − k| / `radius`) · exp(−`precision` · |Y_p − (Y∗C)↓_k|²) with Wendland's positive definite
/// φ(t) = (1 − t)⁴ (4t + 1) for t < 1, distances in LR pixels (Wendland, Adv. Comput. Math. 4, 1995).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Guide {
    /// Reach in LR pixels, at most [`Guide::MAX_RADIUS`].
    pub radius: f64,
    /// Inverse of twice the variance of a difference in colour that still counts as alike.
    pub precision: f64,
}

impl Guide {
    /// The widest reach: an HR pixel sees at most (2·`MAX_RADIUS`)² LR pixels.
    pub const MAX_RADIUS: f64 = 8.0;

    /// κ of a squared distance in LR pixels and a squared difference in colour.
    pub fn kernel(&self, distance2: f64, colour2: f64) -> f64 {
        let t = distance2.sqrt() / self.radius;
        if t >= 1.0 {
            return 0.0;
        }
        (1.0 - t).powi(4) * (4.0 * t + 1.0) * (-self.precision * colour2).exp()
    }
}

/// A device that refines. Images are row-major with the bands innermost. A device that has no kernel of
/// its own for a pass hands it to the CPU twin.
pub trait Refiner<T: Real> {
    /// `residual` (LR rows of the strip ×w×B) = `target` − (Z∗C)↓ with `psf` K×K; windows that leave the image see
    /// its edge pixels again. `hr_hsi` holds at least [`RefinementGrid::hr_rows_of`] the LR rows.
    ///
    /// # Errors
    /// [`crate::Error`] where the device fails, here and below.
    fn consistency_residual(
        &self,
        grid: &RefinementGrid,
        strip: Strip,
        psf: &[T],
        target: &[T],
        hr_hsi: &[T],
        residual: &mut [T],
    ) -> Result<()>;

    /// Z_p += Σ_k κ(p, k) `weights`_k over the LR pixels k around p; `lr_msi` is (Y∗C)↓. `weights` and `lr_msi` hold
    /// at least [`RefinementGrid::lr_rows`] of the strip within [`Guide::MAX_RADIUS`].
    ///
    /// # Errors
    /// As above.
    // Both grids, where the buffers lie on them, and an image each: no two of these belong together more than others.
    #[allow(clippy::too_many_arguments)]
    fn guided_update(
        &self,
        grid: &RefinementGrid,
        strip: Strip,
        guide: Guide,
        weights: &[T],
        lr_msi: &[T],
        hr_msi: &[T],
        hr_hsi: &mut [T],
    ) -> Result<()>;

    /// Z_p += `modulation`_p times the cubic convolution of `residual` at p, on the centroids of the PSF. `modulation`
    /// has a factor for every pixel of the strip; `residual` holds at least [`RefinementGrid::lr_rows`] of it within
    /// [`BICUBIC_REACH`].
    ///
    /// # Errors
    /// As above.
    fn bicubic_update(
        &self,
        grid: &RefinementGrid,
        strip: Strip,
        residual: &[T],
        modulation: &[T],
        hr_hsi: &mut [T],
    ) -> Result<()>;

    /// One pass of sliding-window DCT denoising over `channels` planes (channel-major, each `rows` × `columns`)
    /// of noise with variance 1.
    ///
    /// Blocks of [`DCT_SIDE`]² stand every `stride` pixels; coefficients of `noisy` are kept where they exceed
    /// [`crate::engine::cpu::dct_denoise::THRESHOLD`], or, where a `pilot` is given, weighted by Wiener gains
    /// p²/(p² + 1) of its coefficients p; a block's mean is kept. Overlapping blocks are averaged with weights
    /// inverse to the noise that is left in them (Yu and Sapiro, IPOL 1, 2011, for the first pass; Dabov et al.,
    /// IEEE TIP 16, 2007, for the empirical Wiener pass and the weights).
    ///
    /// # Errors
    /// As above.
    fn dct_denoise(
        &self,
        shape: PlaneShape,
        stride: usize,
        noisy: &[T],
        pilot: Option<&[T]>,
        out: &mut [T],
    ) -> Result<()>;
}

/// Planes of [`Refiner::dct_denoise`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlaneShape {
    /// Planes.
    pub channels: usize,
    /// Rows of each, at least [`DCT_SIDE`].
    pub rows: usize,
    /// Columns of each, at least [`DCT_SIDE`].
    pub columns: usize,
}
