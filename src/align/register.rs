//! Registration, coarse to fine: shift, affine correction, smooth field. Every stage is kept only where it tells LR
//! pixels better that it has not seen.

use serde::{Deserialize, Serialize};

use super::compared::Compared;
use super::features::{Components, Reduced};
use super::fit::Fit;
use super::freedom::Freedom;
use super::geometry::Geometry;
use super::local::local;
use super::misplacement::{Misplacement, Stage};
use super::parts::{CLEAR, clearness};
use super::search::{FULL, Search, search};

/// How far registration may climb.
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Align {
    /// As the files have it.
    Off,
    /// A shift.
    Shift,
    /// A shift, a rotation, scales and a shear.
    Affine,
    /// Those and a smooth field of displacements.
    Local,
    /// As far as LR pixels that were held out reward it.
    #[default]
    Auto,
}

/// What is found of a misplacement, or not.
#[derive(Debug, Clone)]
pub struct Registration {
    /// Where LR pixels lie.
    pub geometry: Geometry,
    /// What was found and kept; the same numbers in all of them, zeros where nothing was.
    pub found: Misplacement,
    /// How much better than by its own means each part of the image is told by the others, nats.
    gains: Vec<f64>,
}

impl Registration {
    /// Whether parts of the image are clearly told by the others.
    pub fn told(&self) -> bool {
        clearness(&self.gains) > CLEAR
    }

    /// Whether parts of the image are clearly better told than by another registration of the same HSI.
    pub fn beats(&self, other: &Registration) -> bool {
        let differences: Vec<f64> = self.gains.iter().zip(&other.gains).map(|(a, b)| a - b).collect();
        clearness(&differences) > CLEAR
    }
}

/// Pixels on the longer side of an HSI that is searched.
const SEARCHED: usize = 64;
/// Share of the smaller image that an overlap must have.
const LEAST: f64 = 0.15;
/// Shifts of the search that are looked at more closely.
const CANDIDATES: usize = 12;
/// Displacement of a pixel of the MSI that is none, in its pixels.
const SMALLEST: f64 = 0.05;
/// Widths of the PSF that are tried, LR pixels.
const WIDTHS: [f64; 8] = [0.5, 0.6, 0.7, 0.85, 1.0, 1.2, 1.5, 1.8];

/// An HSI and an MSI that are registered.
struct Register<'a> {
    with: Compared<'a>,
    least: usize,
}

/// Registers an MSI of `size` pixels to an HSI: from `start`, as far as `align` allows.
pub fn register(
    hsi: &Components,
    msi: &Reduced,
    start: &Geometry,
    size: [usize; 2],
    align: Align,
) -> Registration {
    let with = Compared::new(hsi, msi);
    let ratio = start.base.ratio(start.size);
    let area = size[0] as f64 * size[1] as f64 / (ratio[0] * ratio[1]);
    let usable = hsi.valid.iter().filter(|ok| **ok).count() as f64;
    let thin = with.pixels.len() as f64 / usable.max(1.0);
    let least = (LEAST * usable.min(area) * thin).max((6 * (hsi.axes() + 1)) as f64) as usize;
    let mut this = Register { with, least };
    this.run(start, size, align)
}

