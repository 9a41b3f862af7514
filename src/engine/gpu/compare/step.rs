//! One step of a case on the GPU and through the twins: what every kernel leaves, laid side by side.

use crate::engine::cpu::CpuTrainer;
use crate::engine::gpu::compare::cases::Case;
use crate::engine::gpu::compare::rows::{FORWARD, GRADIENT, Row, Rows, limits};
use crate::engine::gpu::defines::Shape;
use crate::engine::gpu::engine::GpuEngine;
use crate::engine::gpu::trainer::{GpuTrainer, Records};
use crate::engine::step::{Kernel, LrKernels, StepParts, step_kernels};
use crate::engine::{Noise, Precision, StepLosses, StepTensors, Trainer, TrainingState};
use crate::error::Result;
use crate::network::{Branch, Layout};
use crate::sensor::psf;

/// Limit of the change of a parameter, which is a thousandth of the parameter and so known to a thousandth of its precision.
pub(super) const CHANGE: f64 = 1e-5;

/// Runs one step of the case on the GPU and through the twins and compares what every kernel leaves.
///
/// # Errors
/// [`crate::Error::Failed`] where the device fails.
pub fn compare_step(engine: &GpuEngine, case: &Case) -> Result<Vec<Row>> {
    let (plan, precision) = (case.plan(1), engine.precision());
    let (problem, data) = (case.problem(), case.data());
    let mut twin = CpuTrainer::new(&problem, &data, case.state(), precision, LrKernels::Spread);
    let mut trainer = GpuTrainer::new(engine, &problem, &data, case.state())?;
    if case.noise == Noise::Given {
        let (hr, lr) = case.noise();
        twin.give_noise(&hr, &lr)?;
        trainer.give_noise(&hr, &lr)?;
    }
    trainer.set_persistent(false)?;
    trainer.step(&plan)?;
    twin.step(&plan)?;
    let step = Step {
        case,
        precision,
        layout: case.architecture.layout(),
        shape: trainer.shape(),
        tensors: trainer.tensors()?,
        records: trainer.records()?,
        state: trainer.state()?,
        losses: trainer.losses()?,
        twin,
    };
    let parts = StepParts {
        degradation: true,
        observations: true,
        lr: Some(LrKernels::Spread),
        theta: plan.degradation_rate.is_some(),
        half: precision == Precision::F16,
    };
    let mut rows = Rows::of(case.name);
    for kernel in step_kernels(parts) {
        step.compare(kernel, &mut rows);
    }
    Ok(rows.done())
}

/// A step as both left it.
struct Step<'a> {
    case: &'a Case,
    precision: Precision,
    layout: Layout,
    shape: Shape,
    tensors: StepTensors<f32>,
    records: Records,
    state: TrainingState<f32>,
    losses: Vec<StepLosses>,
    twin: CpuTrainer<f32>,
}

fn gathered<R: AsRef<[f32]>>(items: impl IntoIterator<Item = R>) -> Vec<f32> {
    items.into_iter().flat_map(|x| x.as_ref().to_vec()).collect()
}

fn singles(numbers: &[f64]) -> Vec<f32> {
    numbers.iter().map(|&x| x as f32).collect()
}

/// Adam's results: parameters and their moments.
pub(super) fn add_adam(
    rows: &mut Rows,
    kernel: &'static str,
    limit: f64,
    gpu: [&[f32]; 3],
    twin: [&[f32]; 3],
) {
    for (k, tensor) in ["parameters", "first moment", "second moment"]
        .into_iter()
        .enumerate()
    {
        rows.add(kernel, tensor, limit, gpu[k], twin[k]);
    }
}

/// What a network's update has changed.
pub(super) fn add_change(rows: &mut Rows, kernel: &'static str, start: &[f32], gpu: &[f32], twin: &[f32]) {
    let change = |after: &[f32]| -> Vec<f32> { after.iter().zip(start).map(|(a, b)| a - b).collect() };
    rows.add(
        kernel,
        "change of parameters",
        CHANGE,
        &change(gpu),
        &change(twin),
    );
}

