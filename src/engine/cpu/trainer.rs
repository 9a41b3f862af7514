//! A training run on the CPU: the twins in the order of the recorded step.

use std::sync::Arc;

use crate::engine::cpu::degradation::{Degradation, degradation};
use crate::engine::cpu::degradation_sums::DegradationPass;
use crate::engine::cpu::degradation_update::{self, DegradationGradient};
use crate::engine::cpu::hr_network::{HrPass, HrWindow, hr_network};
use crate::engine::cpu::hr_window::hr_window;
use crate::engine::cpu::lr_network::{LrPass, LrPixel, lr_network};
use crate::engine::cpu::network::forward;
use crate::engine::cpu::network_update::{self, Adam};
use crate::engine::cpu::psf_blur::{LrObservation, psf_blur};
use crate::engine::{
    Precision, Problem, StepLosses, StepPlan, StepTensors, Trainer, TrainingSet, TrainingState, check_length,
};
use crate::error::Result;
use crate::network::{Branch, Layout};
use crate::real::Real;
use crate::sensor::psf;

pub(super) struct CpuTrainer<T> {
    problem: Problem<T>,
    layout: Layout,
    data: TrainingSet<T>,
    state: TrainingState<T>,
    degradation: Degradation<T>,
    /// Whether `degradation` and `observations` belong to the current θ.
    observed: bool,
    lr_batch: Arc<[u32]>,
    observations: Vec<LrObservation<T>>,
    lr_pixels: Vec<LrPixel<T>>,
    hr_windows: Vec<HrWindow<T>>,
    network_gradient: Vec<T>,
    degradation_gradient: Option<DegradationGradient<T>>,
    abundance: Option<Vec<T>>,
    noise: (Vec<T>, Vec<T>),
    losses: Vec<StepLosses>,
}

impl<T: Real> CpuTrainer<T> {
    pub(super) fn new(problem: &Problem<T>, data: &TrainingSet<T>, state: TrainingState<T>) -> Self {
        let architecture = &problem.architecture;
        let (bands, b) = (architecture.bands, architecture.msi_bands);
        let area = problem.geometry.kernel * problem.geometry.kernel;
        let mut trainer = CpuTrainer {
            layout: architecture.layout(),
            degradation: Degradation {
                bank: vec![T::zero(); (1 + psf::PARAMETERS) * area],
                srf: vec![T::zero(); bands * b],
            },
            observed: false,
            lr_batch: Arc::from([]),
            observations: Vec::new(),
            lr_pixels: Vec::new(),
            hr_windows: Vec::new(),
            network_gradient: vec![T::zero(); state.network.len()],
            degradation_gradient: None,
            abundance: None,
            noise: (Vec::new(), Vec::new()),
            losses: Vec::new(),
            problem: problem.clone(),
            data: data.clone(),
            state,
        };
        if problem.frozen_encoder {
            trainer.abundance = Some(trainer.abundances());
        }
        trainer
    }

    /// Abundances of all windows' LR pixels, members × windows × P.
    fn abundances(&mut self) -> Vec<T> {
        let all: Vec<u32> = (0..self.data.windows as u32).collect();
        self.observe(&Arc::from(all));
        let (p, size) = (self.layout.abundances, self.layout.parameters);
        let mut abundances = Vec::with_capacity(self.problem.architecture.members * self.data.windows * p);
        let mut row = vec![T::zero(); self.layout.activations];
        for parameters in self.state.network.chunks_exact(size) {
            for o in &self.observations {
                forward(&self.layout, Branch::Encoder, parameters, &mut row, &o.lr_msi);
                abundances.extend_from_slice(&row[self.layout.abundance..][..p]);
            }
        }
        abundances
    }

    /// Brings PSF, SRF and (Y∗C)↓ of `batch` up to date.
    fn observe(&mut self, batch: &Arc<[u32]>) {
        if self.observed && *batch == self.lr_batch {
            return;
        }
        degradation(&self.problem, &self.state.degradation, &mut self.degradation);
        self.lr_batch = batch.clone();
        self.observations.resize(
            batch.len(),
            LrObservation::zero(self.problem.architecture.msi_bands),
        );
        psf_blur(
            &self.problem,
            &self.data,
            &self.degradation,
            batch,
            &mut self.observations,
        );
        self.observed = true;
    }
}

