//! Adapters, and the device with its limits: everything that speaks to wgpu before there is a kernel.
//!
//! wgpu reports most errors through a callback. The context keeps the first of them, and whoever submits or
//! reads asks [`Context::check`], so that a user sees one line and not a panic.

use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;

use crate::engine::Precision;
use crate::engine::gpu::defines::{Arithmetic, Target};
use crate::engine::gpu::half_weights::SUBGROUP;
use crate::engine::gpu::landing::Landing;
use crate::engine::gpu::lr_steps;
use crate::engine::gpu::memory::Made;
use crate::engine::gpu::timing::Timing;
use crate::error::{Error, Result};

/// Size that the buffer of read-backs begins with, so that small ones make it once.
const LEAST_STAGING: u64 = 1 << 18;

/// Which adapter to use.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum AdapterChoice {
    /// The best hardware GPU; fails where there is none.
    #[default]
    Hardware,
    /// The adapter of this index in [`adapters`], or the first whose name holds this text (case ignored). The
    /// only way to a software rasteriser.
    Named(String),
}

impl AdapterChoice {
    /// From the value of `--adapter`.
    pub fn from_option(adapter: Option<&str>) -> Self {
        adapter.map_or(Self::Hardware, |name| Self::Named(name.to_owned()))
    }
}

/// What is known of an adapter without opening it.
#[derive(Debug, Clone, Serialize)]
pub struct AdapterSummary {
    /// Index, as `--adapter` takes it.
    pub index: usize,
    /// The driver's name for it.
    pub name: String,
    /// `vulkan`, `metal` or `dx12`.
    pub backend: String,
    /// `DiscreteGpu`, `IntegratedGpu`, `VirtualGpu`, `Cpu` (a software rasteriser) or `Other`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Driver and its version.
    pub driver: String,
    /// Largest binding of a storage buffer, bytes.
    pub max_storage_buffer_binding_size: u64,
    /// Largest buffer, bytes.
    pub max_buffer_size: u64,
    /// Workgroup memory, bytes.
    pub max_compute_workgroup_storage_size: u32,
    /// Invocations a workgroup.
    pub max_compute_invocations_per_workgroup: u32,
    /// Whether shaders may compute with f16.
    pub shader_f16: bool,
    /// Whether passes can write timestamps.
    pub timestamps: bool,
    /// Whether subgroup operations are there.
    pub subgroups: bool,
    /// Whether compiled pipelines can be kept on disk.
    pub pipeline_cache: bool,
    /// Whether cooperative matrices are there.
    pub cooperative_matrix: bool,
    /// Their shapes and types.
    pub cooperative_matrix_shapes: Vec<String>,
    /// Whether `--precision f16` uses them.
    pub cooperative_matrix_used: bool,
}

fn instance() -> wgpu::Instance {
    wgpu::Instance::new(wgpu::InstanceDescriptor {
        backends: wgpu::Backends::VULKAN | wgpu::Backends::METAL | wgpu::Backends::DX12,
        // The backend's own validation layers are a debugging aid that users do not have installed.
        flags: wgpu::InstanceFlags::empty(),
        ..wgpu::InstanceDescriptor::new_without_display_handle()
    })
}

fn enumerate() -> Vec<wgpu::Adapter> {
    pollster::block_on(instance().enumerate_adapters(wgpu::Backends::all()))
}

fn summary(index: usize, adapter: &wgpu::Adapter) -> AdapterSummary {
    let (info, limits, features) = (adapter.get_info(), adapter.limits(), adapter.features());
    AdapterSummary {
        index,
        name: info.name,
        backend: info.backend.to_string(),
        kind: format!("{:?}", info.device_type),
        driver: format!("{} {}", info.driver, info.driver_info).trim().to_owned(),
        max_storage_buffer_binding_size: limits.max_storage_buffer_binding_size,
        max_buffer_size: limits.max_buffer_size,
        max_compute_workgroup_storage_size: limits.max_compute_workgroup_storage_size,
        max_compute_invocations_per_workgroup: limits.max_compute_invocations_per_workgroup,
        shader_f16: features.contains(wgpu::Features::SHADER_F16),
        timestamps: features.contains(wgpu::Features::TIMESTAMP_QUERY),
        subgroups: features.contains(wgpu::Features::SUBGROUP),
        pipeline_cache: features.contains(wgpu::Features::PIPELINE_CACHE),
        cooperative_matrix: features.contains(wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX),
        cooperative_matrix_shapes: matrix_shapes(adapter),
        cooperative_matrix_used: features.contains(wgpu::Features::SHADER_F16) && has_matrices(adapter),
    }
}

