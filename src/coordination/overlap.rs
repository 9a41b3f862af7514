//! Which pixels of two images show ground that both have.

use std::ops::Range;

use crate::align::geometry::Geometry;
use crate::coordination::scene::Part;

/// How far from its pixels a shift lies that is left to the PSF's centre, HR pixels: half a pixel and some more, so that a
/// shift by half a pixel falls on the same side with any noise.
const CENTRE: f64 = 0.75;

/// Where LR pixel 0 begins, in whole HR pixels: where the files have it, unless it was found clearly elsewhere.
pub fn whole(told: f64, found: f64) -> f64 {
    let near = told.round();
    if (found - near).abs() <= CENTRE {
        near
    } else {
        found.round()
    }
}

/// HR pixels of one axis, of `size`, and all to the edge of the image where that is less than an LR pixel further.
pub fn completed(part: Range<usize>, scale: usize, size: usize) -> Range<usize> {
    let start = if part.start < scale { 0 } else { part.start };
    let end = if size - part.end.min(size) < scale {
        size
    } else {
        part.end
    };
    start..end
}

/// The LR pixels of one axis that lie within the HR image, if LR pixel 0 begins at HR pixel `offset` (an integer), and
/// their HR pixels.
pub fn common(offset: f64, scale: usize, lr: usize, hr: usize) -> Option<(Range<usize>, Range<usize>)> {
    let s = scale as f64;
    let first = (-offset / s).ceil().max(0.0);
    let end = ((hr as f64 - offset) / s).floor().min(lr as f64);
    if first >= end {
        return None;
    }
    let start = (offset + first * s) as usize;
    let (first, end) = (first as usize, end as usize);
    Some((first..end, start..start + (end - first) * scale))
}

/// Rows and columns of an MSI of `size` around what an HSI shows, with `margin` LR pixels beyond it; `None` where that is
/// nothing.
pub fn shown(geometry: &Geometry, size: [usize; 2], margin: f64) -> Option<Part> {
    let mut reach = [(f64::INFINITY, f64::NEG_INFINITY); 2];
    const STEPS: usize = 32;
    for step in 0..=STEPS {
        let along = |k: usize| {
            let whole = geometry.size[k] as f64 + 2.0 * margin;
            step as f64 / STEPS as f64 * whole - margin
        };
        let (end_row, end_column) = (geometry.size[0] as f64 + margin, geometry.size[1] as f64 + margin);
        for place in [
            [-margin, along(1)],
            [end_row, along(1)],
            [along(0), -margin],
            [along(0), end_column],
        ] {
            let at = geometry.at(place);
            for k in 0..2 {
                reach[k] = (reach[k].0.min(at[k]), reach[k].1.max(at[k]));
            }
        }
    }
    let part = |k: usize| {
        // A millionth of a pixel is rounding of coordinates.
        let first = (reach[k].0 + 1e-6).floor().max(0.0);
        let end = (reach[k].1 - 1e-6).ceil().min(size[k] as f64);
        (first < end).then_some(first as usize..end as usize)
    };
    Some((part(0)?, part(1)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    // An HSI of 4 LR pixels of 8 lies on an MSI of 32 and a few more.
    #[test]
    fn an_msi_is_cut_only_where_it_goes_on_for_an_lr_pixel() {
        for (part, size, wanted) in [
            (0..32, 32, 0..32),
            (2..34, 34, 0..34),
            (0..29, 32, 0..32),
            (5..37, 44, 0..44),
            (8..40, 48, 8..40),
        ] {
            assert_eq!(completed(part.clone(), 8, size), wanted, "{part:?} {size}");
        }
    }

    // Half a pixel is left to the PSF, more is not.
    #[test]
    fn pixels_begin_where_files_have_them_unless_found_elsewhere() {
        assert_eq!(
            [whole(8.0, 8.6), whole(8.0, 8.9), whole(8.0, 4.2)],
            [8.0, 9.0, 4.0]
        );
    }
}