impl<T: Real> Trainer<T> for CpuTrainer<T> {
    fn step(&mut self, plan: &StepPlan) -> Result<()> {
        self.observe(&plan.lr_batch);
        let architecture = &self.problem.architecture;
        let (bands, b, members) = (architecture.bands, architecture.msi_bands, architecture.members);
        let mut losses = StepLosses {
            step: plan.step,
            degradation: None,
            network: Vec::new(),
        };

        let n = plan.lr_batch.len();
        self.lr_pixels
            .resize(members * n, LrPixel::zero(&self.layout, bands));
        let pass = LrPass {
            problem: &self.problem,
            layout: &self.layout,
            data: &self.data,
            network: &self.state.network,
            linear: &self.state.linear,
            batch: &plan.lr_batch,
            observations: &self.observations,
            abundance: self.abundance.as_deref(),
            noise: &self.noise.1,
            step: plan.step,
        };
        lr_network(&pass, &mut self.lr_pixels);
        for pixels in self.lr_pixels.chunks_exact(n) {
            let sum: T = pixels.iter().map(|p| p.loss).sum();
            losses.network.push(sum.f64() / (n * bands) as f64);
        }
        network_update::gradient(&pass, &self.lr_pixels, &mut self.network_gradient);

        // Both updates start from the same φ and θ: the HR pass comes before Adam.
        if plan.degradation_rate.is_some() {
            let side = self.problem.geometry.window();
            self.hr_windows
                .resize(plan.hr_batch.len(), HrWindow::zero(bands, b, side));
            let size = self.layout.parameters;
            let pass = HrPass {
                problem: &self.problem,
                layout: &self.layout,
                data: &self.data,
                parameters: &self.state.network[plan.member as usize * size..][..size],
                linear: &self.state.linear,
                degradation: &self.degradation,
                batch: &plan.hr_batch,
                noise: &self.noise.0,
                step: plan.step,
                precision: Precision::F32,
            };
            hr_network(&pass, &mut self.hr_windows);
            hr_window(&self.data, &plan.hr_batch, &mut self.hr_windows);
        }
        if let Some(rate) = plan.network_rate {
            self.state.network_updates += 1;
            network_update::update(
                self.abundance.as_ref().map(|_| self.layout.decoders),
                self.layout.parameters,
                Adam::new(rate, self.state.network_updates),
                &self.network_gradient,
                &mut self.state.network,
                &mut self.state.network_m,
                &mut self.state.network_v,
            );
        }
        if let Some(rate) = plan.degradation_rate {
            let gradient = degradation_update::gradient(&DegradationPass {
                problem: &self.problem,
                data: &self.data,
                theta: &self.state.degradation,
                degradation: &self.degradation,
                lr_batch: &plan.lr_batch,
                observations: &self.observations,
                windows: &self.hr_windows,
            });
            losses.degradation = Some(gradient.losses.map(Real::f64));
            self.state.degradation_updates += 1;
            degradation_update::update(
                &self.problem,
                Adam::new(rate, self.state.degradation_updates),
                &gradient.total,
                &mut self.state.degradation,
                &mut self.state.degradation_m,
                &mut self.state.degradation_v,
            );
            self.degradation_gradient = Some(gradient);
            self.observed = false;
        }
        self.losses.push(losses);
        Ok(())
    }

    fn losses(&mut self) -> Result<Vec<StepLosses>> {
        Ok(std::mem::take(&mut self.losses))
    }

    fn state(&mut self) -> Result<TrainingState<T>> {
        Ok(self.state.clone())
    }

    fn set_degradation(&mut self, theta: &[T]) -> Result<()> {
        check_length(theta.len(), self.state.degradation.len())?;
        self.state.degradation.copy_from_slice(theta);
        self.observed = false;
        Ok(())
    }

    fn give_noise(&mut self, hr: &[T], lr: &[T]) -> Result<()> {
        self.noise = (hr.to_vec(), lr.to_vec());
        Ok(())
    }

    fn tensors(&mut self) -> Result<StepTensors<T>> {
        let bands = self.problem.architecture.bands;
        let area = self.problem.geometry.kernel * self.problem.geometry.kernel;
        let rows = |at: usize, length: usize| -> Vec<T> {
            self.lr_pixels
                .iter()
                .flat_map(|p| p.row[at..at + length].to_vec())
                .collect()
        };
        let observed = |f: fn(&LrObservation<T>) -> &Vec<T>| -> Vec<T> {
            self.observations.iter().flat_map(|o| f(o).clone()).collect()
        };
        let (terms, total) = self
            .degradation_gradient
            .as_ref()
            .map_or((vec![], vec![]), |g| (g.terms.clone(), g.total.clone()));
        Ok(StepTensors {
            psf: self.degradation.bank[..area].to_vec(),
            srf: self.degradation.srf.clone(),
            lr_msi: observed(|o| &o.lr_msi),
            srf_of_lr_hsi: observed(|o| &o.srf_of_lr_hsi),
            abundance_lr: rows(self.layout.abundance, self.layout.abundances),
            mean_lr: rows(self.layout.output(Branch::Mean), bands),
            std_lr: rows(self.layout.output(Branch::Std), bands),
            sample_lr: self.lr_pixels.iter().flat_map(|p| p.sample.clone()).collect(),
            blur_of_sample: self
                .hr_windows
                .iter()
                .flat_map(|w| w.blur_of_sample.clone())
                .collect(),
            srf_of_sample: self
                .hr_windows
                .iter()
                .flat_map(|w| w.srf_of_sample.clone())
                .collect(),
            network_gradient: self.network_gradient.clone(),
            term_gradients: terms,
            degradation_gradient: total,
        })
    }
}
