//! The last stage of registration: a smooth field of displacements.
//!
//! How many nodes it has and what its bending costs is chosen by pixels that were held out, coarse to fine. A field bends the MSI, but
//! not the PSF that the HSI was seen with: once it is about right, the MSI is brought to the HSI by it before it is blurred, and what is
//! left is found there.

use super::compared::{Compared, Unseen};
use super::features::{FWHM, Guide};
use super::fit::Problem;
use super::freedom::Freedom;
use super::geometry::{Base, Displacement, Field, Geometry};
use super::parts::{CLEAR, clearness};

/// Nodes over the HSI's longer side that are tried, coarse to fine, and the least distance of two, LR pixels.
const LEVELS: [f64; 7] = [2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0];
const CLOSEST: f64 = 2.0;
/// What bending costs between nodes that are tried, nats for a square LR pixel.
const BENDINGS: [f64; 3] = [10.0, 1.0, 0.1];
/// Levels that tell held-out pixels no better before the finer ones are not tried.
const PATIENCE: usize = 2;
/// Blur of images that the search begins with: full width at half maximum, LR pixels; and what bending costs there.
const BLURS: [f64; 2] = [3.0, 1.5];
const ROUGH: f64 = 0.3;
/// What bending costs where what is left of a displacement is found, in turn.
const REST: [f64; 3] = [10.0, 3.0, 1.0];
/// How often it is found by all pixels.
const ROUNDS: usize = 2;
/// Clearness from which a field may be there.
const POSSIBLE: f64 = 0.5;

/// LR pixels of the two halves.
type Halves = [Vec<(usize, usize)>; 2];

/// Displacements of both halves with a field, and what held-out pixels say of them.
struct Bent {
    sides: [Geometry; 2],
    bending: f64,
    /// Less costs of unseen pixels, by squares.
    gains: Vec<f64>,
}

impl Bent {
    fn total(&self) -> f64 {
        self.gains.iter().sum()
    }

    /// Takes the place of what is worse, and says whether it did.
    fn replaces(self, best: &mut Option<Bent>) -> bool {
        let better = best.as_ref().is_none_or(|best| self.total() > best.total());
        if better {
            *best = Some(self);
        }
        better
    }
}

/// The field that held-out pixels choose, if they reward it; with those of the two halves.
pub fn local(this: &Compared, geometry: &Geometry) -> Option<(Geometry, [Geometry; 2])> {
    let size = this.hsi.size();
    let halves = this.halves();
    let straight = |side: usize| {
        Some(
            this.problem(&halves[side])
                .fit(geometry, Freedom::Affine)?
                .geometry,
        )
    };
    let before = this.unseen(&halves, &[straight(0)?, straight(1)?], [&this.guide; 2])?;
    let first = chosen(this, geometry, &halves, &before)?;
    if clearness(&first.gains) <= POSSIBLE {
        return None;
    }
    let mut best: Option<Bent> = None;
    by_levels(size, |spacing| {
        let sides = first.sides.clone().map(|side| on_nodes(side, size, spacing));
        let mut brought = sides.map(|side| Brought::new(this, side));
        let mut better = false;
        for bending in REST {
            let side = |k: usize| brought[k].corrected(this, &halves[k], bending);
            let (Some(a), Some(b)) = (side(0), side(1)) else {
                break;
            };
            brought = [Brought::new(this, a), Brought::new(this, b)];
            let Some(after) = this.unseen(
                &halves,
                &brought.each_ref().map(|b| b.still.clone()),
                brought.each_ref().map(|b| &b.guide),
            ) else {
                break;
            };
            let bent = Bent {
                gains: this.gained(&before, &after),
                bending,
                sides: brought.each_ref().map(|b| b.by.clone()),
            };
            better |= bent.replaces(&mut best);
        }
        better
    });
    let best = best?;
    if clearness(&best.gains) <= CLEAR {
        return None;
    }
    let mut whole = best.sides[0].clone();
    for _ in 0..ROUNDS {
        whole = Brought::new(this, whole).corrected(this, &this.pixels, best.bending)?;
    }
    Some((whole, best.sides))
}

/// With its field on other nodes.
fn on_nodes(mut geometry: Geometry, size: [usize; 2], spacing: f64) -> Geometry {
    let field = geometry.displacement.field.take();
    geometry.displacement.field = field.map(|f| Field::of(size, spacing, |at| f.at(at)));
    geometry
}

