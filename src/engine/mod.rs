//! What the coordination loop needs of a device, as two traits: an [`Engine`] that reconstructs and makes
//! trainers, and a [`Trainer`] that holds one training run on the device.
//!
//! The loop decides *what* a step is ([`StepPlan`]); the engine knows nothing of patches, epochs or files. Its
//! training data are windows: for every LR pixel that takes part, its spectrum and the HR pixels around its
//! block. `engine/cpu` holds the twins that define each kernel, `engine/gpu` the same kernels in WGSL.

pub mod cpu;
pub mod failover;
pub mod geometry;
#[cfg(feature = "gpu")]
pub mod gpu;
pub mod profile;
pub mod refinement;
pub mod self_test;
pub mod simd;
pub mod step;
pub mod work;
pub mod workload;

use std::sync::Arc;

pub use geometry::Geometry;
use ndarray::{ArrayView3, ArrayViewMut3};

use crate::error::{Error, Result};
use crate::network::Architecture;
use crate::real::Real;
use crate::sensor::{psf, srf};

/// Training data: one window an LR pixel.
#[derive(Debug, Clone)]
pub struct TrainingSet<T> {
    /// Spectra of the LR-HSI, windows × B.
    pub lr_hsi: Vec<T>,
    /// HR-MSI pixels, windows × S × S × b, rows before columns.
    pub hr_msi: Vec<T>,
    /// Number of windows.
    pub windows: usize,
}

/// Where ε comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Noise {
    /// Philox normals of this seed.
    Philox(u64),
    /// Handed over step by step with [`Trainer::give_noise`]: to lay a step beside an outside implementation.
    Given,
    /// ε = 0: the mean is trained alone.
    Off,
}

/// Arithmetic of the HR pass and of reconstruction; the LR pass, Adam and all parameters are f32 in any case.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Precision {
    /// Single precision.
    #[default]
    F32,
    /// Weights and the inputs of every layer rounded to f16, products summed in f32.
    F16,
}

impl Precision {
    /// `x` as a factor of a product.
    pub fn round<T: Real>(self, x: T) -> T {
        match self {
            Precision::F32 => x,
            Precision::F16 => T::of(half::f16::from_f64(x.f64()).to_f64()),
        }
    }

    /// `f32` or `f16`.
    pub fn name(self) -> &'static str {
        match self {
            Precision::F32 => "f32",
            Precision::F16 => "f16",
        }
    }
}

/// What stays the same over a training run.
#[derive(Debug, Clone)]
pub struct Problem<T> {
    /// The network.
    pub architecture: Architecture,
    /// The grids.
    pub geometry: Geometry,
    /// Weights α₁, α₂, α₃ of the terms of L_θ.
    pub alpha: [f64; 3],
    /// Weight β of L_φ.
    pub beta: f64,
    /// Source of ε.
    pub noise: Noise,
    /// Whether the three parameters of the PSF are learned.
    pub learn_psf: bool,
    /// Whether the PSF's centre is learned as well.
    pub learn_centre: bool,
    /// Whether the SRF's mixture is learned.
    pub learn_srf: bool,
    /// A PSF (K×K) that takes the place of the Gaussian.
    pub fixed_psf: Option<Vec<T>>,
    /// An SRF (B×b) that takes the place of the mixture.
    pub fixed_srf: Option<Vec<T>>,
    /// Partial fine-tuning: abundances are computed once, when the trainer is made, and only decoders learn.
    pub frozen_encoder: bool,
    /// Most LR pixels in a step's `lr_batch`.
    pub lr_capacity: usize,
    /// Most LR pixels in a step's `hr_batch`.
    pub hr_capacity: usize,
}

/// Number of degradation parameters θ: the PSF's ([`psf::PARAMETERS`]), then the SRF's ([`srf::parameters`]).
pub fn degradation_parameters(msi_bands: usize) -> usize {
    psf::PARAMETERS + srf::parameters(msi_bands)
}

