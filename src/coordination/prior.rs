//! The prior of refinement: a mixture of predictions, weighed by how well each predicts LR pixels that it has not seen.
//!
//! The predictions are the network at several lengths of training, linear and quadratic regression, and the mean spectrum, which
//! leaves the rest to interpolation. Weights are at least 0, and every activation is positively homogeneous, so a member's
//! weight goes into its last layer and that of linear regression into the linear path: the mixture is a model like any other,
//! and runs as one. Only the quadratic and the mean stand beside it ([`Blend`]).

use std::ops::Range;

use ndarray::{Array3, ArrayView3, s};
use serde::Serialize;

use crate::baseline::regression::Blend;
use crate::coordination::crossfit::CrossFit;
use crate::coordination::model::Model;
use crate::coordination::reconstruct::reconstruct_rows;
use crate::cube::strips::strip_rows;
use crate::cube::{filled, in_order};
use crate::engine::{Engine, Output};
use crate::error::Result;
use crate::evidence::expectation::Expectation;
use crate::network::Branch;

/// What a prior is made of.
#[derive(Debug, Clone, Serialize)]
pub struct MixtureReport {
    /// Predictions and their weights; what is missing to 1 is left to interpolation.
    #[serde(serialize_with = "weights")]
    pub weights: Vec<(String, f64)>,
    /// What the result is expected to be off by, in the scaled image; `None` where there are no pixels to tell.
    pub expected: Option<Expectation>,
}

/// A prediction and its weight.
#[derive(Serialize)]
struct Weighted<'a> {
    name: &'a str,
    weight: f64,
}

fn weights<S: serde::Serializer>(all: &[(String, f64)], to: S) -> std::result::Result<S::Ok, S::Error> {
    to.collect_seq(all.iter().map(|(name, weight)| Weighted {
        name,
        weight: *weight,
    }))
}

impl MixtureReport {
    /// What was mixed in words, the largest weight first.
    pub fn line(&self) -> String {
        let mut weights = self.weights.clone();
        let rest = 1.0 - weights.iter().map(|(_, weight)| weight).sum::<f64>();
        weights.push(("interpolation".to_owned(), rest));
        weights.sort_by(|a, b| b.1.total_cmp(&a.1));
        let parts = weights.iter().filter(|(_, weight)| weight.abs() >= 0.005);
        let parts: Vec<String> = parts
            .map(|(name, weight)| format!("{name} {weight:.2}"))
            .collect();
        parts.join(", ")
    }
}

/// A prior of refinement: the network's mean with what stands beside it.
#[derive(Debug, Clone)]
pub struct MixedPrior {
    /// The mixture of the networks and linear regression.
    pub model: Model,
    /// Quadratic regression and the bands' means.
    pub blend: Option<Blend>,
    /// The mixtures of the members that have not seen each fold.
    pub folds: Vec<Model>,
    /// How it was mixed; `None` where it is a model's mean alone.
    pub report: Option<MixtureReport>,
}

impl MixedPrior {
    /// The mean of a model alone.
    pub fn plain(model: Model) -> Self {
        MixedPrior {
            model,
            blend: None,
            folds: Vec::new(),
            report: None,
        }
    }
}

/// Makes rows of a prior, H×W×B in the scale of the network.
///
/// # Errors
/// As [`reconstruct_rows`].
pub fn prior_rows(
    engine: &dyn Engine<f32>,
    (model, blend): (&Model, Option<&Blend>),
    hr_msi: ArrayView3<f32>,
    rows: Range<usize>,
    out: &mut [f32],
) -> Result<()> {
    reconstruct_rows(engine, model, hr_msi, rows.clone(), Output::Mean, out)?;
    if let Some(blend) = blend {
        blend.apply(&in_order(hr_msi.slice_move(s![rows, .., ..])), out);
    }
    Ok(())
}

