//! A training run on the CPU: the twins in the order of a step.

use std::sync::Arc;

use crate::engine::cpu::degradation::{Degradation, degradation};
use crate::engine::cpu::degradation_sums::{DegradationPass, DegradationSums, sums};
use crate::engine::cpu::degradation_update::{self, DegradationGradient};
use crate::engine::cpu::half_weights::half_weights;
use crate::engine::cpu::hr_network::{HrPass, HrWindow, hr_network};
use crate::engine::cpu::hr_window::hr_window;
use crate::engine::cpu::lr_network::{LrPass, LrPixel, lr_network};
use crate::engine::cpu::lr_steps::lr_steps;
use crate::engine::cpu::network::forward;
use crate::engine::cpu::network_update::{self, Adam};
use crate::engine::cpu::psf_blur::{LrObservation, psf_blur};
use crate::engine::step::{self, Kernel, StepParts, step_kernels};
use crate::engine::{
    Precision, Problem, StepLosses, StepPlan, StepTensors, Trainer, TrainingSet, TrainingState, check_length,
};
use crate::error::Result;
use crate::network::{Branch, Layout};
use crate::real::Real;
use crate::sensor::psf;

/// A training run, and what the kernels of its last step left: what the comparisons lay beside other engines.
pub struct CpuTrainer<T> {
    problem: Problem<T>,
    layout: Layout,
    data: TrainingSet<T>,
    precision: Precision,
    lr_pass: step::LrKernels,
    /// Parameters and moments.
    pub(crate) state: TrainingState<T>,
    /// PSF and SRF.
    pub(crate) degradation: Degradation<T>,
    /// Whether `degradation` and `observations` belong to the current θ.
    observed: bool,
    lr_batch: Arc<[u32]>,
    /// A row an LR pixel.
    pub(crate) observations: Vec<LrObservation<T>>,
    /// Members × LR pixels.
    pub(crate) lr_pixels: Vec<LrPixel<T>>,
    /// The member's weights in 16 bits, where that is the precision.
    pub(crate) half_weights: Vec<half::f16>,
    /// A row a window.
    pub(crate) hr_windows: Vec<HrWindow<T>>,
    /// Gradient of φ.
    pub(crate) network_gradient: Vec<T>,
    /// Sums over the batches; there is one behind an update of θ.
    pub(crate) sums: Option<DegradationSums<T>>,
    /// Gradient of θ, likewise.
    pub(crate) degradation_gradient: Option<DegradationGradient<T>>,
    abundance: Option<Vec<T>>,
    noise: (Vec<T>, Vec<T>),
    losses: Vec<StepLosses>,
}

