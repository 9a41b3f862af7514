//! Hypotheses of the ratio of two images that no file places. That both show the same ground, so that their sizes tell the
//! ratio, is one of them; others are where the images themselves agree.

use super::features::{Components, Pyramid};
use super::fit::Problem;
use super::freedom::Freedom;
use super::geometry::{Base, Geometry};
use super::search::{Candidate, Effort, FULL, QUICK, Search, search};

/// Least ratio that is tried.
const LEAST: f64 = 1.2;
/// Largest ratio that is tried, over that of the sizes: an HSI of which the MSI shows a part.
const LARGEST: f64 = 2.5;
/// Step from one ratio to the next: over half an HSI of 24 pixels a quarter of it is a quarter of a pixel.
const STEP: f64 = 1.08;
/// Pixels on the longer side of the HSI with which all ratios are tried.
const FEW: usize = 24;
/// Pixels on the longer side of the HSI with which those that are better than their neighbours are tried again.
const MORE: usize = 48;
/// How many are tried again.
const AGAIN: usize = 5;
/// Share of the smaller image that an overlap must have.
const OVERLAP: f64 = 0.15;
/// How far from an integer a ratio is taken for it, as a share; registration finds what is left.
const INTEGER: f64 = 0.02;

/// Whether a ratio that is `factor` times another is another hypothesis.
pub fn is_another(factor: f64) -> bool {
    factor.ln().abs() > 0.5 * STEP.ln()
}

/// What ratios are tried with: the HSI in pixels of `factor` x `factor` of its own.
struct Tried<'a> {
    /// Of these pixels.
    hsi: Components,
    factor: usize,
    msi: &'a Pyramid,
    /// Rows and columns of the HSI and of the MSI.
    sizes: [[usize; 2]; 2],
}

impl<'a> Tried<'a> {
    fn new(hsi: &Components, longest: usize, msi: &'a Pyramid, size: [usize; 2]) -> Self {
        let lr = hsi.size();
        let factor = lr[0].max(lr[1]).div_ceil(longest);
        Tried {
            hsi: hsi.reduced([factor; 2]),
            factor,
            msi,
            sizes: [lr, size],
        }
    }

    /// The map of this ratio that lays the middle of the HSI on that of the MSI, moved by the best shift (LR pixels).
    fn shifted(&self, ratio: f64, effort: Effort) -> Option<(Candidate, Geometry)> {
        let [lr, size] = self.sizes;
        let corner = [0, 1].map(|k| 0.5 * (size[k] as f64 - ratio * lr[k] as f64));
        let mut geometry = Geometry::new(lr, Base::affine(corner, [[ratio, 0.0], [0.0, ratio]]));
        let best = self.best(&geometry, effort)?;
        geometry.displacement.shift = best.shift;
        Some((best, geometry))
    }

    fn best(&self, geometry: &Geometry, effort: Effort) -> Option<Candidate> {
        let [lr, size] = self.sizes;
        let [down, across] = geometry.base.ratio(lr);
        let ratio = (down * across).sqrt();
        let area = self.factor as f64 * ratio;
        let smaller = (self.hsi.valid.len() as f64).min(size[0] as f64 * size[1] as f64 / (area * area));
        let what = Search {
            hsi: &self.hsi,
            factor: self.factor,
            guide: &self.msi.guide(ratio, self.factor as f64),
            geometry,
            size,
            effort,
        };
        search(&what, ((OVERLAP * smaller) as usize).max(24), 1).pop()
    }

