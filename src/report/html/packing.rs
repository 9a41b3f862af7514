//! Cubes small enough for a page: one byte a sample, predicted from its neighbours, deflated, in base 64.
//!
//! The page unpacks them with what every browser has (`atob`, `DecompressionStream`). Not PNG pictures: reading back
//! pixels of a canvas is coloured, rounded or refused by some browsers.

use std::io::{self, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::ZlibEncoder;
use ndarray::{Array2, Array3, Axis, s};

use crate::cube::Cube;
use crate::cube::strips::{self, Strips};
use crate::error::Result;

/// The level of the brightest sample of a band.
pub const TOP: u8 = 254;
/// Stands for a masked pixel.
const MASKED: u8 = 255;

/// The smallest and largest usable sample of each band over all cubes; zeros where there is none.
///
/// # Errors
/// Those of the cubes.
pub fn limits(cubes: &[&dyn Strips]) -> Result<Vec<(f32, f32)>> {
    let bands = cubes.iter().map(|c| c.dim().2).min().unwrap_or(0);
    let mut limits = vec![(f32::MAX, f32::MIN); bands];
    for cube in cubes {
        strips::for_each(*cube, |_, cube| {
            for ((r, c, b), &x) in cube.samples.indexed_iter() {
                if b < bands && x.is_finite() && cube.is_valid(r, c) {
                    let (low, high) = &mut limits[b];
                    *low = low.min(x);
                    *high = high.max(x);
                }
            }
            Ok(())
        })?;
    }
    for limit in &mut limits {
        if limit.0 > limit.1 {
            *limit = (0.0, 0.0);
        }
    }
    Ok(limits)
}

/// Every `step`-th row and column of an image.
///
/// # Errors
/// Those of the image.
pub fn thinned(image: &dyn Strips, step: usize) -> Result<Cube> {
    let (rows, columns, bands) = image.dim();
    let (rows, columns) = (rows.div_ceil(step), columns.div_ceil(step));
    let mut thin = Cube::new(Array3::zeros((rows, columns, bands)));
    strips::for_each(image, |first, strip| {
        for at in first.div_ceil(step)..(first + strip.rows()).div_ceil(step) {
            let from = at * step - first;
            let to = thin.samples.index_axis_mut(Axis(0), at);
            strip.samples.slice(s![from, ..;step, ..]).assign_to(to);
            if let Some(valid) = &strip.valid {
                thin.valid
                    .get_or_insert_with(|| Array2::from_elem((rows, columns), true))
                    .row_mut(at)
                    .assign(&valid.slice(s![from, ..;step]));
            }
        }
        Ok(())
    })?;
    Ok(thin)
}

/// The level of a sample: evenly spaced in the square root of its place between the limits, so that dark samples are
/// kept finer. The sample is `low + (level / TOP)² · (high − low)`, off by at most 0.4 % of high − low.
fn level(x: f32, (low, high): (f32, f32)) -> u8 {
    if high > low {
        let place = ((x - low) / (high - low)).clamp(0.0, 1.0);
        (place.sqrt() * f32::from(TOP)).round() as u8
    } else {
        0
    }
}

/// What is guessed for a sample from its left, upper and upper left neighbour: their median edge, as in JPEG-LS
/// (Weinberger et al. 2000).
fn predicted(left: u8, up: u8, corner: u8) -> u8 {
    let (low, high) = (left.min(up), left.max(up));
    if corner >= high {
        low
    } else if corner <= low {
        high
    } else {
        // Between the two, so the sum stays between 0 and 255.
        left.wrapping_add(up).wrapping_sub(corner)
    }
}

/// A cube, band after band, as base 64 of deflated differences.
///
/// # Errors
/// Never in practice: everything is written to memory.
pub fn packed(cube: &Cube, limits: &[(f32, f32)]) -> io::Result<String> {
    let mut out = ZlibEncoder::new(Vec::new(), Compression::new(6));
    let columns = cube.columns();
    let mut differences = vec![0u8; columns];
    for (b, &limit) in limits.iter().enumerate() {
        let mut above = vec![0u8; columns];
        for r in 0..cube.rows() {
            let (mut left, mut corner) = (0, 0);
            for (k, &x) in cube.samples.slice(s![r, .., b]).iter().enumerate() {
                let value = if x.is_finite() && cube.is_valid(r, k) {
                    level(x, limit)
                } else {
                    MASKED
                };
                differences[k] = value.wrapping_sub(predicted(left, above[k], corner));
                corner = above[k];
                above[k] = value;
                left = value;
            }
            out.write_all(&differences)?;
        }
    }
    Ok(STANDARD.encode(out.finish()?))
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    /// What the page's script does.
    fn unpacked(text: &str, rows: usize, columns: usize, bands: usize) -> Array3<u8> {
        let bytes = STANDARD.decode(text).unwrap();
        let mut differences = Vec::new();
        flate2::read::ZlibDecoder::new(bytes.as_slice())
            .read_to_end(&mut differences)
            .unwrap();
        assert_eq!(differences.len(), rows * columns * bands);
        let mut out = Array3::zeros((rows, columns, bands));
        let mut next = differences.iter();
        for b in 0..bands {
            for r in 0..rows {
                for c in 0..columns {
                    let at = |dr: usize, dc: usize| {
                        if r < dr || c < dc {
                            0
                        } else {
                            out[[r - dr, c - dc, b]]
                        }
                    };
                    let guess = predicted(at(0, 1), at(1, 0), at(1, 1));
                    out[[r, c, b]] = next.next().unwrap().wrapping_add(guess);
                }
            }
        }
        out
    }

    #[test]
    fn samples_come_back_within_the_promised_error() {
        let mut cube = Cube::new(Array3::from_shape_fn((13, 9, 4), |(r, c, b)| {
            ((r * 37 + c * 91 + b * 53 + r * c % 17 * 29) % 256) as f32 - 20.0
        }));
        cube.samples[[4, 6, 2]] = f32::NAN;
        cube.mask_value(f64::NAN);
        let limits = limits(&[&cube]).unwrap();
        for step in [1, 3] {
            let text = packed(&thinned(&cube, step).unwrap(), &limits).unwrap();
            let levels = unpacked(&text, 13usize.div_ceil(step), 9usize.div_ceil(step), 4);
            for ((r, c, b), &q) in levels.indexed_iter() {
                let (r, c) = (r * step, c * step);
                if !cube.is_valid(r, c) {
                    assert_eq!(q, MASKED);
                    continue;
                }
                let (low, high) = limits[b];
                let x = low + (f32::from(q) / f32::from(TOP)).powi(2) * (high - low);
                assert!((x - cube.samples[[r, c, b]]).abs() <= 0.004 * (high - low));
            }
        }
    }

    #[test]
    fn flat_and_empty_bands_have_limits() {
        let flat = Cube::new(Array3::from_elem((2, 2, 1), 7.0));
        assert_eq!(limits(&[&flat]).unwrap(), [(7.0, 7.0)]);
        assert_eq!(level(7.0, (7.0, 7.0)), 0);
        let mut none = flat.clone();
        none.mask_value(7.0);
        assert_eq!(limits(&[&none]).unwrap(), [(0.0, 0.0)]);
        assert_eq!(limits(&[]).unwrap(), []);
    }
}
