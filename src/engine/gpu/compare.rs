//! GPU against CPU, kernel by kernel: what the command `verify` and the kernel tests do with a case.
//!
//! One step of the case runs on the GPU and through the twins, and everything that every kernel leaves is
//! compared. Proves that a kernel computes what its twin computes on the shapes of the table; whether the twin is
//! right is what the golden tensors prove.

use ndarray::{Array3, ArrayView3};
use serde::Serialize;

use crate::engine::cpu::half_weights::half_weights;
use crate::engine::cpu::{CpuEngine, reconstruct};
use crate::engine::gpu::cases::{Case, cases, uniforms};
use crate::engine::gpu::compare_lr_steps::compare_lr_steps;
use crate::engine::gpu::compare_refinement::{self, compare_refinement, refinement_cases};
use crate::engine::gpu::compare_twin::twin_step;
use crate::engine::gpu::engine::GpuEngine;
use crate::engine::gpu::trainer::GpuTrainer;
use crate::engine::{Engine, Noise, Output, Precision, StepLosses, Trainer, TrainingState};
use crate::error::{Error, Result};
use crate::network::Branch;
use crate::sensor::psf;

/// NMSE limit of forward values and of losses: single precision leaves 1e-15 to 1e-13, and what adapters differ in
/// (contraction, `exp`, `sqrt`) no more than a few units in the last place.
pub(super) const FORWARD: f64 = 1e-10;
/// NMSE limit of gradients and of parameters after Adam: sums of either sign cancel, and Adam divides by a root.
pub(super) const GRADIENT: f64 = 1e-8;

/// NMSE limits of forward values and gradients of the HR pass, of what is made of them, and of reconstruction.
///
/// In 16 bits the engines round the same numbers to f16, but an activation near the border of two of them goes the other
/// way after another order of its sum, by 2⁻¹⁰ of itself at most: 1e-6 as energy if all did. A sign may turn for it.
fn limits(precision: Precision) -> (f64, f64) {
    match precision {
        Precision::F32 => (FORWARD, GRADIENT),
        Precision::F16 => (1e-6, 1e-5),
    }
}

/// One comparison.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// The kernel's stem.
    pub kernel: &'static str,
    /// What it computed.
    pub tensor: String,
    /// The case's name.
    pub shape: String,
    /// Σ(gpu − cpu)² / Σ cpu², or the numerator alone where the CPU's are all zero; infinite where a value is not
    /// finite.
    pub nmse: f64,
    /// Largest |gpu − cpu| / max |cpu|.
    pub worst: f64,
    /// Limit of `nmse`.
    pub limit: f64,
    /// Whether it holds.
    pub passed: bool,
}

/// Collects comparisons of one case.
pub(super) struct Rows {
    pub(super) shape: String,
    pub(super) rows: Vec<Row>,
}

impl Rows {
    pub(super) fn add(&mut self, kernel: &'static str, tensor: &str, limit: f64, gpu: &[f32], cpu: &[f32]) {
        let mut square = (0.0, 0.0);
        let mut largest = (0.0f64, 0.0f64);
        for (&a, &b) in gpu.iter().zip(cpu) {
            let (a, b) = (f64::from(a), f64::from(b));
            square = (square.0 + (a - b) * (a - b), square.1 + b * b);
            largest = (largest.0.max((a - b).abs()), largest.1.max(b.abs()));
        }
        let finite = gpu.len() == cpu.len() && gpu.iter().all(|x| x.is_finite());
        // Where the twin's values are all zero (derivatives of a PSF of one pixel), the error stands for itself.
        let ratio = |error: f64, size: f64| match (finite, size == 0.0) {
            (false, _) => f64::INFINITY,
            (true, true) => error,
            (true, false) => error / size,
        };
        let nmse = ratio(square.0, square.1);
        self.rows.push(Row {
            kernel,
            tensor: tensor.into(),
            shape: self.shape.clone(),
            nmse,
            worst: ratio(largest.0, largest.1),
            limit,
            passed: nmse <= limit,
        });
    }
}

fn gathered<R: AsRef<[f32]>>(items: impl IntoIterator<Item = R>) -> Vec<f32> {
    items.into_iter().flat_map(|x| x.as_ref().to_vec()).collect()
}