    /// The same with the ratio and the shift that fit best from there on, an integer where that is near.
    fn exact(&self, geometry: &Geometry) -> Geometry {
        let [lr, _] = self.sizes;
        let factor = self.factor as f64;
        // In pixels of the coarse HSI.
        let mut coarse = Geometry::new(self.hsi.size(), geometry.base.magnified(factor));
        coarse.displacement.shift = geometry.displacement.shift.map(|s| s / factor);
        let before = geometry.base.ratio(lr)[0];
        let guide = self.msi.guide(before, factor);
        let pixels: Vec<(usize, usize)> = self
            .hsi
            .valid
            .indexed_iter()
            .filter(|(_, ok)| **ok)
            .map(|(at, _)| at)
            .collect();
        let problem = Problem {
            hsi: &self.hsi,
            guide: &guide,
            pixels: &pixels,
        };
        let middle = lr.map(|n| 0.5 * n as f64);
        // Not further than the next hypothesis: a fit that goes there has lost its way.
        let fitted = problem.fit(&coarse, Freedom::Affine).and_then(|fit| {
            let [[down, _], [_, across]] = fit.geometry.displacement.linear;
            let found = before * ((1.0 + down) * (1.0 + across)).max(0.0).sqrt();
            let at = fit.geometry.at(middle.map(|m| m / factor));
            ((found / before).ln().abs() <= STEP.ln()).then_some((found, at, INTEGER))
        });
        let (found, at, near) = fitted.unwrap_or((before, geometry.at(middle), STEP - 1.0));
        let integer = found.round();
        let ratio = if (found - integer).abs() <= near * integer {
            integer
        } else {
            found
        };
        // The shift is where the images lie, and no misplacement: nothing said otherwise. An image that was cut begins at a whole
        // pixel; registration finds what is left.
        let corner = [0, 1].map(|k| (at[k] - ratio * middle[k]).round());
        Geometry::new(lr, Base::affine(corner, [[ratio, 0.0], [0.0, ratio]]))
    }
}

/// Geometries of other ratios at which the images agree better than at `sizes` at any shift, or better than nothing, best first, at
/// most `most`. `size` is the MSI's.
pub fn ratios(
    hsi: &Components,
    msi: &Pyramid,
    size: [usize; 2],
    sizes: Option<&Geometry>,
    most: usize,
) -> Vec<Geometry> {
    let lr = hsi.size();
    let few = Tried::new(hsi, FEW, msi, size);
    let largest = LARGEST * (0..2).map(|k| size[k] as f64 / lr[k] as f64).fold(0.0, f64::max);
    let tried: Vec<(f64, f64)> = (0..)
        .map(|k| LEAST * STEP.powi(k))
        .take_while(|&ratio| ratio <= largest)
        .map(|ratio| (ratio, few.shifted(ratio, QUICK).map_or(0.0, |(c, _)| c.evidence)))
        .collect();
    let best_first = |a: f64, b: f64| b.total_cmp(&a);
    let mut peaks: Vec<(f64, f64)> = (0..tried.len())
        .filter(|&k| {
            let beside = [k.checked_sub(1), Some(k + 1)];
            let beside = beside.into_iter().flatten().filter_map(|k| tried.get(k));
            tried[k].1 > 0.0 && beside.into_iter().all(|other| tried[k].1 >= other.1)
        })
        .map(|k| tried[k])
        .collect();
    peaks.sort_by(|a, b| best_first(a.1, b.1));
    peaks.truncate(AGAIN);
    let more = Tried::new(hsi, MORE, msi, size);
    let least = sizes
        .and_then(|sizes| more.best(sizes, FULL))
        .map_or(0.0, |c| c.evidence);
    // Few pixels may prefer the neighbour of the right one.
    let near = peaks.first().map(|&(ratio, _)| [ratio / STEP, ratio * STEP]);
    let again = peaks
        .iter()
        .map(|&(ratio, _)| ratio)
        .chain(near.into_iter().flatten());
    let mut again: Vec<(Candidate, Geometry)> = again
        .filter_map(|ratio| more.shifted(ratio, FULL))
        .filter(|(candidate, _)| candidate.evidence > least)
        .collect();
    again.sort_by(|a, b| best_first(a.0.evidence, b.0.evidence));
    let mut kept: Vec<Geometry> = Vec::new();
    for (_, geometry) in again {
        let exact = more.exact(&geometry);
        let same = |other: &Geometry| {
            let ratio = |g: &Geometry| g.base.ratio(lr)[0];
            !is_another(ratio(other) / ratio(&exact))
        };
        if !kept.iter().any(same) {
            kept.push(exact);
        }
        if kept.len() == most {
            break;
        }
    }
    kept
}
