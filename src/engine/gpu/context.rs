//! An open device with what reading back and timing need.

use std::ops::Deref;
use std::sync::{Mutex, PoisonError};

use crate::engine::Precision;
use crate::engine::gpu::adapters::{AdapterChoice, best_hardware, enumerate, has_matrices, select};
use crate::engine::gpu::defines::{Arithmetic, Target};
use crate::engine::gpu::device::Device;
use crate::engine::gpu::landing::Landing;
use crate::engine::gpu::lr_steps;
use crate::engine::gpu::timing::Timing;
use crate::engine::profile::{Clock, Profile};
use crate::error::{Error, Result};

/// Size that the buffer of read-backs begins with, so that small ones make it once.
const LEAST_STAGING: u64 = 1 << 18;

/// A device, its clock and its way back to the host.
#[derive(Debug)]
pub struct Context {
    opened: Device,
    pub(super) timing: Timing,
    /// The buffer that read-backs go through, as large as the largest so far.
    staging: Mutex<Option<Landing>>,
    /// Whether cooperative matrices are switched on.
    matrices: bool,
}

impl Deref for Context {
    type Target = Device;

    fn deref(&self) -> &Device {
        &self.opened
    }
}

impl Context {
    /// Opens the chosen adapter, to hold at most `memory` bytes of buffers where that is given.
    ///
    /// # Errors
    /// [`Error::Input`] if there is no such adapter, [`Error::Device`] if it cannot be opened.
    pub fn new(choice: &AdapterChoice, precision: Precision, memory: Option<u64>) -> Result<Self> {
        Self::on(&select(choice)?, precision, memory)
    }

    /// As [`Context::new`] with [`AdapterChoice::Hardware`]; `None` where there is no such GPU. Drivers are asked for their
    /// adapters once, which may take them longer than all the rest of a start.
    ///
    /// # Errors
    /// [`Error::Device`] if it cannot be opened.
    pub fn hardware(precision: Precision, memory: Option<u64>) -> Result<Option<Self>> {
        let mut adapters = enumerate();
        best_hardware(&adapters)
            .map(|best| Self::on(&adapters.swap_remove(best), precision, memory))
            .transpose()
    }

