//! (Y∗C)↓ and its derivatives to the PSF, as products of whole windows with maps of the PSF over the window.

use pulp::{Simd, WithSimd};

use super::lines::{Rows, View};
use super::products::outer;
use crate::engine::work::Work;
use crate::engine::{Geometry, Problem};
use crate::sensor::psf;

/// Rows of [`Maps::bank`]: the PSF, its derivatives, and rows of zeros up to a multiple of four.
pub(super) const MAPS: usize = (1 + psf::PARAMETERS).next_multiple_of(4);

/// PSF and block as images over a window, S·S samples a row, zero where a window pixel does not take part.
#[derive(Debug, Clone)]
pub(super) struct Maps {
    /// The PSF and its derivatives.
    pub bank: Rows,
    /// 1 on the block, one row.
    pub block: Rows,
}

impl Maps {
    pub fn new(geometry: Geometry) -> Self {
        let (side, scale, at) = (geometry.window(), geometry.scale, geometry.block_offset());
        let mut block = Rows::dense(1, side * side);
        for r in at..at + scale {
            block.row_mut(0)[r * side + at..][..scale].fill(1.0);
        }
        Maps {
            bank: Rows::dense(MAPS, side * side),
            block,
        }
    }

    /// Takes over a PSF bank ((1 + parameters) × K×K).
    pub fn set(&mut self, geometry: Geometry, bank: &[f32]) {
        let (side, size, at) = (geometry.window(), geometry.kernel, geometry.kernel_offset());
        for (p, image) in bank.chunks_exact(size * size).enumerate() {
            let row = self.bank.row_mut(p);
            for (r, line) in image.chunks_exact(size).enumerate() {
                row[(r + at) * side + at..][..size].copy_from_slice(line);
            }
        }
    }
}

/// Work of (Y∗C)↓ alone over `windows` windows: what is looked up before a pass, the derivatives following with the
/// update of θ.
pub(super) fn work(problem: &Problem<f32>, windows: usize) -> Work {
    let kernel = problem.geometry.kernel * problem.geometry.kernel;
    let b = problem.architecture.msi_bands;
    Work::of::<f32>(windows * b * 2 * kernel, windows * b * (kernel + 1) + kernel)
}

/// The products of one window with the maps.
pub(super) struct Blur<'a> {
    /// MSI bands of the window, S·S samples a row.
    pub planes: &'a [f32],
    pub maps: &'a Maps,
    /// Maps that are wanted, from the first: 4, or [`MAPS`] for all.
    pub wanted: usize,
    /// MSI bands × `wanted`.
    pub out: &'a mut [f32],
}

impl WithSimd for Blur<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let stride = self.maps.bank.stride();
        let planes = View::<S>::new(self.planes, stride, 0);
        let maps = self.maps.bank.view::<S>(0, self.wanted, 0);
        self.out.fill(0.0);
        outer(simd, planes, maps, stride / S::F32_LANES, self.out, self.wanted);
    }
}
