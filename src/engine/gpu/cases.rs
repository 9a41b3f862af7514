//! GPU against CPU, kernel by kernel: one table of cases for the command `verify` and for the kernel tests.
//!
//! A case is a small training run with random data of a fixed seed. One step of it runs on the GPU and through
//! the twins, and everything that every kernel leaves is compared. Proves that a kernel computes what its twin
//! computes on the shapes of the table; whether the twin is right is what the golden tensors prove.

use ndarray::{Array3, ArrayView3};
use serde::Serialize;

use crate::engine::cpu::degradation::{Degradation, degradation};
use crate::engine::cpu::degradation_update::{self, DegradationPass};
use crate::engine::cpu::hr_network::{HrPass, HrWindow, hr_network};
use crate::engine::cpu::lr_network::{LrPass, LrPixel, lr_network};
use crate::engine::cpu::network::forward;
use crate::engine::cpu::network_update::{self, Adam};
use crate::engine::cpu::psf_blur::{LrObservation, psf_blur};
use crate::engine::cpu::reconstruct;
use crate::engine::gpu::GpuEngine;
use crate::engine::gpu::trainer::GpuTrainer;
use crate::engine::{
    Engine, Geometry, Noise, Output, Problem, StepLosses, StepPlan, Trainer, TrainingSet, TrainingState,
};
use crate::error::{Error, Result};
use crate::network::{Activation, Architecture, Branch, Initialisation, initial_parameters};
use crate::random::{key, normals, philox, uniform};
use crate::sensor::psf::{self, GaussianPsf};
use crate::sensor::srf;

/// NMSE limit of forward values and of losses: single precision leaves 1e-15 to 1e-13, and what adapters differ in
/// (contraction, `exp`, `sqrt`) no more than a few units in the last place.
const FORWARD: f64 = 1e-10;
/// NMSE limit of gradients and of parameters after Adam: sums of either sign cancel, and Adam divides by a root.
const GRADIENT: f64 = 1e-8;

/// A small training run.
#[derive(Debug, Clone)]
pub struct Case {
    /// Name, for tables.
    pub name: &'static str,
    /// Network; `members` and `linear_path` included.
    pub architecture: Architecture,
    /// Scale and PSF side.
    pub geometry: Geometry,
    /// Windows of the training set.
    pub windows: usize,
    /// LR pixels of a step.
    pub lr: usize,
    /// HR windows of a step.
    pub hr: usize,
    /// Source of ε.
    pub noise: Noise,
    /// Whether PSF and SRF are fixed.
    pub fixed: bool,
    /// Whether the encoder is frozen and θ left alone.
    pub frozen: bool,
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
    /// Σ(gpu − cpu)² / Σ cpu²; infinite where the GPU's is not finite.
    pub nmse: f64,
    /// Largest |gpu − cpu| / max |cpu|.
    pub worst: f64,
    /// Limit of `nmse`.
    pub limit: f64,
    /// Whether it holds.
    pub passed: bool,
}

fn architecture(
    bands: usize,
    msi_bands: usize,
    encoder: &[usize],
    mean: &[usize],
    std: &[usize],
) -> Architecture {
    Architecture {
        bands,
        msi_bands,
        encoder: encoder.to_vec(),
        concatenate: true,
        mean: mean.to_vec(),
        std: std.to_vec(),
        slope: 0.2,
        encoder_last: Activation::Leaky,
        decoder_last: Activation::Relu,
        members: 1,
        linear_path: false,
    }
}

