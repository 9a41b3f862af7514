//! Bicubic upsampling, the baseline that fused images are compared with.

use std::ops::Range;

use ndarray::{Array2, Array3, Axis};
use rayon::prelude::*;

use super::strips::Strips;
use super::{Cube, Metadata, SampleType};
use crate::error::{Error, Result};

/// Interpolates an image to a grid `scale` times as fine by cubic convolution (Keys 1981, a = −1/2).
///
/// A low-resolution sample lies at the centre of its `scale` × `scale` block; beyond the edges the outermost
/// samples go on. An output pixel is usable if the pixel of its block is; masked neighbours are replaced by that
/// pixel, so that what they hold never spreads. Wavelengths and band names stay; the grid becomes finer.
///
/// # Errors
/// [`Error::Input`] if `scale` is 0.
pub fn upsample(low: &Cube, scale: usize) -> Result<Cube> {
    let high = Upsampled::new(low, scale)?;
    high.rows(0..high.dim().0)
}

/// [`upsample`], rows computed when they are asked for.
pub struct Upsampled<'a> {
    low: &'a dyn Strips,
    scale: usize,
    phases: Vec<(isize, [f64; 4])>,
    metadata: Metadata,
}

impl<'a> Upsampled<'a> {
    /// Of `low`, to a grid `scale` times as fine.
    ///
    /// # Errors
    /// As [`upsample`].
    pub fn new(low: &'a dyn Strips, scale: usize) -> Result<Self> {
        if scale == 0 {
            return Err(Error::input(
                "scale 0: the ratio of the pixel grids is an integer from 1",
            ));
        }
        let mut metadata = low.metadata().clone();
        metadata.grid = metadata.grid.and_then(|grid| grid.scaled(1.0 / scale as f64));
        Ok(Upsampled {
            low,
            scale,
            phases: (0..scale).map(|p| taps(p, scale)).collect(),
            metadata,
        })
    }
}

impl Strips for Upsampled<'_> {
    fn dim(&self) -> (usize, usize, usize) {
        let (rows, columns, bands) = self.low.dim();
        (rows * self.scale, columns * self.scale, bands)
    }

    fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    fn sample_type(&self) -> SampleType {
        SampleType::F32
    }

    fn rows(&self, wanted: Range<usize>) -> Result<Cube> {
        let scale = self.scale;
        let (rows, columns, bands) = self.low.dim();
        // The four neighbours of a row lie up to two rows from its own.
        let top = (wanted.start / scale).saturating_sub(2);
        let low = self.low.rows(top..(wanted.end.div_ceil(scale) + 2).min(rows))?;
        let (low, phases) = (&low, &self.phases);
        let mut samples = Array3::<f32>::zeros((wanted.len(), columns * scale, bands));
        samples
            .axis_iter_mut(Axis(0))
            .into_par_iter()
            .enumerate()
            .for_each(|(r, mut line)| {
                let r = wanted.start + r;
                let (row, (row_start, row_weights)) = (r / scale, phases[r % scale]);
                let mut sum = vec![0.0; bands];
                for (c, mut out) in line.outer_iter_mut().enumerate() {
                    let (column, (column_start, column_weights)) = (c / scale, phases[c % scale]);
                    sum.fill(0.0);
                    for (i, wr) in row_weights.iter().enumerate() {
                        for (j, wc) in column_weights.iter().enumerate() {
                            let mut near = (
                                clamped(row, row_start + i as isize, rows) - top,
                                clamped(column, column_start + j as isize, columns),
                            );
                            if !low.is_valid(near.0, near.1) {
                                near = (row - top, column);
                            }
                            let pixel = low.samples.index_axis(Axis(0), near.0);
                            let pixel = pixel.index_axis(Axis(0), near.1);
                            for (s, &x) in sum.iter_mut().zip(pixel) {
                                *s += wr * wc * f64::from(x);
                            }
                        }
                    }
                    for (o, &s) in out.iter_mut().zip(&sum) {
                        *o = s as f32;
                    }
                }
            });
        let mut high = Cube::new(samples);
        high.valid = low.valid.as_ref().map(|valid| {
            Array2::from_shape_fn((wanted.len(), columns * scale), |(r, c)| {
                valid[[(wanted.start + r) / scale - top, c / scale]]
            })
        });
        high.metadata = self.metadata.clone();
        Ok(high)
    }
}

