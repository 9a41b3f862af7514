//! The one resampling: an image at any places of its own, by a sinc under Lanczos's window.
//!
//! Ten samples wide, it passes what lies just below the Nyquist frequency, where a scene's pixels differ: AVIRIS scenes that were moved by half
//! a pixel and back kept 2 to 3 dB more of it than with cubic convolution of fourth order. Where places are further apart
//! than the image's pixels, the kernel is stretched to their distance, so that nothing is aliased.

use ndarray::{Array2, ArrayView2, ArrayView3};
use rayon::prelude::*;

use super::geometry::Place;
use crate::cube::raster::Raster;
use crate::cube::scratch::Store;
use crate::error::Result;

/// Half the width of the kernel for an image, samples.
pub const SHARP: f64 = 5.0;
/// Half the width for what is smooth beside it.
pub const SMOOTH: f64 = 3.0;

/// Lanczos's kernel of `half` samples on either side at distance `x`.
fn kernel(x: f64, half: f64) -> f64 {
    let sinc = |x: f64| match std::f64::consts::PI * x {
        p if p.abs() < 1e-9 => 1.0,
        p => p.sin() / p,
    };
    if x.abs() < half {
        sinc(x) * sinc(x / half)
    } else {
        0.0
    }
}

/// Samples along one axis that a place takes, and their weights, which sum to 1.
#[derive(Debug, Default)]
struct Taps {
    first: isize,
    weights: Vec<f64>,
}

impl Taps {
    /// For a place counted from the corner of the first pixel, the kernel stretched by `stretch` ≥ 1.
    fn set(&mut self, place: f64, half: f64, stretch: f64) {
        let centre = place - 0.5;
        if stretch == 1.0 && centre.fract() == 0.0 {
            // The pixel itself, without rounding.
            self.first = centre as isize;
            self.weights.clear();
            self.weights.push(1.0);
            return;
        }
        let reach = half * stretch;
        self.first = (centre - reach).ceil() as isize;
        let last = (centre + reach).floor() as isize;
        self.weights.clear();
        self.weights
            .extend((self.first..=last).map(|i| kernel((i as f64 - centre) / stretch, half)));
        let sum: f64 = self.weights.iter().sum();
        self.weights.iter_mut().for_each(|w| *w /= sum);
    }
}

/// An image with its mask, as a source of resampling.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    /// Rows × columns × bands.
    pub samples: ArrayView3<'a, f32>,
    /// Pixels that may be used.
    pub valid: ArrayView2<'a, bool>,
    /// Half the width of the kernel: [`SHARP`] or [`SMOOTH`].
    pub half: f64,
}

