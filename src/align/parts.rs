//! The LR pixels that registration looks at, and the parts of the image by which a gain is judged.

use super::features::Components;
use crate::random::philox;

/// LR pixels that a fit looks at, at most.
const FITTED: usize = 40_000;
/// LR pixels of a part: enough to tell by what they are spread.
const LEAST: usize = 16;
/// Mean gain over its standard error from which a stage is better than chance, over parts of the image.
pub const CLEAR: f64 = 2.5;

/// LR pixels in parts: `part[k]` is that of pixel k.
pub struct Parts {
    /// Of each pixel.
    pub part: Vec<usize>,
    /// Number of parts.
    pub count: usize,
}

/// The pixels that a fit looks at: all, or blocks of 2 × 2 spread over the image.
pub fn chosen(hsi: &Components) -> Vec<(usize, usize)> {
    let all: Vec<(usize, usize)> = hsi
        .valid
        .indexed_iter()
        .filter(|(_, ok)| **ok)
        .map(|(p, _)| p)
        .collect();
    let step = (all.len() as f64 / FITTED as f64).sqrt().ceil() as usize;
    if step <= 1 {
        return all;
    }
    all.into_iter()
        .filter(|(r, c)| (r / 2) % step == 0 && (c / 2) % step == 0)
        .collect()
}

impl Parts {
    /// Squares over the image, about `across` on its longer side, of at least 16 LR pixels.
    pub fn squares(hsi: &Components, pixels: &[(usize, usize)], across: usize) -> Parts {
        let size = hsi.size();
        let least = (LEAST as f64).sqrt().ceil() as usize;
        let side = size[0].max(size[1]).div_ceil(across).max(least);
        let columns = size[1].div_ceil(side);
        Parts {
            part: pixels
                .iter()
                .map(|(r, c)| r / side * columns + c / side)
                .collect(),
            count: size[0].div_ceil(side) * columns,
        }
    }
}

/// Mean of gains over its standard error; 0 where there are too few.
pub fn clearness(gains: &[f64]) -> f64 {
    let n = gains.len() as f64;
    if n < 3.0 {
        return 0.0;
    }
    let mean = gains.iter().sum::<f64>() / n;
    let variance = gains.iter().map(|g| (g - mean).powi(2)).sum::<f64>() / (n - 1.0);
    if variance == 0.0 {
        return 0.0;
    }
    mean / (variance / n).sqrt()
}

/// One of two random halves for each pixel, in blocks of 2 × 2.
pub fn halved(pixels: &[(usize, usize)]) -> Vec<bool> {
    let side = |&(r, c): &(usize, usize)| philox([0; 2], [(r / 2) as u32, (c / 2) as u32, 0, 0])[0] & 1 == 1;
    pixels.iter().map(side).collect()
}