/// Everything that changes in training: parameters, Adam's moments and step counts.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainingState<T> {
    /// φ of all members ([`crate::network::Layout`]).
    pub network: Vec<T>,
    /// Adam's first moment of φ.
    pub network_m: Vec<T>,
    /// Adam's second moment of φ.
    pub network_v: Vec<T>,
    /// The linear path's map ([`Architecture::linear_parameters`]); fixed, zero where it is off.
    pub linear: Vec<T>,
    /// θ: PSF parameters, then SRF parameters.
    pub degradation: Vec<T>,
    /// Adam's first moment of θ.
    pub degradation_m: Vec<T>,
    /// Adam's second moment of θ.
    pub degradation_v: Vec<T>,
    /// Updates of φ so far.
    pub network_updates: u64,
    /// Updates of θ so far.
    pub degradation_updates: u64,
}

impl<T: Real> TrainingState<T> {
    /// A state with these parameters and no history.
    pub fn start(architecture: &Architecture, network: Vec<T>, degradation: Vec<T>) -> Self {
        let zeros = |n: usize| vec![T::zero(); n];
        TrainingState {
            network_m: zeros(network.len()),
            network_v: zeros(network.len()),
            linear: zeros(architecture.linear_parameters()),
            degradation_m: zeros(degradation.len()),
            degradation_v: zeros(degradation.len()),
            network,
            degradation,
            network_updates: 0,
            degradation_updates: 0,
        }
    }
}

/// One step of the coordination loop.
#[derive(Debug, Clone)]
pub struct StepPlan {
    /// Number of the step, the counter of its random numbers.
    pub step: u32,
    /// Windows whose LR pixels train φ and enter term 3 of L_θ.
    pub lr_batch: Arc<[u32]>,
    /// Windows whose HR pixels enter terms 1 and 2 of L_θ.
    pub hr_batch: Arc<[u32]>,
    /// Member that Ẑ is drawn from.
    pub member: u32,
    /// Learning rate of φ; `None` leaves φ as it is.
    pub network_rate: Option<f64>,
    /// Learning rate of θ; `None` skips the HR pass and leaves θ as it is.
    pub degradation_rate: Option<f64>,
}

/// Unweighted losses of a step.
#[derive(Debug, Clone, PartialEq)]
pub struct StepLosses {
    /// Number of the step.
    pub step: u32,
    /// Terms 1, 2, 3 of L_θ; `None` where the step had no θ update.
    pub degradation: Option<[f64; 3]>,
    /// mean|X̂_ds − X| of every member.
    pub network: Vec<f64>,
}

/// Intermediate tensors of the last step, for comparison with another implementation.
#[derive(Debug, Clone, Default)]
pub struct StepTensors<T> {
    /// PSF, K×K.
    pub psf: Vec<T>,
    /// SRF, B×b.
    pub srf: Vec<T>,
    /// (Y∗C)↓ of the LR batch, n×b.
    pub lr_msi: Vec<T>,
    /// X·R of the LR batch, n×b.
    pub srf_of_lr_hsi: Vec<T>,
    /// Abundances of the LR batch, members × n × P.
    pub abundance_lr: Vec<T>,
    /// μ of the LR batch, members × n × B.
    pub mean_lr: Vec<T>,
    /// σ of the LR batch, members × n × B. Empty where an engine leaves them out of a run without noise.
    pub std_lr: Vec<T>,
    /// Sample of the LR batch, members × n × B.
    pub sample_lr: Vec<T>,
    /// (Ẑ∗C)↓ of the HR batch, n×B.
    pub blur_of_sample: Vec<T>,
    /// Ẑ·R of the HR batch, n×S×S×b.
    pub srf_of_sample: Vec<T>,
    /// Weighted gradient of φ, laid out like the parameters.
    pub network_gradient: Vec<T>,
    /// Gradient of each unweighted θ term, 3 × θ.
    pub term_gradients: Vec<T>,
    /// Weighted gradient of θ.
    pub degradation_gradient: Vec<T>,
}

/// What [`Engine::reconstruct`] writes for every HR pixel.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Output {
    /// μ, averaged over members; B channels.
    Mean,
    /// σ, averaged over members; B channels.
    Std,
    /// μ + σ ε of one member; B channels.
    Sample {
        /// Seed of ε.
        seed: u64,
        /// The member.
        member: u32,
    },
    /// Abundance of one member; P channels.
    Abundance {
        /// The member.
        member: u32,
    },
}