/// Runs one step of the case on the GPU and through the twins and compares what every kernel leaves.
///
/// # Errors
/// [`Error::Failed`] where the device fails.
pub fn compare_step(engine: &GpuEngine, case: &Case) -> Result<Vec<Row>> {
    let plan = case.plan(1);
    let twin = twin_step(case, &plan, engine.precision());
    let mut trainer = GpuTrainer::new(engine, &case.problem(), &case.data(), case.state())?;
    if case.noise == Noise::Given {
        let (hr, lr) = case.noise();
        trainer.give_noise(&hr, &lr)?;
    }
    trainer.set_persistent(false)?;
    trainer.step(&plan)?;
    let tensors = trainer.tensors()?;
    let records = trainer.records()?;
    let state = trainer.state()?;
    let losses = trainer.losses()?;
    let layout = case.architecture.layout();
    let shape = trainer.shape();
    let mut rows = Rows {
        shape: case.name.into(),
        rows: Vec::new(),
    };

    let kernel = "degradation";
    let bank = &records.bank;
    rows.add(
        kernel,
        "PSF and derivatives",
        GRADIENT,
        bank,
        &twin.degradation.bank,
    );
    rows.add(kernel, "SRF", FORWARD, &tensors.srf, &twin.degradation.srf);

    let kernel = "psf_blur";
    let o = &twin.observations;
    let observed = |from: usize, count: usize| {
        gathered(
            records
                .observations
                .chunks_exact(shape.observation)
                .map(|r| &r[from..from + count]),
        )
    };
    let b = shape.msi;
    rows.add(
        kernel,
        "(Y*C)",
        FORWARD,
        &observed(0, b),
        &gathered(o.iter().map(|o| &o.lr_msi)),
    );
    rows.add(
        kernel,
        "X R",
        FORWARD,
        &observed(b, b),
        &gathered(o.iter().map(|o| &o.srf_of_lr_hsi)),
    );
    rows.add(
        kernel,
        "sign",
        FORWARD,
        &observed(2 * b, b),
        &gathered(o.iter().map(|o| &o.sign)),
    );
    rows.add(
        kernel,
        "loss",
        FORWARD,
        &observed(3 * b, 1),
        &gathered(o.iter().map(|o| [o.loss])),
    );
    let psf_gradients = gathered(o.iter().map(|o| o.psf_gradient));
    rows.add(
        kernel,
        "PSF gradient",
        GRADIENT,
        &observed(3 * b + 1, psf::PARAMETERS),
        &psf_gradients,
    );

    let kernel = "lr_network";
    // Padding and a frozen encoder's rows are nobody's values.
    let live = |row: &[f32]| -> Vec<f32> {
        let layers = layout
            .layers
            .iter()
            .filter(|l| !case.frozen || l.branch != Branch::Encoder)
            .filter(|l| case.noise != Noise::Off || l.branch != Branch::Std);
        gathered(layers.map(|l| &row[l.activation..l.activation + l.outputs]))
    };
    let record = 4 * shape.pixel_record;
    let pixels = || records.pixels.chunks_exact(record);
    let p = &twin.pixels;
    rows.add(
        kernel,
        "activations",
        FORWARD,
        &gathered(pixels().map(live)),
        &gathered(p.iter().map(|p| live(&p.row))),
    );
    let abundance = |row: &[f32]| row[layout.abundance..][..layout.abundances].to_vec();
    rows.add(
        kernel,
        "abundance",
        FORWARD,
        &gathered(pixels().map(abundance)),
        &gathered(p.iter().map(|p| abundance(&p.row))),
    );
    rows.add(
        kernel,
        "gradients to outputs",
        GRADIENT,
        &gathered(pixels().map(|p| live(&p[4 * shape.deltas..]))),
        &gathered(p.iter().map(|p| live(&p.deltas))),
    );
    rows.add(
        kernel,
        "loss",
        FORWARD,
        &pixels().map(|p| p[4 * shape.loss]).collect::<Vec<_>>(),
        &p.iter().map(|p| p.loss).collect::<Vec<_>>(),
    );

    let kernel = "network_update";
    rows.add(
        kernel,
        "gradient",
        GRADIENT,
        &tensors.network_gradient,
        &twin.network_gradient,
    );
    rows.add(
        kernel,
        "parameters",
        GRADIENT,
        &state.network,
        &twin.state.network,
    );
    let change = |after: &[f32]| -> Vec<f32> {
        after
            .iter()
            .zip(&case.state().network)
            .map(|(a, b)| a - b)
            .collect()
    };
    // The change of a parameter is a thousandth of it and so known to a thousandth of its precision.
    rows.add(
        kernel,
        "change of parameters",
        1e-5,
        &change(&state.network),
        &change(&twin.state.network),
    );
    rows.add(
        kernel,
        "first moment",
        GRADIENT,
        &state.network_m,
        &twin.state.network_m,
    );
    rows.add(
        kernel,
        "second moment",
        GRADIENT,
        &state.network_v,
        &twin.state.network_v,
    );
    let n = case.lr * case.architecture.bands;
    let expected: Vec<f32> = p
        .chunks_exact(case.lr)
        .map(|p| p.iter().map(|p| p.loss).sum::<f32>() / n as f32)
        .collect();
    let seen: Vec<f32> = losses[0].network.iter().map(|&x| x as f32).collect();
    rows.add(kernel, "losses", FORWARD, &seen, &expected);

    if let Some(gradient) = &twin.degradation_gradient {
        let (forward, backward) = limits(engine.precision());
        if engine.precision() == Precision::F16 {
            let member = plan.member as usize * layout.parameters;
            let state = case.state();
            let expected = half_weights(&layout, &state.network[member..][..layout.parameters]);
            let singles = |x: &[half::f16]| x.iter().map(|x| x.to_f32()).collect::<Vec<_>>();
            rows.add(
                "half_weights",
                "weights",
                forward,
                &singles(&records.weights),
                &singles(&expected),
            );
        }
        let kernel = "hr_network";
        let w = &twin.windows;
        let (record, floats) = (4 * shape.window_record, 4 * shape.band_quads);
        let windows = || records.windows.chunks_exact(record);
        rows.add(
            kernel,
            "(Z*C)",
            forward,
            &gathered(windows().map(|r| &r[..shape.bands])),
            &gathered(w.iter().map(|w| &w.blur_of_sample)),
        );
        if case.noise == Noise::Given {
            let expected = gathered(w.iter().map(|w| &w.srf_of_sample));
            rows.add(kernel, "Z R", forward, &tensors.srf_of_sample, &expected);
        }
        let tail =
            |from: usize, count: usize| gathered(windows().map(|r| &r[4 * shape.tail + from..][..count]));
        rows.add(
            kernel,
            "term 2",
            forward,
            &tail(6, 1),
            &gathered(w.iter().map(|w| [w.response_loss])),
        );
        let to_srf = gathered(windows().map(|r| {
            let columns = &r[(1 + psf::PARAMETERS) * floats..];
            let at = |i: usize| columns[(i % b) * floats + i / b];
            (0..shape.bands * b).map(at).collect::<Vec<_>>()
        }));
        rows.add(
            kernel,
            "SRF gradient",
            backward,
            &to_srf,
            &gathered(w.iter().map(|w| &w.srf_gradient)),
        );
        let kernel = "hr_window";
        rows.add(
            kernel,
            "term 1",
            forward,
            &tail(0, 1),
            &gathered(w.iter().map(|w| [w.blur_loss])),
        );
        rows.add(
            kernel,
            "PSF gradient",
            backward,
            &tail(1, psf::PARAMETERS),
            &gathered(w.iter().map(|w| w.psf_gradient)),
        );

        if let Some(sums) = &twin.sums {
            let by_column = |g: &Vec<f32>| -> Vec<f32> {
                let at = |i: usize| g[(i % shape.bands) * b + i / shape.bands];
                (0..shape.bands * b).map(at).collect()
            };
            let [second, third] = &sums.to_srf;
            let expected = gathered([by_column(second), by_column(third)]);
            let (seen, tail) = records.sums.split_at(expected.len());
            rows.add("degradation_sums", "SRF gradients", backward, seen, &expected);
            let expected = gathered([
                &sums.losses[..1],
                &sums.to_psf[0],
                &sums.losses[1..],
                &sums.to_psf[2],
            ]);
            rows.add(
                "degradation_sums",
                "losses, PSF gradients",
                backward,
                tail,
                &expected,
            );
        }

        let kernel = "degradation_update";
        rows.add(
            kernel,
            "term gradients",
            backward,
            &tensors.term_gradients,
            &gradient.terms,
        );
        rows.add(
            kernel,
            "gradient",
            backward,
            &tensors.degradation_gradient,
            &gradient.total,
        );
        rows.add(
            kernel,
            "parameters",
            backward,
            &state.degradation,
            &twin.state.degradation,
        );
        rows.add(
            kernel,
            "first moment",
            backward,
            &state.degradation_m,
            &twin.state.degradation_m,
        );
        rows.add(
            kernel,
            "second moment",
            backward,
            &state.degradation_v,
            &twin.state.degradation_v,
        );
        let seen: Vec<f32> = losses[0]
            .degradation
            .unwrap_or_default()
            .iter()
            .map(|&x| x as f32)
            .collect();
        rows.add(kernel, "losses", forward, &seen, &gradient.losses);
    }
    Ok(rows.rows)
}

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
    let mut rows = Rows {
        shape: case.name.into(),
        rows: Vec::new(),
    };
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
    Ok(rows.rows)
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
    let mut rows = Rows {
        shape: format!("{}, {steps} steps", case.name),
        rows: Vec::new(),
    };
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
    Ok(rows.rows)
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
        for kernel in compare_refinement::KERNELS {
            rows.extend(compare_refinement(engine, &case, kernel)?);
        }
    }
    Ok(rows)
}
