//! The ratio of two images that no file places: sizes are a guess, which the images may correct.

use super::features::{Components, Reduced};
use super::geometry::{Base, Geometry};
use super::search::{Search, search};

/// Least ratio that is tried.
const LEAST: f64 = 1.2;
/// Step from one ratio to the next: over half an HSI of 48 pixels half of it is half a pixel.
const STEP: f64 = 1.04;
/// Pixels on the longer side of the HSI that is searched.
const SEARCHED: usize = 48;

/// Geometries of the ratios at which the images agree best, best first, at most `most`: each with its shift, about the
/// middles of both images. `size` is the MSI's.
pub fn ratios(hsi: &Components, mut msi: Reduced, size: [usize; 2], most: usize) -> Vec<(Reduced, Geometry)> {
    let lr = hsi.size();
    let factor = lr[0].max(lr[1]).div_ceil(SEARCHED);
    let coarse = hsi.reduced([factor; 2]);
    let largest = (0..2).map(|k| size[k] as f64 / lr[k] as f64).fold(0.0, f64::max) * STEP;
    let grid = (0..).map(|k| LEAST * STEP.powi(k)).take_while(|&r| r <= largest);
    let integers = (2..=largest as usize).map(|n| n as f64);
    let mut found: Vec<(f64, f64, [f64; 2])> = Vec::new();
    for ratio in integers.chain(grid) {
        msi = msi.at_ratio([ratio; 2]);
        let guide = msi.guide(factor as f64);
        let geometry = Geometry::new(lr, centred(lr, size, ratio));
        let what = Search {
            hsi: &coarse,
            factor,
            guide: &guide,
            geometry: &geometry,
            size,
        };
        let least = coarse.valid.len() / 6;
        found.extend(
            search(&what, least.max(24), 1)
                .first()
                .map(|c| (c.evidence, ratio, c.shift)),
        );
    }
    found.sort_by(|a, b| b.0.total_cmp(&a.0));
    found.truncate(most);
    found
        .into_iter()
        .map(|(_, ratio, shift)| {
            let mut geometry = Geometry::new(lr, centred(lr, size, ratio));
            geometry.displacement.shift = shift;
            // The shift is where the images lie, and no misplacement: nothing said otherwise.
            let corner = geometry.at([0.0; 2]);
            let base = Base::affine(corner, [[ratio, 0.0], [0.0, ratio]]);
            (msi.clone().at_ratio([ratio; 2]), Geometry::new(lr, base))
        })
        .collect()
}

/// The map of this ratio that lays the middle of the HSI on that of the MSI.
fn centred(lr: [usize; 2], size: [usize; 2], ratio: f64) -> Base {
    let corner = [0, 1].map(|k| 0.5 * (size[k] as f64 - ratio * lr[k] as f64));
    Base::affine(corner, [[ratio, 0.0], [0.0, ratio]])
}