/// Calls `better` with distances of nodes, LR pixels, until it has tried them all or says some times that they were no better.
fn by_levels(size: [usize; 2], mut better: impl FnMut(f64) -> bool) {
    let longer = size[0].max(size[1]) as f64;
    let mut worse = 0;
    for spacing in LEVELS.map(|level| longer / level) {
        if spacing < CLOSEST || worse == PATIENCE {
            break;
        }
        worse = if better(spacing) { 0 } else { worse + 1 };
    }
}

/// The nodes and the bending that tell unseen pixels best.
fn chosen(this: &Compared, geometry: &Geometry, halves: &Halves, before: &Unseen) -> Option<Bent> {
    let size = this.hsi.size();
    let mut best: Option<Bent> = None;
    let mut starts = rough(this, geometry, halves);
    by_levels(size, |spacing| {
        let mut sides = starts.clone().map(|side| on_nodes(side, size, spacing));
        let mut better = false;
        for bending in BENDINGS {
            let fit = |k: usize| this.problem(&halves[k]).fit(&sides[k], Freedom::local(bending));
            let (Some(a), Some(b)) = rayon::join(|| fit(0), || fit(1)) else {
                break;
            };
            sides = [a.geometry, b.geometry];
            let Some(after) = this.unseen(halves, &sides, [&this.guide; 2]) else {
                break;
            };
            let bent = Bent {
                gains: this.gained(before, &after),
                bending,
                sides: sides.clone(),
            };
            if bent.replaces(&mut best) {
                better = true;
                starts.clone_from(&sides);
            }
        }
        better
    });
    best
}

/// Displacements of both halves from which a field converges: from blurred images on, whose displacements may be larger.
fn rough(this: &Compared, geometry: &Geometry, halves: &Halves) -> [Geometry; 2] {
    let size = this.hsi.size();
    let longer = size[0].max(size[1]) as f64;
    let mut at = geometry.clone();
    at.displacement.field = Some(Field::zero(size, longer / LEVELS[0]));
    let mut sides = [at.clone(), at];
    for width in BLURS {
        let hsi = this.hsi.clone().blurred([width / FWHM; 2]);
        let guide = this.msi.guide(width.hypot(1.0));
        for (side, pixels) in sides.iter_mut().zip(halves) {
            let pixels: Vec<_> = pixels.iter().copied().filter(|&at| hsi.valid[at]).collect();
            let problem = Problem {
                hsi: &hsi,
                guide: &guide,
                pixels: &pixels,
            };
            if let Some(fit) = problem.fit(side, Freedom::local(ROUGH)) {
                *side = fit.geometry;
            }
        }
    }
    sides
}

/// The MSI on pixels of the HSI that are divided, blurred there.
struct Brought {
    guide: Guide,
    /// Where it lies now: each LR pixel on its own.
    still: Geometry,
    /// How it was brought.
    by: Geometry,
}

impl Brought {
    fn new(this: &Compared, by: Geometry) -> Brought {
        let size = this.hsi.size();
        let msi = this.msi.brought(size, |place| by.at(place));
        let [down, across] = msi.ratio();
        Brought {
            guide: msi.guide(1.0),
            still: Geometry::new(size, Base::affine([0.0; 2], [[down, 0.0], [0.0, across]])),
            by,
        }
    }

    /// The displacement by which it was brought and what these pixels say is left of it.
    fn corrected(&self, this: &Compared, pixels: &[(usize, usize)], bending: f64) -> Option<Geometry> {
        let size = this.hsi.size();
        let with = self.by.displacement.field.as_ref()?;
        let problem = Problem {
            hsi: this.hsi,
            guide: &self.guide,
            pixels,
        };
        let mut from = self.still.clone();
        from.displacement.field = Some(Field::zero(size, with.spacing));
        let freedom = Freedom::Local {
            bending,
            with: Some(with),
        };
        let rest: Displacement = problem.fit(&from, freedom)?.geometry.displacement;
        let mut corrected = self.by.clone();
        let before = &self.by.displacement;
        corrected.displacement.field = Some(Field::of(size, with.spacing, |place| {
            let by = rest.at(place);
            let moved = before.at([place[0] + by[0], place[1] + by[1]]);
            let straight = before.straight(place);
            [0, 1].map(|k| by[k] + moved[k] - straight[k])
        }));
        Some(corrected)
    }
}
