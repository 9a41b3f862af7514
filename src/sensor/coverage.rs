//! Which LR pixels the model can explain.
//!
//! A window that leaves the image, or meets masked pixels, sees the pixels beside these again, which is not what was there.
//! An estimate of the PSF leaves such LR pixels out, as long as most are within. Training and refinement take them: what lies
//! at an edge is often nowhere else, and a scene is lost there without it (up to 5 dB on a CAVE scene whose background is at
//! its edge; as much along the edge of an MSI that ends within the HSI).

use ndarray::{Array2, ArrayView2};

use super::psf::window_start;

/// Share of the pixels that must lie within the image with their windows, so that the others are left out.
const MOST: f64 = 0.5;

/// The masks of two images of one scene.
#[derive(Debug, Clone, Copy)]
pub struct Coverage<'a> {
    /// LR pixels that may be used, h×w.
    pub lr: ArrayView2<'a, bool>,
    /// HR pixels that may be used, h·s × w·s.
    pub hr: ArrayView2<'a, bool>,
    /// Ratio s of the grids.
    pub scale: usize,
}

impl Coverage<'_> {
    /// LR pixels that are valid and of whose s×s block most pixels are.
    pub fn shown(&self) -> Array2<bool> {
        let s = self.scale;
        let mut shown = self.lr.to_owned();
        if self.hr.iter().all(|ok| *ok) {
            return shown;
        }
        for ((r, c), ok) in shown.indexed_iter_mut() {
            let block = self.hr.slice(ndarray::s![r * s..(r + 1) * s, c * s..(c + 1) * s]);
            *ok = *ok && 2 * block.iter().filter(|ok| **ok).count() > s * s;
        }
        shown
    }

    /// LR pixels that are valid and whose K×K window touches valid HR pixels only.
    pub fn clear(&self, kernel: usize) -> Array2<bool> {
        let (rows, columns) = self.hr.dim();
        let start = window_start(self.scale, kernel);
        let reach = |at: usize, length: usize| {
            let first = (at * self.scale) as isize + start;
            let last = first + kernel as isize - 1;
            let inside = |x: isize| x.clamp(0, length as isize - 1) as usize;
            inside(first)..inside(last) + 1
        };
        let mut clear = self.lr.to_owned();
        if self.hr.iter().all(|ok| *ok) {
            return clear;
        }
        for ((r, c), ok) in clear.indexed_iter_mut() {
            *ok = *ok && reach(r, rows).all(|i| reach(c, columns).all(|j| self.hr[[i, j]]));
        }
        clear
    }

    /// Those of [`Coverage::clear`] whose inner window, of side `inner` about the same middle, lies within the image, where
    /// they are most; else all of them.
    pub fn explained(&self, kernel: usize, inner: usize) -> Array2<bool> {
        let clear = self.clear(kernel);
        let (rows, columns) = self.hr.dim();
        let start = window_start(self.scale, inner);
        let within = |at: usize, length: usize| {
            let first = (at * self.scale) as isize + start;
            first >= 0 && first + inner as isize <= length as isize
        };
        let mut inner = clear.clone();
        for ((r, c), ok) in inner.indexed_iter_mut() {
            *ok = *ok && within(r, rows) && within(c, columns);
        }
        let count = |mask: &Array2<bool>| mask.iter().filter(|ok| **ok).count() as f64;
        if count(&inner) >= MOST * count(&clear) {
            inner
        } else {
            clear
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(mask: &Array2<bool>) -> usize {
        mask.iter().filter(|ok| **ok).count()
    }

    #[test]
    fn windows_see_masked_pixels_and_the_edge() {
        let (lr, mut hr) = (Array2::from_elem((6, 6), true), Array2::from_elem((12, 12), true));
        let of = |lr: &Array2<bool>, hr: &Array2<bool>, kernel: usize| {
            let coverage = Coverage {
                lr: lr.view(),
                hr: hr.view(),
                scale: 2,
            };
            (
                count(&coverage.clear(kernel)),
                count(&coverage.explained(kernel, kernel)),
            )
        };
        // K = 4 reaches one pixel over the block: the outer ring of 20 looks over the edge, and 16 of 36 are no half.
        assert_eq!([2, 4].map(|k| of(&lr, &hr, k)), [(36, 36), (36, 36)]);
        let (wide, all) = (Array2::from_elem((8, 8), true), Array2::from_elem((16, 16), true));
        assert_eq!(
            [2, 4, 8].map(|k| of(&wide, &all, k)),
            [(64, 64), (64, 36), (64, 64)]
        );
        hr[[5, 5]] = false;
        assert_eq!(of(&lr, &hr, 2).0, 35);
        // Row 5 lies in the windows of rows 2 and 3, column 5 in those of columns 2 and 3.
        assert_eq!(of(&lr, &hr, 4).0, 32);
        // One of the four pixels of a block.
        let shown = |hr: &Array2<bool>| {
            let coverage = Coverage {
                lr: lr.view(),
                hr: hr.view(),
                scale: 2,
            };
            count(&coverage.shown())
        };
        assert_eq!(shown(&hr), 36);
        hr[[4, 5]] = false;
        assert_eq!(shown(&hr), 35);
    }
}
