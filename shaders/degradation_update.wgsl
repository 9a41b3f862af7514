// Takes what `degradation_sums` left back to theta, Adam; one workgroup. Twin: src/engine/cpu/degradation_update.rs.
#import "shared/step.wgsl"
#import "shared/adam.wgsl"

@group(0) @binding(0) var<uniform> step: Step;
@group(0) @binding(1) var<storage, read> srf: array<f32>;                   // (b, bands padded to 4)
@group(0) @binding(2) var<storage, read_write> theta: array<f32>;           // (3, 5 + 8 b): parameters and moments
@group(0) @binding(3) var<storage, read_write> sums: array<f32>;            // (4, 5 + 8 b): terms, total; (2, b, B), 13
@group(0) @binding(4) var<storage, read_write> losses: array<f32>;          // (slots, 3 + members)

const WG = #{WG}u;
const BANDS = #{BANDS}u;
const PADDED = #{4 * BAND_QUADS}u;
const MSI = #{MSI}u;
const THETA = #{5 + 8 * MSI}u;
const SCRATCH = #{4 * (5 + 8 * MSI)}u;
// Behind the sums of the responses: term 1, its 5 gradients, term 2; term 3, its 5 gradients.
const TAILS = #{4 * (5 + 8 * MSI) + 2 * BANDS * MSI}u;

// Invocations that share a gradient's bands.
const SHARING = 8u;
// Gradients side by side.
const ABREAST = #{WG / 8}u;

var<workgroup> partial: array<vec2<f32>, #{WG}>;

// Sum of `share` over the invocations that share a gradient, in their order.
fn shared_sum(lane: u32, share: vec2<f32>) -> vec2<f32> {
    workgroupBarrier();
    partial[lane] = share;
    workgroupBarrier();
    var sum = vec2<f32>(0.0);
    for (var k = 0u; k < SHARING; k++) {
        sum += partial[lane / SHARING * SHARING + k];
    }
    return sum;
}

// Gradient of term 2 (`term` 0) or 3 (`term` 1) to mean and width of Gaussian k of column j, before the scale, by the
// invocations that share it.
fn mixture_gradient(lane: u32, term: u32, j: u32, k: u32) -> vec2<f32> {
    let to_response = SCRATCH + (term * MSI + j) * BANDS;
    var share = vec2<f32>(0.0);
    for (var i = lane % SHARING; i < BANDS; i += SHARING) {
        share.x += sums[to_response + i] * srf[j * PADDED + i];
        for (var other = 0u; other < 4u; other++) {
            let z = (f32(i) - theta[5u + j * 4u + other]) / theta[#{5 + 4 * MSI}u + j * 4u + other];
            share.y += exp(-0.5 * z * z);
        }
    }
    let whole = shared_sum(lane, share);
    let mean = theta[5u + j * 4u + k];
    let width = theta[#{5 + 4 * MSI}u + j * 4u + k];
    var gradient = vec2<f32>(0.0);
    for (var i = lane % SHARING; i < BANDS; i += SHARING) {
        let z = (f32(i) - mean) / width;
        let to_g = (sums[to_response + i] - whole.x) / whole.y;
        let slope = to_g * exp(-0.5 * z * z) * z / width;
        gradient += vec2<f32>(slope, slope * z);
    }
    return shared_sum(lane, gradient);
}

fn learned(k: u32) -> bool {
    if k < 3u {
        return #{LEARN_PSF} == 1;
    }
    if k < 5u {
        return #{LEARN_CENTRE} == 1;
    }
    return #{LEARN_SRF} == 1;
}

@compute @workgroup_size(#{WG})
fn main(@builtin(local_invocation_index) lane: u32) {
    for (var p = lane; p < 5u; p += WG) {
        sums[p] = sums[TAILS + 1u + p] * step.blur_scale;
        sums[THETA + p] = 0.0;
        sums[2u * THETA + p] = sums[TAILS + 8u + p] * step.observation_scale;
    }
    for (var round = 0u; round < #{(8 * MSI + WG / 8 - 1) / (WG / 8)}u; round++) {
        // Past the last gradient it is computed again and dropped.
        let q = round * ABREAST + lane / SHARING;
        let known = min(q, 8u * MSI - 1u);
        let term = known / (4u * MSI);
        let j = (known / 4u) % MSI;
        let g = mixture_gradient(lane, term, j, known % 4u)
            * select(step.response_scale, step.observation_scale, term == 1u);
        if q < 8u * MSI && lane % SHARING == 0u {
            let at = (1u + term) * THETA + 5u + q % (4u * MSI);
            sums[at] = g.x;
            sums[at + 4u * MSI] = g.y;
            // Term 1 does not see the response.
            sums[5u + q] = 0.0;
        }
    }
    if lane == 0u {
        let row = step.slot * #{3 + MEMBERS}u;
        losses[row] = sums[TAILS] * step.blur_scale;
        losses[row + 1u] = sums[TAILS + 6u] * step.response_scale;
        losses[row + 2u] = sums[TAILS + 7u] * step.observation_scale;
    }
    storageBarrier();
    workgroupBarrier();
    for (var k = lane; k < THETA; k += WG) {
        var total = 0.0;
        if learned(k) {
            total = step.alpha_blur * sums[k] + step.alpha_response * sums[THETA + k]
                + step.alpha_observation * sums[2u * THETA + k];
            let updated = adam(
                vec4<f32>(total),
                vec4<f32>(theta[k]),
                vec4<f32>(theta[THETA + k]),
                vec4<f32>(theta[2u * THETA + k]),
                step.degradation_step,
                step.degradation_root,
            );
            theta[k] = updated.parameter.x;
            theta[THETA + k] = updated.m.x;
            theta[2u * THETA + k] = updated.v.x;
        }
        sums[3u * THETA + k] = total;
    }
}
