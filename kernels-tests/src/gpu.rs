//! The GPU engine as the tests open it.

use hsr_gpu::engine::gpu::shaders::Replacement;
use hsr_gpu::engine::gpu::{AdapterChoice, GpuEngine, Options};

/// The adapter that `HSR_ADAPTER` names, else the hardware GPU, else the first adapter there is.
///
/// # Panics
/// If there is none: a test without a device has tested nothing.
pub fn choice() -> AdapterChoice {
    match std::env::var("HSR_ADAPTER") {
        Ok(name) => AdapterChoice::Named(name),
        Err(_) if !hsr_gpu::engine::gpu::hardware_adapters().is_empty() => AdapterChoice::Hardware,
        Err(_) => AdapterChoice::Named("0".into()),
    }
}

/// A checked engine: bounds checks in the shaders, guard words around the buffers.
pub fn engine() -> GpuEngine {
    mutated(Vec::new())
}

/// A checked engine whose shaders are wrong in the places named.
pub fn mutated(replacements: Vec<Replacement>) -> GpuEngine {
    let options = Options {
        checked: true,
        replacements,
        ..Options::default()
    };
    with(options)
}

/// An engine with these options.
pub fn with(options: Options) -> GpuEngine {
    GpuEngine::with_options(&choice(), options)
        .expect("the kernel tests need a Vulkan, Metal or DX12 adapter")
}
