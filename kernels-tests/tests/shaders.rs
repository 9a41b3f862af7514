//! Every shader with every set of defines: naga validates it and writes it for all backends; host and shader agree
//! on the uniforms' layout; the random numbers are the CPU's.

use std::mem::offset_of;

use hsr_gpu::engine::Output;
use hsr_gpu::engine::gpu::cases::{Case, cases};
use hsr_gpu::engine::gpu::defines::{Arithmetic, Shape, Target, keeps_tensors};
use hsr_gpu::engine::gpu::parts::PartUniform;
use hsr_gpu::engine::gpu::pipeline::source;
use hsr_gpu::engine::gpu::preprocessor::Defines;
use hsr_gpu::engine::gpu::probes::ProbeUniform;
use hsr_gpu::engine::gpu::step::{StepUniform, TileUniform};
use hsr_gpu::engine::gpu::{
    bicubic_update, consistency_residual, dct_denoise, degradation, degradation_sums, degradation_update,
    guided_update, half_weights, hr_network, lr_network, lr_steps, network_update, probes, psf_blur,
    reconstruct,
};
use hsr_gpu::engine::refinement::RefinementGrid;
use naga::back::{hlsl, msl, spv};
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};

fn parsed(file: &str, defines: &Defines) -> naga::Module {
    let text = source(file, defines, &[]).unwrap();
    naga::front::wgsl::parse_str(&text)
        .unwrap_or_else(|e| panic!("{}", e.emit_to_string_with_path(&text, file)))
}

fn validated(file: &str, defines: &Defines) -> (naga::Module, ModuleInfo) {
    let module = parsed(file, defines);
    let info = Validator::new(
        ValidationFlags::all(),
        Capabilities::SHADER_FLOAT16 | Capabilities::COOPERATIVE_MATRIX,
    )
    .validate(&module)
    .unwrap_or_else(|e| panic!("{file}: {e:?}"));
    (module, info)
}

/// All shaders of a case.
fn shaders(case: &Case, target: Target) -> Vec<(&'static str, Defines)> {
    let problem = case.problem();
    let layout = case.architecture.layout();
    let shape = Shape::new(
        &case.architecture,
        &layout,
        case.geometry,
        keeps_tensors(&problem),
    );
    let members = case.architecture.members;
    let mut all = vec![
        (degradation::FILE, degradation::defines(&problem, &shape)),
        (psf_blur::FILE, psf_blur::defines(&problem, &shape)),
        (
            lr_network::FILE,
            lr_network::defines(&problem, &layout, &shape, case.windows, target).unwrap(),
        ),
        (
            network_update::FILE,
            network_update::defines(&layout, &shape, members, case.frozen, target),
        ),
        (half_weights::FILE, half_weights::defines(&layout)),
        (
            hr_network::FILE,
            hr_network::defines(&problem, &layout, &shape, target).unwrap(),
        ),
        (
            degradation_sums::FILE,
            degradation_sums::defines(&problem, &shape),
        ),
        (
            degradation_update::FILE,
            degradation_update::defines(&problem, &shape),
        ),
        (
            lr_steps::FILE,
            lr_steps::defines(&problem, &layout, &shape, (case.windows, 256), target).unwrap(),
        ),
    ];
    let grid = RefinementGrid {
        rows: 2,
        columns: 3,
        bands: case.architecture.bands,
        msi_bands: case.architecture.msi_bands,
        geometry: case.geometry,
        centroid: [0.0; 2],
    };
    all.extend([
        (
            consistency_residual::FILE,
            consistency_residual::defines(&grid, target),
        ),
        (guided_update::FILE, guided_update::defines(&grid, target)),
        (bicubic_update::FILE, bicubic_update::defines(&grid)),
        (dct_denoise::FILE, dct_denoise::defines(2, false, false)),
        (dct_denoise::FILE, dct_denoise::defines(2, true, false)),
        (dct_denoise::FILE, dct_denoise::defines(2, false, true)),
    ]);
    all.extend([probes::MULTIPLY_ADD, probes::COPY].map(|file| (file, Defines::default())));
    for output in [
        Output::Mean,
        Output::Std,
        Output::Sample { seed: 1, member: 0 },
        Output::Abundance { member: 0 },
    ] {
        all.push((
            reconstruct::FILE,
            reconstruct::defines(&case.architecture, &layout, output, target).unwrap(),
        ));
    }
    all
}

// A shader that one backend refuses is found here, on any machine, and not by the first user of that backend.
#[test]
fn every_backend_takes_every_shader() {
    let mut written = 0;
    for case in cases() {
        // The least workgroup memory that WebGPU promises, a card's, and a software rasteriser's text.
        for (software, workgroup_memory, arithmetic, pixels) in [
            (false, 16_384, Arithmetic::Single, 2),
            (false, 49_152, Arithmetic::Single, 2),
            (true, 16_384, Arithmetic::Single, 1),
            (false, 49_152, Arithmetic::Half, 2),
            (true, 32_768, Arithmetic::Half, 1),
            (false, 49_152, Arithmetic::Matrix, 2),
        ] {
            let target = Target {
                software,
                workgroup_memory,
                arithmetic,
                pixels,
                lr_pixels: if software { 8 } else { 2 },
            };
            for (file, defines) in shaders(&case, target) {
                let (module, info) = validated(file, &defines);
                assert_eq!(module.entry_points.len(), 1, "{file}");
                assert_eq!(module.entry_points[0].name, "main", "{file}");
                let stage = naga::ShaderStage::Compute;
                let words = spv::write_vec(&module, &info, &spv::Options::default(), None).unwrap();
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
        let target = Target {
            software: false,
            workgroup_memory: 16_384,
            arithmetic: Arithmetic::Single,
            pixels: 2,
            lr_pixels: 2,
        };
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
        layout(&module(hr_network::FILE), "Step"),
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