impl Register<'_> {
    fn evidence(&self, geometry: &Geometry) -> Option<f64> {
        self.with
            .problem(&self.with.pixels)
            .evidence(geometry, self.least)
    }

    fn run(&mut self, start: &Geometry, size: [usize; 2], align: Align) -> Registration {
        let mut found = Misplacement::none();
        let misfit = |this: &Self, geometry: &Geometry| {
            let r = this.with.problem(&this.with.pixels).regress(geometry);
            r.map_or((1.0, 0), |(r, misfit)| (misfit, r.pixels()))
        };
        let mut geometry = start.clone();
        let mut fit = None;
        let (told, width) = self.sharpen(start);
        // The width of a misplaced pair is none of the PSF.
        self.with.guide = self.with.msi.guide(1.0);
        if align > Align::Off
            && let Some(shifted) = self.shift(start, size)
        {
            // Each with the width that suits it: a wrong one may make up for a shift.
            if self.sharpen(&shifted.geometry).0 > told {
                geometry = shifted.geometry.clone();
                found.stage = Stage::Shift;
                fit = Some(shifted);
            }
        }
        if found.stage == Stage::None {
            self.with.guide = self.with.msi.guide(width);
        }
        for (freedom, stage, least) in [
            (Freedom::Shift, Stage::Shift, Align::Off),
            (Freedom::Affine, Stage::Affine, Align::Shift),
        ] {
            let old = if stage == Stage::Shift { start } else { &geometry };
            if align > least
                && let Some(better) = self.improved(old, &geometry, freedom)
            {
                // Once more with the width that suits it.
                self.sharpen(&better.geometry);
                let again = self
                    .with
                    .problem(&self.with.pixels)
                    .fit(&better.geometry, freedom);
                let better = again.unwrap_or(better);
                geometry = better.geometry.clone();
                found.stage = stage;
                fit = Some(better);
            }
        }
        let mut halves: Option<[Geometry; 2]> = None;
        if align > Align::Affine
            && let Some((local, sides)) = local(&self.with, &geometry)
        {
            geometry = local;
            found.stage = Stage::Local;
            halves = Some(sides);
        }
        let told = |this: &Self, geometry: &Geometry| {
            let squares = &this.with.squares;
            this.with
                .problem(&this.with.pixels)
                .gains(geometry, &squares.part, squares.count)
        };
        let mut gains = told(self, &geometry);
        // Where the images are strangers still, nothing is believed.
        if clearness(&gains) <= CLEAR && found.stage != Stage::None {
            geometry = start.clone();
            found.stage = Stage::None;
            (fit, halves) = (None, None);
            gains = told(self, start);
        }
        // What no pixel of the MSI would notice is not worth a resampling.
        let ratio = start.base.ratio(start.size);
        if geometry.displacement.largest(start.size) * ratio[0].max(ratio[1]) < SMALLEST {
            geometry = start.clone();
            found.stage = Stage::None;
            (fit, halves) = (None, None);
        }
        let (before, _) = misfit(self, start);
        let (after, pixels) = misfit(self, &geometry);
        found.misfit = [before, after];
        found.pixels = pixels;
        found.describe(&geometry, &self.with.pixels, fit.as_ref(), halves.as_ref());
        Registration {
            geometry,
            found,
            gains,
        }
    }

    /// The best shift of the search, if parts of the image that did not choose it are better told by it than by the start.
    fn shift(&self, start: &Geometry, size: [usize; 2]) -> Option<Fit> {
        let longer = self.with.hsi.size()[0].max(self.with.hsi.size()[1]);
        let factor = longer.div_ceil(SEARCHED);
        let coarse = self.with.hsi.reduced([factor; 2]);
        let guide = self.with.msi.guide(if factor == 1 { 1.0 } else { factor as f64 });
        let thin = self.with.pixels.len() as f64
            / self.with.hsi.valid.iter().filter(|ok| **ok).count().max(1) as f64;
        let least = (self.least as f64 / thin / (factor * factor) as f64) as usize;
        let what = Search {
            hsi: &coarse,
            factor,
            guide: &guide,
            geometry: start,
            size,
            effort: FULL,
        };
        let list = search(&what, least.max(24), CANDIDATES);
        let whole = self.with.problem(&self.with.pixels);
        let fitted = |shift: Option<[f64; 2]>| {
            let mut at = start.clone();
            at.displacement.shift = shift.unwrap_or(at.displacement.shift);
            let fit = whole.fit(&at, Freedom::Shift)?;
            whole.evidence(&fit.geometry, self.least)?;
            Some(fit)
        };
        let mut fits: Vec<Fit> = Vec::new();
        for fit in std::iter::once(None)
            .chain(list.iter().map(|c| Some(c.shift)))
            .filter_map(fitted)
        {
            let at = fit.geometry.displacement.shift;
            let near = |other: &Fit| {
                let s = other.geometry.displacement.shift;
                (s[0] - at[0]).hypot(s[1] - at[1]) < 0.05
            };
            if !fits.iter().any(near) {
                fits.push(fit);
            }
        }
        // What each part of the image gains over its own mean, told by the other parts.
        let gains =
            |geometry: &Geometry| whole.gains(geometry, &self.with.squares.part, self.with.squares.count);
        let before = gains(start);
        let after: Vec<Vec<f64>> = fits.iter().map(|f| gains(&f.geometry)).collect();
        let total: Vec<f64> = after.iter().map(|g| g.iter().sum()).collect();
        let best = (0..fits.len()).max_by(|&a, &b| total[a].total_cmp(&total[b]))?;
        let differences: Vec<f64> = (0..self.with.squares.count)
            .filter_map(|part| {
                // Chosen without this part.
                let other = |k: usize| total[k] - after[k][part];
                let k = (0..fits.len()).max_by(|&a, &b| other(a).total_cmp(&other(b)))?;
                let gain = after[k][part] - before[part];
                (after[k][part] != 0.0 || before[part] != 0.0).then_some(gain)
            })
            .collect();
        // Better than the start, and better than nothing: where the start tells nothing, anything may be better.
        let clear = clearness(&differences).min(clearness(&after[best]));
        (clear > CLEAR).then(|| fits.swap_remove(best))
    }

    /// Takes the guide of the width that tells most; gives the evidence with it, and the width.
    fn sharpen(&mut self, geometry: &Geometry) -> (f64, f64) {
        let mut best = (f64::NEG_INFINITY, WIDTHS[WIDTHS.len() / 2]);
        for width in WIDTHS {
            self.with.guide = self.with.msi.guide(width);
            match self.evidence(geometry) {
                Some(e) if e > best.0 => best = (e, width),
                _ => {}
            }
        }
        self.with.guide = self.with.msi.guide(best.1);
        best
    }

    /// The fit from `from` on, if held-out pixels are told better by it than by `old` as it stands.
    fn improved(&self, old: &Geometry, from: &Geometry, freedom: Freedom) -> Option<Fit> {
        let halves = self.with.halves();
        let fitted = |side: usize, from: &Geometry, freedom: Freedom| {
            let fit = self.with.problem(&halves[side]).fit(from, freedom)?;
            Some(fit.geometry)
        };
        let new = [fitted(0, from, freedom)?, fitted(1, from, freedom)?];
        let old = match freedom {
            // The start as it is, against what one half says.
            Freedom::Shift => [old.clone(), old.clone()],
            _ => [fitted(0, old, Freedom::Shift)?, fitted(1, old, Freedom::Shift)?],
        };
        let unseen = |fitted: &[Geometry; 2]| self.with.unseen(&halves, fitted, [&self.with.guide; 2]);
        let gains = self.with.gained(&unseen(&old)?, &unseen(&new)?);
        let clear = clearness(&gains);
        if clear <= CLEAR {
            return None;
        }
        let fit = self.with.problem(&self.with.pixels).fit(from, freedom)?;
        self.evidence(&fit.geometry)?;
        Some(fit)
    }
}
