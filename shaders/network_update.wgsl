// Gradient of the network over the LR batch, and Adam: 8 quads of parameters a workgroup, 8 slices of the batch each,
// summed in a fixed order. The workgroup after the last quad sums the member's loss. Twin:
// src/engine/cpu/network_update.rs.
#import "shared/step.wgsl"
#import "shared/adam.wgsl"

@group(0) @binding(0) var<uniform> step: Step;
@group(0) @binding(1) var<storage, read> places: array<vec2<u32>>;          // (parameters / 4): input, quad of deltas
@group(0) @binding(2) var<storage, read> pixels: array<vec4<f32>>;          // (members, LR pixels, record)
@group(0) @binding(3) var<storage, read_write> network: array<vec4<f32>>;   // (members, parameters), (b + 1, B)
@group(0) @binding(4) var<storage, read_write> moments: array<vec4<f32>>;   // (2, members, parameters)
@group(0) @binding(5) var<storage, read_write> gradient: array<vec4<f32>>;  // (members, parameters)
@group(0) @binding(6) var<storage, read_write> losses: array<f32>;          // (slots, 3 + members)

const WG = 64u;
const SLICES = 8u;

var<workgroup> partial: array<vec4<f32>, 64>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let first = group.y * step.lr_count;
    let column = step.first_group + group.x;
    if column == #{QUAD_GROUPS}u {
        var sum = 0.0;
        for (var n = lane; n < step.lr_count; n += WG) {
            sum += pixels[(first + n) * #{PIXEL_RECORD}u + #{PIXEL_LOSS}u].x;
        }
        partial[lane] = vec4<f32>(sum);
        workgroupBarrier();
        for (var half = WG / 2u; half > 0u; half /= 2u) {
            if lane < half {
                partial[lane] += partial[lane + half];
            }
            workgroupBarrier();
        }
        if lane == 0u {
            losses[step.slot * #{3 + MEMBERS}u + 3u + group.y] = partial[0].x;
        }
        return;
    }
    let quad = #{FIRST_QUAD}u + column * 8u + lane % 8u;
    let slice = lane / 8u;
    var sum = vec4<f32>(0.0);
    if quad < #{PARAMETER_QUADS}u {
        let place = places[quad];
        for (var n = slice; n < step.lr_count; n += SLICES) {
            let record = (first + n) * #{PIXEL_RECORD}u;
            sum += pixels[record + place.x / 4u][place.x % 4u] * pixels[record + #{PIXEL_DELTAS}u + place.y];
        }
    }
    partial[lane] = sum;
    workgroupBarrier();
    for (var half = SLICES / 2u; half > 0u; half /= 2u) {
        if slice < half {
            partial[lane] += partial[lane + 8u * half];
        }
        workgroupBarrier();
    }
    if slice == 0u && quad < #{PARAMETER_QUADS}u {
        let at = group.y * #{PARAMETER_QUADS}u + quad;
        let g = partial[lane];
        gradient[at] = g;
        if step.update_network != 0u {
            let second = #{MEMBERS * PARAMETER_QUADS}u + at;
            let updated = adam(g, network[at], moments[at], moments[second], step.network_step, step.network_root);
            network[at] = updated.parameter;
            moments[at] = updated.m;
            moments[second] = updated.v;
        }
    }
}