/// The table: the presets, shapes smaller than any tile, primes, K = s, K < s and K > s, 1 to 8 MSI bands, 1 to
/// 200 bands, one and three members, every source of noise, fixed and frozen parts.
pub fn cases() -> Vec<Case> {
    let paper = [4, 8, 16, 24, 16];
    let base = Case {
        name: "cave",
        architecture: architecture(31, 3, &paper, &[24], &[24]),
        geometry: Geometry { scale: 4, kernel: 4 },
        windows: 9,
        lr: 8,
        hr: 3,
        noise: Noise::Philox(7),
        fixed: false,
        frozen: false,
    };
    let small = |name, b: usize, scale, kernel| Case {
        name,
        architecture: architecture(b + 4, b, &[3, 5], &[6], &[]),
        geometry: Geometry { scale, kernel },
        windows: 5,
        lr: 3,
        hr: 2,
        ..base.clone()
    };
    vec![
        base.clone(),
        Case {
            name: "cave-released",
            architecture: Architecture {
                encoder_last: Activation::Relu,
                decoder_last: Activation::Leaky,
                ..architecture(31, 3, &paper, &[18, 22, 26, 30, 32], &[24])
            },
            noise: Noise::Given,
            ..base.clone()
        },
        Case {
            name: "chikusei, K > s",
            architecture: architecture(128, 3, &paper, &[64], &[64]),
            geometry: Geometry { scale: 3, kernel: 5 },
            lr: 3,
            hr: 2,
            ..base.clone()
        },
        Case {
            name: "wv2",
            architecture: architecture(8, 3, &paper, &[18], &[18]),
            noise: Noise::Off,
            ..base.clone()
        },
        Case {
            name: "one pixel, one band",
            architecture: architecture(1, 1, &[1], &[], &[]),
            geometry: Geometry { scale: 1, kernel: 1 },
            windows: 1,
            lr: 1,
            hr: 1,
            ..base.clone()
        },
        Case {
            name: "three members, linear path, K < s",
            architecture: Architecture {
                members: 3,
                linear_path: true,
                ..architecture(13, 5, &[7, 11], &[9], &[5, 3])
            },
            geometry: Geometry { scale: 5, kernel: 3 },
            windows: 71,
            lr: 67,
            hr: 5,
            ..base.clone()
        },
        Case {
            name: "200 bands, 8 MSI bands",
            architecture: architecture(200, 8, &[37], &[41], &[]),
            geometry: Geometry { scale: 2, kernel: 2 },
            windows: 3,
            lr: 3,
            hr: 2,
            ..base.clone()
        },
        Case {
            name: "fixed PSF and SRF",
            fixed: true,
            ..small("", 2, 3, 3)
        },
        Case {
            name: "frozen encoder, three members",
            architecture: Architecture {
                members: 3,
                ..architecture(13, 3, &paper, &[9], &[])
            },
            frozen: true,
            ..base.clone()
        },
        Case {
            architecture: Architecture {
                concatenate: false,
                ..small("", 4, 2, 2).architecture
            },
            ..small("4 MSI bands, not concatenated", 4, 2, 2)
        },
        small("6 MSI bands, K = 9", 6, 4, 9),
        small("7 MSI bands", 7, 1, 2),
    ]
}

/// `n` numbers in (0, 1) of stream `stream`.
fn uniforms(n: usize, stream: u32) -> Vec<f32> {
    (0..n as u32)
        .map(|i| uniform(philox(key(11), [i, stream, 99, 0])[0]))
        .collect()
}

fn gaussians(n: usize, stream: u32) -> Vec<f32> {
    (0..n as u32)
        .map(|i| normals::<f32>(key(12), stream, 99, i, 0)[0])
        .collect()
}

impl Case {
    /// What the run is.
    pub fn problem(&self) -> Problem<f32> {
        let (a, g) = (&self.architecture, self.geometry);
        let normalised = |mut x: Vec<f32>, columns: usize| {
            for j in 0..columns {
                let sum: f32 = x.iter().skip(j).step_by(columns).sum();
                x.iter_mut().skip(j).step_by(columns).for_each(|v| *v /= sum);
            }
            x
        };
        Problem {
            architecture: a.clone(),
            geometry: g,
            alpha: [0.5, 0.2, 0.3],
            beta: 0.5,
            noise: self.noise,
            learn_psf: true,
            learn_centre: true,
            learn_srf: true,
            fixed_psf: self
                .fixed
                .then(|| normalised(uniforms(g.kernel * g.kernel, 1), 1)),
            fixed_srf: self
                .fixed
                .then(|| normalised(uniforms(a.bands * a.msi_bands, 2), a.msi_bands)),
            frozen_encoder: self.frozen,
            lr_capacity: self.lr,
            hr_capacity: self.hr,
        }
    }

    /// Its data.
    pub fn data(&self) -> TrainingSet<f32> {
        let (a, side) = (&self.architecture, self.geometry.window());
        TrainingSet {
            lr_hsi: uniforms(self.windows * a.bands, 3),
            hr_msi: uniforms(self.windows * side * side * a.msi_bands, 4),
            windows: self.windows,
        }
    }

