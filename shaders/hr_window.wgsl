// What the parts of a window sum up to, and term 1 with its gradient to the PSF; a workgroup a window. Twin:
// src/engine/cpu/hr_window.rs.
#import "shared/step.wgsl"

@group(0) @binding(0) var<uniform> step: Step;
@group(0) @binding(1) var<storage, read> batch: array<u32>;                 // (batches, windows)
@group(0) @binding(2) var<storage, read> lr_hsi: array<vec4<f32>>;          // (windows, B)
@group(0) @binding(3) var<storage, read> parts: array<vec4<f32>>;           // (HR windows, parts, record)
@group(0) @binding(4) var<storage, read_write> windows: array<vec4<f32>>;   // (HR windows, record)

const WG = #{WG}u;
const BAND_QUADS = #{BAND_QUADS}u;
const SUMS = #{(6 + MSI) * BAND_QUADS}u;
const PARTS = #{WINDOW_PARTS}u;

var<workgroup> partial: array<vec4<f32>, #{2 * WG}>;

@compute @workgroup_size(#{WG})
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let n = step.first_group + group.y * groups.x + group.x;
    if n >= step.hr_count {
        return;
    }
    let window = batch[step.hr_first + n];
    let first = n * PARTS * #{PART_RECORD}u;
    let record = n * #{WINDOW_RECORD}u;
    for (var at = lane; at < SUMS; at += WG) {
        var sum = vec4<f32>(0.0);
        for (var part = 0u; part < PARTS; part++) {
            sum += parts[first + part * #{PART_RECORD}u + at];
        }
        windows[record + at] = sum;
    }
    storageBarrier();
    // Term 1 and three of its gradients; two gradients and term 2.
    var a = vec4<f32>(0.0);
    var c = vec4<f32>(0.0);
    for (var quad = lane; quad < BAND_QUADS; quad += WG) {
        let residual = lr_hsi[window * BAND_QUADS + quad] - windows[record + quad];
        let s = sign(residual);
        // Bands of the padding are zero on both sides.
        a += vec4<f32>(
            dot(abs(residual), vec4<f32>(1.0)),
            -dot(s, windows[record + BAND_QUADS + quad]),
            -dot(s, windows[record + 2u * BAND_QUADS + quad]),
            -dot(s, windows[record + 3u * BAND_QUADS + quad]),
        );
        c += vec4<f32>(
            -dot(s, windows[record + 4u * BAND_QUADS + quad]),
            -dot(s, windows[record + 5u * BAND_QUADS + quad]),
            0.0,
            0.0,
        );
    }
    for (var part = lane; part < PARTS; part += WG) {
        c.z += parts[first + part * #{PART_RECORD}u + SUMS].x;
    }
    partial[lane] = a;
    partial[WG + lane] = c;
    workgroupBarrier();
    for (var half = WG / 2u; half > 0u; half /= 2u) {
        if lane < half {
            partial[lane] += partial[lane + half];
            partial[WG + lane] += partial[WG + lane + half];
        }
        workgroupBarrier();
    }
    if lane == 0u {
        windows[record + #{WINDOW_TAIL}u] = partial[0];
        windows[record + #{WINDOW_TAIL + 1}u] = partial[WG];
    }
}
