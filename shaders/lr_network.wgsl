// The LR pass of every member, a workgroup for a few LR pixels of a member. Leaves what `network_update` multiplies
// into the gradient. Twin: src/engine/cpu/lr_network.rs.
#import "shared/step.wgsl"

@group(0) @binding(0) var<uniform> step: Step;
@group(0) @binding(1) var<storage, read> batch: array<u32>;                 // (batches, windows)
@group(0) @binding(2) var<storage, read> lr_hsi: array<vec4<f32>>;          // (windows, B)
@group(0) @binding(3) var<storage, read> observations: array<f32>;          // (LR pixels, 3 b + 6)
@group(0) @binding(4) var<storage, read> network: array<vec4<f32>>;         // (members, parameters), (b + 1, B)
@group(0) @binding(5) var<storage, read_write> pixels: array<vec4<f32>>;    // (members, LR pixels, record)
#if NOISE == 2
@group(0) @binding(6) var<storage, read> noise: array<vec4<f32>>;           // (members, LR pixels, B)
#endif
#if FROZEN
@group(0) @binding(7) var<storage, read> abundance: array<vec4<f32>>;       // (members, windows, P)
#endif

#import "shared/lr_pass.wgsl"

const CHUNK = #{CHUNK}u;
const WG = #{WG}u;

var<workgroup> partial: array<f32, #{WG}>;

@compute @workgroup_size(#{WG})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let first = (step.first_group + group.x) * CHUNK;
    let count = min(CHUNK, step.lr_count - first);
#if LOCAL
    // What no layer fills is zero.
    for (var at = lane; at < #{ROWS_QUADS}u; at += WG) {
        rows[at] = vec4<f32>(0.0);
    }
    fence();
#endif
    load(lane, group.y, first, count);
    fence();
    // An invocation's share of the loss belongs to one pixel: there are no more of them than `compare` takes side by side.
    partial[lane] = lr_pass(lane, group.y, first, count, step.step);
    workgroupBarrier();
    if lane < count {
        var loss = 0.0;
        for (var k = start(); k < SHARING; k++) {
            loss += partial[lane * SHARING + k];
        }
        #{ROWS[0]}[record_of(group.y, first, lane) + #{PIXEL_LOSS}u] = vec4<f32>(loss, 0.0, 0.0, 0.0);
    }
#if LOCAL
    fence();
    let out = (group.y * step.lr_count + first) * RECORD;
    for (var at = lane; at < count * RECORD; at += WG) {
        pixels[out + at] = rows[at / RECORD * ROW_PITCH + at % RECORD];
    }
#endif
}
