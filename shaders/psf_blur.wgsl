// (Y * C) downsampled at the LR batch, its derivatives to the PSF, and term 3 of the degradation loss; a workgroup
// an LR pixel. Twin: src/engine/cpu/psf_blur.rs.
#import "shared/step.wgsl"

@group(0) @binding(0) var<uniform> step: Step;
@group(0) @binding(1) var<storage, read> batch: array<u32>;                 // (batches, windows)
@group(0) @binding(2) var<storage, read> hr_msi: array<f32>;                // (windows, S, S, b)
@group(0) @binding(3) var<storage, read> lr_hsi: array<f32>;                // (windows, bands padded to 4)
@group(0) @binding(4) var<storage, read> bank: array<f32>;                  // (6, K, K)
@group(0) @binding(5) var<storage, read> srf: array<f32>;                   // (b, bands padded to 4)
@group(0) @binding(6) var<storage, read_write> observations: array<f32>;    // (LR pixels, 3 b + 6)

const WG = #{WG}u;
const AREA = #{KERNEL * KERNEL}u;
const MSI = #{MSI}u;

// MSI bands that are summed together: a pixel's weights are read once for all of them.
const TOGETHER = #{TOGETHER}u;

var<workgroup> partial: array<vec4<f32>, #{2 * TOGETHER * WG}>;

@compute @workgroup_size(#{WG})
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let n = step.first_group + group.y * groups.x + group.x;
    if n >= step.lr_count {
        return;
    }
    let window = batch[step.lr_first + n];
    let pixels = window * #{SIDE * SIDE * MSI}u;
    let out = n * #{3 * MSI + 6}u;
    var loss = 0.0;
    var first_gradient = vec3<f32>(0.0);
    var last_gradient = vec2<f32>(0.0);
    // Past the last band it is summed again and dropped.
    for (var j = 0u; j < MSI; j += TOGETHER) {
        // Blur and three derivatives; two derivatives and the spectrum's response.
#for T in 0..TOGETHER
        var a#{T} = vec4<f32>(0.0);
        var c#{T} = vec4<f32>(0.0);
        let j#{T} = min(j + #{T}u, MSI - 1u);
#end
        for (var at = lane; at < AREA; at += WG) {
            let row = at / #{KERNEL}u + #{KERNEL_AT}u;
            let column = at % #{KERNEL}u + #{KERNEL_AT}u;
            let y = pixels + (row * #{SIDE}u + column) * MSI;
            let first = vec4<f32>(bank[at], bank[AREA + at], bank[2u * AREA + at], bank[3u * AREA + at]);
            let last = vec4<f32>(bank[4u * AREA + at], bank[5u * AREA + at], 0.0, 0.0);
#for T in 0..TOGETHER
            let y#{T} = hr_msi[y + j#{T}];
            a#{T} += y#{T} * first;
            c#{T} += y#{T} * last;
#end
        }
        for (var band = lane; band < #{BANDS}u; band += WG) {
            let x = lr_hsi[window * #{4 * BAND_QUADS}u + band];
#for T in 0..TOGETHER
            c#{T}.z += x * srf[j#{T} * #{4 * BAND_QUADS}u + band];
#end
        }
#for T in 0..TOGETHER
        partial[#{2 * T * WG}u + lane] = a#{T};
        partial[#{(2 * T + 1) * WG}u + lane] = c#{T};
#end
        workgroupBarrier();
        for (var half = WG / 2u; half > 0u; half /= 2u) {
            if lane < half {
#for T in 0..2 * TOGETHER
                partial[#{T * WG}u + lane] += partial[#{T * WG}u + lane + half];
#end
            }
            workgroupBarrier();
        }
        if lane == 0u {
            for (var t = 0u; t < min(TOGETHER, MSI - j); t++) {
                let blur = partial[2u * t * WG];
                let others = partial[(2u * t + 1u) * WG];
                let residual = others.z - blur.x;
                let s = sign(residual);
                observations[out + j + t] = blur.x;
                observations[out + MSI + j + t] = others.z;
                observations[out + 2u * MSI + j + t] = s;
                loss += abs(residual);
                first_gradient -= s * blur.yzw;
                last_gradient -= s * others.xy;
            }
        }
        workgroupBarrier();
    }
    if lane == 0u {
        observations[out + 3u * MSI] = loss;
        observations[out + 3u * MSI + 1u] = first_gradient.x;
        observations[out + 3u * MSI + 2u] = first_gradient.y;
        observations[out + 3u * MSI + 3u] = first_gradient.z;
        observations[out + 3u * MSI + 4u] = last_gradient.x;
        observations[out + 3u * MSI + 5u] = last_gradient.y;
    }
}
