// The weights of the member that the HR pass draws from, rounded to f16 and padded to 16 x 16 matrices. Twin:
// src/engine/cpu/half_weights.rs.
enable f16;
#import "shared/step.wgsl"

@group(0) @binding(0) var<uniform> step: Step;
@group(0) @binding(1) var<storage, read> sources: array<u32>;               // (quads of weights): quad of parameters
@group(0) @binding(2) var<storage, read> network: array<vec4<f32>>;         // (members, parameters), (b + 1, B)
@group(0) @binding(3) var<storage, read_write> weights: array<vec4<f16>>;   // layers' (inputs, outputs)

const NONE = 0xffffffffu;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    if id.x < #{HALF_QUADS}u {
        var w = vec4<f32>(0.0);
        if sources[id.x] != NONE {
            w = network[step.member * #{PARAMETER_QUADS}u + sources[id.x]];
        }
        weights[id.x] = vec4<f16>(w);
    }
}
