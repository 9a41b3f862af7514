//! Cutting a scene into training windows: for an LR pixel, the HR pixels around its block.

use ndarray::ArrayView3;

use crate::engine::Geometry;
use crate::real::Real;

/// Appends the S×S×b window of LR pixel (`row`, `column`) of `hr_image` to `out`.
///
/// Where the window reaches over the image's edge, the nearest pixel is repeated.
pub fn gather<S: Copy + Into<f64>, T: Real>(
    hr_image: ArrayView3<S>,
    geometry: Geometry,
    (row, column): (usize, usize),
    out: &mut Vec<T>,
) {
    let (rows, columns, _) = hr_image.dim();
    let (side, start) = (geometry.window() as isize, geometry.window_start());
    let clamp = |x: isize, length: usize| x.clamp(0, length as isize - 1) as usize;
    for r in 0..side {
        let r = clamp((row * geometry.scale) as isize + start + r, rows);
        for c in 0..side {
            let c = clamp((column * geometry.scale) as isize + start + c, columns);
            out.extend(
                hr_image
                    .slice(ndarray::s![r, c, ..])
                    .iter()
                    .map(|&x| T::of(x.into())),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // s = 2, K = 4: the window reaches one pixel over every side of the block.
    #[test]
    fn windows_repeat_the_edge() {
        let image = ndarray::Array3::from_shape_fn((4, 4, 1), |(r, c, _)| (10 * r + c) as f32);
        let geometry = Geometry { scale: 2, kernel: 4 };
        assert_eq!((geometry.window(), geometry.window_start()), (4, -1));
        let mut out: Vec<f64> = Vec::new();
        gather(image.view(), geometry, (0, 1), &mut out);
        let rows = [0.0, 0.0, 10.0, 20.0];
        let columns = [1.0, 2.0, 3.0, 3.0];
        let expected: Vec<f64> = rows
            .iter()
            .flat_map(|r| columns.iter().map(move |c| r + c))
            .collect();
        assert_eq!(out, expected);
    }
}
