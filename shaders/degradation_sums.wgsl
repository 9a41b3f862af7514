// What the windows and the LR pixels of a step sum up to for the degradation's update: 8 sums a workgroup, 16 slices
// of the batch each, summed in a fixed order. Twin: src/engine/cpu/degradation_sums.rs.
#import "shared/step.wgsl"

@group(0) @binding(0) var<uniform> step: Step;
@group(0) @binding(1) var<storage, read> batch: array<u32>;                 // (batches, windows)
@group(0) @binding(2) var<storage, read> lr_hsi: array<f32>;                // (windows, bands padded to 4)
@group(0) @binding(3) var<storage, read> observations: array<f32>;          // (LR pixels, 3 b + 6)
@group(0) @binding(4) var<storage, read> windows: array<f32>;               // (HR windows, record)
@group(0) @binding(5) var<storage, read_write> sums: array<f32>;            // see `degradation_update`

const SLICES = 16u;
const BANDS = #{BANDS}u;
const PADDED = #{4 * BAND_QUADS}u;
const MSI = #{MSI}u;
const RESPONSES = #{BANDS * MSI}u;

var<workgroup> partial: array<f32, 128>;

// Sum over every SLICES-th window of word `at` of their records; four at a time, whose loads need not wait for each
// other, here and below.
fn over_windows(slice: u32, at: u32) -> f32 {
    var sum = vec4<f32>(0.0);
    for (var n = slice; n < step.hr_count; n += 4u * SLICES) {
#for U in 0..4
        let n#{U} = n + #{U}u * SLICES;
        let x#{U} = windows[min(n#{U}, step.hr_count - 1u) * #{4 * WINDOW_RECORD}u + at];
#end
        let there = vec4<u32>(n0, n1, n2, n3) < vec4<u32>(step.hr_count);
        sum += select(vec4<f32>(0.0), vec4<f32>(x0, x1, x2, x3), there);
    }
    return (sum.x + sum.y) + (sum.z + sum.w);
}

// The same of word `at` of the LR pixels' observations, each times its sample of band `band` or one.
fn over_pixels(slice: u32, at: u32, band: u32) -> f32 {
    var sum = vec4<f32>(0.0);
    for (var n = slice; n < step.lr_count; n += 4u * SLICES) {
#for U in 0..4
        let n#{U} = n + #{U}u * SLICES;
        let clamped#{U} = min(n#{U}, step.lr_count - 1u);
        var x#{U} = observations[clamped#{U} * #{3 * MSI + 6}u + at];
        if band < BANDS {
            x#{U} *= lr_hsi[batch[step.lr_first + clamped#{U}] * PADDED + band];
        }
#end
        let there = vec4<u32>(n0, n1, n2, n3) < vec4<u32>(step.lr_count);
        sum += select(vec4<f32>(0.0), vec4<f32>(x0, x1, x2, x3), there);
    }
    return (sum.x + sum.y) + (sum.z + sum.w);
}

// A slice of entry `e`: gradient of term 2 to the responses (b, B), of term 3 likewise, then term 1, its gradients to
// the PSF, term 2, term 3, its gradients to the PSF.
fn entry(slice: u32, e: u32) -> f32 {
    if e < 2u * RESPONSES {
        let band = e % BANDS;
        let j = (e / BANDS) % MSI;
        if e < RESPONSES {
            return over_windows(slice, (6u + j) * PADDED + band);
        }
        return over_pixels(slice, 2u * MSI + j, band);
    }
    let tail = e - 2u * RESPONSES;
    if tail < 7u {
        return over_windows(slice, #{4 * WINDOW_TAIL}u + tail);
    }
    return over_pixels(slice, 3u * MSI + tail - 7u, BANDS);
}

@compute @workgroup_size(128)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let e = (step.first_group + group.x) * 8u + lane % 8u;
    let slice = lane / 8u;
    partial[lane] = 0.0;
    if e < 2u * RESPONSES + 13u {
        partial[lane] = entry(slice, e);
    }
    workgroupBarrier();
    for (var half = SLICES / 2u; half > 0u; half /= 2u) {
        if slice < half {
            partial[lane] += partial[lane + 8u * half];
        }
        workgroupBarrier();
    }
    if slice == 0u && e < 2u * RESPONSES + 13u {
        sums[#{4 * (5 + 8 * MSI)}u + e] = partial[lane];
    }
}