/// A device that trains and reconstructs. Several threads may use one engine, each with trainers of its own.
pub trait Engine<T: Real>: Send + Sync {
    /// Name of the device and how it is driven, for reports.
    fn name(&self) -> String;

    /// Of [`Engine::name`] what decides the bits of a run: two engines of one device compute the same.
    fn device(&self) -> String {
        self.name()
    }

    /// Puts a training run on the device.
    ///
    /// # Errors
    /// [`crate::Error`] where the device cannot hold or compile it.
    fn trainer<'a>(
        &'a self,
        problem: &Problem<T>,
        data: &TrainingSet<T>,
        state: TrainingState<T>,
    ) -> Result<Box<dyn Trainer<T> + 'a>>;

    /// Runs the network over HR-MSI pixels (rows × columns × b) into `out` (rows × columns × channels).
    ///
    /// `network` and `linear` are as in [`TrainingState`]. `first_pixel` is the number of the tile's first pixel
    /// in the whole image (row-major), the counter of a sample's ε.
    ///
    /// # Errors
    /// [`crate::Error`] where the device fails.
    fn reconstruct(
        &self,
        architecture: &Architecture,
        state: &TrainingState<T>,
        hr_msi: ArrayView3<T>,
        first_pixel: u32,
        output: Output,
        out: ArrayViewMut3<T>,
    ) -> Result<()>;

    /// The device's passes of refinement.
    fn refiner(&self) -> &dyn refinement::Refiner<T>;

    /// The engine is not used any more: its device lets go of everything, which then is lost.
    fn give_up(&self) {}

    /// What went wrong on the way and was mended, each in one line.
    fn mishaps(&self) -> Vec<String> {
        Vec::new()
    }

    /// The device's instruments; `None` where it has none.
    fn instruments(&self) -> Option<&dyn profile::Instruments> {
        None
    }
}

/// Refuses a θ that is not `expected` values long.
fn check_length(found: usize, expected: usize) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    Err(Error::failed(format!(
        "θ of {found} values where {expected} are needed"
    )))
}

/// One training run on a device. Steps are queued; [`Trainer::losses`] waits for them.
pub trait Trainer<T: Real> {
    /// Queues a step.
    ///
    /// # Errors
    /// [`crate::Error`] where the device fails.
    fn step(&mut self, plan: &StepPlan) -> Result<()>;

    /// Waits for the queued steps and returns their losses, in order, since the last call.
    ///
    /// # Errors
    /// [`crate::Error`] where the device fails.
    fn losses(&mut self) -> Result<Vec<StepLosses>>;

    /// [`Trainer::losses`] of those steps alone that are known to be done, without waiting for others.
    ///
    /// # Errors
    /// [`crate::Error`] where the device fails.
    fn arrived_losses(&mut self) -> Result<Vec<StepLosses>> {
        self.losses()
    }

    /// Waits for the queued steps and copies the state out; ends what [`Trainer::arrived_state`] began.
    ///
    /// # Errors
    /// [`crate::Error`] where the device fails.
    fn state(&mut self) -> Result<TrainingState<T>>;

    /// The state behind the steps that were queued when the first of these calls since the last state was made, once it has
    /// come; does not wait for it. When it has come, so have the losses of these steps.
    ///
    /// # Errors
    /// [`crate::Error`] where the device fails.
    fn arrived_state(&mut self) -> Result<Option<TrainingState<T>>> {
        self.state().map(Some)
    }

    /// Puts θ in the place of the present one; its moments and everything else stay.
    ///
    /// # Errors
    /// [`crate::Error`] where the device fails or `theta` has another length.
    fn set_degradation(&mut self, theta: &[T]) -> Result<()>;

    /// ε of the next step for [`Noise::Given`]: `hr` is HR batch × S × S × B, `lr` is members × LR batch × B.
    ///
    /// # Errors
    /// [`crate::Error`] where the device fails.
    fn give_noise(&mut self, hr: &[T], lr: &[T]) -> Result<()>;

    /// The intermediate tensors of the last step.
    ///
    /// # Errors
    /// [`crate::Error`] where the device fails.
    fn tensors(&mut self) -> Result<StepTensors<T>>;
}
