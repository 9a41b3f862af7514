//! An open device with what reading back and timing need.

use std::ops::Deref;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use crate::engine::Precision;
use crate::engine::gpu::adapters::{AdapterChoice, best_hardware, enumerate, has_matrices, select};
use crate::engine::gpu::defines::{Arithmetic, ShaderTarget};
use crate::engine::gpu::device::Device;
use crate::engine::gpu::lr_steps;
use crate::engine::gpu::options::Options;
use crate::engine::gpu::readback::Readback;
use crate::engine::gpu::timing::Timing;
use crate::engine::gpu::upload::Upload;
use crate::engine::gpu::verified::is_noted;
use crate::engine::profile::{Clock, Profile};
use crate::error::{Error, Result};

/// Size that the buffer of read-backs begins with, so that small ones make it once.
const LEAST_STAGING: u64 = 1 << 18;
/// Bytes from which on a write goes through a buffer of our own.
const LARGE: usize = 1 << 20;
/// Bytes of that buffer at most, a multiple of eight.
const MOST_UPLOAD: usize = 8 << 20;
/// Buffers for reading back that are kept.
const MOST_LANDINGS: usize = 2;

/// Bytes of workgroup memory of a workgroup of the HR pass: with so many, ten and more run side by side on a
/// multiprocessor of 228 KiB, and five on one of 128.
const MEMORY_BUDGET: usize = 24 << 10;
/// PCI's numbers of vendors.
const AMD: u32 = 0x1002;
const NVIDIA: u32 = 0x10de;

/// A device, its clock and its way back to the host.
#[derive(Debug)]
pub struct Context {
    opened: Device,
    pub(super) timing: Timing,
    /// Buffers that read-backs go through, kept for the next.
    landings: Mutex<Vec<Readback>>,
    /// The buffer that large writes go through.
    upload: Mutex<Option<Upload>>,
    /// Whether cooperative matrices are switched on.
    matrices: bool,
    /// Whether they stay off because nobody has verified them on this adapter.
    untried_matrices: bool,
}

impl Deref for Context {
    type Target = Device;

    fn deref(&self) -> &Device {
        &self.opened
    }
}

impl Context {
    /// Opens the chosen adapter.
    ///
    /// # Errors
    /// [`Error::Input`] if there is no such adapter, [`Error::Device`] if it cannot be opened.
    pub fn new(choice: &AdapterChoice, options: &Options) -> Result<Self> {
        Self::on(&select(choice)?, options)
    }

    /// As [`Context::new`] with [`AdapterChoice::Hardware`]; `None` where there is no such GPU. Drivers are asked for their
    /// adapters once, which may take them longer than all the rest of a start.
    ///
    /// # Errors
    /// [`Error::Device`] if it cannot be opened.
    pub fn hardware(options: &Options) -> Result<Option<Self>> {
        let mut adapters = enumerate();
        best_hardware(&adapters)
            .map(|best| Self::on(&adapters.swap_remove(best), options))
            .transpose()
    }

