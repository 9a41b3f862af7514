// Adds the modulated cubic convolution of a residual on the LR grid; an invocation a sample of the HR image. Rows first, then
// along them. Twin: src/engine/cpu/bicubic_update.rs.
#import "shared/part.wgsl"

// An LR row or column, counted from the buffer's first, and its weight.
struct Tap {
    at: u32,
    weight: f32,
}

@group(0) @binding(0) var<uniform> step: Part;
@group(0) @binding(1) var<storage, read> residual: array<f32>;              // (LR rows, LR columns, B)
@group(0) @binding(2) var<storage, read> row_taps: array<Tap>;              // (HR rows, 4)
@group(0) @binding(3) var<storage, read> column_taps: array<Tap>;           // (HR columns, 4)
@group(0) @binding(4) var<storage, read> modulation: array<f32>;            // (HR rows, HR columns)
@group(0) @binding(5) var<storage, read_write> hr_hsi: array<f32>;          // (HR rows, HR columns, B)

const BANDS = #{BANDS}u;

@compute @workgroup_size(#{WG})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let at = (step.first_group + group.x) * #{WG}u + lane;
    if at >= step.hr_rows * step.hr_columns * BANDS {
        return;
    }
    let band = at % BANDS;
    let pixel = at / BANDS;
    let rows = 4u * (pixel / step.hr_columns);
    let columns = 4u * (pixel % step.hr_columns);
    let width = step.lr_columns * BANDS;
    let factor = modulation[pixel];
    var z = hr_hsi[at];
#for C in 0..4
    let column_#{C} = column_taps[columns + #{C}u];
    var low_#{C} = 0.0;
#for R in 0..4
    low_#{C} += row_taps[rows + #{R}u].weight
        * residual[row_taps[rows + #{R}u].at * width + column_#{C}.at * BANDS + band];
#end
    z += factor * column_#{C}.weight * low_#{C};
#end
    hr_hsi[at] = z;
}
