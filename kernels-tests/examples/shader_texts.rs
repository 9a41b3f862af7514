//! Writes the kernels of the shipped presets as they are for several kinds of adapter, as WGSL and SPIR-V:
//! FOLDER/<preset>/<adapter>/<kernel>.wgsl and .spv. For `scripts/shader_stats.sh` and `scripts/check_shaders.sh`.
// What fails here fails the script that called it, with a line that says where.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;

use hsr_gpu::coordination::config::Config;
use hsr_gpu::engine::gpu::defines::{Arithmetic, ShaderTarget};
use hsr_gpu::engine::gpu::pipeline::source;
use hsr_gpu::engine::workload::Workload;
use hsr_gpu::engine::{Geometry, Noise, Problem};
use kernels_tests::texts::{spirv, texts};

/// Name, preset, bands, MSI bands, scale, whether the encoder is frozen.
const RUNS: [(&str, &str, usize, usize, usize, bool); 7] = [
    ("default", "single-scene", 31, 3, 32, false),
    ("default-finetune", "single-scene", 31, 3, 32, true),
    ("default-200-bands", "single-scene", 200, 4, 8, false),
    ("cave", "cave", 31, 3, 32, false),
    ("cave-released", "cave-released", 31, 3, 32, false),
    ("chikusei", "chikusei", 128, 3, 32, false),
    ("wv2", "wv2", 8, 3, 4, false),
];

/// A card's text: AMD's with one pixel an invocation and unrolled, others'.
fn card(rolled: bool) -> ShaderTarget {
    ShaderTarget {
        software: false,
        workgroup_memory: 49_152,
        memory_budget: 24 << 10,
        arithmetic: Arithmetic::Single,
        pixels: 1,
        rolled,
        inputs: 4,
        wide: true,
        lr_pixels: 2,
    }
}

fn problem(preset: &str, bands: usize, msi: usize, scale: usize, frozen: bool) -> (Problem<f32>, usize) {
    let config = Config::load(preset, None).unwrap();
    let training = &config.training;
    let lr = training.patch * training.patch * training.batch;
    let workload = Workload {
        architecture: config.architecture(bands, msi, lr).unwrap(),
        scale,
        windows: lr,
        lr_pixels: lr,
        hr_windows: match config.degradation.windows {
            0 => lr,
            n => n.min(lr),
        },
        every: config.degradation.every,
        noise: if training.sampling {
            Noise::Philox(1)
        } else {
            Noise::Off
        },
        frozen_encoder: frozen,
    };
    let mut problem = workload.problem();
    problem.learn_centre = config.degradation.centre;
    problem.geometry = Geometry { scale, kernel: scale };
    (problem, lr)
}

fn main() {
    let folder = PathBuf::from(std::env::args().nth(1).unwrap());
    let webgpu = ShaderTarget {
        wide: false,
        pixels: 2,
        inputs: 1,
        ..card(true)
    };
    let targets = [
        ("amd", card(false)),
        ("nvidia", card(false)),
        // Nothing beyond WebGPU, in its least workgroup memory.
        (
            "webgpu",
            ShaderTarget {
                workgroup_memory: 16_384,
                ..webgpu
            },
        ),
        (
            "software",
            ShaderTarget {
                software: true,
                pixels: 1,
                lr_pixels: 8,
                ..card(false)
            },
        ),
        (
            "half",
            ShaderTarget {
                arithmetic: Arithmetic::Half,
                ..webgpu
            },
        ),
        (
            "matrix",
            ShaderTarget {
                arithmetic: Arithmetic::Matrix,
                ..webgpu
            },
        ),
    ];
    for (name, preset, bands, msi, scale, frozen) in RUNS {
        let (problem, windows) = problem(preset, bands, msi, scale, frozen);
        for (adapter, target) in targets {
            let folder = folder.join(name).join(adapter);
            std::fs::create_dir_all(&folder).unwrap();
            for (kernel, file, defines) in texts(&problem, windows, target).unwrap() {
                let text = source(file, &defines, &[]).unwrap();
                let words = spirv(&text).unwrap();
                std::fs::write(folder.join(format!("{kernel}.wgsl")), text).unwrap();
                std::fs::write(
                    folder.join(format!("{kernel}.spv")),
                    bytemuck::cast_slice::<u32, u8>(&words),
                )
                .unwrap();
            }
        }
    }
}