    fn on(adapter: &wgpu::Adapter, options: &Options) -> Result<Self> {
        let half = options.precision == Precision::F16;
        if half && !adapter.features().contains(wgpu::Features::SHADER_F16) {
            return Err(Error::input(format!(
                "the setting precision f16: {} has no 16-bit shaders (see `hsr-gpu devices`); use the setting precision f32",
                adapter.get_info().name
            )));
        }
        let noted = |folder: &PathBuf| is_noted(folder, &adapter.get_info());
        let trusted = options.unverified_matrices || options.cache.as_ref().is_some_and(noted);
        let present = half && has_matrices(adapter);
        let matrices = present && trusted;
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
                .min(lr_steps::MOST_BINDINGS),
            max_compute_workgroup_storage_size: there.max_compute_workgroup_storage_size,
            ..limits
        };
        let mut wanted = wgpu::Features::TIMESTAMP_QUERY
            | wgpu::Features::TIMESTAMP_QUERY_INSIDE_PASSES
            | wgpu::Features::PIPELINE_CACHE;
        wanted |= wgpu::Features::SHADER_INT64;
        wanted.set(wgpu::Features::SHADER_F16, half);
        wanted.set(wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX, matrices);
        // SAFETY: asked for where cooperative matrices are used alone; what they touch lies within their buffers, as the same
        // text without them shows under the kernel tests' checks.
        let experimental_features = if matrices {
            unsafe { wgpu::ExperimentalFeatures::enabled() }
        } else {
            wgpu::ExperimentalFeatures::disabled()
        };
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("hsr-gpu"),
            required_features: adapter.features() & wanted,
            required_limits: limits,
            experimental_features,
            ..Default::default()
        };
        Ok(Context {
            opened: Device::open(adapter, &descriptor, options.memory)?,
            timing: Timing::default(),
            landings: Mutex::default(),
            upload: Mutex::default(),
            matrices,
            untried_matrices: present && !trusted,
        })
    }

    /// The arithmetic in words, such as `f32`.
    pub fn arithmetic_name(&self, precision: Precision) -> String {
        let note = if self.matrices {
            " with matrices"
        } else if self.untried_matrices {
            " without matrices, which have not been verified on this adapter"
        } else {
            ""
        };
        format!("{}{note}", precision.name())
    }

    /// Whether 16 bits take cooperative matrices.
    pub fn has_matrices(&self) -> bool {
        self.matrices
    }

    /// What shaders' texts take from this adapter.
    pub fn target(&self, precision: Precision) -> ShaderTarget {
        let software = self.info.device_type == wgpu::DeviceType::Cpu;
        let known = [AMD, NVIDIA].contains(&self.info.vendor);
        ShaderTarget {
            software,
            workgroup_memory: self.limits.max_compute_workgroup_storage_size as usize,
            arithmetic: match precision {
                Precision::F32 => Arithmetic::Single,
                Precision::F16 if self.matrices => Arithmetic::Matrix,
                Precision::F16 => Arithmetic::Half,
            },
            memory_budget: MEMORY_BUDGET,
            // Two halve the loads of weights, but take registers, and with them other invocations, on NVIDIA (measured),
            // and AMD loads what is the same for all lanes into scalar registers. A rasteriser in software would only
            // compile twice the text.
            pixels: if software || known { 1 } else { 2 },
            rolled: !software && !known,
            inputs: if known { 4 } else { 1 },
            wide: self.device.features().contains(wgpu::Features::SHADER_INT64),
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

    /// A buffer to read back `bytes` through, one that was kept or a new one; see [`Context::keep_readback`].
    ///
    /// # Errors
    /// [`Error::DeviceMemory`] where there is no room for it.
    pub(super) fn readback(&self, bytes: u64) -> Result<Readback> {
        let mut kept = self.landings.lock().unwrap_or_else(PoisonError::into_inner);
        // The smallest that is large enough; where none is, the smallest goes, and a new one comes in its place.
        kept.sort_by_key(Readback::bytes);
        match kept.iter().position(|readback| readback.bytes() >= bytes) {
            Some(at) => Ok(kept.remove(at)),
            None => {
                if kept.len() >= MOST_LANDINGS {
                    kept.remove(0);
                }
                drop(kept);
                Readback::new(self, bytes.max(LEAST_STAGING))
            }
        }
    }

    /// Keeps a buffer for the next that reads back.
    pub(super) fn keep_readback(&self, readback: Readback) {
        let mut kept = self.landings.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push(readback);
        if kept.len() > MOST_LANDINGS {
            kept.sort_by_key(Readback::bytes);
            kept.remove(0);
        }
    }

    /// Puts `data` at `offset` of `buffer`, before everything that is submitted after this; both are multiples of four.
    ///
    /// # Errors
    /// [`Error::Device`] if the device fails, [`Error::DeviceMemory`] where there is no room for what it goes through.
    pub fn write(&self, buffer: &wgpu::Buffer, offset: u64, data: &[u8]) -> Result<()> {
        self.made.moved_up(data.len() as u64);
        if data.len() < LARGE {
            self.queue.write_buffer(buffer, offset, data);
            return Ok(());
        }
        let mut kept = self.upload.lock().unwrap_or_else(PoisonError::into_inner);
        for part in 0..data.len().div_ceil(MOST_UPLOAD) {
            let data = &data[part * MOST_UPLOAD..data.len().min((part + 1) * MOST_UPLOAD)];
            let bytes = (data.len() as u64).next_multiple_of(8);
            let upload = match kept.take().filter(|upload| upload.bytes() >= bytes) {
                Some(upload) => upload,
                None => Upload::new(self, bytes)?,
            };
            upload.write(self, (buffer, offset + (part * MOST_UPLOAD) as u64), data)?;
            *kept = Some(upload);
        }
        Ok(())
    }

    /// Hands `bytes` of `buffer` from `offset` on to `look`, as the device left them, after everything submitted; both
    /// multiples of four.
    ///
    /// # Errors
    /// [`Error::Failed`] if the copy fails.
    pub fn look<R>(
        &self,
        buffer: &wgpu::Buffer,
        offset: u64,
        bytes: u64,
        look: impl FnOnce(&[u8]) -> R,
    ) -> Result<R> {
        if bytes == 0 {
            return Ok(look(&[]));
        }
        let readback = self.readback(bytes)?;
        let mut encoder = self.device.create_command_encoder(&Default::default());
        readback.copy(&mut encoder, (buffer, offset), 0, bytes);
        self.queue.submit([encoder.finish()]);
        readback.request(bytes);
        self.wait()?;
        let looked = readback.take(self, bytes, look)?;
        self.keep_readback(readback);
        Ok(looked)
    }

    /// Copies `bytes` of `buffer` from `offset` to the host; both multiples of four.
    ///
    /// # Errors
    /// [`Error::Failed`] if the copy fails.
    pub fn read(&self, buffer: &wgpu::Buffer, offset: u64, bytes: u64) -> Result<Vec<u8>> {
        self.look(buffer, offset, bytes, <[u8]>::to_vec)
    }
}
