//! Adapters: which there are, and which one is meant.

use serde::Serialize;

use crate::engine::gpu::half_weights::SUBGROUP;
use crate::error::{Error, Result};

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
    /// Whether `--precision f16` uses them, once `verify --precision f16` has passed there.
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

pub(super) fn enumerate() -> Vec<wgpu::Adapter> {
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
pub(super) fn has_matrices(adapter: &wgpu::Adapter) -> bool {
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

pub(super) fn best_hardware(adapters: &[wgpu::Adapter]) -> Option<usize> {
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

pub(super) fn select(choice: &AdapterChoice) -> Result<wgpu::Adapter> {
    let mut adapters = enumerate();
    let found = match choice {
        AdapterChoice::Hardware => best_hardware(&adapters),
        AdapterChoice::Named(name) => match name.parse::<usize>() {
            Ok(index) if index < adapters.len() => Some(index),
            // A number that is none may stand in a name: 4090.
            _ => {
                let wanted = name.to_lowercase();
                adapters
                    .iter()
                    .position(|a| a.get_info().name.to_lowercase().contains(&wanted))
                    .filter(|_| !wanted.is_empty())
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
        "this machine has none; use the setting backend cpu".to_owned()
    } else {
        format!("found {}", listed.join(", "))
    };
    Err(match choice {
        AdapterChoice::Named(name) => {
            Error::input(format!("the setting adapter {name}: no such adapter, {listed}"))
        }
        AdapterChoice::Hardware => Error::input(format!(
            "no hardware GPU, and a software rasteriser is used only when named with the setting adapter; {listed}"
        )),
    })
}
