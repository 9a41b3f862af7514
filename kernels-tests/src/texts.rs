//! Every kernel's text for a run and an adapter, and the SPIR-V that the Vulkan backend makes of it.

use hsr_gpu::engine::Output;
use hsr_gpu::engine::Problem;
use hsr_gpu::engine::gpu::defines::{ShaderTarget, Shape, keeps_tensors};
use hsr_gpu::engine::gpu::preprocessor::Defines;
use hsr_gpu::engine::gpu::recording::Texts;
use hsr_gpu::engine::gpu::{
    bicubic_update, consistency_residual, dct_denoise, guided_update, probes, reconstruct,
};
use hsr_gpu::engine::refinement::RefinementGrid;
use hsr_gpu::engine::step::Kernel;
use naga::back::spv;
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};

/// A kernel's text before the preprocessor: what it is of, its file and its defines.
pub type Text = (&'static str, &'static str, Defines);

/// All kernels of a run whose training set has so many windows.
///
/// # Errors
/// A kernel that the target has no room for, by name.
pub fn texts(problem: &Problem<f32>, windows: usize, target: ShaderTarget) -> hsr_gpu::Result<Vec<Text>> {
    let a = &problem.architecture;
    let layout = a.layout();
    let shape = Shape::new(a, &layout, problem.geometry, keeps_tensors(problem));
    let grid = RefinementGrid {
        rows: 2,
        columns: 3,
        bands: a.bands,
        msi_bands: a.msi_bands,
        geometry: problem.geometry,
        centroid: [0.0; 2],
    };
    let texts = Texts {
        problem,
        layout: &layout,
        shape: &shape,
        windows,
        pitch: 256,
        target,
    };
    let mut all = Kernel::all()
        .map(|kernel| {
            texts
                .of(kernel)
                .map(|(file, defines)| (kernel.name(), file, defines))
        })
        .collect::<hsr_gpu::Result<Vec<Text>>>()?;
    all.extend([
        (
            "consistency_residual",
            consistency_residual::FILE,
            consistency_residual::defines(&grid, target),
        ),
        (
            "guided_update",
            guided_update::FILE,
            guided_update::defines(&grid, target),
        ),
        (
            "bicubic_update",
            bicubic_update::FILE,
            bicubic_update::defines(&grid),
        ),
        (
            "dct_denoise",
            dct_denoise::FILE,
            dct_denoise::defines(2, false, false),
        ),
        (
            "dct_denoise_pilot",
            dct_denoise::FILE,
            dct_denoise::defines(2, true, false),
        ),
        (
            "dct_denoise_gather",
            dct_denoise::FILE,
            dct_denoise::defines(2, false, true),
        ),
        ("probe_multiply_add", probes::MULTIPLY_ADD, Defines::default()),
        ("probe_copy", probes::COPY, Defines::default()),
    ]);
    for (name, output) in [
        ("reconstruct_mean", Output::Mean),
        ("reconstruct_std", Output::Std),
        ("reconstruct_sample", Output::Sample { seed: 1, member: 0 }),
        ("reconstruct_abundance", Output::Abundance { member: 0 }),
    ] {
        let defines = reconstruct::defines(a, &layout, output, target)?;
        all.push((name, reconstruct::FILE, defines));
    }
    Ok(all)
}

/// A text as naga validates it, with what the engine asks adapters for.
///
/// # Errors
/// naga's message.
pub fn validated(text: &str) -> Result<(naga::Module, ModuleInfo), String> {
    let module = naga::front::wgsl::parse_str(text).map_err(|e| e.emit_to_string(text))?;
    let capabilities =
        Capabilities::SHADER_FLOAT16 | Capabilities::COOPERATIVE_MATRIX | Capabilities::SHADER_INT64;
    let info = Validator::new(ValidationFlags::all(), capabilities)
        .validate(&module)
        .map_err(|e| format!("{e:?}"))?;
    Ok((module, info))
}

/// The SPIR-V of a text as wgpu's Vulkan backend has it written when no checks are asked for: version 1.3, and 1.6 with
/// cooperative matrices, which need the Vulkan memory model.
///
/// # Errors
/// naga's message.
pub fn spirv(text: &str) -> Result<Vec<u32>, String> {
    let (module, info) = validated(text)?;
    let none = naga::proc::BoundsCheckPolicy::Unchecked;
    let options = spv::Options {
        lang_version: if text.contains("wgpu_cooperative_matrix") {
            (1, 6)
        } else {
            (1, 3)
        },
        flags: spv::WriterFlags::empty(),
        bounds_check_policies: naga::proc::BoundsCheckPolicies {
            index: none,
            buffer: none,
            image_load: none,
            binding_array: none,
        },
        zero_initialize_workgroup_memory: spv::ZeroInitializeWorkgroupMemoryMode::None,
        force_loop_bounding: false,
        emit_int_div_checks: false,
        ..Default::default()
    };
    let entry = spv::PipelineOptions {
        shader_stage: naga::ShaderStage::Compute,
        entry_point: "main".into(),
    };
    spv::write_vec(&module, &info, &options, Some(&entry)).map_err(|e| format!("{e:?}"))
}
