//! The paper's own network and schedule as a method: no members, no refinement.
//!
//! What differs between the runs of an experiment is a [`Paper`]; everything else is the configuration (preset `cave`).

use serde::Serialize;

use crate::coordination::config::{Config, FineTunePsf, Guide, Refine};

/// Steps of an epoch: the published 73 of the CAVE protocol, whatever the scene, so that "epoch 40" means as much
/// learning on a small scene as on a large one.
pub const EPOCH: u32 = 73;
/// Steps between two looks at partial fine-tuning.
pub const FINETUNE_EPOCH: u32 = 25;
/// Where PSF and SRF start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Start {
    /// As in the paper: an isotropic PSF of variance 0.1 and a response that is spread over the bands.
    Isotropic,
    /// As the preset has it: estimated from the two images.
    Estimated,
}

/// A run of the paper's method: what an experiment varies.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Paper {
    /// Where PSF and SRF start.
    pub start: Start,
    /// The PSF that guides the fusion.
    pub guide: Guide,
    /// The PSF of partial fine-tuning; none leaves it out.
    pub finetune: Option<FineTunePsf>,
    /// Weights α₁, α₂, α₃ of L_θ.
    pub alpha: [f64; 3],
    /// Weight β of L_φ.
    pub beta: f64,
    /// Name and checksum of the scenes that it is trained on, each degraded like the scene itself; empty: the scene.
    pub train_on: Vec<(String, u32)>,
    /// Whether its course is kept.
    pub traced: bool,
}

impl Paper {
    /// A traced run with coordination, from the paper's start, without fine-tuning, with the weights of `config`.
    pub fn new(config: &Config) -> Self {
        Paper {
            start: Start::Isotropic,
            guide: Guide::Estimated,
            finetune: None,
            alpha: config.training.alpha,
            beta: config.training.beta,
            train_on: Vec::new(),
            traced: true,
        }
    }

    /// All of it in characters that any file system takes. The scenes that it is trained on are "others" here; a cell's
    /// file has their names.
    pub fn name(&self) -> String {
        let [a1, a2, a3] = self.alpha;
        format!(
            "{}+guide-{}+tune-{}+a{a1}-{a2}-{a3}+b{}+{}{}",
            match self.start {
                Start::Isotropic => "isotropic",
                Start::Estimated => "estimated",
            },
            match self.guide {
                Guide::Estimated => "estimated",
                Guide::Start => "start",
            },
            match self.finetune {
                None => "none",
                Some(FineTunePsf::Estimated) => "estimated",
                Some(FineTunePsf::Start) => "start",
            },
            self.beta,
            if self.train_on.is_empty() { "own" } else { "others" },
            if self.traced { "+traced" } else { "" }
        )
    }

    /// Lays it over a configuration.
    pub fn apply(&self, config: &mut Config) {
        config.refine = Refine::Off;
        config.degradation.estimate_start = self.start == Start::Estimated;
        config.degradation.guide = self.guide;
        config.training.alpha = self.alpha;
        config.training.beta = self.beta;
        match self.finetune {
            Some(psf) => config.finetune.psf = psf,
            None => config.finetune.steps = 0,
        }
    }
}
