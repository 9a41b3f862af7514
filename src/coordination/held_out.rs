//! How the predictions of a prior are weighed: what each says of LR pixels that it has not seen.

use std::ops::Range;

use nalgebra::DMatrix;
use ndarray::{Array3, ArrayView3, s};

use crate::coordination::crossfit::CrossFit;
use crate::coordination::model::Model;
use crate::coordination::prior::{MixedPrior, MixtureReport, Shares};
use crate::coordination::reconstruct::reconstruct_rows;
use crate::coordination::scene::Scene;
use crate::cube::{filled, in_order};
use crate::engine::{Engine, Output};
use crate::error::Result;
use crate::evidence::expectation::{Disagreement, HeldOutErrors, expect};
use crate::evidence::folds::{FOLDS, folds};
use crate::evidence::stacking::mix;
use crate::interrupt;
use crate::refine::consistency::variance;
use crate::refine::prediction::{Predictor, Sample, samples};
use crate::refine::regression::{Blend, Regression};
use crate::refine::spread::Lattice;
use crate::sensor::observe::blur_samples;

/// Pairs of pixels that a held-out regression is fitted to at most.
const MOST_PAIRS: usize = 16_384;
/// Weight that a regression is expected to have in a mixture.
const REGRESSION: f64 = 0.1;
/// Weight of the shortest training relative to the others.
const FIRST: f64 = 2.0 / 3.0;
/// Side, in LR pixels, of the parts on which disagreement is measured.
const DISAGREEMENT_SIDE: usize = 8;

/// Weighs the predictions of a scene. `lr_msi` is (Y∗C)↓. Without cross-fitted members `model` is judged by pixels that it may have
/// seen.
///
/// # Errors
/// As [`reconstruct_rows`].
pub fn weigh(
    engine: &dyn Engine<f32>,
    model: Model,
    (scene, lr_msi): (&Scene, ArrayView3<f32>),
    crossfit: Option<&CrossFit>,
) -> Result<MixedPrior> {
    let held_out = HeldOut::new(&model, scene, lr_msi, crossfit);
    let (rows, columns, _) = lr_msi.dim();
    let usable: Vec<bool> = scene.usable().iter().copied().collect();
    let samples = samples((rows, columns), &usable);
    let mean = held_out.mean(&samples);
    let images: Vec<Vec<DMatrix<f64>>> = samples
        .iter()
        .map(|sample| {
            interrupt::check()?;
            let mut images = held_out.images(engine, &model, sample)?;
            for image in &mut images {
                image.row_iter_mut().for_each(|mut row| row -= mean.transpose());
            }
            Ok(images)
        })
        .collect::<Result<_>>()?;
    let residuals: Vec<DMatrix<f64>> = images
        .iter()
        .map(|images| {
            let parts = images[1..].iter().zip(&held_out.shares);
            parts.fold(images[0].clone(), |left, (image, share)| left - image * *share)
        })
        .collect();
    let asked = Predictor::new(Lattice {
        rows,
        columns,
        colours: &in_order(lr_msi),
        colour_variance: variance(scene.hr_msi.view()),
        usable: &usable,
    })
    .asked(&residuals, &images);
    let mixture = mix(&images, asked.as_deref(), &held_out.shares);
    let errors: Vec<HeldOutErrors> = images
        .into_iter()
        .zip(mixture.errors)
        .map(|(images, errors)| {
            let mut observed = images.into_iter().next().unwrap_or_default();
            observed
                .row_iter_mut()
                .for_each(|mut row| row += mean.transpose());
            HeldOutErrors { errors, observed }
        })
        .collect();
    let weights: Vec<(String, f64)> = held_out
        .names
        .iter()
        .cloned()
        .zip(mixture.weights.clone())
        .collect();
    let disagree = |folds: &[Model]| held_out.disagreement(engine, folds, &samples, &usable);
    let (mixed, blend, folds) = held_out.mixed(&model, &mixture.weights, mean.as_slice());
    let report = MixtureReport {
        weights,
        expected: expect(&errors, &disagree(&folds)?, &peaks(scene, lr_msi, &usable)),
    };
    Ok(MixedPrior {
        model: mixed.unwrap_or(model),
        blend: Some(blend),
        folds,
        report: Some(report),
    })
}

