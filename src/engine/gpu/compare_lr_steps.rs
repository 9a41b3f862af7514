//! `lr_steps` against its twin: several steps of a case in one dispatch.

use crate::engine::cpu::lr_network::LrPass;
use crate::engine::cpu::lr_steps::lr_steps;
use crate::engine::gpu::cases::Case;
use crate::engine::gpu::compare::{FORWARD, GRADIENT, Row, Rows};
use crate::engine::gpu::compare_twin::{Observed, observed};
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

    let mut rows = Rows {
        shape: case.name.into(),
        rows: Vec::new(),
    };
    let kernel = "lr_steps";
    let n = (case.lr * case.architecture.bands) as f64;
    let seen: Vec<f32> = seen
        .iter()
        .flat_map(|l| l.network.iter().map(|&x| (x * n) as f32))
        .collect();
    rows.add(kernel, "losses", FORWARD, &seen, &losses);
    rows.add(kernel, "gradient", GRADIENT, &tensors.network_gradient, &gradient);
    rows.add(kernel, "parameters", GRADIENT, &gpu.network, &state.network);
    let start = case.state().network;
    let change = |x: &[f32]| x.iter().zip(&start).map(|(a, b)| a - b).collect::<Vec<_>>();
    // As in `network_update`: a change is known to less of itself than the parameter is.
    rows.add(
        kernel,
        "change of parameters",
        1e-5,
        &change(&gpu.network),
        &change(&state.network),
    );
    rows.add(kernel, "first moment", GRADIENT, &gpu.network_m, &state.network_m);
    rows.add(
        kernel,
        "second moment",
        GRADIENT,
        &gpu.network_v,
        &state.network_v,
    );
    Ok(rows.rows)
}