impl Step<'_> {
    /// Compares what one kernel left.
    fn compare(&self, kernel: Kernel, rows: &mut Rows) {
        match kernel {
            Kernel::Degradation => self.degradation(rows),
            Kernel::PsfBlur => self.psf_blur(rows),
            Kernel::LrNetwork => self.lr_network(rows),
            Kernel::HalfWeights => self.half_weights(rows),
            Kernel::HrNetwork => self.hr_network(rows),
            Kernel::HrWindow => self.hr_window(rows),
            Kernel::NetworkUpdate => self.network_update(rows),
            // Has a comparison of its own, over several steps.
            Kernel::LrSteps => {}
            Kernel::DegradationSums => self.degradation_sums(rows),
            Kernel::DegradationUpdate => self.degradation_update(rows),
        }
    }

    fn degradation(&self, rows: &mut Rows) {
        let twin = &self.twin.degradation;
        rows.add(
            "degradation",
            "PSF and derivatives",
            GRADIENT,
            &self.records.bank,
            &twin.bank,
        );
        rows.add("degradation", "SRF", FORWARD, &self.tensors.srf, &twin.srf);
    }

    fn psf_blur(&self, rows: &mut Rows) {
        let (b, o) = (self.shape.msi, &self.twin.observations);
        let records = self.records.observations.chunks_exact(self.shape.observation);
        let mut add = |tensor, limit, from: usize, twin: Vec<f32>| {
            let count = twin.len() / o.len();
            let gpu = gathered(records.clone().map(|r| &r[from..from + count]));
            rows.add("psf_blur", tensor, limit, &gpu, &twin);
        };
        add("(Y*C)", FORWARD, 0, gathered(o.iter().map(|o| &o.lr_msi)));
        add("X R", FORWARD, b, gathered(o.iter().map(|o| &o.srf_of_lr_hsi)));
        add("sign", FORWARD, 2 * b, gathered(o.iter().map(|o| &o.sign)));
        add("loss", FORWARD, 3 * b, gathered(o.iter().map(|o| [o.loss])));
        let to_psf = gathered(o.iter().map(|o| o.psf_gradient));
        add("PSF gradient", GRADIENT, 3 * b + 1, to_psf);
    }

    fn lr_network(&self, rows: &mut Rows) {
        let (layout, shape, case) = (&self.layout, &self.shape, self.case);
        // Padding and a frozen encoder's rows are nobody's values.
        let live = |row: &[f32]| -> Vec<f32> {
            let layers = layout
                .layers
                .iter()
                .filter(|l| !case.frozen || l.branch != Branch::Encoder)
                .filter(|l| case.noise != Noise::Off || l.branch != Branch::Std);
            gathered(layers.map(|l| &row[l.activation..l.activation + l.outputs]))
        };
        let abundance = |row: &[f32]| row[layout.abundance..][..layout.abundances].to_vec();
        let gpu = || self.records.pixels.chunks_exact(4 * shape.pixel_record);
        let twin = &self.twin.lr_pixels;
        let mut add = |tensor, limit, gpu: Vec<f32>, twin: Vec<f32>| {
            rows.add("lr_network", tensor, limit, &gpu, &twin);
        };
        add(
            "activations",
            FORWARD,
            gathered(gpu().map(live)),
            gathered(twin.iter().map(|p| live(&p.row))),
        );
        add(
            "abundance",
            FORWARD,
            gathered(gpu().map(abundance)),
            gathered(twin.iter().map(|p| abundance(&p.row))),
        );
        add(
            "gradients to outputs",
            GRADIENT,
            gathered(gpu().map(|p| live(&p[4 * shape.deltas..]))),
            gathered(twin.iter().map(|p| live(&p.deltas))),
        );
        add(
            "loss",
            FORWARD,
            gpu().map(|p| p[4 * shape.loss]).collect(),
            twin.iter().map(|p| p.loss).collect(),
        );
    }

    fn network_update(&self, rows: &mut Rows) {
        let (kernel, case) = ("network_update", self.case);
        let (gpu, twin) = (&self.state, &self.twin.state);
        rows.add(
            kernel,
            "gradient",
            GRADIENT,
            &self.tensors.network_gradient,
            &self.twin.network_gradient,
        );
        add_adam(
            rows,
            kernel,
            GRADIENT,
            [&gpu.network, &gpu.network_m, &gpu.network_v],
            [&twin.network, &twin.network_m, &twin.network_v],
        );
        add_change(rows, kernel, &case.state().network, &gpu.network, &twin.network);
        let n = case.lr * case.architecture.bands;
        let members = self.twin.lr_pixels.chunks_exact(case.lr);
        let expected: Vec<f32> = members
            .map(|p| p.iter().map(|p| p.loss).sum::<f32>() / n as f32)
            .collect();
        rows.add(
            kernel,
            "losses",
            FORWARD,
            &singles(&self.losses[0].network),
            &expected,
        );
    }

    fn half_weights(&self, rows: &mut Rows) {
        let singles = |x: &[half::f16]| x.iter().map(|x| x.to_f32()).collect::<Vec<_>>();
        rows.add(
            "half_weights",
            "weights",
            limits(self.precision).0,
            &singles(&self.records.weights),
            &singles(&self.twin.half_weights),
        );
    }

    /// The windows' records.
    fn windows(&self) -> impl Iterator<Item = &[f32]> {
        self.records.windows.chunks_exact(4 * self.shape.window_record)
    }

    /// Some of the numbers behind each window's rows of bands.
    fn tails(&self, from: usize, count: usize) -> Vec<f32> {
        let at = 4 * self.shape.tail + from;
        gathered(self.windows().map(|r| &r[at..][..count]))
    }

    fn hr_network(&self, rows: &mut Rows) {
        let (kernel, (forward, backward)) = ("hr_network", limits(self.precision));
        let (bands, b, floats) = (self.shape.bands, self.shape.msi, 4 * self.shape.band_quads);
        let twin = &self.twin.hr_windows;
        rows.add(
            kernel,
            "(Z*C)",
            forward,
            &gathered(self.windows().map(|r| &r[..bands])),
            &gathered(twin.iter().map(|w| &w.blur_of_sample)),
        );
        if self.case.noise == Noise::Given {
            let expected = gathered(twin.iter().map(|w| &w.srf_of_sample));
            rows.add(kernel, "Z R", forward, &self.tensors.srf_of_sample, &expected);
        }
        let expected: Vec<f32> = twin.iter().map(|w| w.response_loss).collect();
        rows.add(kernel, "term 2", forward, &self.tails(6, 1), &expected);
        let to_srf = gathered(self.windows().map(|r| {
            let columns = &r[(1 + psf::PARAMETERS) * floats..];
            let at = |i: usize| columns[(i % b) * floats + i / b];
            (0..bands * b).map(at).collect::<Vec<_>>()
        }));
        let expected = gathered(twin.iter().map(|w| &w.srf_gradient));
        rows.add(kernel, "SRF gradient", backward, &to_srf, &expected);
    }

    fn hr_window(&self, rows: &mut Rows) {
        let (kernel, (forward, backward)) = ("hr_window", limits(self.precision));
        let twin = &self.twin.hr_windows;
        let losses: Vec<f32> = twin.iter().map(|w| w.blur_loss).collect();
        rows.add(kernel, "term 1", forward, &self.tails(0, 1), &losses);
        let to_psf = gathered(twin.iter().map(|w| w.psf_gradient));
        rows.add(
            kernel,
            "PSF gradient",
            backward,
            &self.tails(1, psf::PARAMETERS),
            &to_psf,
        );
    }

    fn degradation_sums(&self, rows: &mut Rows) {
        let Some(twin) = &self.twin.sums else { return };
        let (kernel, (_, limit)) = ("degradation_sums", limits(self.precision));
        let (bands, b) = (self.shape.bands, self.shape.msi);
        let by_column = |g: &Vec<f32>| -> Vec<f32> {
            let at = |i: usize| g[(i % bands) * b + i / bands];
            (0..bands * b).map(at).collect()
        };
        let [second, third] = &twin.to_srf;
        let expected = gathered([by_column(second), by_column(third)]);
        let (seen, tail) = self.records.sums.split_at(expected.len());
        rows.add(kernel, "SRF gradients", limit, seen, &expected);
        let expected = gathered([
            &twin.losses[..1],
            &twin.to_psf[0],
            &twin.losses[1..],
            &twin.to_psf[2],
        ]);
        rows.add(kernel, "losses, PSF gradients", limit, tail, &expected);
    }

    fn degradation_update(&self, rows: &mut Rows) {
        let Some(gradient) = &self.twin.degradation_gradient else {
            return;
        };
        let (kernel, (forward, backward)) = ("degradation_update", limits(self.precision));
        let (tensors, gpu, twin) = (&self.tensors, &self.state, &self.twin.state);
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
        add_adam(
            rows,
            kernel,
            backward,
            [&gpu.degradation, &gpu.degradation_m, &gpu.degradation_v],
            [&twin.degradation, &twin.degradation_m, &twin.degradation_v],
        );
        let seen = singles(&self.losses[0].degradation.unwrap_or_default());
        rows.add(kernel, "losses", forward, &seen, &gradient.losses);
    }
}
