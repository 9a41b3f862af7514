//! What a run has of its result so far: what a checkpoint holds and a resumed run goes on from.

use crate::coordination::config::FineTunePsf;
use crate::coordination::model::Model;
use crate::coordination::training::History;
use crate::engine::TrainingState;

/// What a run has of its result so far.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// The model; in fine-tuning as training left it, but for φ at the end of its last epoch.
    pub model: Model,
    /// The coordination loop so far.
    pub training: History,
    /// Fine-tuning so far, once it has begun.
    pub tuning: Option<Tuning>,
}

impl Run {
    /// Of a model that is to be trained.
    pub fn new(model: Model) -> Self {
        Run {
            model,
            training: History::default(),
            tuning: None,
        }
    }
}

/// Partial fine-tuning so far.
#[derive(Debug, Clone, PartialEq)]
pub struct Tuning {
    /// Steps done.
    pub step: u32,
    /// φ with the moments of this stage, and the θ that it goes by.
    pub state: TrainingState<f32>,
    /// Its losses.
    pub history: History,
}

impl Tuning {
    /// The beginning: fresh moments, and the PSF that the configuration names.
    pub fn of(model: &Model) -> Self {
        let mut state = model.state.clone();
        if model.config.finetune.psf == FineTunePsf::Start {
            state.degradation = model.start.clone();
        }
        state.network_m.fill(0.0);
        state.network_v.fill(0.0);
        state.network_updates = 0;
        Tuning {
            step: 0,
            state,
            history: History::default(),
        }
    }
}
