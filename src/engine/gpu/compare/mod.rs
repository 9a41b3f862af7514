//! GPU against CPU, kernel by kernel: what the command `verify` and the kernel tests do with a case.
//!
//! One step of the case runs on the GPU and through the twins, and everything that every kernel leaves is
//! compared. Proves that a kernel computes what its twin computes on the shapes of the table; whether the twin is
//! right is what the golden tensors prove.

pub mod cases;
mod lr_steps;
mod refinement;
mod rows;
mod step;

use ndarray::{Array3, ArrayView3};

pub use lr_steps::compare_lr_steps;
pub use refinement::{
    KERNELS as REFINEMENT_KERNELS, RefinementCase, compare_refinement, refined, refinement_cases,
};
pub use rows::Row;
pub use step::compare_step;

use crate::engine::cpu::{CpuEngine, reconstruct};
use crate::engine::gpu::engine::GpuEngine;
use crate::engine::{Engine, Noise, Output, Precision, StepLosses, TrainingState};
use crate::error::{Error, Result};
use cases::{Case, cases, uniforms};
use rows::{Rows, limits};

/// Reconstructs a small image with every output on the GPU and with the twin.
///
/// # Errors
/// [`Error::Failed`] where the device fails.
pub fn compare_reconstruct(engine: &GpuEngine, case: &Case) -> Result<Vec<Row>> {
    let (a, state) = (&case.architecture, case.state());
    let (height, width) = (7, 11);
    let msi = uniforms(height * width * a.msi_bands, 20);
    let view = ArrayView3::from_shape((height, width, a.msi_bands), &msi)
        .map_err(|e| Error::failed(format!("image: {e}")))?;
    let member = a.members as u32 - 1;
    let mut rows = Rows::of(case.name);
    for (name, output) in [
        ("mean", Output::Mean),
        ("standard deviation", Output::Std),
        ("sample", Output::Sample { seed: 3, member }),
        ("abundance", Output::Abundance { member }),
    ] {
        let channels = match output {
            Output::Abundance { .. } => a.layout().abundances,
            _ => a.bands,
        };
        let [mut gpu, mut cpu] = [0; 2].map(|_| Array3::<f32>::zeros((height, width, channels)));
        engine.reconstruct(a, &state, view, 13, output, gpu.view_mut())?;
        // Abundances are computed in f32 whatever the rest is.
        let precision = match output {
            Output::Abundance { .. } => Precision::F32,
            _ => engine.precision(),
        };
        reconstruct::reconstruct(precision, a, &state, view, 13, output, cpu.view_mut());
        let flat = |x: &Array3<f32>| x.iter().copied().collect::<Vec<_>>();
        let (limit, _) = limits(precision);
        rows.add("reconstruct", name, limit, &flat(&gpu), &flat(&cpu));
    }
    Ok(rows.done())
}

/// Losses of every step and the state after the last.
///
/// # Errors
/// [`Error::Failed`] where the device fails.
pub fn walk(
    engine: &dyn Engine<f32>,
    case: &Case,
    steps: u32,
) -> Result<(Vec<StepLosses>, TrainingState<f32>)> {
    let mut trainer = engine.trainer(&case.problem(), &case.data(), case.state())?;
    for step in 1..=steps {
        trainer.step(&case.plan(step))?;
    }
    Ok((trainer.losses()?, trainer.state()?))
}

/// Walks `steps` whole steps on both engines: all losses and the parameters after the last step.
///
/// # Errors
/// [`Error::Failed`] where the device fails.
pub fn compare_walk(engine: &GpuEngine, case: &Case, steps: u32) -> Result<Vec<Row>> {
    let (gpu, gpu_state) = walk(engine, case, steps)?;
    let (cpu, cpu_state) = walk(&CpuEngine, case, steps)?;
    let losses = |all: &[StepLosses]| -> Vec<f32> {
        let each = |l: &StepLosses| -> Vec<f32> {
            let terms = l.degradation.unwrap_or_default();
            terms.iter().chain(&l.network).map(|&x| x as f32).collect()
        };
        all.iter().flat_map(each).collect()
    };
    let mut rows = Rows::of(format!("{}, {steps} steps", case.name));
    let kernel = "whole steps";
    // 1e-4 relative of every loss, as energy; parameters as the issue asks.
    rows.add(kernel, "losses", 1e-8, &losses(&gpu), &losses(&cpu));
    rows.add(kernel, "network", 1e-5, &gpu_state.network, &cpu_state.network);
    rows.add(
        kernel,
        "degradation",
        1e-5,
        &gpu_state.degradation,
        &cpu_state.degradation,
    );
    Ok(rows.done())
}

/// Everything: every kernel on every case, the passes of refinement on theirs, and whole steps on those of the table's cases that draw their own noise.
///
/// # Errors
/// [`Error::Failed`] where the device fails.
pub fn compare_all(engine: &GpuEngine, mut on_case: impl FnMut(&str)) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for case in cases() {
        on_case(case.name);
        rows.extend(compare_step(engine, &case)?);
        rows.extend(compare_lr_steps(engine, &case)?);
        rows.extend(compare_reconstruct(engine, &case)?);
        // Whole steps of the CPU engine are in f32.
        if case.noise != Noise::Given && engine.precision() == Precision::F32 {
            rows.extend(compare_walk(engine, &case, 5)?);
        }
    }
    for case in refinement_cases() {
        on_case(case.name);
        for kernel in REFINEMENT_KERNELS {
            rows.extend(compare_refinement(engine, &case, kernel)?);
        }
    }
    Ok(rows)
}
