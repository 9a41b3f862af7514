//! The update of the reconstruction toward X: Z ← Z + up(G (X − (Z∗C)↓)).
//!
//! The network's mean is the prior; the residual of the LR pixels, weighed by its Wiener gain, is the target. It is
//! spread once by [`spread`](crate::refine::spread), then what the spread has missed is interpolated and added a few
//! times, less of it where the MSI is dark ([`back_projection`](crate::refine::back_projection)), so that on clean data
//! (Z∗C)↓ = X. There is no such step toward Y: the network
//! has seen Y at every pixel, and a projection on Y = Z·R gained at most 0.1 dB and lost up to 0.5 dB on the CAVE,
//! AVIRIS and EnMAP scenes, with the estimated response and with the true one.
//!
//! All of this is linear in Z, so it is decided on the LR grid ([`correct`]) and applied to strips of rows
//! ([`Correction::apply`]): the image is never needed as a whole, and no row's bits depend on the strips.

use std::ops::Range;

use ndarray::{Array2, Array3, ArrayView2, ArrayView3, s};
use rayon::prelude::*;

use crate::cube::in_order;
use crate::cube::scratch::{Buffer, Store};
use crate::engine::Geometry;
use crate::engine::refinement::{BICUBIC_REACH, Guide, RefinementGrid, Refiner, Strip};
use crate::error::Result;
use crate::interrupt;
use crate::refine::back_projection::{BackProjection, Modulation};
use crate::refine::gains::WienerGain;
use crate::refine::noise::hsi_noise;
use crate::refine::prediction::Predictor;
use crate::refine::spread::{Lattice, weights};
use crate::refine::{RefinementReport, decibels};
use crate::sensor::psf::window_start;

/// Interpolated corrections after the spread.
const BACK_PROJECTIONS: usize = 2;
/// A band is taken for one that cannot be negative unless X goes below 0 by more than this many σ.
const NEGATIVE: f64 = 4.0;

/// What was observed, as the network was trained on it.
#[derive(Debug, Clone, Copy)]
pub struct Observed<'a> {
    /// X, h×w×B.
    pub lr_hsi: ArrayView3<'a, f32>,
    /// Y, H×W×b.
    pub hr_msi: ArrayView3<'a, f32>,
    /// LR pixels whose window holds no masked pixel, h×w.
    pub usable: ArrayView2<'a, bool>,
    /// C, K×K.
    pub psf: &'a Array2<f64>,
    /// Scale and K.
    pub geometry: Geometry,
    /// HR rows that are worked on at once; the result does not depend on it.
    pub strip_rows: usize,
    /// Where what is made on the LR grid lies.
    pub store: &'a Store,
}

/// The image that is to be refined.
pub enum Prior<'a> {
    /// All of it, H×W×B.
    Whole(&'a mut [f32]),
    /// Nothing of it, but a function that makes rows of it: which ones, and room for them.
    Made(&'a mut MakeRows<'a>),
}

/// Writes some rows of an image (rows × W × B).
pub type MakeRows<'a> = dyn FnMut(Range<usize>, &mut [f32]) -> Result<()> + 'a;

impl Observed<'_> {
    fn grid(&self) -> RefinementGrid {
        let (rows, columns, bands) = self.lr_hsi.dim();
        let Geometry { scale, kernel } = self.geometry;
        let mut centroid = [0.0; 2];
        for ((i, j), &weight) in self.psf.indexed_iter() {
            centroid[0] += weight * (i as f64 + 0.5);
            centroid[1] += weight * (j as f64 + 0.5);
        }
        let from_centre = window_start(scale, kernel) as f64 - scale as f64 / 2.0;
        RefinementGrid {
            rows,
            columns,
            bands,
            msi_bands: self.hr_msi.dim().2,
            geometry: self.geometry,
            centroid: centroid.map(|at| at + from_centre),
        }
    }
}

