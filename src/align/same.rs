//! Two images of one scene on one grid, a result and its reference, that may lie a part of a pixel apart.

use ndarray::{Array2, Array3, ArrayView2, ArrayView3};

use super::features::{Components, Reduced};
use super::geometry::{Base, Geometry};
use super::misplacement::Misplacement;
use super::register::{Align, register};
use super::resample::{SHARP, Source};
use crate::cube::scratch::Store;
use crate::error::Result;

/// An image that was brought onto another of its size.
pub struct Brought {
    /// How it lay before.
    pub found: Misplacement,
    /// Rows × columns × bands.
    pub samples: Array3<f32>,
    /// Pixels that it tells.
    pub valid: Array2<bool>,
}

/// Finds by what shift `image` lies off `reference`, which has as many rows and columns, and takes it back; `None` where
/// nothing varies, or too few pixels are there to tell.
///
/// # Errors
/// Those of [`Source::resampled`].
pub fn brought(
    (reference, usable): (ArrayView3<f32>, ArrayView2<bool>),
    (image, valid): (ArrayView3<f32>, ArrayView2<bool>),
) -> Result<Option<Brought>> {
    let size = [reference.dim().0, reference.dim().1];
    let features = Components::of_hsi(reference, usable)
        .filter(|c| c.axes() > 0)
        .zip(Reduced::new(image, valid, [1.0; 2]));
    let Some((hsi, msi)) = features else {
        return Ok(None);
    };
    let start = Geometry::new(size, Base::affine([0.0; 2], [[1.0, 0.0], [0.0, 1.0]]));
    let registered = register(&hsi, &msi, &start, size, Align::Shift);
    let source = Source {
        samples: image,
        valid,
        half: SHARP,
    };
    let (samples, valid) = source.resampled(size, [1.0; 2], &Store::Memory, |r, c| {
        registered.geometry.at([r as f64 + 0.5, c as f64 + 0.5])
    })?;
    Ok(Some(Brought {
        found: registered.found,
        samples: samples.view().to_owned(),
        valid,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shift_by_part_of_a_pixel_is_found_and_taken_back() {
        let wave = |r: f64, c: f64, b: f64| {
            (3.0 + (0.31 * r + b).sin() + (0.27 * c - 0.1 * r).cos() * (0.4 * b).cos() + (0.02 * r * c).sin())
                as f32
        };
        let image = |by: f64| {
            Array3::from_shape_fn((40, 44, 5), |(r, c, b)| {
                wave(r as f64 + by, c as f64 - 0.5 * by, b as f64)
            })
        };
        let all = Array2::from_elem((40, 44), true);
        let (reference, moved) = (image(0.0), image(0.4));
        let pair = (reference.view(), all.view());
        let back = brought(pair, (moved.view(), all.view())).unwrap().unwrap();
        let shift = back.found.shift;
        assert!(
            (shift[0] + 0.4).abs() < 0.1 && (shift[1] - 0.2).abs() < 0.1,
            "{shift:?}"
        );
        let error = |image: &Array3<f32>| {
            let inner = ndarray::s![8..32, 8..36, ..];
            let difference = &image.slice(inner) - &reference.slice(inner);
            difference.mapv(|x| x * x).mean().unwrap()
        };
        assert!(error(&back.samples) < 0.2 * error(&moved));
        // One that lies on its reference stays to the bit; one without content is not moved.
        let same = brought(pair, (reference.view(), all.view())).unwrap().unwrap();
        assert_eq!((same.found.shift, same.samples), ([0.0; 2], reference.clone()));
        let flat = Array3::from_elem((40, 44, 5), 1.0);
        assert!(brought(pair, (flat.view(), all.view())).unwrap().is_none());
    }
}
