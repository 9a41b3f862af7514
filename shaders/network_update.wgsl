// Gradient of the network over the LR batch, and Adam: four blocks of parameters a workgroup, 16 slices of the batch
// each, summed in a fixed order. The workgroup after the last block sums the member's loss. Twin:
// src/engine/cpu/network_update.rs.
#import "shared/step.wgsl"

@group(0) @binding(0) var<uniform> step: Step;
@group(0) @binding(1) var<storage, read> blocks: array<vec4<u32>>;          // see shared/block.wgsl
@group(0) @binding(2) var<storage, read> pixels: array<vec4<f32>>;          // (members, LR pixels, record)
@group(0) @binding(3) var<storage, read_write> network: array<vec4<f32>>;   // (members, parameters), (b + 1, B)
@group(0) @binding(4) var<storage, read_write> moments: array<vec4<f32>>;   // (2, members, parameters)
@group(0) @binding(5) var<storage, read_write> gradient: array<vec4<f32>>;  // (members, parameters)
@group(0) @binding(6) var<storage, read_write> losses: array<f32>;          // (slots, 3 + members)

#import "shared/block.wgsl"
#import "shared/start.wgsl"

const WG = 64u;
const TOGETHER = #{TOGETHER}u;
const SLICES = #{64 / TOGETHER}u;

var<workgroup> partial: array<vec4<f32>, 256>;                              // (inputs of a block, invocations)

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let first = group.y * step.lr_count;
    let column = step.first_group + group.x;
    if column == #{BLOCK_GROUPS}u {
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
    // Past the last block the last is summed again and not learned.
    let item = column * TOGETHER + lane % TOGETHER;
    let block = blocks[min(item, #{BLOCKS - 1}u)];
#for C in 0..4
    var g#{C} = vec4<f32>(0.0);
#end
    // Four LR pixels at a time, whose loads need not wait for each other; past the last one they count as zero.
    for (var n = lane / TOGETHER; n < step.lr_count; n += 4u * SLICES) {
#for U in 0..4
        let n#{U} = n + #{U}u * SLICES;
        let record#{U} = (first + min(n#{U}, step.lr_count - 1u)) * #{PIXEL_RECORD}u;
        let a#{U} = pixels[record#{U} + block.x];
        let d#{U} = select(vec4<f32>(0.0), pixels[record#{U} + #{PIXEL_DELTAS}u + block.y], n#{U} < step.lr_count);
#end
#for U in 0..4
#for C in 0..4
        g#{C} += a#{U}[#{C}] * d#{U};
#end
#end
    }
#for C in 0..4
    partial[#{C}u * WG + lane] = g#{C};
#end
    workgroupBarrier();
    // An invocation for each input of each block.
    let c = lane / TOGETHER;
    if c < 4u && item < #{BLOCKS}u && has_input(block, c) {
        var g = vec4<f32>(0.0);
        for (var slice = start(); slice < SLICES; slice++) {
            g += partial[c * WG + slice * TOGETHER + lane % TOGETHER];
        }
        learn(quad_of(group.y, block, c), g, step.update_network, step.network_step, step.network_root);
    }
}