/// The largest sample that every band of the result may be expected to have: X's, times what the MSI's own largest samples gain
/// where pixels are not averaged (mean over its bands).
fn peaks(scene: &Scene, lr_msi: ArrayView3<f32>, usable: &[bool]) -> Vec<f64> {
    let (_, columns, bands) = scene.lr_hsi.dim();
    let raise = |peaks: &mut [f64], pixel: &mut dyn Iterator<Item = f32>| {
        peaks
            .iter_mut()
            .zip(pixel)
            .for_each(|(p, x)| *p = p.max(f64::from(x)));
    };
    let b = lr_msi.dim().2;
    let (mut peaks, mut low, mut high) = (vec![0.0; bands], vec![0.0; b], vec![0.0; b]);
    for (k, _) in usable.iter().enumerate().filter(|(_, ok)| **ok) {
        let (r, c) = (k / columns, k % columns);
        raise(&mut peaks, &mut scene.lr_hsi.pixel(r, c).iter().copied());
        raise(&mut low, &mut lr_msi.slice(s![r, c, ..]).iter().copied());
    }
    for (at, _) in scene.hr_valid.indexed_iter().filter(|(_, ok)| **ok) {
        raise(&mut high, &mut scene.hr_msi.pixel(at.0, at.1).iter().copied());
    }
    let gains = high
        .iter()
        .zip(&low)
        .filter(|(_, low)| **low > 0.0)
        .map(|(high, low)| high / low);
    let (sum, count) = gains.fold((0.0, 0usize), |(s, n), gain| (s + gain, n + 1));
    let gain = if count > 0 { sum / count as f64 } else { 1.0 };
    peaks.into_iter().map(|peak| peak * gain.max(1.0)).collect()
}

/// Writes what a prediction makes of some HR pixels (rows × columns × b) into room for their bands.
type Make<'a> = dyn FnMut(ArrayView3<f32>, &mut [f32]) -> Result<()> + 'a;

/// HR pixels, and the LR pixels that they make.
type Made = (Array3<f32>, Array3<f32>);

/// Predictions of LR pixels that have not seen them.
struct HeldOut<'a> {
    scene: &'a Scene,
    lr_msi: ArrayView3<'a, f32>,
    crossfit: Option<&'a CrossFit>,
    /// The fold of every LR pixel in the grid's order.
    folds: Vec<u8>,
    /// Fitted to all LR pixels, and to all but those of each fold; none where there are no pixels.
    quadratic: Option<(Regression, Vec<Regression>)>,
    /// What the predictions are called.
    names: Vec<String>,
    /// The weight that each is expected to have.
    shares: Vec<f64>,
}

impl<'a> HeldOut<'a> {
    fn new(
        model: &Model,
        scene: &'a Scene,
        lr_msi: ArrayView3<'a, f32>,
        crossfit: Option<&'a CrossFit>,
    ) -> Self {
        let (rows, columns, msi_bands) = lr_msi.dim();
        let colours = in_order(lr_msi);
        let folds = match crossfit {
            Some(fit) => fit.folds.iter().copied().collect(),
            None => folds(rows * columns, model.config.seed),
        };
        let usable = scene.usable();
        let places: Vec<(usize, usize)> = usable
            .indexed_iter()
            .filter(|(_, ok)| **ok)
            .map(|(at, _)| at)
            .collect();
        let pair = |&(r, c): &(usize, usize)| {
            let at = (r * columns + c) * msi_bands;
            (&colours[at..at + msi_bands], scene.lr_hsi.pixel(r, c))
        };
        let every = places.len().div_ceil(MOST_PAIRS).max(1);
        let without = |fold: usize| {
            let others = places.iter().step_by(every);
            Regression::fit(
                others
                    .filter(|(r, c)| usize::from(folds[r * columns + c]) != fold)
                    .map(pair),
            )
        };
        let all = Regression::fit(places.iter().map(pair));
        let quadratic = all.zip((0..FOLDS).map(without).collect());
        let mut names = Vec::new();
        if quadratic.is_some() {
            names.push("quadratic regression".to_owned());
        }
        match crossfit {
            None => names.push("network".to_owned()),
            Some(fit) => {
                if model.architecture.linear_path {
                    names.push("linear regression".to_owned());
                }
                names.extend(
                    fit.lengths
                        .iter()
                        .map(|l| format!("network of {} steps", l.steps)),
                );
            }
        }
        // What each may be expected to be worth: the longer trainings most.
        let networks = match crossfit {
            Some(fit) => fit.lengths.len(),
            None => 1,
        };
        let others = names.len() - networks;
        let mut shares = vec![REGRESSION; others];
        let rest = 1.0 - REGRESSION * others as f64;
        let unit = rest / (networks as f64 - 1.0 + FIRST);
        shares.extend((0..networks).map(|k| if k == 0 { FIRST * unit } else { unit }));
        HeldOut {
            scene,
            lr_msi,
            crossfit,
            folds,
            quadratic,
            names,
            shares,
        }
    }