/// Whether cooperative matrices are there as `shared/half_network.wgsl` uses them: 16 × 16 × 16, f16 in, f32 out, by a
/// workgroup that is one subgroup whatever the driver chooses.
fn has_matrices(adapter: &wgpu::Adapter) -> bool {
    use wgpu::CooperativeScalarType::{F16, F32};
    let (info, subgroup) = (adapter.get_info(), SUBGROUP as u32);
    adapter
        .features()
        .contains(wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX)
        && (info.subgroup_min_size, info.subgroup_max_size) == (subgroup, subgroup)
        && adapter
            .cooperative_matrix_properties()
            .iter()
            .any(|p| (p.m_size, p.n_size, p.k_size, p.ab_type, p.cr_type) == (16, 16, 16, F16, F32))
}

/// The cooperative matrices of an adapter, such as `16x16x16 f16 -> f32`.
fn matrix_shapes(adapter: &wgpu::Adapter) -> Vec<String> {
    let name = |t| match t {
        wgpu::CooperativeScalarType::F32 => "f32",
        wgpu::CooperativeScalarType::F16 => "f16",
        wgpu::CooperativeScalarType::I32 => "i32",
        wgpu::CooperativeScalarType::U32 => "u32",
    };
    let all = adapter.cooperative_matrix_properties();
    let mut shapes: Vec<String> = all
        .iter()
        .map(|p| {
            let (from, to) = (name(p.ab_type), name(p.cr_type));
            format!("{}x{}x{} {from} -> {to}", p.m_size, p.n_size, p.k_size)
        })
        .collect();
    shapes.dedup();
    shapes
}

/// All adapters of this machine, in the order of their indices.
pub fn adapters() -> Vec<AdapterSummary> {
    enumerate()
        .iter()
        .enumerate()
        .map(|(index, adapter)| summary(index, adapter))
        .collect()
}

/// Preference among adapters: discrete before integrated before virtual before unknown; `None` for software.
fn hardware_rank(adapter: &wgpu::Adapter) -> Option<u8> {
    match adapter.get_info().device_type {
        wgpu::DeviceType::DiscreteGpu => Some(0),
        wgpu::DeviceType::IntegratedGpu => Some(1),
        wgpu::DeviceType::VirtualGpu => Some(2),
        wgpu::DeviceType::Other => Some(3),
        wgpu::DeviceType::Cpu => None,
    }
}

fn best_hardware(adapters: &[wgpu::Adapter]) -> Option<usize> {
    let ranked = adapters
        .iter()
        .enumerate()
        .filter_map(|(i, a)| hardware_rank(a).map(|rank| (rank, i)));
    ranked.min().map(|(_, i)| i)
}

/// Every hardware GPU, each once: where several backends list one, that of the adapter which would be chosen counts.
pub fn hardware_adapters() -> Vec<AdapterSummary> {
    let adapters = enumerate();
    let Some(best) = best_hardware(&adapters) else {
        return Vec::new();
    };
    let backend = adapters[best].get_info().backend;
    let alike = |a: &wgpu::Adapter| hardware_rank(a).is_some() && a.get_info().backend == backend;
    let found = adapters.iter().enumerate().filter(|(_, a)| alike(a));
    found.map(|(index, adapter)| summary(index, adapter)).collect()
}

