//! How the two pixel grids and the window of a PSF lie on each other.

use crate::sensor::psf::window_start;

/// The two grids and the window of HR pixels that belongs to an LR pixel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// Ratio s of the pixel grids.
    pub scale: usize,
    /// PSF side K.
    pub kernel: usize,
}

impl Geometry {
    /// Side S of a window: the smallest square that holds the s×s block and the K×K PSF around it.
    pub fn window(&self) -> usize {
        let (start, end) = self.span();
        (end - start) as usize
    }

    /// First row and column of a window, relative to the block's first.
    pub fn window_start(&self) -> isize {
        self.span().0
    }

    /// Row and column of the PSF's first element within the window.
    pub fn kernel_offset(&self) -> usize {
        (window_start(self.scale, self.kernel) - self.span().0) as usize
    }

    /// Row and column of the block's first pixel within the window.
    pub fn block_offset(&self) -> usize {
        (-self.span().0) as usize
    }

    fn span(&self) -> (isize, isize) {
        let start = window_start(self.scale, self.kernel);
        (
            start.min(0),
            (start + self.kernel as isize).max(self.scale as isize),
        )
    }
}