    /// Mean spectrum of the samples' pixels.
    fn mean(&self, samples: &[Sample]) -> nalgebra::DVector<f64> {
        let (_, columns, bands) = self.scene.lr_hsi.dim();
        let pixels: Vec<usize> = samples.iter().flat_map(|s| s.pixels.iter().copied()).collect();
        let mut mean = nalgebra::DVector::zeros(bands);
        for &p in &pixels {
            let spectrum = self.scene.lr_hsi.pixel(p / columns, p % columns);
            mean.iter_mut()
                .zip(spectrum)
                .for_each(|(m, &x)| *m += f64::from(x));
        }
        mean / pixels.len().max(1) as f64
    }

    /// The observed pixels of a sample and each prediction of them, pixels × B, in the order of `names`.
    fn images(&self, engine: &dyn Engine<f32>, model: &Model, sample: &Sample) -> Result<Vec<DMatrix<f64>>> {
        let (_, columns, bands) = self.scene.lr_hsi.dim();
        let place = |p: usize| (p / columns, p % columns);
        let of = |spectrum: &dyn Fn(usize) -> Vec<f32>| {
            let mut image = DMatrix::zeros(sample.pixels.len(), bands);
            for (k, &p) in sample.pixels.iter().enumerate() {
                let spectrum = spectrum(p);
                image
                    .row_mut(k)
                    .iter_mut()
                    .zip(&spectrum)
                    .for_each(|(x, &s)| *x = f64::from(s));
            }
            image
        };
        let colour = |p: usize| {
            let (r, c) = place(p);
            self.lr_msi.slice(s![r, c, ..]).to_vec()
        };
        let mut images = vec![of(&|p| self.scene.lr_hsi.pixel(place(p).0, place(p).1).to_vec())];
        let at = |image: &Array3<f32>, p: usize| {
            let (r, c) = place(p);
            image
                .slice(s![r - sample.rows.start, c - sample.columns.start, ..])
                .to_vec()
        };
        if let Some((_, without)) = &self.quadratic {
            let made = without.iter().map(|regression| {
                let alone = Blend::alone(regression.clone());
                let (_, low) = self.blurred(model, sample, &mut |part, out| {
                    alone.apply(&in_order(part), out);
                    Ok(())
                })?;
                Ok(low)
            });
            let made: Vec<Array3<f32>> = made.collect::<Result<_>>()?;
            images.push(of(&|p| at(&made[usize::from(self.folds[p])], p)));
        }
        let Some(fit) = self.crossfit else {
            let (_, made) = self.observed(engine, model, sample)?;
            images.push(of(&|p| at(&made, p)));
            return Ok(images);
        };
        if let (true, Some(length)) = (model.architecture.linear_path, fit.lengths.last()) {
            let stride = model.architecture.band_stride();
            images.push(of(&|p| {
                let map = &length.folds[usize::from(self.folds[p])].state.linear;
                let colour = colour(p);
                let inputs = colour.iter().chain([&1.0]).enumerate();
                (0..bands)
                    .map(|band| inputs.clone().map(|(j, y)| map[j * stride + band] * y).sum())
                    .collect()
            }));
        }
        for length in &fit.lengths {
            let made = length
                .folds
                .iter()
                .map(|fold| Ok(self.observed(engine, fold, sample)?.1));
            let made: Vec<Array3<f32>> = made.collect::<Result<_>>()?;
            images.push(of(&|p| at(&made[usize::from(self.folds[p])], p)));
        }
        Ok(images)
    }

    /// Ẑ of a model and (Ẑ∗C)↓ on the LR rows and columns of a sample.
    fn observed(&self, engine: &dyn Engine<f32>, model: &Model, sample: &Sample) -> Result<Made> {
        self.blurred(model, sample, &mut |part, out| {
            reconstruct_rows(engine, model, part, 0..part.dim().0, Output::Mean, out)
        })
    }