/// First of the four neighbours of phase `p` relative to its own sample, and their weights.
fn taps(p: usize, scale: usize) -> (isize, [f64; 4]) {
    let position = (p as f64 + 0.5) / scale as f64 - 0.5;
    let below = position.floor();
    let t = position - below;
    (below as isize - 1, [1.0 + t, t, 1.0 - t, 2.0 - t].map(keys))
}

/// The cubic convolution kernel with a = −1/2 at distance `x` ≥ 0.
pub(crate) fn keys(x: f64) -> f64 {
    if x < 1.0 {
        (1.5 * x - 2.5) * x * x + 1.0
    } else if x < 2.0 {
        ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
    } else {
        0.0
    }
}

/// `position + offset` held inside an axis of `length`.
fn clamped(position: usize, offset: isize, length: usize) -> usize {
    position.saturating_add_signed(offset).min(length - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ramp(rows: usize, columns: usize) -> Cube {
        Cube::new(Array3::from_shape_fn((rows, columns, 2), |(r, c, b)| {
            (10.0 + 3.0 * r as f64 - 2.0 * c as f64 + b as f64) as f32
        }))
    }

    // Cubic convolution reproduces straight lines exactly, on the block-centre grid:
    // a shift by half a pixel either way would show as 3/(2s).
    #[test]
    fn a_ramp_stays_a_ramp_inside() {
        for scale in [1, 2, 3, 4, 8] {
            let high = upsample(&ramp(7, 6), scale).unwrap();
            let s = scale as f64;
            for r in 2 * scale..5 * scale {
                for c in 2 * scale..4 * scale {
                    let at = |i: usize| (i as f64 + 0.5) / s - 0.5;
                    let expected = 10.0 + 3.0 * at(r) - 2.0 * at(c) + 1.0;
                    let found = f64::from(high.samples[[r, c, 1]]);
                    assert!(
                        (found - expected).abs() < 1e-5,
                        "scale {scale} at {r},{c}: {found}"
                    );
                }
            }
        }
    }

    // By hand: s = 2, line 0 0 1 0 0, t = 1/4 and 3/4 away: keys(0.25) = 0.8671875, keys(0.75) = 0.2265625,
    // keys(1.25) = -0.0703125, keys(1.75) = -0.0234375.
    #[test]
    fn impulse_by_hand() {
        let mut low = Cube::new(Array3::zeros((1, 5, 1)));
        low.samples[[0, 2, 0]] = 1.0;
        let high = upsample(&low, 2).unwrap();
        let expected = [
            0.0, -0.0234375, -0.0703125, 0.2265625, 0.8671875, 0.8671875, 0.2265625, -0.0703125, -0.0234375,
            0.0,
        ];
        for (c, e) in expected.iter().enumerate() {
            assert_eq!(high.samples[[0, c, 0]], *e as f32);
            assert_eq!(high.samples[[1, c, 0]], *e as f32);
        }
    }

    #[test]
    fn masked_samples_do_not_spread() {
        let mut low = Cube::new(Array3::from_elem((3, 3, 1), 5.0));
        low.samples[[1, 1, 0]] = f32::NAN;
        low.mask_value(f64::NAN);
        let high = upsample(&low, 4).unwrap();
        assert_eq!(high.masked_pixels(), 16);
        for ((r, c, _), &x) in high.samples.indexed_iter() {
            if high.is_valid(r, c) {
                assert_eq!(x, 5.0);
            }
        }
        assert_eq!(upsample(&low, 0).unwrap_err().exit_code(), 2);
    }
}