    /// Its start, with a history for Adam.
    pub fn state(&self) -> TrainingState<f32> {
        let a = &self.architecture;
        let network = initial_parameters(a, Initialisation::FanIn, 5);
        let start = GaussianPsf {
            centre: [0.2, -0.1],
            ..GaussianPsf::from_variances(3.0, 1.5, 0.6).unwrap_or(GaussianPsf {
                factor: [1.0, 0.0, 1.0],
                centre: [0.0; 2],
            })
        };
        let gaussians_of_srf = srf::GAUSSIANS * a.msi_bands;
        let means =
            (0..gaussians_of_srf).map(|k| (a.bands * (2 * k + 1)) as f64 / (2 * gaussians_of_srf) as f64);
        let widths = (0..gaussians_of_srf).map(|k| 0.8 + 0.1 * (k % 5) as f64 + a.bands as f64 / 20.0);
        let theta: Vec<f32> = start
            .parameters()
            .into_iter()
            .chain(means)
            .chain(widths)
            .map(|x| x as f32)
            .collect();
        let mut state = TrainingState::start(a, network, theta);
        let small = |x: Vec<f32>| -> Vec<f32> { x.iter().map(|x| 1e-3 * x).collect() };
        let layout = a.layout();
        // Padding has no history.
        for l in &layout.layers {
            for member in 0..a.members {
                for i in 0..=l.inputs {
                    for o in 0..l.outputs {
                        let at = member * layout.parameters + l.weight + i * l.stride + o;
                        let draw = uniforms(2, 100 + at as u32);
                        state.network_m[at] = 1e-3 * (draw[0] - 0.5);
                        state.network_v[at] = 1e-6 * draw[1];
                    }
                }
            }
        }
        state.degradation_m = small(gaussians(state.degradation.len(), 6));
        state.degradation_v = uniforms(state.degradation.len(), 7)
            .iter()
            .map(|x| 1e-4 * x)
            .collect();
        state.network_updates = 3;
        state.degradation_updates = 2;
        if a.linear_path {
            state.linear = gaussians(state.linear.len(), 8).iter().map(|x| 0.2 * x).collect();
            for row in state.linear.chunks_exact_mut(a.band_stride()) {
                row[a.bands..].fill(0.0);
            }
        }
        state
    }

    /// Step `step` of the run; its batches and its member change from step to step.
    pub fn plan(&self, step: u32) -> StepPlan {
        let window = |k: usize| ((k * 2 + step as usize) % self.windows) as u32;
        StepPlan {
            step,
            lr_batch: (0..self.lr).map(window).collect::<Vec<_>>().into(),
            hr_batch: (0..self.hr).map(|k| window(k + 1)).collect::<Vec<_>>().into(),
            member: (self.architecture.members as u32 - 1).saturating_sub(step % 2),
            network_rate: Some(1e-3),
            degradation_rate: (!self.frozen).then_some(1e-3),
        }
    }

    fn noise(&self) -> (Vec<f32>, Vec<f32>) {
        if self.noise != Noise::Given {
            return (Vec::new(), Vec::new());
        }
        let (a, side) = (&self.architecture, self.geometry.window());
        (
            gaussians(self.hr * side * side * a.bands, 9),
            gaussians(a.members * self.lr * a.bands, 10),
        )
    }
}

/// Collects comparisons of one case.
struct Rows {
    shape: String,
    rows: Vec<Row>,
}

