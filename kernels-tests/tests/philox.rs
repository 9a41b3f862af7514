//! `shaders/shared/philox.wgsl` against `src/random.rs`: the same integers, and normals as close as single precision.

use std::borrow::Cow;

use hsr_gpu::engine::gpu::GpuEngine;
use hsr_gpu::engine::gpu::buffers::GpuBuffer;
use hsr_gpu::engine::gpu::preprocessor::{Defines, expand};
use hsr_gpu::engine::gpu::shaders::read;
use hsr_gpu::random::{key, normals, philox};
use kernels_tests::gpu::engine;

const SHADER: &str = "
struct Constants { zero: u32 }
@group(0) @binding(0) var<uniform> step: Constants;
@group(0) @binding(1) var<storage, read_write> words: array<vec4<u32>>;   // (pixels)
@group(0) @binding(2) var<storage, read_write> draws: array<vec4<f32>>;   // (pixels)
#import \"shared/philox.wgsl\"
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let key = vec2<u32>(0x89abcdefu, 0x1234567u);
    words[id.x] = philox(key, vec4<u32>(id.x, 5u, 16u, 0xfffffffeu));
    draws[id.x] = normals(key, 0xfffffffeu, 16u, id.x, 5u);
}
";

#[test]
fn the_gpu_draws_what_the_cpu_draws() {
    let engine = engine();
    draws_what_the_cpu_draws(&engine, 0);
    // With 64-bit integers where the adapter has them.
    if engine.target().wide {
        draws_what_the_cpu_draws(&engine, 1);
    }
}

fn draws_what_the_cpu_draws(engine: &GpuEngine, wide: usize) {
    const PIXELS: usize = 1 << 16;
    let context = &engine.context;
    let mut defines = Defines::default();
    defines.number("SOFTWARE", 1).number("WIDE", wide);
    let files = |file: &str| match file {
        "test.wgsl" => Some(Cow::Borrowed(SHADER)),
        _ => read(file, &[]),
    };
    let text = expand("test.wgsl", &files, &defines).unwrap();
    let pipeline = engine.pipelines.compile(context, "philox", &text).unwrap();
    let buffer = |name, words| GpuBuffer::zeroed(context, name, words, true, "").unwrap();
    let (step, words, draws) = (
        buffer("step", 4),
        buffer("words", 4 * PIXELS),
        buffer("draws", 4 * PIXELS),
    );
    let named = [("step", &step), ("words", &words), ("draws", &draws)];
    let group = pipeline.bind(context, &named, 16).unwrap();
    let mut encoder = context.device.create_command_encoder(&Default::default());
    {
        let mut pass = encoder.begin_compute_pass(&Default::default());
        pass.set_pipeline(&pipeline.pipeline);
        pass.set_bind_group(0, &group, &[0]);
        pass.dispatch_workgroups(PIXELS as u32 / 64, 1, 1);
    }
    context.run(encoder).unwrap();
    let words: Vec<u32> = words.read(context, 0, 4 * PIXELS).unwrap();
    let draws: Vec<f32> = draws.read(context, 0, 4 * PIXELS).unwrap();
    let key = key(0x0123_4567_89ab_cdef);
    let mut worst = 0.0f64;
    for pixel in 0..PIXELS {
        let counter = [pixel as u32, 5, 16, 0xffff_fffe];
        assert_eq!(words[4 * pixel..][..4], philox(key, counter), "pixel {pixel}");
        let expected: [f64; 4] = normals(key, 0xffff_fffe, 16, pixel as u32, 5);
        for (a, b) in draws[4 * pixel..][..4].iter().zip(expected) {
            worst = worst.max((f64::from(*a) - b).abs());
        }
    }
    println!("worst normal {worst:.1e}");
    // Radii reach 5.8; 1e-7 of the angle and of the logarithm leave about 1e-6 there at worst.
    assert!(worst < 1e-6, "{worst:.2e}");
}