    /// What `make` makes of the HR pixels of a sample, and that as LR pixels (made from those around it that the PSF sees, too): so it
    /// shows where a prediction goes astray on colours that no LR pixel has.
    fn blurred(&self, model: &Model, sample: &Sample, make: &mut Make<'_>) -> Result<Made> {
        let (rows, columns, _) = self.lr_msi.dim();
        let geometry = model.geometry;
        let (scale, start) = (geometry.scale, geometry.window_start());
        let beyond = (start + geometry.window() as isize - scale as isize)
            .max(-start)
            .max(0) as usize;
        let around = beyond.div_ceil(scale);
        let wide = |part: &Range<usize>, length: usize| {
            part.start.saturating_sub(around)..(part.end + around).min(length)
        };
        let (near_rows, near_columns) = (wide(&sample.rows, rows), wide(&sample.columns, columns));
        let hr_msi = self.scene.hr_msi.view();
        let part = hr_msi.slice(s![
            near_rows.start * scale..near_rows.end * scale,
            near_columns.start * scale..near_columns.end * scale,
            ..
        ]);
        let part = part.as_standard_layout();
        let (height, width, _) = part.dim();
        let made = filled((height, width, model.architecture.bands), |out| {
            make(part.view(), out)
        })?;
        let low = blur_samples(made.view(), &model.psf(), scale)?;
        let inner = |part: &Range<usize>, near: &Range<usize>| part.start - near.start..part.end - near.start;
        let (r, c) = (
            inner(&sample.rows, &near_rows),
            inner(&sample.columns, &near_columns),
        );
        let fine = |part: &Range<usize>| part.start * scale..part.end * scale;
        let high = made.slice_move(s![fine(&r), fine(&c), ..]);
        Ok((high, low.slice_move(s![r, c, ..])))
    }

    /// What mixtures that have not seen each fold disagree about, in the middle of every sample.
    fn disagreement(
        &self,
        engine: &dyn Engine<f32>,
        folds: &[Model],
        samples: &[Sample],
        usable: &[bool],
    ) -> Result<Disagreement> {
        let (_, columns, bands) = self.scene.lr_hsi.dim();
        let mut found = Disagreement::none(bands);
        for sample in samples.iter().filter(|_| folds.len() > 1) {
            interrupt::check()?;
            let middle = |part: &Range<usize>| {
                let beside = part.len().saturating_sub(DISAGREEMENT_SIDE) / 2;
                part.start + beside..(part.start + beside + DISAGREEMENT_SIDE).min(part.end)
            };
            let part = Sample {
                rows: middle(&sample.rows),
                columns: middle(&sample.columns),
                pixels: Vec::new(),
            };
            let made: Vec<Made> = folds
                .iter()
                .map(|fold| self.observed(engine, fold, &part))
                .collect::<Result<_>>()?;
            for (r, row) in part.rows.clone().enumerate() {
                for (c, column) in part.columns.clone().enumerate() {
                    if usable[row * columns + column] {
                        found.add(&made, (r, c), self.scene.scale);
                    }
                }
            }
        }
        Ok(found)
    }

    /// The mixture as a model (none where that is the model as it is), what stands beside it, and the model of each fold's members;
    /// `mean` is the spectrum that the rest of the weights stands for.
    fn mixed(&self, model: &Model, weights: &[f64], mean: &[f64]) -> (Option<Model>, Blend, Vec<Model>) {
        let rest = 1.0 - weights.iter().sum::<f64>();
        let mut weights = weights.iter().map(|w| *w as f32);
        let mut take = || weights.next().unwrap_or_default();
        let mut blend = Blend {
            regression: None,
            share: 0.0,
            own: 1.0,
            offset: mean.iter().map(|m| (rest * m) as f32).collect(),
        };
        if let Some((all, _)) = &self.quadratic {
            blend.share = take();
            blend.regression = Some(all.clone());
        }
        let Some(fit) = self.crossfit else {
            blend.own = take();
            return (None, blend, Vec::new());
        };
        let linear = if model.architecture.linear_path {
            take()
        } else {
            0.0
        };
        let lengths = fit.lengths.iter().map(|_| take()).collect();
        let shares = Shares { linear, lengths };
        let folds = (0..FOLDS)
            .map(|fold| shares.composed(model, fit, Some(fold)))
            .collect();
        (Some(shares.composed(model, fit, None)), blend, folds)
    }
}