impl Source<'_> {
    /// Whether a place can be told: it lies in the image (or within half a pixel of it), and the pixels beside it are valid.
    fn tells(&self, place: Place) -> bool {
        let (rows, columns) = self.valid.dim();
        let near = |x: f64, n: usize| {
            let x = x - 0.5;
            let inside = x >= -0.5 && x <= n as f64 - 0.5;
            inside.then(|| {
                let below = x.floor();
                let end = if x > below { below + 1.0 } else { below };
                [below, end].map(|i| (i.max(0.0) as usize).min(n - 1))
            })
        };
        match (near(place[0], rows), near(place[1], columns)) {
            (Some(r), Some(c)) => r.iter().all(|&i| c.iter().all(|&j| self.valid[[i, j]])),
            _ => false,
        }
    }

    /// The samples at a place into `out`; `false`, and zeros, where the image does not tell them.
    fn sample(&self, place: Place, taps: &[Taps; 2], sum: &mut [f64], out: &mut [f32]) -> bool {
        if !place.iter().all(|x| x.is_finite()) || !self.tells(place) {
            out.fill(0.0);
            return false;
        }
        let (rows, columns, _) = self.samples.dim();
        let held = |at: isize, n: usize| at.clamp(0, n as isize - 1) as usize;
        sum.fill(0.0);
        let mut total = 0.0;
        let [down, across] = taps;
        for (i, &wr) in down.weights.iter().enumerate() {
            let r = held(down.first + i as isize, rows);
            for (j, &wc) in across.weights.iter().enumerate() {
                let c = held(across.first + j as isize, columns);
                let weight = wr * wc;
                if weight == 0.0 || !self.valid[[r, c]] {
                    continue;
                }
                total += weight;
                let pixel = self.samples.slice(ndarray::s![r, c, ..]);
                for (s, &x) in sum.iter_mut().zip(pixel) {
                    *s += weight * f64::from(x);
                }
            }
        }
        // The pixels beside the place hold at least half of the weight, whatever is masked further away.
        for (o, s) in out.iter_mut().zip(&*sum) {
            *o = (s / total) as f32;
        }
        true
    }

    /// One row of places, into `columns` × bands samples; which of them the image tells.
    pub fn row(&self, places: &[Place], stretch: [f64; 2], out: &mut [f32]) -> Vec<bool> {
        let bands = self.samples.dim().2;
        let mut sum = vec![0.0; bands];
        let mut taps: [Taps; 2] = Default::default();
        places
            .iter()
            .zip(out.chunks_mut(bands.max(1)))
            .map(|(&place, out)| {
                for k in 0..2 {
                    taps[k].set(place[k], self.half, stretch[k]);
                }
                self.sample(place, &taps, &mut sum, out)
            })
            .collect()
    }

    /// An image of `size` pixels whose pixel (r, c) lies at `place(r, c)` of this one. Its mask has the places that this
    /// image tells. `stretch` is how many of this image's pixels lie between two places, down and across its axes.
    ///
    /// # Errors
    /// [`crate::Error::Failed`] where `store` has no room.
    pub fn resampled(
        &self,
        size: [usize; 2],
        stretch: [f64; 2],
        store: &Store,
        place: impl Fn(usize, usize) -> Place + Sync,
    ) -> Result<(Raster, Array2<bool>)> {
        let bands = self.samples.dim().2;
        let mut to = Raster::zeros(store, (size[0], size[1], bands))?;
        let mut valid = Array2::from_elem(size, false);
        let stretch = stretch.map(|s| s.max(1.0));
        let line = to.line().max(1);
        to.samples_mut()
            .par_chunks_mut(line)
            .zip(valid.axis_iter_mut(ndarray::Axis(0)).into_par_iter())
            .enumerate()
            .for_each(|(r, (out, mut valid))| {
                let places: Vec<Place> = (0..size[1]).map(|c| place(r, c)).collect();
                for (ok, told) in valid.iter_mut().zip(self.row(&places, stretch, out)) {
                    *ok = told;
                }
            });
        Ok((to, valid))
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array3;

    use super::*;

    fn wave(r: f64, c: f64) -> f64 {
        2.0 + (0.5 * r + 0.2).sin() + (0.6 * c - 0.3 * r).cos()
    }

    fn image(rows: usize, columns: usize) -> Array3<f32> {
        Array3::from_shape_fn((rows, columns, 2), |(r, c, b)| {
            (wave(r as f64 + 0.5, c as f64 + 0.5) * (1.0 + b as f64)) as f32
        })
    }

    fn everywhere(image: &Array3<f32>) -> Array2<bool> {
        let (rows, columns, _) = image.dim();
        Array2::from_elem((rows, columns), true)
    }

    #[test]
    fn the_kernel_keeps_its_own_samples_and_waves_near_the_limit() {
        let mut taps = Taps::default();
        let at = |taps: &Taps, f: &dyn Fn(f64) -> f64| -> f64 {
            let places = (0..taps.weights.len()).map(|k| (taps.first + k as isize) as f64 + 0.5);
            taps.weights.iter().zip(places).map(|(w, x)| w * f(x)).sum()
        };
        // 0.4 of a cycle a sample, where cubic convolution of four samples is off by half the wave.
        let wave = |x: f64| (0.8 * std::f64::consts::PI * x + 0.3).sin();
        for (place, half, error) in [
            (7.5, SHARP, 1e-12),
            (7.8, SHARP, 0.1),
            (8.31, SHARP, 0.12),
            (8.0, SHARP, 0.2),
            (8.0, SMOOTH, 0.4),
        ] {
            taps.set(place, half, 1.0);
            assert!((taps.weights.iter().sum::<f64>() - 1.0).abs() < 1e-12);
            let miss = (at(&taps, &wave) - wave(place)).abs();
            assert!(miss < error, "{place} {half}: {miss}");
        }
    }

    #[test]
    fn a_smooth_image_is_moved_and_turned_to_parts_of_a_thousand() {
        let from = image(40, 50);
        let valid = everywhere(&from);
        let source = Source {
            samples: from.view(),
            valid: valid.view(),
            half: SHARP,
        };
        let place = |r: usize, c: usize| {
            let (r, c) = (r as f64 + 0.5, c as f64 + 0.5);
            [10.3 + 0.7 * r - 0.1 * c, 9.0 + 0.1 * r + 0.8 * c]
        };
        let (to, ok) = source
            .resampled([20, 30], [1.0; 2], &Store::Memory, place)
            .unwrap();
        for ((r, c), &ok) in ok.indexed_iter() {
            let p = place(r, c);
            assert!(ok);
            let expected = 2.0 * wave(p[0], p[1]);
            assert!((f64::from(to.pixel(r, c)[1]) - expected).abs() < 2e-2, "{r} {c}");
        }
        // The pixels themselves, bit for bit.
        let (same, _) = source
            .resampled([40, 50], [1.0; 2], &Store::Memory, |r, c| {
                [r as f64 + 0.5, c as f64 + 0.5]
            })
            .unwrap();
        assert_eq!(same.view(), from);
    }

    #[test]
    fn a_reduced_image_holds_no_aliases() {
        // Stripes of two pixels, reduced by three: what a stretched kernel leaves is grey.
        let stripes = Array3::from_shape_fn((60, 60, 1), |(_, c, _)| (c % 2) as f32);
        let valid = everywhere(&stripes);
        let source = Source {
            samples: stripes.view(),
            valid: valid.view(),
            half: SHARP,
        };
        let place = |r: usize, c: usize| [3.0 * (r as f64 + 0.5), 3.1 * (c as f64 + 0.5)];
        let (to, _) = source
            .resampled([20, 19], [3.0, 3.1], &Store::Memory, place)
            .unwrap();
        for c in 4..15 {
            assert!((to.pixel(9, c)[0] - 0.5).abs() < 0.03, "{}", to.pixel(9, c)[0]);
        }
    }

    #[test]
    fn what_is_masked_or_outside_is_not_told_and_never_spreads() {
        let mut from = image(12, 12);
        let mut valid = everywhere(&from);
        from[[5, 6, 0]] = f32::NAN;
        valid[[5, 6]] = false;
        let source = Source {
            samples: from.view(),
            valid: valid.view(),
            half: SHARP,
        };
        let (to, ok) = source
            .resampled([14, 12], [1.0; 2], &Store::Memory, |r, c| {
                [r as f64 + 0.3, c as f64 + 0.5]
            })
            .unwrap();
        let masked: Vec<_> = ok
            .indexed_iter()
            .filter(|(_, ok)| !**ok)
            .map(|(p, _)| p)
            .collect();
        // Further than half a pixel beyond the last centre.
        let below: Vec<_> = (12..14).flat_map(|r| (0..12).map(move |c| (r, c))).collect();
        assert_eq!(masked, [vec![(5, 6), (6, 6)], below].concat());
        assert!(to.samples().iter().all(|x| x.is_finite()));
    }
}
