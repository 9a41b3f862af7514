//! Made-up runs for measuring: data, problem and start of a training run of given sizes, and images to reconstruct.
//!
//! What a step costs does not hang on what its pixels show, so measuring needs no files: samples are random numbers, the
//! start is that of the presets.

use std::sync::Arc;

use crate::engine::{
    Engine, Geometry, Noise, Problem, StepPlan, Trainer, TrainingSet, TrainingState, degradation_parameters,
};
use crate::error::{Error, Result};
use crate::network::{Architecture, Initialisation, initial_parameters};
use crate::random::{Purpose, key, philox, uniform};
use crate::sensor::psf;

/// Most bytes of made-up HR pixels.
const MOST_BYTES: usize = 2 << 30;

/// Made-up samples in (0, 1), a stream each.
pub fn samples(n: usize, stream: u32) -> Vec<f32> {
    let word = |k: usize| philox(key(1), [k as u32, stream, Purpose::SensorNoise as u32, 0]);
    (0..n.div_ceil(4))
        .flat_map(|k| word(k).map(uniform::<f32>))
        .take(n)
        .collect()
}

/// Weights of the presets' start, a Gaussian PSF of a quarter of the block and a spread SRF.
pub fn start(architecture: &Architecture, scale: usize) -> TrainingState<f32> {
    let (bands, b) = (architecture.bands as f32, architecture.msi_bands);
    let mut theta = vec![0.0; degradation_parameters(b)];
    theta[0] = 4.0 / scale as f32;
    theta[2] = 4.0 / scale as f32;
    let (means, widths) = theta[psf::PARAMETERS..].split_at_mut(4 * b);
    for (k, mean) in means.iter_mut().enumerate() {
        *mean = (k as f32 + 0.5) * bands / (4 * b) as f32;
    }
    widths.fill(1.0 + bands / 12.0);
    let network = initial_parameters(architecture, Initialisation::FanIn, 0);
    TrainingState::start(architecture, network, theta)
}

/// A training run without a scene.
#[derive(Debug, Clone)]
pub struct Workload {
    /// The network.
    pub architecture: Architecture,
    /// Ratio of the grids; the PSF is as wide.
    pub scale: usize,
    /// Windows of the training set.
    pub windows: usize,
    /// LR pixels of a step, at most as many as windows.
    pub lr_pixels: usize,
    /// Windows of a step's HR pass; 0 for runs that leave θ alone.
    pub hr_windows: usize,
    /// θ and its HR pass take part in every so many steps.
    pub every: u32,
    /// Source of ε.
    pub noise: Noise,
    /// Whether the encoder is frozen: partial fine-tuning.
    pub frozen_encoder: bool,
}

impl Workload {
    /// The run as an engine takes it.
    pub fn problem(&self) -> Problem<f32> {
        Problem {
            architecture: self.architecture.clone(),
            geometry: Geometry {
                scale: self.scale,
                kernel: self.scale,
            },
            alpha: [0.5, 0.2, 0.2],
            beta: 0.5,
            noise: self.noise,
            learn_psf: true,
            learn_centre: false,
            learn_srf: true,
            fixed_psf: None,
            fixed_srf: None,
            frozen_encoder: self.frozen_encoder,
            lr_capacity: self.lr_pixels,
            hr_capacity: self.hr_windows,
        }
    }

    /// Refuses sizes that no measurement is worth the memory of.
    ///
    /// # Errors
    /// [`Error::Input`] naming the sizes.
    pub fn check(&self) -> Result<()> {
        let block = self.scale.saturating_mul(self.scale);
        let a = &self.architecture;
        let samples = block.saturating_mul(a.msi_bands).saturating_add(a.bands);
        if self.windows.saturating_mul(samples) > MOST_BYTES / size_of::<f32>() {
            return Err(Error::input(format!(
                "{} windows of {block} pixels and {} bands take more than the {} GiB that a measurement may: take \
                 fewer LR pixels or a smaller scale",
                self.windows,
                a.bands,
                MOST_BYTES >> 30
            )));
        }
        Ok(())
    }

    /// Puts the run on a device.
    ///
    /// # Errors
    /// As [`Workload::check`] and [`Engine::trainer`].
    pub fn trainer<'a>(&self, engine: &'a dyn Engine<f32>) -> Result<Box<dyn Trainer<f32> + 'a>> {
        self.check()?;
        let (a, block) = (&self.architecture, self.scale * self.scale);
        let data = TrainingSet {
            lr_hsi: samples(self.windows * a.bands, 1),
            hr_msi: samples(self.windows * block * a.msi_bands, 2),
            windows: self.windows,
        };
        engine.trainer(&self.problem(), &data, start(a, self.scale))
    }

    /// The first `lr_pixels` windows, as a batch.
    pub fn batch(&self) -> Arc<[u32]> {
        (0..self.lr_pixels as u32).collect()
    }

    /// Step `step` (from 1) on `batch`.
    pub fn plan(&self, step: u32, batch: &Arc<[u32]>) -> StepPlan {
        let with_theta = self.hr_windows > 0 && step.is_multiple_of(self.every);
        StepPlan {
            step,
            lr_batch: batch.clone(),
            hr_batch: match with_theta {
                true if self.hr_windows >= batch.len() => batch.clone(),
                true => batch[..self.hr_windows].into(),
                false => Arc::from([]),
            },
            member: 0,
            network_rate: Some(1e-3),
            degradation_rate: with_theta.then_some(1e-3),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::simd::SimdEngine;
    use crate::network::Activation;

    fn workload() -> Workload {
        Workload {
            architecture: Architecture {
                bands: 9,
                msi_bands: 3,
                encoder: vec![4],
                concatenate: true,
                mean: vec![],
                std: vec![],
                slope: 0.2,
                encoder_last: Activation::Leaky,
                decoder_last: Activation::Relu,
                members: 1,
                linear_path: false,
            },
            scale: 4,
            windows: 6,
            lr_pixels: 5,
            hr_windows: 2,
            every: 3,
            noise: Noise::Philox(0),
            frozen_encoder: false,
        }
    }

    #[test]
    fn the_degradation_is_updated_in_every_third_step() {
        let (engine, workload) = (SimdEngine::new(), workload());
        let (mut trainer, batch) = (workload.trainer(&engine).unwrap(), workload.batch());
        for step in 1..=6 {
            trainer.step(&workload.plan(step, &batch)).unwrap();
        }
        let with_theta = trainer
            .losses()
            .unwrap()
            .iter()
            .filter(|l| l.degradation.is_some())
            .count();
        assert_eq!(with_theta, 2);
        assert_eq!(workload.plan(3, &batch).hr_batch.len(), 2);
    }

    #[test]
    fn sizes_beyond_reason_are_refused_before_memory_is_asked_for() {
        for (windows, scale) in [(usize::MAX, 4), (1 << 20, 1 << 20), (1, usize::MAX)] {
            let huge = Workload {
                windows,
                scale,
                ..workload()
            };
            assert!(huge.check().is_err());
        }
    }
}
