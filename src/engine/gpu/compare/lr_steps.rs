//! `lr_steps` against its twin: several steps of a case in one dispatch.

use crate::engine::cpu::lr_network::LrPass;
use crate::engine::cpu::lr_steps::lr_steps;
use crate::engine::gpu::compare::cases::Case;
use crate::engine::gpu::compare::rows::{FORWARD, GRADIENT, Row, Rows};
use crate::engine::gpu::compare::step::{add_adam, add_change};
use crate::engine::gpu::compare::twin::{Observed, observed};
use crate::engine::gpu::engine::GpuEngine;
use crate::engine::gpu::trainer::GpuTrainer;
use crate::engine::{Noise, StepPlan, Trainer};
use crate::error::Result;

/// Runs three steps of the case, the second without an update, in one dispatch and through the twin.
///
/// # Errors
/// [`crate::Error::Failed`] where the device fails.
pub fn compare_lr_steps(engine: &GpuEngine, case: &Case) -> Result<Vec<Row>> {
    let first = case.plan(1);
    let plans: Vec<StepPlan> = (1..=3)
        .map(|step| StepPlan {
            step,
            network_rate: first.network_rate.filter(|_| step != 2),
            degradation_rate: None,
            ..first.clone()
        })
        .collect();
    let (problem, data, mut state) = (case.problem(), case.data(), case.state());
    let (hr_noise, lr_noise) = case.noise();
    let Observed {
        observations,
        abundance,
        ..
    } = observed(&problem, &data, &state, &first.lr_batch);
    let pass = LrPass {
        problem: &problem,
        layout: &problem.architecture.layout(),
        data: &data,
        network: &[],
        linear: &state.linear.clone(),
        batch: &first.lr_batch,
        observations: &observations,
        abundance: abundance.as_deref(),
        noise: &lr_noise,
        step: 0,
    };
    let (losses, gradient) = lr_steps(&pass, &plans, &mut state);

    let mut trainer = GpuTrainer::new(engine, &problem, &data, case.state())?;
    if !trainer.can_persist() {
        // Nor does a run on this adapter.
        return Ok(Vec::new());
    }
    trainer.set_persistent(true)?;
    if case.noise == Noise::Given {
        trainer.give_noise(&hr_noise, &lr_noise)?;
    }
    // The first step of a device that was not measured is submitted alone; these are to be one dispatch.
    engine.pace.assume(1e12);
    for plan in &plans {
        trainer.step(plan)?;
    }
    let seen = trainer.losses()?;
    let tensors = trainer.tensors()?;
    let gpu = trainer.state()?;

    let mut rows = Rows::of(case.name);
    let kernel = "lr_steps";
    let n = (case.lr * case.architecture.bands) as f64;
    let seen: Vec<f32> = seen
        .iter()
        .flat_map(|l| l.network.iter().map(|&x| (x * n) as f32))
        .collect();
    rows.add(kernel, "losses", FORWARD, &seen, &losses);
    rows.add(kernel, "gradient", GRADIENT, &tensors.network_gradient, &gradient);
    add_adam(
        &mut rows,
        kernel,
        GRADIENT,
        [&gpu.network, &gpu.network_m, &gpu.network_v],
        [&state.network, &state.network_m, &state.network_v],
    );
    add_change(
        &mut rows,
        kernel,
        &case.state().network,
        &gpu.network,
        &state.network,
    );
    Ok(rows.done())
}
