// Whole LR steps of every member without a degradation update between them: pass, gradient and Adam, step after step;
// a workgroup a member, which never leaves it. What `lr_network` and `network_update` do in two dispatches a step, for
// batches that one workgroup is enough for. Twin: src/engine/cpu/lr_steps.rs.
#import "shared/step.wgsl"

// The uniforms of all queued steps lie `PITCH` bytes apart.
struct Queued {
    @size(#{PITCH}) step: Step,
}

@group(0) @binding(0) var<uniform> step: Step;
@group(0) @binding(1) var<storage, read> steps: array<Queued>;
@group(0) @binding(2) var<storage, read> batch: array<u32>;                 // (batches, windows)
@group(0) @binding(3) var<storage, read> lr_hsi: array<vec4<f32>>;          // (windows, B)
@group(0) @binding(4) var<storage, read> observations: array<f32>;          // (LR pixels, 3 b + 6)
@group(0) @binding(5) var<storage, read> blocks: array<vec4<u32>>;          // see shared/block.wgsl
@group(0) @binding(6) var<storage, read_write> network: array<vec4<f32>>;   // (members, parameters), (b + 1, B)
@group(0) @binding(7) var<storage, read_write> moments: array<vec4<f32>>;   // (2, members, parameters)
@group(0) @binding(8) var<storage, read_write> gradient: array<vec4<f32>>;  // (members, parameters)
@group(0) @binding(9) var<storage, read_write> pixels: array<vec4<f32>>;    // (members, LR pixels, record)
@group(0) @binding(10) var<storage, read_write> losses: array<f32>;         // (slots, 3 + members)
#if NOISE == 2
@group(0) @binding(11) var<storage, read> noise: array<vec4<f32>>;          // (members, LR pixels, B)
#endif
#if FROZEN
@group(0) @binding(12) var<storage, read> abundance: array<vec4<f32>>;      // (members, windows, P)
#endif

#import "shared/block.wgsl"
#import "shared/lr_pass.wgsl"

const WG = #{WG}u;

var<workgroup> partial: array<f32, #{WG}>;

// Gradient over the batch and Adam of the step `now` of the run.
fn update(lane: u32, e: u32, now: u32) {
    for (var item = lane; item < #{BLOCKS}u; item += WG) {
        let block = blocks[item];
#for C in 0..4
        var g#{C} = vec4<f32>(0.0);
#end
        var record = record_of(e, 0u, 0u);
        for (var n = 0u; n < step.lr_count; n++) {
            let a = pixels[record + block.x];
            let d = pixels[record + #{PIXEL_DELTAS}u + block.y];
#for C in 0..4
            g#{C} += a[#{C}] * d;
#end
            record += RECORD;
        }
#for C in 0..4
        if has_input(block, #{C}u) {
            learn(
                quad_of(e, block, #{C}u),
                g#{C},
                steps[now].step.update_network,
                steps[now].step.network_step,
                steps[now].step.network_root,
            );
        }
#end
    }
}

@compute @workgroup_size(#{WG})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let e = group.x;
    load(lane, e, 0u, step.lr_count);
    storageBarrier();
    for (var s = 0u; s < step.run; s++) {
        let now = step.index + s;
        partial[lane] = lr_pass(lane, e, 0u, step.lr_count, steps[now].step.step);
        storageBarrier();
        workgroupBarrier();
        for (var half = WG / 2u; half > 0u; half /= 2u) {
            if lane < half {
                partial[lane] += partial[lane + half];
            }
            workgroupBarrier();
        }
        if lane == 0u {
            losses[steps[now].step.slot * #{3 + MEMBERS}u + 3u + e] = partial[0];
        }
        update(lane, e, now);
        storageBarrier();
        workgroupBarrier();
    }
}
