// Spreads weights of LR pixels over HR pixels that are near and of the same colour; a workgroup a tile of HR pixels by
// a tile of bands, an invocation a pixel of it. The LR pixels that the tile reaches come by chunks into workgroup memory;
// a pixel takes its own of them row by row, as by itself. Twin: src/engine/cpu/guided_update.rs.
#import "shared/part.wgsl"
#import "shared/start.wgsl"

// An HR row or column in LR pixels: the one below it, counted from the image's first, and how far it is above that.
struct Place {
    below: i32,
    fraction: f32,
}

@group(0) @binding(0) var<uniform> step: Part;
@group(0) @binding(1) var<storage, read> weights: array<vec4<f32>>;         // (LR rows, LR columns, quads)
@group(0) @binding(2) var<storage, read> lr_msi: array<f32>;                // (LR rows, LR columns, b)
@group(0) @binding(3) var<storage, read> hr_msi: array<f32>;                // (HR rows, HR columns, b)
@group(0) @binding(4) var<storage, read> row_places: array<Place>;          // (HR rows)
@group(0) @binding(5) var<storage, read> column_places: array<Place>;       // (HR columns)
@group(0) @binding(6) var<storage, read_write> hr_hsi: array<f32>;          // (HR rows, HR columns, B)

const SIDE = #{SIDE}u;
const WG = #{SIDE * SIDE}u;
const CHUNK = #{CHUNK}u;
const WIDTH = #{WIDTH}u;
const MSI = #{MSI}u;
const BANDS = #{BANDS}u;

var<workgroup> near_weights: array<vec4<f32>, #{CHUNK * WIDTH}>;
var<workgroup> near_colours: array<f32, #{CHUNK * MSI}>;
// Row and column of the chunk's LR pixels.
var<workgroup> near_places: array<vec2<i32>, #{CHUNK}>;

@compute @workgroup_size(#{SIDE * SIDE})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let first_row = group.y * SIDE;
    let first_column = group.x * SIDE;
    let last_row = min(first_row + SIDE, step.hr_rows) - 1u;
    let last_column = min(first_column + SIDE, step.hr_columns) - 1u;
    let first_quad = group.z * WIDTH;
    // All invocations reach the barriers; those past the last row or column repeat it.
    let row = min(first_row + lane / SIDE, last_row);
    let column = min(first_column + lane % SIDE, last_column);
    let inside = first_row + lane / SIDE == row && first_column + lane % SIDE == column;
    let pixel = row * step.hr_columns + column;
    let down = row_places[row];
    let across = column_places[column];
    var colour: array<f32, #{MSI}>;
    for (var j = start(); j < MSI; j++) {
        colour[j] = hr_msi[pixel * MSI + j];
    }

    // The LR pixels that any pixel of the tile reaches.
    let reach = i32(step.reach);
    let top = max(row_places[first_row].below - reach + 1, 0);
    let left = max(column_places[first_column].below - reach + 1, 0);
    let bottom = min(row_places[last_row].below + reach + 1, i32(step.lr_height));
    let right = min(column_places[last_column].below + reach + 1, i32(step.lr_columns));
    let width = u32(max(right - left, 0));
    let count = width * u32(max(bottom - top, 0));
#for Q in 0..WIDTH
    var sum_#{Q} = vec4<f32>(0.0);
#end
    for (var chunk = 0u; chunk < count; chunk += CHUNK) {
        let here = min(CHUNK, count - chunk);
        for (var at = lane; at < here * WIDTH; at += WG) {
            let k = chunk + at / WIDTH;
            let n = (u32(top) + k / width - step.lr_row) * step.lr_columns + u32(left) + k % width;
            let quad = first_quad + at % WIDTH;
            var w = vec4<f32>(0.0);
            if quad < step.quads {
                w = weights[n * step.quads + quad];
            }
            near_weights[at] = w;
        }
        for (var at = lane; at < here; at += WG) {
            let k = chunk + at;
            let place = vec2<i32>(top + i32(k / width), left + i32(k % width));
            near_places[at] = place;
            let n = (u32(place.x) - step.lr_row) * step.lr_columns + u32(place.y);
            for (var j = start(); j < MSI; j++) {
                near_colours[at * MSI + j] = lr_msi[n * MSI + j];
            }
        }
        workgroupBarrier();
        for (var k = 0u; k < here; k++) {
            let place = near_places[k];
            let dr = f32(down.below - place.x) + down.fraction;
            let dc = f32(across.below - place.y) + across.fraction;
            let distance2 = dr * dr + dc * dc;
            if distance2 < step.radius * step.radius {
                var colour2 = 0.0;
                for (var j = start(); j < MSI; j++) {
                    let d = colour[j] - near_colours[k * MSI + j];
                    colour2 += d * d;
                }
                let t = sqrt(distance2) / step.radius;
                let near = 1.0 - t;
                let kernel = near * near * near * near * (4.0 * t + 1.0) * exp(-step.sharpness * colour2);
                if kernel >= #{NEGLIGIBLE[0]} {
#for Q in 0..WIDTH
                    sum_#{Q} += kernel * near_weights[k * WIDTH + #{Q}u];
#end
                }
            }
        }
        workgroupBarrier();
    }
    if inside {
        let band = 4u * (step.quad + first_quad);
#for Q in 0..WIDTH
        if first_quad + #{Q}u < step.quads {
#for J in 0..4
            if band + #{4 * Q + J}u < BANDS {
                hr_hsi[pixel * BANDS + band + #{4 * Q + J}u] += sum_#{Q}[#{J}];
            }
#end
        }
#end
    }
}