/// What [`correct`] found: to be applied to every row of the prior.
#[derive(Debug)]
pub struct Correction {
    grid: RefinementGrid,
    spread: Option<Spread>,
    /// Sum of the corrections that are interpolated, h×w×B, and how much of them a pixel takes, where there are any.
    interpolated: Option<(Buffer, Modulation)>,
    /// Least sample of each band.
    floor: Vec<f32>,
}

/// Weights of LR pixels that are spread over HR pixels alike.
#[derive(Debug)]
struct Spread {
    guide: Guide,
    /// h×w×B.
    weights: Buffer,
    /// (Y∗C)↓, h×w×b.
    lr_msi: Buffer,
}

/// Refines `hr_hsi` (H×W×B) in place and notes in `report` what was done.
///
/// Where the noise of X cannot be told nothing is changed.
///
/// # Errors
/// [`crate::Error::Failed`] where the device fails.
pub fn refine(
    refiner: &dyn Refiner<f32>,
    observed: &Observed,
    hr_hsi: &mut Array3<f32>,
    report: &mut RefinementReport,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<()> {
    let Some(samples) = hr_hsi.as_slice_mut() else {
        return Err(crate::Error::failed(
            "refinement takes images in standard layout only",
        ));
    };
    let Some(correction) = correct(
        refiner,
        observed,
        &mut Prior::Whole(&mut *samples),
        report,
        progress,
    )?
    else {
        return Ok(());
    };
    let line = observed.hr_msi.dim().1 * observed.lr_hsi.dim().2;
    let strip_rows = observed.strip_rows.min(observed.hr_msi.dim().0);
    for (k, rows) in samples.chunks_mut(line * strip_rows).enumerate() {
        correction.apply(refiner, k * strip_rows, observed.hr_msi, rows)?;
    }
    Ok(())
}

/// Finds what refinement changes in the prior, and notes it in `report`; `None` where the noise of X cannot be told.
///
/// A prior that is [`Prior::Whole`] has the spread part added already when this returns; what
/// [`Correction::apply`] then does is the rest. Every row of the HR image is gone over twice, for the prior and for what
/// is spread; `progress` is told how many rows that is so far, and in all.
///
/// # Errors
/// [`crate::Error::Failed`] where the device fails or the store has no room, [`crate::Error::Interrupted`] after Ctrl-C.
pub fn correct(
    refiner: &dyn Refiner<f32>,
    observed: &Observed,
    prior: &mut Prior,
    report: &mut RefinementReport,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Option<Correction>> {
    let Some(sigma) = hsi_noise(observed.lr_hsi, observed.usable) else {
        return Ok(None);
    };
    let passes = Passes::new(refiner, observed);
    let (grid, usable) = (passes.grid, &passes.usable);
    let mut correction = Correction {
        grid,
        spread: None,
        interpolated: None,
        floor: floor(observed.lr_hsi, &sigma),
    };
    let hr_rows = observed.hr_msi.dim().0;
    let lr_hsi = in_order(observed.lr_hsi);
    let mut residual = match prior {
        Prior::Whole(image) => passes.residual_of(&grid, &lr_hsi, image)?,
        Prior::Made(make) => {
            let mut made = |rows: Range<usize>, out: &mut [f32]| {
                let end = rows.end;
                make(rows, out)?;
                progress(end, 2 * hr_rows);
                Ok(())
            };
            passes.residual(&lr_hsi, &mut made)?
        }
    };
    let lr_msi = passes.blurred()?;
    let predictor = Predictor::new(passes.lattice(&lr_msi));
    let gain = WienerGain::new(used(&residual, usable, grid.bands), &sigma);
    let power = square(&residual);
    let count = (usable.iter().filter(|ok| **ok).count() * grid.bands).max(1) as f64;
    report.residual = ((power / count).sqrt(), (power / count).sqrt());
    let sky: f64 = used(&lr_hsi, usable, grid.bands).map(square).sum();
    let noise = sigma.iter().map(|s| s * s).sum::<f64>() / grid.bands as f64;
    report.hsi_snr_db = decibels(sky / count, noise);
    // From here on `noise` is what the gain takes away, and `residual` is what is still to be put into the image.
    let mut noise = observed.store.copy(&residual)?;
    gain.apply(&mut residual);
    noise.iter_mut().zip(&*residual).for_each(|(n, s)| *n -= s);
    let kept = square(&residual);
    if kept <= 0.0 {
        return Ok(Some(correction));
    }
    report.signal_share = kept / power;
    report.directions = gain.directions();
    let guide = predictor.choose(&residual).map(|(guide, _)| guide);
    report.reach = guide.map(|guide| guide.radius);
    drop(predictor);
    if let Some(guide) = guide {
        correction.spread = Some(Spread {
            guide,
            weights: weights(&passes.lattice(&lr_msi), guide, &residual, observed.store)?,
            lr_msi,
        });
    }
    if let Some(spread) = &correction.spread {
        let mut spread_rows = |rows: Range<usize>, out: &mut [f32]| -> Result<()> {
            spread.add(refiner, &grid, rows.start, observed.hr_msi, out)?;
            if let Prior::Whole(image) = prior {
                let line = grid.hr_columns() * grid.bands;
                let image = &mut image[rows.start * line..rows.end * line];
                add(image, out);
            }
            progress(hr_rows + rows.end, 2 * hr_rows);
            Ok(())
        };
        residual = passes.residual(&residual, &mut spread_rows)?;
        if matches!(prior, Prior::Whole(_)) {
            correction.spread = None;
        }
    }
    let mut interpolated = observed.store.zeros(residual.len())?;
    let mut step = observed.store.zeros(residual.len())?;
    let modulation = Modulation::new(observed.hr_msi);
    let projection = BackProjection::new(&grid, observed.psf, usable, observed.hr_msi, modulation);
    for _ in 0..BACK_PROJECTIONS {
        projection.iterate(&mut residual, &mut step, &mut interpolated);
    }
    correction.interpolated = Some((interpolated, modulation));
    let after: f64 = residual
        .iter()
        .zip(&*noise)
        .map(|(&r, &n)| f64::from(r + n).powi(2))
        .sum();
    report.residual.1 = (after / count).sqrt();
    Ok(Some(correction))
}

impl Correction {
    /// Refines rows of the image from `hr_row` on, in place: `rows` holds the prior's. `hr_msi` is the whole MSI.
    ///
    /// # Errors
    /// [`crate::Error::Failed`] where the device fails.
    pub fn apply(
        &self,
        refiner: &dyn Refiner<f32>,
        hr_row: usize,
        hr_msi: ArrayView3<f32>,
        rows: &mut [f32],
    ) -> Result<()> {
        let (grid, bands) = (&self.grid, self.grid.bands);
        if let Some(spread) = &self.spread {
            // Summed apart and then added, as `correct` does with an image that it has as a whole.
            let mut sum = vec![0.0; rows.len()];
            spread.add(refiner, grid, hr_row, hr_msi, &mut sum)?;
            add(rows, &sum);
        }
        if let Some((interpolated, modulation)) = &self.interpolated {
            let hr = hr_row..hr_row + rows.len() / (grid.hr_columns() * bands);
            let lr = grid.lr_rows(&hr, BICUBIC_REACH);
            let line = grid.columns * bands;
            let strip = Strip {
                hr_row,
                lr_row: lr.start,
            };
            let factors = modulation.of(hr_msi, hr);
            let near = &interpolated[lr.start * line..lr.end * line];
            refiner.bicubic_update(grid, strip, near, &factors, rows)?;
        }
        rows.par_chunks_mut(bands).with_min_len(256).for_each(|pixel| {
            for (z, &floor) in pixel.iter_mut().zip(&self.floor) {
                // What is no number stays none and is refused; `max` would make it the floor.
                *z = if *z < floor { floor } else { *z };
            }
        });
        Ok(())
    }
}

impl Spread {
    /// Adds the weights' spread to rows of an image from `hr_row` on.
    fn add(
        &self,
        refiner: &dyn Refiner<f32>,
        grid: &RefinementGrid,
        hr_row: usize,
        hr_msi: ArrayView3<f32>,
        rows: &mut [f32],
    ) -> Result<()> {
        let hr = hr_row..hr_row + rows.len() / (grid.hr_columns() * grid.bands);
        let lr = grid.lr_rows(&hr, Guide::MAX_RADIUS);
        let strip = Strip {
            hr_row,
            lr_row: lr.start,
        };
        let of = |image: &'_ [f32], bands: usize| {
            lr.start * grid.columns * bands..(lr.end * grid.columns * bands).min(image.len())
        };
        let colours = in_order(hr_msi.slice_move(s![hr, .., ..]));
        refiner.guided_update(
            grid,
            strip,
            self.guide,
            &self.weights[of(&self.weights, grid.bands)],
            &self.lr_msi[of(&self.lr_msi, grid.msi_bands)],
            &colours,
            rows,
        )
    }
}

/// The passes over HR pixels that find a correction, strip by strip.
struct Passes<'a, 'o> {
    refiner: &'a dyn Refiner<f32>,
    observed: &'a Observed<'o>,
    grid: RefinementGrid,
    psf: Vec<f32>,
    usable: Vec<bool>,
    /// Mean over the bands of the MSI's variance.
    colour_variance: f64,
}

impl<'a, 'o> Passes<'a, 'o> {
    fn new(refiner: &'a dyn Refiner<f32>, observed: &'a Observed<'o>) -> Self {
        Passes {
            refiner,
            observed,
            grid: observed.grid(),
            psf: observed.psf.iter().map(|&x| x as f32).collect(),
            usable: observed.usable.iter().copied().collect(),
            colour_variance: variance(observed.hr_msi),
        }
    }

    /// `target` − (Z∗C)↓ at usable LR pixels, 0 at others, of an image that is there as a whole.
    fn residual_of(&self, grid: &RefinementGrid, target: &[f32], image: &[f32]) -> Result<Buffer> {
        let mut residual = self.observed.store.zeros(target.len())?;
        let (line, lr_line) = (grid.hr_columns() * grid.bands, grid.columns * grid.bands);
        let step = (self.observed.strip_rows / grid.geometry.scale).max(1);
        for first in (0..grid.rows).step_by(step) {
            interrupt::check()?;
            let lr = first..(first + step).min(grid.rows);
            let hr = grid.hr_rows_of(&lr);
            let strip = Strip {
                hr_row: hr.start,
                lr_row: lr.start,
            };
            let part = lr.start * lr_line..lr.end * lr_line;
            self.refiner.consistency_residual(
                grid,
                strip,
                &self.psf,
                &target[part.clone()],
                &image[hr.start * line..hr.end * line],
                &mut residual[part],
            )?;
        }
        self.drop_unusable(&mut residual, grid.bands);
        Ok(residual)
    }

    /// [`Passes::residual_of`] of an image that `make` makes (into zeros), every row once.
    fn residual(&self, target: &[f32], make: &mut MakeRows) -> Result<Buffer> {
        let grid = &self.grid;
        let mut residual = self.observed.store.zeros(target.len())?;
        let (line, lr_line) = (grid.hr_columns() * grid.bands, grid.columns * grid.bands);
        // Rows from `held_from` on that LR rows from `lr` on may still see.
        let (mut held, mut held_from, mut lr) = (Vec::new(), 0, 0);
        for first in (0..grid.hr_rows()).step_by(self.observed.strip_rows) {
            interrupt::check()?;
            let rows = first..(first + self.observed.strip_rows).min(grid.hr_rows());
            held.resize((rows.end - held_from) * line, 0.0);
            make(rows.clone(), &mut held[(first - held_from) * line..])?;
            let complete = (lr..grid.rows)
                .take_while(|&r| grid.hr_rows_of(&(r..r + 1)).end <= rows.end)
                .last()
                .map_or(lr, |r| r + 1);
            if complete > lr {
                let strip = Strip {
                    hr_row: held_from,
                    lr_row: lr,
                };
                let part = lr * lr_line..complete * lr_line;
                self.refiner.consistency_residual(
                    grid,
                    strip,
                    &self.psf,
                    &target[part.clone()],
                    &held,
                    &mut residual[part],
                )?;
                lr = complete;
            }
            let next = if lr < grid.rows {
                grid.hr_rows_of(&(lr..lr + 1)).start.clamp(held_from, rows.end)
            } else {
                rows.end
            };
            held.drain(..(next - held_from) * line);
            held_from = next;
        }
        self.drop_unusable(&mut residual, grid.bands);
        Ok(residual)
    }

    fn drop_unusable(&self, image: &mut [f32], bands: usize) {
        let pixels = image.chunks_exact_mut(bands).zip(&self.usable);
        pixels
            .filter(|(_, ok)| !**ok)
            .for_each(|(pixel, _)| pixel.fill(0.0));
    }

    /// LR pixels with their colours `lr_msi`, (Y∗C)↓.
    fn lattice<'l>(&'l self, lr_msi: &'l [f32]) -> Lattice<'l> {
        Lattice {
            rows: self.grid.rows,
            columns: self.grid.columns,
            colours: lr_msi,
            colour_variance: self.colour_variance,
            usable: &self.usable,
        }
    }

    /// (Y∗C)↓, h×w×b.
    fn blurred(&self) -> Result<Buffer> {
        let msi = in_order(self.observed.hr_msi);
        let bands = self.grid.msi_bands;
        let grid = RefinementGrid { bands, ..self.grid };
        let zero = self.observed.store.zeros(grid.rows * grid.columns * bands)?;
        let all = Passes {
            usable: vec![true; self.usable.len()],
            psf: self.psf.clone(),
            ..*self
        };
        let mut out = all.residual_of(&grid, &zero, &msi)?;
        out.iter_mut().for_each(|x| *x = -*x);
        Ok(out)
    }
}

/// 0 in the bands where X has no sample below it beyond its noise: what cannot be negative must not become so.
fn floor(lr_hsi: ArrayView3<f32>, sigma: &[f64]) -> Vec<f32> {
    let mut least = vec![f32::INFINITY; sigma.len()];
    for pixel in lr_hsi.rows() {
        least.iter_mut().zip(pixel).for_each(|(l, &x)| *l = l.min(x));
    }
    least
        .into_iter()
        .zip(sigma)
        .map(|(least, &sigma)| {
            if f64::from(least) < -NEGATIVE * sigma {
                f32::NEG_INFINITY
            } else {
                0.0
            }
        })
        .collect()
}

/// The usable pixels of an image on the LR grid.
fn used<'a>(image: &'a [f32], usable: &'a [bool], bands: usize) -> impl Iterator<Item = &'a [f32]> + Clone {
    let pixels = image.chunks_exact(bands).zip(usable);
    pixels.filter(|(_, ok)| **ok).map(|(pixel, _)| pixel)
}

fn add(to: &mut [f32], what: &[f32]) {
    to.par_iter_mut()
        .zip(what)
        .with_min_len(1 << 14)
        .for_each(|(z, &x)| *z += x);
}

fn square(values: &[f32]) -> f64 {
    values.iter().map(|&x| f64::from(x).powi(2)).sum()
}

/// Mean over the bands of their variance.
pub fn variance(image: ArrayView3<f32>) -> f64 {
    let (rows, columns, bands) = image.dim();
    let n = (rows * columns) as f64;
    let mut sums = vec![(0.0, 0.0); bands];
    for pixel in image.rows() {
        for ((first, second), &x) in sums.iter_mut().zip(pixel) {
            let x = f64::from(x);
            *first += x;
            *second += x * x;
        }
    }
    let variances = sums
        .iter()
        .map(|(first, second)| second / n - (first / n).powi(2));
    variances.map(|v: f64| v.max(0.0)).sum::<f64>() / bands as f64
}
