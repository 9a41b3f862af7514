//! What stages of registration compare: two images, and what pixels that a fit has not seen say of it.

use super::features::{Components, Guide, Reduced};
use super::fit::Problem;
use super::geometry::Geometry;
use super::parts::{Parts, chosen, halved};

/// Squares on the longer side of the HSI.
const SQUARES: usize = 6;

/// Costs of the pixels that each half has not seen, nats; `None` where the MSI does not tell one.
pub type Unseen = [Vec<Option<f64>>; 2];

/// An HSI and an MSI that are compared.
pub struct Compared<'a> {
    /// Of the HSI.
    pub hsi: &'a Components,
    /// Of the MSI.
    pub msi: &'a Reduced,
    /// The MSI as it is blurred now.
    pub guide: Guide,
    /// LR pixels that are looked at.
    pub pixels: Vec<(usize, usize)>,
    /// Squares whose gains count as independent.
    pub squares: Parts,
    /// Random halves in blocks of 2 × 2, `true` and `false`.
    half: Vec<bool>,
}

impl<'a> Compared<'a> {
    /// With the MSI blurred by a PSF as wide as an LR pixel.
    pub fn new(hsi: &'a Components, msi: &'a Reduced) -> Self {
        let pixels = chosen(hsi);
        Compared {
            guide: msi.guide(1.0),
            squares: Parts::squares(hsi, &pixels, SQUARES),
            half: halved(&pixels),
            hsi,
            msi,
            pixels,
        }
    }
}

impl Compared<'_> {
    /// These pixels by the MSI as it is blurred now.
    pub fn problem<'b>(&'b self, pixels: &'b [(usize, usize)]) -> Problem<'b> {
        Problem {
            hsi: self.hsi,
            guide: &self.guide,
            pixels,
        }
    }

    /// The pixels of each half.
    pub fn halves(&self) -> [Vec<(usize, usize)>; 2] {
        [true, false].map(|side| {
            let chosen = self.pixels.iter().zip(&self.half).filter(|(_, h)| **h == side);
            chosen.map(|(&p, _)| p).collect()
        })
    }

    /// What each half of the pixels costs by a displacement and a regression of the other half: `fitted[k]` is of `halves[k]`, and
    /// `guides[k]` what it is asked with.
    pub fn unseen(
        &self,
        halves: &[Vec<(usize, usize)>; 2],
        fitted: &[Geometry; 2],
        guides: [&Guide; 2],
    ) -> Option<Unseen> {
        let side = |k: usize| {
            let problem = |pixels| Problem {
                hsi: self.hsi,
                guide: guides[k],
                pixels,
            };
            let regression = problem(&halves[k]).regress(&fitted[k])?.0;
            Some(problem(&halves[1 - k]).costs(&fitted[k], &regression))
        };
        Some([side(0)?, side(1)?])
    }

    /// How much less unseen pixels cost after than before, by squares.
    pub fn gained(&self, before: &Unseen, after: &Unseen) -> Vec<f64> {
        let mut gains = vec![(0.0, 0usize); self.squares.count];
        for side in 0..2 {
            // Half 0 are those that are `true`; unseen of it are the others.
            let squares = self.half.iter().zip(&self.squares.part);
            let squares = squares.filter(|(half, _)| **half == (side == 1)).map(|(_, &s)| s);
            for (square, (before, after)) in squares.zip(before[side].iter().zip(&after[side])) {
                if let (Some(before), Some(after)) = (before, after) {
                    gains[square].0 += before - after;
                    gains[square].1 += 1;
                }
            }
        }
        gains.into_iter().filter(|g| g.1 > 0).map(|g| g.0).collect()
    }
}