fn select(choice: &AdapterChoice) -> Result<wgpu::Adapter> {
    let mut adapters = enumerate();
    let found = match choice {
        AdapterChoice::Hardware => best_hardware(&adapters),
        AdapterChoice::Named(name) => match name.parse::<usize>() {
            Ok(index) => (index < adapters.len()).then_some(index),
            Err(_) => {
                let wanted = name.to_lowercase();
                adapters
                    .iter()
                    .position(|a| a.get_info().name.to_lowercase().contains(&wanted))
            }
        },
    };
    if let Some(index) = found {
        return Ok(adapters.swap_remove(index));
    }
    let listed: Vec<String> = adapters
        .iter()
        .enumerate()
        .map(|(i, a)| format!("{i}: {}", a.get_info().name))
        .collect();
    let listed = if listed.is_empty() {
        "this machine has none; use `--backend cpu`".to_owned()
    } else {
        format!("found {}", listed.join(", "))
    };
    Err(match choice {
        AdapterChoice::Named(name) => Error::input(format!("--adapter {name}: no such adapter, {listed}")),
        AdapterChoice::Hardware => Error::input(format!(
            "no hardware GPU, and a software rasteriser is used only when named with --adapter; {listed}"
        )),
    })
}

/// An open device.
#[derive(Debug)]
pub struct Context {
    /// The device.
    pub device: wgpu::Device,
    /// Its queue.
    pub queue: wgpu::Queue,
    /// The adapter it was opened on.
    pub info: wgpu::AdapterInfo,
    /// The limits that everything obeys.
    pub limits: wgpu::Limits,
    /// What was made on it.
    pub made: Arc<Made>,
    pub(super) timing: Timing,
    /// The buffer that read-backs go through, as large as the largest so far.
    staging: Mutex<Option<Landing>>,
    /// Whether cooperative matrices are switched on.
    matrices: bool,
    errors: Arc<Mutex<Option<Error>>>,
}

/// A driver's or validator's error as one of ours.
fn error_of(adapter: &str, what: &str, error: &wgpu::Error) -> Error {
    let message = first_line(&error.to_string());
    match error {
        wgpu::Error::OutOfMemory { .. } => {
            Error::DeviceMemory(format!("{adapter}: {what}the device is out of memory: {message}"))
        }
        _ => Error::Device(format!("{adapter}: {what}{message}")),
    }
}

