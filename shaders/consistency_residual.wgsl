// X - (Z * C) downsampled: takes what the PSF sees of some HR rows from the residual, which begins as X; an invocation
// a sample. Rows come in ascending order whatever parts they are cut into. Twin: src/engine/cpu/consistency_residual.rs.
#import "shared/part.wgsl"
#import "shared/start.wgsl"

@group(0) @binding(0) var<uniform> step: Part;
@group(0) @binding(1) var<storage, read> psf: array<f32>;                   // (K, K)
@group(0) @binding(2) var<storage, read> hr_hsi: array<f32>;                // (HR rows, HR columns, B)
@group(0) @binding(3) var<storage, read_write> residual: array<f32>;        // (LR rows, LR columns, B)

const BANDS = #{BANDS}u;
const SCALE = #{SCALE}u;
const KERNEL = #{KERNEL}u;
// First row of an LR pixel's window, relative to its block.
const START = #{SCALE / 2} - #{KERNEL / 2};

// HR row or column k of a block's window, held inside the image.
fn inside(block: u32, k: u32, length: u32) -> u32 {
    return u32(clamp(i32(block * SCALE + k) + START, 0, i32(length) - 1));
}

@compute @workgroup_size(#{WG})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let at = (step.first_group + group.x) * #{WG}u + lane;
    if at >= step.lr_rows * step.lr_columns * BANDS {
        return;
    }
    let pixel = at / BANDS;
    let r = step.lr_row + pixel / step.lr_columns;
    let c = pixel % step.lr_columns;
    var left = residual[at];
    for (var i = start(); i < KERNEL; i++) {
        let row = inside(r, i, step.hr_height);
        if row >= step.hr_row && row < step.hr_row + step.hr_rows {
            let first = (row - step.hr_row) * step.hr_columns;
            for (var j = start(); j < KERNEL; j++) {
                let column = inside(c, j, step.hr_columns);
                left -= psf[i * KERNEL + j] * hr_hsi[(first + column) * BANDS + at % BANDS];
            }
        }
    }
    residual[at] = left;
}