    fn on(adapter: &wgpu::Adapter, precision: Precision, memory: Option<u64>) -> Result<Self> {
        let half = precision == Precision::F16;
        if half && !adapter.features().contains(wgpu::Features::SHADER_F16) {
            return Err(Error::input(format!(
                "the setting precision f16: {} has no 16-bit shaders (see `hsr-gpu devices`); use the setting precision f32",
                adapter.get_info().name
            )));
        }
        let matrices = half && has_matrices(adapter);
        // WebGPU's default limits, or what is there where it is less: what runs here runs elsewhere.
        let limits = wgpu::Limits::default()
            .or_worse_values_from(&adapter.limits())
            .using_alignment(adapter.limits());
        // Two are taken as they are: of storage buffers `lr_steps` wants more, of workgroup memory `hr_network` makes use;
        // an adapter that has no more goes without the one and draws some samples twice in the other.
        let there = adapter.limits();
        let limits = wgpu::Limits {
            max_storage_buffers_per_shader_stage: there
                .max_storage_buffers_per_shader_stage
                .min(lr_steps::BINDINGS),
            max_compute_workgroup_storage_size: there.max_compute_workgroup_storage_size,
            ..limits
        };
        let mut wanted = wgpu::Features::TIMESTAMP_QUERY
            | wgpu::Features::TIMESTAMP_QUERY_INSIDE_PASSES
            | wgpu::Features::PIPELINE_CACHE;
        wanted.set(wgpu::Features::SHADER_F16, half);
        wanted.set(wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX, matrices);
        // SAFETY: asked for where cooperative matrices are used alone; what they touch lies within their buffers, as the same
        // text without them shows under the kernel tests' checks.
        let experimental_features = match matrices {
            true => unsafe { wgpu::ExperimentalFeatures::enabled() },
            false => wgpu::ExperimentalFeatures::disabled(),
        };
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("hsr-gpu"),
            required_features: adapter.features() & wanted,
            required_limits: limits,
            experimental_features,
            ..Default::default()
        };
        Ok(Context {
            opened: Device::open(adapter, &descriptor, memory)?,
            timing: Timing::default(),
            staging: Mutex::default(),
            matrices,
        })
    }

    /// What shaders' texts take from this adapter.
    pub fn target(&self, precision: Precision) -> Target {
        let software = self.info.device_type == wgpu::DeviceType::Cpu;
        Target {
            software,
            workgroup_memory: self.limits.max_compute_workgroup_storage_size as usize,
            arithmetic: match precision {
                Precision::F32 => Arithmetic::Single,
                Precision::F16 if self.matrices => Arithmetic::Matrix,
                Precision::F16 => Arithmetic::Half,
            },
            // Two halve a GPU's loads of weights; a rasteriser in software would only compile twice the text.
            pixels: if software { 1 } else { 2 },
            lr_pixels: if software {
                lr_steps::SOFTWARE_TILE
            } else {
                lr_steps::TILE
            },
        }
    }

    /// Submits the commands; [`Device::wait_for`] waits for them.
    ///
    /// # Errors
    /// [`Error::Failed`] if wgpu reported an error.
    pub fn submit(&self, mut encoder: wgpu::CommandEncoder) -> Result<wgpu::SubmissionIndex> {
        self.timing.resolve(&mut encoder);
        let submission = self.queue.submit([encoder.finish()]);
        self.timing.keep(|buffer, bytes| self.read(buffer, 0, bytes))?;
        self.check()?;
        Ok(submission)
    }

    /// Submits the commands and waits for them.
    ///
    /// # Errors
    /// As [`Context::submit`].
    pub fn run(&self, encoder: wgpu::CommandEncoder) -> Result<()> {
        let submission = self.submit(encoder)?;
        self.wait_for(submission)
    }

    /// The clock that dispatches can be timed with.
    pub fn clock(&self) -> Clock {
        Timing::clock(self)
    }

    /// Begins to time every dispatch.
    ///
    /// # Errors
    /// [`Error::Failed`] if the adapter has no timestamps inside passes, or no memory for them.
    pub fn start_profile(&self, clock: Clock) -> Result<()> {
        self.timing.start(self, clock)
    }

    /// Ends the profile and hands out its spans.
    pub fn take_profile(&self) -> Profile {
        self.timing.take(self.queue.get_timestamp_period())
    }

    /// `kept`, if it is large enough to read back `bytes`, else one that is.
    fn staging(&self, kept: Option<Landing>, bytes: u64) -> Result<Landing> {
        match kept.filter(|kept| kept.bytes() >= bytes) {
            Some(kept) => Ok(kept),
            None => Landing::new(self, bytes.max(LEAST_STAGING)),
        }
    }

    /// Makes sure that `bytes` can be read back at once.
    ///
    /// # Errors
    /// [`Error::DeviceMemory`] where there is no room for it.
    pub fn reserve(&self, bytes: u64) -> Result<()> {
        let mut kept = self.staging.lock().unwrap_or_else(PoisonError::into_inner);
        *kept = Some(self.staging(kept.take(), bytes)?);
        Ok(())
    }

    /// Copies `bytes` of `buffer` from `offset` to the host; both multiples of four.
    ///
    /// # Errors
    /// [`Error::Failed`] if the copy fails.
    pub fn read(&self, buffer: &wgpu::Buffer, offset: u64, bytes: u64) -> Result<Vec<u8>> {
        if bytes == 0 {
            return Ok(Vec::new());
        }
        let mut kept = self.staging.lock().unwrap_or_else(PoisonError::into_inner);
        let staging = self.staging(kept.take(), bytes)?;
        let mut encoder = self.device.create_command_encoder(&Default::default());
        staging.copy(&mut encoder, (buffer, offset), 0, bytes);
        self.queue.submit([encoder.finish()]);
        staging.request(bytes);
        self.wait()?;
        let data = staging.take(self, bytes, <[u8]>::to_vec)?;
        *kept = Some(staging);
        Ok(data)
    }
}