/// The first line of a driver's or validator's message, for an error of one line.
fn first_line(message: &str) -> String {
    let lines: Vec<&str> = message.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
    lines.join("; ").chars().take(600).collect()
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
        let info = adapter.get_info();
        let half = precision == Precision::F16;
        if half && !adapter.features().contains(wgpu::Features::SHADER_F16) {
            return Err(Error::input(format!(
                "--precision f16: {} has no 16-bit shaders (see `hsr-gpu devices`); use --precision f32",
                info.name
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
        let (device, queue) = pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor {
            label: Some("hsr-gpu"),
            required_features: adapter.features() & wanted,
            required_limits: limits.clone(),
            experimental_features,
            ..Default::default()
        }))
        .map_err(|e| {
            let message = first_line(&e.to_string());
            Error::Device(format!("{}: cannot be opened: {message}", info.name))
        })?;
        let errors: Arc<Mutex<Option<Error>>> = Arc::default();
        let (uncaptured, adapter) = (errors.clone(), info.name.clone());
        device.on_uncaptured_error(Arc::new(move |e: wgpu::Error| {
            let mut first = uncaptured.lock().unwrap_or_else(PoisonError::into_inner);
            first.get_or_insert_with(|| error_of(&adapter, "", &e));
        }));
        let (lost, adapter) = (errors.clone(), info.name.clone());
        // Also called when the device is dropped, after which no one asks for errors.
        device.set_device_lost_callback(move |reason, message| {
            let mut first = lost.lock().unwrap_or_else(PoisonError::into_inner);
            // What was reported before follows from the loss.
            *first = Some(Error::Device(format!(
                "{adapter}: the device was lost ({reason:?}): {}",
                first_line(&message)
            )));
        });
        Ok(Context {
            device,
            queue,
            info,
            limits,
            made: Arc::new(Made::within(memory)),
            timing: Timing::default(),
            staging: Mutex::default(),
            matrices,
            errors,
        })
    }

    /// Name of the adapter and how it is driven.
    pub fn name(&self) -> String {
        format!("{} ({})", self.info.name, self.info.backend)
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

    /// The first error that wgpu has reported since the last call.
    ///
    /// # Errors
    /// [`Error::Device`] or [`Error::DeviceMemory`] with its message.
    pub fn check(&self) -> Result<()> {
        let mut first = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        match first.take() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Checks that a buffer of `bytes` may be made.
    ///
    /// # Errors
    /// [`Error::DeviceMemory`] where the run may not hold so much.
    pub fn check_memory(&self, what: &str, bytes: u64) -> Result<()> {
        self.made.room_for(bytes).map_err(|most| {
            Error::DeviceMemory(format!(
                "{}: `{what}` of {} KiB does not fit into the {} KiB that the run may take",
                self.info.name,
                bytes.div_ceil(1 << 10),
                most >> 10
            ))
        })
    }

    /// Runs `make` and turns the validation error or lack of memory that it causes into an error.
    ///
    /// # Errors
    /// [`Error::Device`] or [`Error::DeviceMemory`] with `what` and wgpu's message.
    pub fn scoped<T>(&self, what: &str, make: impl FnOnce() -> T) -> Result<T> {
        let scopes = [
            wgpu::ErrorFilter::Internal,
            wgpu::ErrorFilter::OutOfMemory,
            wgpu::ErrorFilter::Validation,
        ]
        .map(|filter| self.device.push_error_scope(filter));
        let made = make();
        let mut first = None;
        // Scopes are popped in the reverse of their order.
        for scope in scopes.into_iter().rev() {
            let error = pollster::block_on(scope.pop());
            first = first.or(error);
        }
        match first {
            Some(e) => Err(error_of(&self.info.name, &format!("{what}: "), &e)),
            None => Ok(made),
        }
    }

    /// Submits the commands; [`Context::wait_for`] waits for them.
    ///
    /// # Errors
    /// [`Error::Failed`] if wgpu reported an error.
    pub fn submit(&self, mut encoder: wgpu::CommandEncoder) -> Result<wgpu::SubmissionIndex> {
        self.resolve_timestamps(&mut encoder);
        let submission = self.queue.submit([encoder.finish()]);
        self.keep_timestamps()?;
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

    /// Waits until everything submitted is done.
    ///
    /// # Errors
    /// [`Error::Failed`] if the device was lost.
    pub fn wait(&self) -> Result<()> {
        self.polled(wgpu::PollType::wait_indefinitely())
    }

    /// Waits until this submission, and with it all before, is done.
    ///
    /// # Errors
    /// As [`Context::wait`].
    pub fn wait_for(&self, submission: wgpu::SubmissionIndex) -> Result<()> {
        self.polled(wgpu::PollType::Wait {
            submission_index: Some(submission),
            timeout: None,
        })
    }

    /// Sees what is done, without waiting.
    ///
    /// # Errors
    /// As [`Context::wait`].
    pub fn poll(&self) -> Result<()> {
        self.polled(wgpu::PollType::Poll)
    }

    fn polled(&self, how: wgpu::PollType) -> Result<()> {
        let polled = self.device.poll(how);
        // That a device is lost says more than that waiting for it failed.
        self.check()?;
        polled
            .map(drop)
            .map_err(|e| Error::Device(format!("{}: {e}", self.info.name)))
    }

    /// As [`Context::wait`], with an error kept for [`Context::check`].
    pub(super) fn wait_and_note(&self) {
        if let Err(e) = self.device.poll(wgpu::PollType::wait_indefinitely()) {
            let mut first = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
            first.get_or_insert_with(|| Error::Device(format!("{}: {e}", self.info.name)));
        }
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
