//! What the last step's kernels left, read back for comparisons with twins and golden files.

use super::kernels::BoundKernels;
use crate::engine::gpu::defines::keeps_tensors;
use crate::engine::gpu::degradation_sums;
use crate::engine::gpu::recording::unpadded;
use crate::engine::{Noise, Precision, StepTensors};
use crate::error::Result;
use crate::network::Branch;
use crate::sensor::psf;

/// What kernels leave, as it lies on the device; see [`Shape`].
pub(crate) struct Records {
    pub(crate) bank: Vec<f32>,
    pub(crate) observations: Vec<f32>,
    pub(crate) pixels: Vec<f32>,
    /// Empty where the last step did not update θ.
    pub(crate) windows: Vec<f32>,
    /// What `half_weights` left; empty in single precision and where `windows` is.
    pub(crate) weights: Vec<half::f16>,
    /// What `degradation_sums` left; empty where `windows` is.
    pub(crate) sums: Vec<f32>,
}

/// LR pixels and HR windows of a step, and whether it updated θ.
pub(super) type Counts = (usize, usize, bool);

impl Records {
    /// Reads what the kernels of a step of these `counts` left.
    pub(super) fn read(run: &BoundKernels, (lr, hr, updated): Counts) -> Result<Self> {
        let (context, s, b) = (&run.engine.context, &run.shape, &run.buffers);
        let members = run.problem.architecture.members;
        let hr = if updated { hr } else { 0 };
        let bank = (1 + psf::PARAMETERS) * s.kernel * s.kernel;
        Ok(Records {
            bank: b.bank.read(context, 0, bank)?,
            observations: b.observations.read(context, 0, lr * s.observation)?,
            pixels: b.pixels.read(context, 0, members * lr * 4 * s.pixel_record)?,
            windows: b.windows.read(context, 0, hr * 4 * s.window_record)?,
            weights: if updated && run.engine.precision() == Precision::F16 {
                b.weights
                    .read::<half::f16>(context, 0, b.weights.bytes as usize / 4)?
            } else {
                Vec::new()
            },
            sums: if updated {
                b.sums.read(context, 4 * s.theta, degradation_sums::count(s))?
            } else {
                Vec::new()
            },
        })
    }
}

/// The tensors of a step of these `counts`.
pub(super) fn tensors(run: &BoundKernels, counts: Counts) -> Result<StepTensors<f32>> {
    let records = Records::read(run, counts)?;
    let (context, s, b) = (&run.engine.context, &run.shape, &run.buffers);
    let members = run.problem.architecture.members;
    let area = s.kernel * s.kernel;
    let keep = keeps_tensors(&run.problem);

    let srf: Vec<f32> = b.srf.read(context, 0, s.msi * 4 * s.band_quads)?;
    let srf = (0..s.bands * s.msi)
        .map(|i| srf[(i % s.msi) * 4 * s.band_quads + i / s.msi])
        .collect();
    let observed = |at: usize| -> Vec<f32> {
        let each = records.observations.chunks_exact(s.observation);
        each.flat_map(|o| o[at..at + s.msi].to_vec()).collect()
    };
    let rows = |at: usize, length: usize| -> Vec<f32> {
        let each = records.pixels.chunks_exact(4 * s.pixel_record);
        each.flat_map(|p| p[at..at + length].to_vec()).collect()
    };
    let window = |at: usize, from: usize, to: usize, count: usize| -> Vec<f32> {
        let each = records.windows.chunks_exact(4 * s.window_record);
        each.flat_map(|w| unpadded(&w[at..at + count * from], from, to))
            .collect()
    };
    let sums: Vec<f32> = if counts.2 {
        b.sums.read(context, 0, 4 * s.theta)?
    } else {
        Vec::new()
    };
    let (terms, total) = sums.split_at(sums.len() / 4 * 3);
    Ok(StepTensors {
        psf: records.bank[..area].to_vec(),
        srf,
        lr_msi: observed(0),
        srf_of_lr_hsi: observed(s.msi),
        abundance_lr: rows(run.layout.abundance, run.layout.abundances),
        mean_lr: rows(run.layout.output(Branch::Mean), s.bands),
        std_lr: match run.problem.noise {
            Noise::Off => Vec::new(),
            _ => rows(run.layout.output(Branch::Std), s.bands),
        },
        sample_lr: if keep {
            rows(4 * s.sample, s.bands)
        } else {
            Vec::new()
        },
        blur_of_sample: window(0, s.bands, s.bands, 1),
        srf_of_sample: if keep {
            let quads = 4 * s.response_quads;
            window(4 * s.response, quads, s.msi, s.side * s.side)
        } else {
            Vec::new()
        },
        network_gradient: b.gradient.read(context, 0, members * run.layout.parameters)?,
        term_gradients: terms.to_vec(),
        degradation_gradient: total.to_vec(),
    })
}