impl<T: Real> CpuTrainer<T> {
    /// A run with the HR pass in `precision` and the LR pass as one kernel or two.
    pub(crate) fn new(
        problem: &Problem<T>,
        data: &TrainingSet<T>,
        state: TrainingState<T>,
        precision: Precision,
        lr_pass: step::LrKernels,
    ) -> Self {
        let architecture = &problem.architecture;
        let (bands, b) = (architecture.bands, architecture.msi_bands);
        let area = problem.geometry.kernel * problem.geometry.kernel;
        let mut trainer = CpuTrainer {
            layout: architecture.layout(),
            precision,
            lr_pass,
            degradation: Degradation {
                bank: vec![T::zero(); (1 + psf::PARAMETERS) * area],
                srf: vec![T::zero(); bands * b],
            },
            observed: false,
            lr_batch: Arc::from([]),
            observations: Vec::new(),
            lr_pixels: Vec::new(),
            half_weights: Vec::new(),
            hr_windows: Vec::new(),
            network_gradient: vec![T::zero(); state.network.len()],
            sums: None,
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
        let all = StepPlan {
            step: 0,
            lr_batch: (0..self.data.windows as u32).collect(),
            hr_batch: Arc::from([]),
            member: 0,
            network_rate: None,
            degradation_rate: None,
        };
        self.play(&all, None);
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

    /// Runs the kernels that `plan` needs, with this LR pass or none.
    fn play(&mut self, plan: &StepPlan, lr: Option<step::LrKernels>) {
        let stale = !self.observed || plan.lr_batch != self.lr_batch;
        let parts = StepParts {
            degradation: stale,
            observations: stale,
            lr,
            theta: plan.degradation_rate.is_some(),
            half: self.precision == Precision::F16,
        };
        self.lr_batch = plan.lr_batch.clone();
        self.observed = plan.degradation_rate.is_none();
        for kernel in step_kernels(parts) {
            self.run(kernel, plan);
        }
    }

    /// Runs one kernel of a step.
    fn run(&mut self, kernel: Kernel, plan: &StepPlan) {
        let (architecture, size) = (&self.problem.architecture, self.layout.parameters);
        let (bands, b, members) = (architecture.bands, architecture.msi_bands, architecture.members);
        let n = plan.lr_batch.len();
        let lr_pass = LrPass {
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
        let theta_pass = DegradationPass {
            problem: &self.problem,
            data: &self.data,
            theta: &self.state.degradation,
            degradation: &self.degradation,
            lr_batch: &plan.lr_batch,
            observations: &self.observations,
            windows: &self.hr_windows,
        };
        let member = &self.state.network[plan.member as usize * size..][..size];
        match kernel {
            Kernel::Degradation => {
                degradation(&self.problem, &self.state.degradation, &mut self.degradation);
            }
            Kernel::PsfBlur => {
                self.observations.resize(n, LrObservation::zero(b));
                let (made, out) = (&self.degradation, &mut self.observations);
                psf_blur(&self.problem, &self.data, made, &plan.lr_batch, out);
            }
            Kernel::LrNetwork => {
                self.lr_pixels
                    .resize(members * n, LrPixel::zero(&self.layout, bands));
                lr_network(&lr_pass, &mut self.lr_pixels);
                let members = self.lr_pixels.chunks_exact(n);
                let sums = members.map(|p| p.iter().map(|p| p.loss).sum()).collect();
                self.push_losses(plan, sums);
            }
            Kernel::HalfWeights => self.half_weights = half_weights(&self.layout, member),
            Kernel::HrNetwork => {
                let side = self.problem.geometry.window();
                let pass = HrPass {
                    problem: &self.problem,
                    layout: &self.layout,
                    data: &self.data,
                    parameters: member,
                    linear: &self.state.linear,
                    degradation: &self.degradation,
                    batch: &plan.hr_batch,
                    noise: &self.noise.0,
                    step: plan.step,
                    precision: self.precision,
                };
                self.hr_windows
                    .resize(plan.hr_batch.len(), HrWindow::zero(bands, b, side));
                hr_network(&pass, &mut self.hr_windows);
            }
            Kernel::HrWindow => hr_window(&self.data, &plan.hr_batch, &mut self.hr_windows),
            Kernel::NetworkUpdate => {
                network_update::gradient(&lr_pass, &self.lr_pixels, &mut self.network_gradient);
                if let Some(rate) = plan.network_rate {
                    self.state.network_updates += 1;
                    network_update::update(
                        self.abundance.as_ref().map(|_| self.layout.decoders),
                        size,
                        Adam::new(rate, self.state.network_updates),
                        &self.network_gradient,
                        &mut self.state.network,
                        &mut self.state.network_m,
                        &mut self.state.network_v,
                    );
                }
            }
            Kernel::LrSteps => {
                let mut state = self.state.clone();
                let (sums, gradient) = lr_steps(&lr_pass, std::slice::from_ref(plan), &mut state);
                (self.state, self.network_gradient) = (state, gradient);
                self.push_losses(plan, sums);
            }
            Kernel::DegradationSums => self.sums = Some(sums(&theta_pass)),
            Kernel::DegradationUpdate => {
                let (Some(sums), Some(rate)) = (&self.sums, plan.degradation_rate) else {
                    return;
                };
                let gradient = degradation_update::gradient(&theta_pass, sums);
                if let Some(losses) = self.losses.last_mut() {
                    losses.degradation = Some(gradient.losses.map(Real::f64));
                }
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
            }
        }
    }

    /// Notes a step's losses of φ: Σ|X̂_ds − X| of every member.
    fn push_losses(&mut self, plan: &StepPlan, sums: Vec<T>) {
        let count = (plan.lr_batch.len() * self.problem.architecture.bands) as f64;
        self.losses.push(StepLosses {
            step: plan.step,
            degradation: None,
            network: sums.into_iter().map(|sum| sum.f64() / count).collect(),
        });
    }
}

impl<T: Real> Trainer<T> for CpuTrainer<T> {
    fn step(&mut self, plan: &StepPlan) -> Result<()> {
        self.play(plan, Some(self.lr_pass));
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
