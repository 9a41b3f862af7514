//! Every shader with every set of defines: naga validates it and writes it for all backends; host and shader agree
//! on the uniforms' layout; the random numbers are the CPU's.

use std::mem::offset_of;

use hsr_gpu::engine::gpu::compare::cases::{Case, cases};
use hsr_gpu::engine::gpu::defines::{Arithmetic, ShaderTarget};
use hsr_gpu::engine::gpu::parts::PartUniform;
use hsr_gpu::engine::gpu::pipeline::source;
use hsr_gpu::engine::gpu::preprocessor::Defines;
use hsr_gpu::engine::gpu::probes::{self, ProbeUniform};
use hsr_gpu::engine::gpu::step::{StepUniform, TileUniform};
use hsr_gpu::engine::gpu::{guided_update, reconstruct};
use hsr_gpu::engine::step::Kernel;
use kernels_tests::texts::{spirv, texts, validated};
use naga::back::{hlsl, msl};

fn parsed(file: &str, defines: &Defines) -> naga::Module {
    let text = source(file, defines, &[]).unwrap();
    naga::front::wgsl::parse_str(&text)
        .unwrap_or_else(|e| panic!("{}", e.emit_to_string_with_path(&text, file)))
}

/// All shaders of a case.
fn shaders(case: &Case, target: ShaderTarget) -> Vec<(&'static str, Defines)> {
    let texts = texts(&case.problem(), case.windows, target).unwrap();
    texts
        .into_iter()
        .map(|(_, file, defines)| (file, defines))
        .collect()
}

/// A card's text of so many pixels an invocation.
fn card(workgroup_memory: usize, arithmetic: Arithmetic, pixels: usize) -> ShaderTarget {
    ShaderTarget {
        software: false,
        workgroup_memory,
        memory_budget: workgroup_memory / 2,
        arithmetic,
        pixels,
        rolled: pixels > 1,
        inputs: 1,
        wide: pixels > 1,
        lr_pixels: 2,
    }
}

/// A software rasteriser's text.
fn software(workgroup_memory: usize, arithmetic: Arithmetic) -> ShaderTarget {
    ShaderTarget {
        software: true,
        rolled: false,
        wide: false,
        lr_pixels: 8,
        ..card(workgroup_memory, arithmetic, 1)
    }
}

// A shader that one backend refuses is found here, on any machine, and not by the first user of that backend.
#[test]
fn every_backend_takes_every_shader() {
    let mut written = 0;
    for case in cases() {
        // The least workgroup memory that WebGPU promises, a card's, and a software rasteriser's text.
        for target in [
            card(16_384, Arithmetic::Single, 1),
            card(16_384, Arithmetic::Single, 2),
            card(49_152, Arithmetic::Single, 2),
            card(49_152, Arithmetic::Single, 4),
            software(16_384, Arithmetic::Single),
            card(49_152, Arithmetic::Half, 2),
            software(32_768, Arithmetic::Half),
            card(49_152, Arithmetic::Matrix, 2),
        ] {
            let arithmetic = target.arithmetic;
            for (file, defines) in shaders(&case, target) {
                let text = source(file, &defines, &[]).unwrap();
                let (module, info) = validated(&text).unwrap_or_else(|e| panic!("{file}: {e}"));
                assert_eq!(module.entry_points.len(), 1, "{file}");
                assert_eq!(module.entry_points[0].name, "main", "{file}");
                let stage = naga::ShaderStage::Compute;
                let words = spirv(&text).unwrap();
                // Matrices need the Vulkan memory model, where a barrier for storage has a scope that adapters need not have.
                assert!(
                    arithmetic != Arithmetic::Matrix
                        || !text.contains("coop")
                        || !text.contains("storageBarrier")
                );
                let options = msl::Options {
                    lang_version: (2, 4),
                    ..Default::default()
                };
                let pipeline = msl::PipelineOptions::default();
                let (metal, _) = msl::write_string(&module, &info, &options, &pipeline).unwrap();
                assert!(!words.is_empty() && metal.contains("kernel"));
                written += 1;
                // Direct3D has no cooperative matrices, and naga's writer no 16-bit types below model 6.2.
                if arithmetic == Arithmetic::Matrix {
                    continue;
                }
                let mut direct = String::new();
                let options = hlsl::Options {
                    shader_model: hlsl::ShaderModel::V6_2,
                    ..Default::default()
                };
                let pipeline = hlsl::PipelineOptions {
                    entry_point: Some((stage, "main".into())),
                };
                hlsl::Writer::new(&mut direct, &options, &pipeline)
                    .write(&module, &info, None)
                    .unwrap();
                assert!(direct.contains("numthreads"));
            }
        }
    }
    println!("{written} shaders, three backends each");
    assert!(written > 100);
}

/// Offsets of the members of a shader's struct, and its size.
fn layout(module: &naga::Module, name: &str) -> (Vec<(String, usize)>, usize) {
    let (_, found) = module
        .types
        .iter()
        .find(|(_, t)| t.name.as_deref() == Some(name))
        .unwrap();
    let naga::TypeInner::Struct { members, span } = &found.inner else {
        panic!("{name} is no struct");
    };
    let each = members
        .iter()
        .map(|m| (m.name.clone().unwrap(), m.offset as usize));
    (each.collect(), *span as usize)
}

macro_rules! offsets {
    ($host:ty: $($field:ident),* $(,)?) => {
        vec![$((stringify!($field).to_owned(), offset_of!($host, $field))),*]
    };
}

#[test]
fn host_and_shader_agree_on_the_uniforms() {
    let case = &cases()[0];
    let module = |file: &str| {
        let target = card(16_384, Arithmetic::Single, 2);
        let (file, defines) = shaders(case, target)
            .into_iter()
            .find(|(f, _)| *f == file)
            .unwrap();
        parsed(file, &defines)
    };
    let step = offsets!(StepUniform: key, step, member, lr_first, lr_count, hr_first, hr_count, slot,
        update_network, network_step, network_root, degradation_step, degradation_root, lr_scale, blur_scale,
        response_scale, observation_scale, alpha_blur, alpha_response, alpha_observation, zero, index, run,
        first_group);
    assert_eq!(
        layout(&module(Kernel::HrNetwork.file()), "Step"),
        (step, size_of::<StepUniform>())
    );
    let tile = offsets!(TileUniform: key, step, pixels, first_pixel, first_member, members, share, zero);
    assert_eq!(
        layout(&module(reconstruct::FILE), "Tile"),
        (tile, size_of::<TileUniform>())
    );
    let part = offsets!(PartUniform: hr_row, hr_rows, hr_height, hr_columns, lr_row, lr_rows, lr_height, lr_columns,
        quad, quads, reach, radius, sharpness, first_group, zero);
    assert_eq!(
        layout(&module(guided_update::FILE), "Part"),
        (part, size_of::<PartUniform>())
    );
    let probe = offsets!(ProbeUniform: count, factor, offset);
    assert_eq!(
        layout(&module(probes::COPY), "Probe"),
        (probe, size_of::<ProbeUniform>())
    );
}
