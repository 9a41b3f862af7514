//! Numbers that stand for no data though no header says so.

use ndarray::ArrayView1;

/// Magnitude from which on a sample is no measurement: -3.4e38, 9.97e36, 1e30 and ±1e20 are what writers fill gaps with, and no
/// unit of radiance or reflectance comes near.
const ABSURD: f32 = 1e18;
/// The fill value of integers, which no camera measures.
const FILL: f32 = -9999.0;
/// The largest number of unsigned 16 bits, and the share of it that the next smaller sample lies below where it stands alone.
const FULL: f32 = 65535.0;
const ALONE: f32 = 0.8;

/// Whether `x` cannot be a measurement.
pub fn is_sentinel(x: f32) -> bool {
    x == FILL || (x.is_finite() && x.abs() >= ABSURD)
}

/// Such numbers in an image, gathered strip by strip.
#[derive(Debug, Clone, Default)]
pub struct Sentinels {
    /// Numbers that cannot be measurements, and the pixels that hold each.
    pub found: Vec<(f32, usize)>,
    /// Usable pixels that hold the largest number of unsigned 16 bits.
    full: usize,
    /// The largest other sample of usable pixels.
    next: f32,
}

impl Sentinels {
    /// Looks at a pixel; `counts` where the image is of unsigned 16-bit numbers.
    pub fn add(&mut self, spectrum: ArrayView1<f32>, usable: bool, counts: bool) {
        if !usable {
            if let Some(&value) = spectrum.iter().find(|&&x| is_sentinel(x)) {
                match self.found.iter_mut().find(|(known, _)| *known == value) {
                    Some((_, count)) => *count += 1,
                    None => self.found.push((value, 1)),
                }
            }
        } else if counts {
            self.full += usize::from(spectrum.iter().any(|&x| x == FULL));
            let below = spectrum.iter().copied().filter(|&x| x < FULL);
            self.next = below.fold(self.next, f32::max);
        }
    }

    /// Pixels that hold 65535 where no other sample comes near it, and the largest other sample: no data, or saturated.
    pub fn alone(&self) -> Option<(usize, f32)> {
        (self.full > 0 && self.next > 0.0 && self.next < ALONE * FULL).then_some((self.full, self.next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(pixels: &[([f32; 2], bool)]) -> Sentinels {
        let mut sentinels = Sentinels::default();
        for (spectrum, usable) in pixels {
            sentinels.add(ArrayView1::from(spectrum), *usable, true);
        }
        sentinels
    }

    #[test]
    fn fills_are_told_from_measurements_and_counted() {
        let fills = [-3.402_823_5e38, 1e20, -1e20, 1e30, -9999.0];
        assert!(fills.into_iter().all(is_sentinel));
        assert!(
            [-9998.0, 0.0, 65535.0, 1e6, f32::NAN]
                .into_iter()
                .all(|x| !is_sentinel(x))
        );
        let found = seen(&[
            ([1.0, -9999.0], false),
            ([1e20, 2.0], false),
            ([-9999.0, -9999.0], false),
            ([3.0, 4.0], true),
        ]);
        assert_eq!(found.found, [(-9999.0, 2), (1e20, 1)]);
    }

    #[test]
    fn a_full_scale_that_stands_alone_is_told_from_a_bright_image() {
        let image = |next: f32| seen(&[([next, 65535.0], true), ([1.0, next], true)]).alone();
        assert_eq!(image(9000.0), Some((1, 9000.0)));
        assert_eq!(image(65000.0), None);
        assert_eq!(seen(&[([65535.0, 1.0], false), ([2.0, 3.0], true)]).alone(), None);
    }
}
