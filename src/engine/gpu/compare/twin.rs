//! What the twins leave after one step of a case: what `compare` lays beside the kernels.

use crate::engine::cpu::degradation::{Degradation, degradation};
use crate::engine::cpu::degradation_sums::{self, DegradationPass, DegradationSums};
use crate::engine::cpu::degradation_update;
use crate::engine::cpu::hr_network::{HrPass, HrWindow, hr_network};
use crate::engine::cpu::hr_window::hr_window;
use crate::engine::cpu::lr_network::{LrPass, LrPixel, lr_network};
use crate::engine::cpu::network::forward;
use crate::engine::cpu::network_update::{self, Adam};
use crate::engine::cpu::psf_blur::{LrObservation, psf_blur};
use crate::engine::gpu::compare::cases::Case;
use crate::engine::{Precision, Problem, StepPlan, TrainingSet, TrainingState};
use crate::network::Branch;
use crate::sensor::psf;

/// What the twins leave after one step.
pub(super) struct Twin {
    pub(super) degradation: Degradation<f32>,
    pub(super) observations: Vec<LrObservation<f32>>,
    pub(super) pixels: Vec<LrPixel<f32>>,
    pub(super) windows: Vec<HrWindow<f32>>,
    pub(super) network_gradient: Vec<f32>,
    pub(super) degradation_gradient: Option<degradation_update::DegradationGradient<f32>>,
    pub(super) sums: Option<DegradationSums<f32>>,
    pub(super) state: TrainingState<f32>,
}

/// Abundances of all windows as the twins compute them, members × windows × P.
fn frozen_abundance(
    problem: &Problem<f32>,
    data: &TrainingSet<f32>,
    twin: &Degradation<f32>,
    network: &[f32],
) -> Vec<f32> {
    let layout = problem.architecture.layout();
    let all: Vec<u32> = (0..data.windows as u32).collect();
    let mut observations = vec![LrObservation::zero(problem.architecture.msi_bands); all.len()];
    psf_blur(problem, data, twin, &all, &mut observations);
    let mut row = vec![0.0; layout.activations];
    let mut abundance = Vec::new();
    for parameters in network.chunks_exact(layout.parameters) {
        for o in &observations {
            forward(&layout, Branch::Encoder, parameters, &mut row, &o.lr_msi);
            abundance.extend_from_slice(&row[layout.abundance..][..layout.abundances]);
        }
    }
    abundance
}

/// What precedes the LR pass: PSF and SRF, the batch's LR pixels and, where the encoder is frozen, its abundances.
pub(super) struct Observed {
    pub(super) degradation: Degradation<f32>,
    pub(super) observations: Vec<LrObservation<f32>>,
    pub(super) abundance: Option<Vec<f32>>,
}

pub(super) fn observed(
    problem: &Problem<f32>,
    data: &TrainingSet<f32>,
    state: &TrainingState<f32>,
    batch: &[u32],
) -> Observed {
    let (bands, b) = (problem.architecture.bands, problem.architecture.msi_bands);
    let area = problem.geometry.kernel * problem.geometry.kernel;
    let mut made = Degradation {
        bank: vec![0.0; (1 + psf::PARAMETERS) * area],
        srf: vec![0.0; bands * b],
    };
    degradation(problem, &state.degradation, &mut made);
    let mut observations = vec![LrObservation::zero(b); batch.len()];
    psf_blur(problem, data, &made, batch, &mut observations);
    let abundance = problem
        .frozen_encoder
        .then(|| frozen_abundance(problem, data, &made, &state.network));
    Observed {
        degradation: made,
        observations,
        abundance,
    }
}

pub(super) fn twin_step(case: &Case, plan: &StepPlan, precision: Precision) -> Twin {
    let (problem, data, mut state) = (case.problem(), case.data(), case.state());
    let (hr_noise, lr_noise) = case.noise();
    let layout = problem.architecture.layout();
    let (bands, b) = (problem.architecture.bands, problem.architecture.msi_bands);
    let side = problem.geometry.window();
    let Observed {
        degradation: made,
        observations,
        abundance,
    } = observed(&problem, &data, &state, &plan.lr_batch);
    let pass = LrPass {
        problem: &problem,
        layout: &layout,
        data: &data,
        network: &state.network,
        linear: &state.linear,
        batch: &plan.lr_batch,
        observations: &observations,
        abundance: abundance.as_deref(),
        noise: &lr_noise,
        step: plan.step,
    };
    let mut pixels = vec![LrPixel::zero(&layout, bands); problem.architecture.members * plan.lr_batch.len()];
    lr_network(&pass, &mut pixels);
    let mut network_gradient = vec![0.0; state.network.len()];
    network_update::gradient(&pass, &pixels, &mut network_gradient);
    let mut windows = Vec::new();
    let (mut degradation_gradient, mut sums) = (None, None);
    if let Some(rate) = plan.degradation_rate {
        windows = vec![HrWindow::zero(bands, b, side); plan.hr_batch.len()];
        let member = plan.member as usize * layout.parameters;
        let pass = HrPass {
            problem: &problem,
            layout: &layout,
            data: &data,
            parameters: &state.network[member..][..layout.parameters],
            linear: &state.linear,
            degradation: &made,
            batch: &plan.hr_batch,
            noise: &hr_noise,
            step: plan.step,
            precision,
        };
        hr_network(&pass, &mut windows);
        hr_window(&data, &plan.hr_batch, &mut windows);
        let pass = DegradationPass {
            problem: &problem,
            data: &data,
            theta: &state.degradation,
            degradation: &made,
            lr_batch: &plan.lr_batch,
            observations: &observations,
            windows: &windows,
        };
        sums = Some(degradation_sums::sums(&pass));
        let gradient = degradation_update::gradient(&pass);
        state.degradation_updates += 1;
        degradation_update::update(
            &problem,
            Adam::new(rate, state.degradation_updates),
            &gradient.total,
            &mut state.degradation,
            &mut state.degradation_m,
            &mut state.degradation_v,
        );
        degradation_gradient = Some(gradient);
    }
    if let Some(rate) = plan.network_rate {
        state.network_updates += 1;
        network_update::update(
            problem.frozen_encoder.then_some(layout.decoders),
            layout.parameters,
            Adam::new(rate, state.network_updates),
            &network_gradient,
            &mut state.network,
            &mut state.network_m,
            &mut state.network_v,
        );
    }
    Twin {
        degradation: made,
        observations,
        pixels,
        windows,
        network_gradient,
        degradation_gradient,
        sums,
        state,
    }
}
