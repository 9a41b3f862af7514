//! How large the window of a PSF is: the side K follows from where the mass lies, not from the ratio of the grids.
//!
//! The middle of a window is the middle of the LR pixel's block, so K and the scale s are of one parity. A kernel that
//! comes with another one ([`of_parity`]) gets a row and a column of zeros.

use ndarray::{Array2, s};

use super::psf::GaussianPsf;

/// Share of its mass that the window of a PSF holds.
pub const MASS: f64 = 0.999;

/// `side` or the next side above it of the parity of `scale`.
pub fn side_of_parity(side: usize, scale: usize) -> usize {
    side + (side + scale) % 2
}

/// `kernel` (K×K) with K of the parity of `scale`: where it is not, a row and a column of zeros are added so that element
/// `K / 2` (integer division) stays on the block's pixel `scale / 2`, before an odd kernel and behind an even one.
pub fn of_parity(kernel: Array2<f64>, scale: usize) -> Array2<f64> {
    let size = kernel.nrows();
    if side_of_parity(size, scale) == size {
        return kernel;
    }
    let first = size % 2;
    let mut padded = Array2::zeros((size + 1, size + 1));
    padded
        .slice_mut(s![first..first + size, first..first + size])
        .assign(&kernel);
    padded
}

/// `kernel` in a window of side `size` about the same middle: cut to it, or with zeros around it. The sides are of one
/// parity; the sum is not brought back to 1.
pub fn resized(kernel: &Array2<f64>, size: usize) -> Array2<f64> {
    let own = kernel.nrows();
    let (from, to) = (own.saturating_sub(size) / 2, size.saturating_sub(own) / 2);
    let shared = own.min(size);
    let mut out = Array2::zeros((size, size));
    out.slice_mut(s![to..to + shared, to..to + shared])
        .assign(&kernel.slice(s![from..from + shared, from..from + shared]));
    out
}

/// The smallest side of the parity of `kernel`'s own whose window about the same middle holds `share` of its mass.
pub fn side_holding(kernel: &Array2<f64>, share: f64) -> usize {
    let size = kernel.nrows();
    // Mass of the square rings from the middle outwards.
    let mut rings = vec![0.0; size.div_ceil(2)];
    for ((i, j), &weight) in kernel.indexed_iter() {
        let out = |at: usize| (2 * at + 1).abs_diff(size) / 2;
        rings[out(i).max(out(j))] += weight;
    }
    let most = share * rings.iter().sum::<f64>();
    let mut held = 0.0;
    let ring = rings.iter().position(|mass| {
        held += mass;
        held >= most
    });
    let inner = 2 - size % 2;
    ring.map_or(size, |ring| inner + 2 * ring)
}

/// Half the side of the largest window that is looked at, HR pixels.
const FARTHEST: f64 = 1024.0;

/// The smallest side for a scale that holds `share` of the mass of a Gaussian, its centre's offset included.
pub fn gaussian_side(psf: &GaussianPsf, scale: usize, share: f64) -> usize {
    let (variance, _, _) = psf.variances();
    let offset = psf.centre[0].abs().max(psf.centre[1].abs());
    // Beyond five standard deviations lie 6e-7 of the mass.
    let reach = (5.0 * variance.sqrt() + offset).min(FARTHEST).ceil() as usize;
    let size = side_of_parity(2 * reach + 1, scale);
    side_holding(&psf.kernel(size), share)
}

/// `kernel` cut to the smallest window that holds [`MASS`] of it, sum 1.
pub fn trimmed(kernel: &Array2<f64>) -> Array2<f64> {
    let cut = resized(kernel, side_holding(kernel, MASS));
    let sum = cut.sum();
    cut / sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sensor::psf::{centroid, window_start};

    // Element K / 2 of the kernel and pixel s / 2 of the block, seen from the block.
    #[test]
    fn a_kernel_of_another_parity_stays_where_it_lay() {
        for (scale, size) in [(4, 5), (3, 4), (4, 3), (5, 2), (4, 4), (3, 7), (1, 2), (2, 1)] {
            let mut kernel = Array2::zeros((size, size));
            kernel[[size / 2, size / 2]] = 1.0;
            let padded = of_parity(kernel, scale);
            let k = padded.nrows();
            assert_eq!((k + scale) % 2, 0);
            assert_eq!(2 * window_start(scale, k), scale as isize - k as isize);
            let at = centroid(&padded)[0] + window_start(scale, k) as f64;
            assert_eq!(at, (scale / 2) as f64, "s = {scale}, K = {size}");
        }
    }

    #[test]
    fn the_window_holds_the_mass_and_its_shift() {
        let mut kernel = Array2::zeros((9, 9));
        kernel[[4, 4]] = 0.9;
        kernel[[4, 6]] = 0.09;
        kernel[[0, 4]] = 0.01;
        assert_eq!(
            [0.89, 0.95, 0.98, 0.999].map(|m| side_holding(&kernel, m)),
            [1, 5, 5, 9]
        );
        let even = Array2::from_elem((6, 6), 1.0 / 36.0);
        assert_eq!(
            [0.1, 0.12, 0.5, 1.0].map(|m| side_holding(&even, m)),
            [2, 4, 6, 6]
        );
        kernel[[0, 4]] = 0.0001;
        let cut = trimmed(&kernel);
        assert_eq!(cut.dim(), (5, 5));
        assert!((cut.sum() - 1.0).abs() < 1e-12 && cut[[2, 4]] > 0.0);
        assert_eq!(resized(&resized(&kernel, 15), 9), kernel);
    }
}