/// A prior over a whole image, strip by strip; `progress` is told rows done and rows in all.
///
/// # Errors
/// As [`reconstruct_rows`].
pub fn whole_prior(
    engine: &dyn Engine<f32>,
    prior: (&Model, Option<&Blend>),
    hr_msi: ArrayView3<f32>,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Array3<f32>> {
    let (rows, columns, _) = hr_msi.dim();
    let bands = prior.0.architecture.bands;
    let (tile, row) = (strip_rows(columns, bands), columns * bands);
    filled((rows, columns, bands), |out| {
        for (k, part) in out.chunks_mut((tile * row).max(1)).enumerate() {
            let range = k * tile..k * tile + part.len() / row;
            prior_rows(engine, prior, hr_msi, range.clone(), part)?;
            progress(range.end, rows);
        }
        Ok(())
    })
}

/// Weights of what runs as a network.
pub(super) struct Shares {
    /// Of linear regression, 0 where there is none.
    pub linear: f32,
    /// Of each length of training.
    pub lengths: Vec<f32>,
}

impl Shares {
    /// One model of all members, or of those that have not seen `fold`: its mean is the sum of linear regression and of the
    /// means of the lengths' members, each with its weights. The members of `model` count among those of the longest training.
    pub fn composed(&self, model: &Model, fit: &CrossFit, fold: Option<usize>) -> Model {
        let layout = model.architecture.layout();
        // Models, the weight of their length and the number of its members.
        let mut parts: Vec<(&Model, f32, usize)> = Vec::new();
        for (number, (length, &weight)) in fit.lengths.iter().zip(&self.lengths).enumerate() {
            let own = (fold.is_none() && number + 1 == fit.lengths.len()).then_some(model);
            let folds = length.folds.iter().enumerate();
            let folds = folds
                .filter(|(k, _)| fold.is_none_or(|fold| fold == *k))
                .map(|(_, m)| m);
            let models: Vec<&Model> = folds.chain(own).collect();
            let members = models.iter().map(|m| m.architecture.members).sum();
            parts.extend(models.into_iter().map(|m| (m, weight, members)));
        }
        let total: usize = parts.iter().map(|(m, ..)| m.architecture.members).sum();
        let mut network = Vec::new();
        let mut map: Vec<f32> = model.state.linear.iter().map(|x| self.linear * x).collect();
        for (part, weight, members) in parts {
            let share = weight * part.architecture.members as f32 / members as f32;
            map.iter_mut()
                .zip(&part.state.linear)
                .for_each(|(x, own)| *x += share * own);
            let factor = weight * total as f32 / members as f32;
            for member in part.state.network.chunks_exact(layout.parameters) {
                let mut member = member.to_vec();
                if let Some(last) = layout.branch(Branch::Mean).last() {
                    member[last.weight..last.bias + last.stride]
                        .iter_mut()
                        .for_each(|x| *x *= factor);
                }
                network.extend(member);
            }
        }
        let mut whole = model.clone();
        whole.architecture.members = total;
        whole.config.network.members = total;
        whole.state.network_m = vec![0.0; network.len()];
        whole.state.network_v = vec![0.0; network.len()];
        whole.state.network = network;
        whole.state.linear = map;
        whole
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::*;
    use crate::coordination::config::Config;
    use crate::coordination::crossfit::Length;
    use crate::coordination::model::Calibration;
    use crate::engine::cpu::CpuEngine;
    use crate::engine::{Geometry, TrainingState};
    use crate::evidence::folds::FOLDS;
    use crate::network::initial_parameters;
    use crate::sensor::psf;
    use crate::sensor::srf::GAUSSIANS;

    const BANDS: usize = 5;

    /// A model of so many members with weights and a linear path from `seed`.
    fn model(members: usize, seed: u64) -> Model {
        let text = "[network]\nencoder = [6, 5]\nmean = [4]\ndecoder_last = \"leaky\"";
        let config = Config::load("single-scene", Some(("t", text))).unwrap();
        let mut architecture = config.architecture(BANDS, 2, 64).unwrap();
        architecture.members = members;
        let network = initial_parameters(&architecture, config.network.initialisation, seed);
        let theta = vec![0.5; psf::PARAMETERS + 2 * 2 * GAUSSIANS];
        let mut state = TrainingState::start(&architecture, network, theta.clone());
        let stride = architecture.band_stride();
        for (at, x) in state.linear.iter_mut().enumerate() {
            if at % stride < BANDS {
                *x = 0.1 * (at as f32 + seed as f32).sin();
            }
        }
        Model {
            geometry: Geometry { scale: 2, kernel: 2 },
            start: theta,
            state,
            fixed_psf: None,
            fixed_srf: None,
            step: 1,
            wavelengths: None,
            calibration: Calibration {
                hsi_unit: 1.0,
                msi_unit: 1.0,
                gain: vec![1.0; 2],
                offset: vec![0.0; 2],
            },
            config,
            architecture,
        }
    }

    fn made(model: &Model) -> Array3<f32> {
        let msi = Array3::from_shape_fn((3, 4, 2), |(r, c, j)| {
            0.2 + 0.3 * ((r * 4 + c) as f32 + j as f32).sin()
        });
        let mut out = Array3::zeros((3, 4, BANDS));
        let rows = out.as_slice_mut().unwrap();
        reconstruct_rows(&CpuEngine, model, msi.view(), 0..3, Output::Mean, rows).unwrap();
        out
    }

    // Positive homogeneity of every activation: the weighted sum of the models' means, to the rounding of single precision.
    #[test]
    fn the_composed_model_is_the_weighted_sum() {
        let own = model(3, 1);
        let length = |steps: u32, members: usize| Length {
            steps,
            folds: (0..FOLDS)
                .map(|fold| model(members, u64::from(steps) + 10 * fold as u64))
                .collect(),
        };
        let fit = CrossFit {
            folds: Array2::zeros((2, 2)),
            lengths: vec![length(2, 1), length(7, 2)],
        };
        let weights = Shares {
            linear: 0.4,
            lengths: vec![0.3, 0.5],
        };
        let linear_alone = {
            let mut model = own.clone();
            model.state.network.fill(0.0);
            made(&model)
        };
        let mut sum = Array3::<f32>::zeros((3, 4, BANDS));
        let mut add = |image: &Array3<f32>, share: f32| sum.scaled_add(share, image);
        add(&linear_alone, 0.4);
        for fold in 0..FOLDS {
            add(&made(&fit.lengths[0].folds[fold]), 0.3 * 0.25);
            add(&made(&fit.lengths[1].folds[fold]), 0.5 * 2.0 / 11.0);
        }
        add(&made(&own), 0.5 * 3.0 / 11.0);
        let whole = weights.composed(&own, &fit, None);
        assert_eq!(whole.architecture.members, 3 + 4 + 8);
        let worst = (&made(&whole) - &sum).iter().fold(0f32, |m, e| m.max(e.abs()));
        assert!(worst < 1e-5, "{worst}");
        assert_eq!(weights.composed(&own, &fit, Some(2)).architecture.members, 3);
    }
}
