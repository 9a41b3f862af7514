//! PSFs that are no Gaussians: a defocused lens (a disk) and motion during the exposure (a line).
//!
//! Each is the share of a pixel that the shape covers, found on a fixed grid of points in the pixel. Experiments need
//! them to ask what an estimate makes of a PSF that is not of its own form.

use ndarray::Array2;

/// Points along each side of a pixel at which a shape is looked at.
const POINTS: usize = 16;

/// Defocus: a disk of `radius` ≥ ½ HR pixels as a K×K kernel with sum 1.
///
/// `centre` is the offset (row, column) of the disk's centre from the middle of the window in HR pixels. What reaches out of
/// the window is cut off; a disk wholly outside leaves a kernel of zeros.
pub fn disk(radius: f64, centre: [f64; 2], size: usize) -> Array2<f64> {
    covered(centre, size, |row, column| {
        row * row + column * column <= radius * radius
    })
}

/// Motion: a line of `length` ≥ 1 HR pixels and one pixel's breadth as a K×K kernel with sum 1.
///
/// `angle` is in radians and turns from the column axis towards the row axis, as the first axis of
/// [`super::psf::GaussianPsf::from_variances`] does; `centre` as in [`disk`].
pub fn line(length: f64, angle: f64, centre: [f64; 2], size: usize) -> Array2<f64> {
    let (sin, cos) = angle.sin_cos();
    covered(centre, size, |row, column| {
        let along = cos * column + sin * row;
        let across = cos * row - sin * column;
        2.0 * along.abs() <= length && 2.0 * across.abs() <= 1.0
    })
}

/// Share of every pixel's points that lie `inside`, normalised; offsets are (row, column) from the shape's centre.
fn covered(centre: [f64; 2], size: usize, inside: impl Fn(f64, f64) -> bool) -> Array2<f64> {
    let middle = 0.5 * (size as f64 - 1.0);
    let point = |p: usize| (p as f64 + 0.5) / POINTS as f64 - 0.5;
    let mut kernel = Array2::from_shape_fn((size, size), |(i, j)| {
        let (row, column) = (i as f64 - middle - centre[0], j as f64 - middle - centre[1]);
        let hits = (0..POINTS * POINTS)
            .filter(|p| inside(row + point(p / POINTS), column + point(p % POINTS)))
            .count();
        hits as f64
    });
    let sum = kernel.sum();
    if sum > 0.0 {
        kernel /= sum;
    }
    kernel
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sensor::psf::centroid;

    fn variance(kernel: &Array2<f64>, (u, v): (f64, f64)) -> f64 {
        let [r, c] = centroid(kernel);
        let along = |i: usize, j: usize| u * (i as f64 - r) + v * (j as f64 - c);
        kernel
            .indexed_iter()
            .map(|((i, j), w)| w * along(i, j).powi(2))
            .sum()
    }

    // Sharing a shape out to pixels convolves it with one pixel's square: 1/12 more of variance along any axis.
    const PIXEL: f64 = 1.0 / 12.0;

    // A disk of radius R has variance R²/4 along any axis; sampling its edge at whole pixels leaves 3 per cent.
    #[test]
    fn a_disk_has_its_variance_and_its_centre() {
        let kernel = disk(3.0, [1.25, -0.5], 16);
        assert!((kernel.sum() - 1.0).abs() < 1e-12);
        for axis in [(1.0, 0.0), (0.0, 1.0), (0.6, 0.8)] {
            let found = variance(&kernel, axis);
            assert!((found - 2.25 - PIXEL).abs() < 0.07, "{axis:?}: {found}");
        }
        let [r, c] = centroid(&kernel);
        assert!((r - 8.75).abs() < 0.01 && (c - 7.0).abs() < 0.01, "{r}, {c}");
    }

    // Along L²/12, across that of its breadth of one pixel, 1/12; edges that cross whole pixels leave 3 per cent.
    #[test]
    fn a_line_lies_along_its_angle() {
        let (length, angle) = (6.0, 0.6f64);
        let kernel = line(length, angle, [0.0; 2], 16);
        let (sin, cos) = angle.sin_cos();
        let along = variance(&kernel, (sin, cos));
        let across = variance(&kernel, (cos, -sin));
        assert!((along - 3.0 - PIXEL).abs() < 0.1, "{along}");
        assert!((across - PIXEL - PIXEL).abs() < 0.02, "{across}");
        assert!(disk(1.0, [90.0, 0.0], 4).iter().all(|&w| w == 0.0));
    }
}