impl Rows {
    fn add(&mut self, kernel: &'static str, tensor: &str, limit: f64, gpu: &[f32], cpu: &[f32]) {
        let mut square = (0.0, 0.0);
        let mut largest = (0.0f64, 0.0f64);
        for (&a, &b) in gpu.iter().zip(cpu) {
            let (a, b) = (f64::from(a), f64::from(b));
            square = (square.0 + (a - b) * (a - b), square.1 + b * b);
            largest = (largest.0.max((a - b).abs()), largest.1.max(b.abs()));
        }
        let finite = gpu.len() == cpu.len() && gpu.iter().all(|x| x.is_finite());
        let ratio = |error: f64, size: f64| match (finite, error == 0.0) {
            (false, _) => f64::INFINITY,
            (true, true) => 0.0,
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

/// What the twins leave after one step.
struct Twin {
    degradation: Degradation<f32>,
    observations: Vec<LrObservation<f32>>,
    pixels: Vec<LrPixel<f32>>,
    windows: Vec<HrWindow<f32>>,
    network_gradient: Vec<f32>,
    degradation_gradient: Option<degradation_update::DegradationGradient<f32>>,
    state: TrainingState<f32>,
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

fn twin_step(case: &Case, plan: &StepPlan) -> Twin {
    let (problem, data, mut state) = (case.problem(), case.data(), case.state());
    let (hr_noise, lr_noise) = case.noise();
    let layout = problem.architecture.layout();
    let (bands, b) = (problem.architecture.bands, problem.architecture.msi_bands);
    let (area, side) = (
        problem.geometry.kernel * problem.geometry.kernel,
        problem.geometry.window(),
    );
    let mut made = Degradation {
        bank: vec![0.0; (1 + psf::PARAMETERS) * area],
        srf: vec![0.0; bands * b],
    };
    degradation(&problem, &state.degradation, &mut made);
    let mut observations = vec![LrObservation::zero(b); plan.lr_batch.len()];
    psf_blur(&problem, &data, &made, &plan.lr_batch, &mut observations);
    let abundance = problem
        .frozen_encoder
        .then(|| frozen_abundance(&problem, &data, &made, &state.network));
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
    let mut degradation_gradient = None;
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
        };
        hr_network(&pass, &mut windows);
        let gradient = degradation_update::gradient(&DegradationPass {
            problem: &problem,
            data: &data,
            theta: &state.degradation,
            degradation: &made,
            lr_batch: &plan.lr_batch,
            observations: &observations,
            windows: &windows,
        });
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
        state,
    }
}

/// Runs one step of the case on the GPU and through the twins and compares what every kernel leaves.
///
/// # Errors
/// [`Error::Failed`] where the device fails.
pub fn compare_step(engine: &GpuEngine, case: &Case) -> Result<Vec<Row>> {
    let plan = case.plan(1);
    let twin = twin_step(case, &plan);
    let mut trainer = GpuTrainer::new(engine, &case.problem(), &case.data(), case.state())?;
    if case.noise == Noise::Given {
        let (hr, lr) = case.noise();
        trainer.give_noise(&hr, &lr)?;
    }
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
            .filter(|l| !case.frozen || l.branch != Branch::Encoder);
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
        let kernel = "hr_network";
        let w = &twin.windows;
        let (record, floats) = (4 * shape.window_record, 4 * shape.band_quads);
        let windows = || records.windows.chunks_exact(record);
        rows.add(
            kernel,
            "(Z*C)",
            FORWARD,
            &gathered(windows().map(|r| &r[..shape.bands])),
            &gathered(w.iter().map(|w| &w.blur_of_sample)),
        );
        if case.noise == Noise::Given {
            let expected = gathered(w.iter().map(|w| &w.srf_of_sample));
            rows.add(kernel, "Z R", FORWARD, &tensors.srf_of_sample, &expected);
        }
        let tail =
            |from: usize, count: usize| gathered(windows().map(|r| &r[4 * shape.tail + from..][..count]));
        rows.add(
            kernel,
            "term 1",
            FORWARD,
            &tail(0, 1),
            &gathered(w.iter().map(|w| [w.blur_loss])),
        );
        rows.add(
            kernel,
            "PSF gradient",
            GRADIENT,
            &tail(1, psf::PARAMETERS),
            &gathered(w.iter().map(|w| w.psf_gradient)),
        );
        rows.add(
            kernel,
            "term 2",
            FORWARD,
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
            GRADIENT,
            &to_srf,
            &gathered(w.iter().map(|w| &w.srf_gradient)),
        );

        let kernel = "degradation_update";
        rows.add(
            kernel,
            "term gradients",
            GRADIENT,
            &tensors.term_gradients,
            &gradient.terms,
        );
        rows.add(
            kernel,
            "gradient",
            GRADIENT,
            &tensors.degradation_gradient,
            &gradient.total,
        );
        rows.add(
            kernel,
            "parameters",
            GRADIENT,
            &state.degradation,
            &twin.state.degradation,
        );
        rows.add(
            kernel,
            "first moment",
            GRADIENT,
            &state.degradation_m,
            &twin.state.degradation_m,
        );
        rows.add(
            kernel,
            "second moment",
            GRADIENT,
            &state.degradation_v,
            &twin.state.degradation_v,
        );
        let seen: Vec<f32> = losses[0]
            .degradation
            .unwrap_or_default()
            .iter()
            .map(|&x| x as f32)
            .collect();
        rows.add(kernel, "losses", FORWARD, &seen, &gradient.losses);
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
        reconstruct::reconstruct(a, &state, view, 13, output, cpu.view_mut());
        let flat = |x: &Array3<f32>| x.iter().copied().collect::<Vec<_>>();
        rows.add("reconstruct", name, FORWARD, &flat(&gpu), &flat(&cpu));
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
    let (cpu, cpu_state) = walk(&crate::engine::cpu::CpuEngine, case, steps)?;
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

/// Everything: every kernel on every case, and whole steps on those of the table's cases that draw their own noise.
///
/// # Errors
/// [`Error::Failed`] where the device fails.
pub fn compare_all(engine: &GpuEngine, mut on_case: impl FnMut(&Case)) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for case in cases() {
        on_case(&case);
        rows.extend(compare_step(engine, &case)?);
        rows.extend(compare_reconstruct(engine, &case)?);
        if case.noise != Noise::Given {
            rows.extend(compare_walk(engine, &case, 5)?);
        }
    }
    Ok(rows)
}
