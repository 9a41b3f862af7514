//! What the last step's kernels left, read back for comparisons with twins and golden files.

use super::GpuTrainer;
use crate::engine::gpu::defines::{Shape, keeps_tensors};
use crate::engine::gpu::degradation_sums;
use crate::engine::gpu::recording::unpadded;
use crate::engine::{Noise, Precision, StepTensors};
use crate::error::Result;
use crate::network::Branch;
use crate::sensor::psf;

/// What kernels leave, as it lies on the device; see [`Shape`].
pub(in crate::engine::gpu) struct Records {
    pub(in crate::engine::gpu) bank: Vec<f32>,
    pub(in crate::engine::gpu) observations: Vec<f32>,
    pub(in crate::engine::gpu) pixels: Vec<f32>,
    /// Empty where the last step did not update θ.
    pub(in crate::engine::gpu) windows: Vec<f32>,
    /// What `half_weights` left; empty in single precision and where `windows` is.
    pub(in crate::engine::gpu) weights: Vec<half::f16>,
    /// What `degradation_sums` left; empty where `windows` is.
    pub(in crate::engine::gpu) sums: Vec<f32>,
}

impl GpuTrainer<'_> {
    pub(in crate::engine::gpu) fn shape(&self) -> Shape {
        self.shape
    }

    /// Reads what the last step's kernels left.
    pub(in crate::engine::gpu) fn records(&mut self) -> Result<Records> {
        self.flush(false)?;
        let (context, s, b) = (&self.engine.context, &self.shape, &self.buffers);
        let (lr, hr, updated) = self.last_step;
        let members = self.problem.architecture.members;
        let hr = if updated { hr } else { 0 };
        let bank = (1 + psf::PARAMETERS) * s.kernel * s.kernel;
        Ok(Records {
            bank: b.bank.read(context, 0, bank)?,
            observations: b.observations.read(context, 0, lr * s.observation)?,
            pixels: b.pixels.read(context, 0, members * lr * 4 * s.pixel_record)?,
            windows: b.windows.read(context, 0, hr * 4 * s.window_record)?,
            weights: match updated && self.engine.precision() == Precision::F16 {
                true => b
                    .weights
                    .read::<half::f16>(context, 0, b.weights.bytes as usize / 4)?,
                false => Vec::new(),
            },
            sums: match updated {
                true => b.sums.read(context, 4 * s.theta, degradation_sums::count(s))?,
                false => Vec::new(),
            },
        })
    }

    /// The tensors of the last step.
    pub(super) fn last_tensors(&mut self) -> Result<StepTensors<f32>> {
        let records = self.records()?;
        let (context, s, b) = (&self.engine.context, &self.shape, &self.buffers);
        let members = self.problem.architecture.members;
        let area = s.kernel * s.kernel;
        let keep = keeps_tensors(&self.problem);

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
        let sums: Vec<f32> = if self.last_step.2 {
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
            abundance_lr: rows(self.layout.abundance, self.layout.abundances),
            mean_lr: rows(self.layout.output(Branch::Mean), s.bands),
            std_lr: match self.problem.noise {
                Noise::Off => Vec::new(),
                _ => rows(self.layout.output(Branch::Std), s.bands),
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
            network_gradient: b.gradient.read(context, 0, members * self.layout.parameters)?,
            term_gradients: terms.to_vec(),
            degradation_gradient: total.to_vec(),
        })
    }
}
