//! The tensors of the last step, for comparisons with the twin and with golden files.

use super::super::hr_network::HrSlot;
use super::super::lr_network::LrScratch;
use super::super::lr_steps::{OneChunk, StdOf};
use super::SimdTrainer;
use crate::engine::{Noise, StepPlan, StepTensors};

impl SimdTrainer {
    /// Runs the last step's passes again from the φ and θ that it started from: nothing of this is kept in training.
    pub(super) fn last_tensors(&mut self) -> StepTensors<f32> {
        let kernel = self.problem.geometry.kernel;
        let mut tensors = StepTensors {
            psf: self.theta.degradation.bank[..kernel * kernel].to_vec(),
            srf: self.theta.degradation.srf.clone(),
            network_gradient: self.network_gradient.clone(),
            ..StepTensors::default()
        };
        if let Some(gradient) = &self.degradation_gradient {
            tensors.term_gradients = gradient.terms.clone();
            tensors.degradation_gradient = gradient.total.clone();
        }
        let Some((plan, phi)) = self.last.take() else {
            return tensors;
        };
        let (bands, b) = (self.net.bands, self.net.msi_bands);
        for &window in &*plan.lr_batch {
            let window = window as usize;
            tensors
                .lr_msi
                .extend_from_slice(&self.theta.lr_msi[window * b..][..b]);
            let spectrum = &self.lr_hsi[window * bands..][..bands];
            tensors
                .srf_of_lr_hsi
                .extend((0..b).map(|j| self.response(spectrum, j)));
        }
        self.lr_tensors(&plan, phi, &mut tensors);
        if plan.degradation_rate.is_some() {
            let area = self.problem.geometry.window() * self.problem.geometry.window();
            tensors.srf_of_sample = vec![0.0; plan.hr_batch.len() * area * b];
            let mut slots = Vec::new();
            self.hr_pass(&plan, phi, &mut slots, Some(&mut tensors.srf_of_sample));
            let slot = HrSlot::new(&self.net);
            for slots in slots.chunks_exact(slot.length()) {
                tensors.blur_of_sample.extend_from_slice(slot.split(slots).0);
            }
        }
        self.last = Some((plan, phi));
        tensors
    }

    /// The tensors of the LR pass of `plan`, from φ number `phi`.
    fn lr_tensors(&self, plan: &StepPlan, phi: usize, tensors: &mut StepTensors<f32>) {
        let (net, shared) = (&self.net, self.shared());
        let (size, bands) = (net.layout.parameters, net.bands);
        let mut scratch = LrScratch::new(net, self.pack.length);
        let mut gradient = vec![0.0; size];
        for (member, parameters) in self.phi[phi].chunks_exact(size).enumerate() {
            for chunk in &self.pack.chunks {
                self.arch.dispatch(OneChunk {
                    task: shared.task(chunk, member, parameters, plan.step),
                    scratch: &mut scratch,
                    gradient: &mut gradient,
                });
                if matches!(self.problem.noise, Noise::Off) {
                    self.arch.dispatch(StdOf {
                        net,
                        parameters,
                        chunk,
                        scratch: &mut scratch,
                    });
                }
                for k in 0..chunk.count {
                    let column = |at: usize, length: usize| {
                        let rows = &scratch.activations;
                        (at..at + length).map(move |row| rows.row(row)[k])
                    };
                    tensors
                        .abundance_lr
                        .extend(column(net.layout.abundance, net.layout.abundances));
                    tensors.mean_lr.extend(column(net.mean_at, bands));
                    tensors.std_lr.extend(column(net.std_at, bands));
                    let window = plan.lr_batch[chunk.first + k] as usize;
                    let spectrum = &self.lr_hsi[window * bands..][..bands];
                    let residuals = (0..bands).map(|band| scratch.residual.row(band)[k]);
                    tensors
                        .sample_lr
                        .extend(residuals.zip(spectrum).map(|(residual, x)| residual + x));
                }
            }
        }
    }
}
