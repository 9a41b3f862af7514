//! `lr_steps` against its twin: several steps of a case in one dispatch.

use crate::engine::cpu::CpuTrainer;
use crate::engine::gpu::compare::cases::Case;
use crate::engine::gpu::compare::rows::{FORWARD, GRADIENT, Row, Rows};
use crate::engine::gpu::compare::step::{add_adam, add_change};
use crate::engine::gpu::engine::GpuEngine;
use crate::engine::gpu::trainer::GpuTrainer;
use crate::engine::step::LrKernels;
use crate::engine::{Noise, Precision, StepLosses, StepPlan, Trainer};
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
    let (problem, data) = (case.problem(), case.data());
    let mut trainer = GpuTrainer::new(engine, &problem, &data, case.state())?;
    if !trainer.can_persist() {
        // Nor does a run on this adapter.
        return Ok(Vec::new());
    }
    trainer.set_persistent(true)?;
    let mut twin = CpuTrainer::new(&problem, &data, case.state(), Precision::F32, LrKernels::Merged);
    if case.noise == Noise::Given {
        let (hr_noise, lr_noise) = case.noise();
        twin.give_noise(&hr_noise, &lr_noise)?;
        trainer.give_noise(&hr_noise, &lr_noise)?;
    }
    // The first step of a device that was not measured is submitted alone; these are to be one dispatch.
    engine.pace.assume(1e12);
    for plan in &plans {
        trainer.step(plan)?;
        twin.step(plan)?;
    }
    let seen = trainer.losses()?;
    let tensors = trainer.tensors()?;
    let gpu = trainer.state()?;

    let mut rows = Rows::of(case.name);
    let kernel = "lr_steps";
    let numbers = |all: Vec<StepLosses>| -> Vec<f32> {
        let each = |l: StepLosses| l.network.into_iter().map(|x| x as f32);
        all.into_iter().flat_map(each).collect()
    };
    rows.add(
        kernel,
        "losses",
        FORWARD,
        &numbers(seen),
        &numbers(twin.losses()?),
    );
    let (gradient, state) = (&twin.network_gradient, &twin.state);
    rows.add(kernel, "gradient", GRADIENT, &tensors.network_gradient, gradient);
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
