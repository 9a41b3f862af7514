// The HR pass of a window: encode, decode, sample, blur by the PSF and by its derivatives, respond by the SRF, and
// the losses with their gradients to PSF and SRF; a workgroup a window. The sample lives in workgroup memory, a chunk
// of pixels and a tile of bands at a time, or all bands where they fit. Twin: src/engine/cpu/hr_network.rs.
#if HALF
enable f16;
#endif
#if HALF && MATRIX
enable wgpu_cooperative_matrix;
#endif
#import "shared/step.wgsl"

@group(0) @binding(0) var<uniform> step: Step;
@group(0) @binding(1) var<storage, read> batch: array<u32>;                 // (batches, windows)
@group(0) @binding(2) var<storage, read> hr_msi: array<f32>;                // (windows, S, S, b)
@group(0) @binding(3) var<storage, read> lr_hsi: array<vec4<f32>>;          // (windows, B)
@group(0) @binding(4) var<storage, read> bank: array<f32>;                  // (6, K, K)
@group(0) @binding(5) var<storage, read> srf: array<vec4<f32>>;             // (b, B)
@group(0) @binding(6) var<storage, read> network: array<vec4<f32>>;         // (members, parameters), (b + 1, B)
@group(0) @binding(7) var<storage, read_write> windows: array<vec4<f32>>;   // (HR windows, record)
#if NOISE == 2
@group(0) @binding(8) var<storage, read> noise: array<vec4<f32>>;           // (HR windows, S, S, B)
#endif

#if HALF && MATRIX
@group(0) @binding(9) var<storage, read> weights: array<f16>;               // the member's, layers' (inputs, outputs)
#endif
#if HALF && !MATRIX
@group(0) @binding(9) var<storage, read> weights: array<vec4<f16>>;         // the member's, layers' (inputs, outputs)
#endif

#if HALF
#import "shared/half_network.wgsl"
#else
#import "shared/network.wgsl"
#endif
#import "shared/noise.wgsl"

const WG = #{WG}u;
const AREA = #{SIDE * SIDE}u;
const MSI = #{MSI}u;
const BAND_QUADS = #{BAND_QUADS}u;
const WIDTH = #{BAND_WIDTH}u;
// Quads of bands that `sample` holds at a time.
const HELD = #{HELD}u;
// Columns that the sample is summed against: the PSF, its five derivatives, the b signs of Y - Z R.
const PSFS = 6u;
const COLUMNS = #{6 + MSI}u;

var<workgroup> sample: array<vec4<f32>, #{HELD * WG}>;          // (quads held, pixels of the chunk)
var<workgroup> weight: array<f32, #{(6 + MSI) * WG}>;           // (columns, pixels of the chunk)

// Puts a quad of bands of this invocation's pixel into `sample` and adds its share of Z R to `response`.
fn take(
    lane: u32,
    index: u32,
    quad: u32,
    mean: vec4<f32>,
    deviation: vec4<f32>,
    msi: ptr<function, array<f32, #{MSI + 1}>>,
    response: ptr<function, array<f32, #{MSI}>>,
) {
    var z = mean + deviation * epsilon(step.step, #{PURPOSE}u, index, index, quad);
#if LINEAR
    z += linear_path(msi, quad);
#endif
    sample[quad % HELD * WG + lane] = z;
    for (var j = start(); j < MSI; j++) {
        (*response)[j] += dot(z, srf[j * BAND_QUADS + quad]);
    }
}

// Draws the tile's bands of this invocation's pixel.
#if HALF
fn draw(
    lane: u32,
    index: u32,
    tile: u32,
    msi: ptr<function, array<f32, #{MSI + 1}>>,
    response: ptr<function, array<f32, #{MSI}>>,
) {
    for (var part = start(); part < #{BAND_WIDTH / 4}u; part++) {
        let columns = tile * #{BAND_WIDTH / 4}u + part;
        if columns >= #{HALF_COLUMNS[MEAN] / 16}u {
            break;
        }
        product_#{MEAN}(lane, 0u, columns, 0u);
        product_#{STD}(lane, 0u, columns, 1u);
        workgroupBarrier();
        for (var k = start(); k < min(4u, BAND_QUADS - 4u * columns); k++) {
            let mean = activate(product_of(lane, 0u, k), #{SLOPE[MEAN]});
            let deviation = activate(product_of(lane, 1u, k), #{SLOPE[STD]});
            take(lane, index, 4u * columns + k, mean, deviation, msi, response);
        }
        workgroupBarrier();
    }
}
#else
fn draw(
    lane: u32,
    index: u32,
    tile: u32,
    msi: ptr<function, array<f32, #{MSI + 1}>>,
    mean_from: ptr<function, array<f32, #{LENGTH[FROM[MEAN]]}>>,
    std_from: ptr<function, array<f32, #{LENGTH[FROM[STD]]}>>,
    response: ptr<function, array<f32, #{MSI}>>,
) {
    let member = step.member * #{PARAMETER_QUADS}u;
    var mean: array<vec4<f32>, #{BAND_WIDTH}>;
    var deviation: array<vec4<f32>, #{BAND_WIDTH}>;
    layer_#{MEAN}(member, mean_from, tile, &mean);
    layer_#{STD}(member, std_from, tile, &deviation);
    for (var k = start(); k < min(WIDTH, BAND_QUADS - tile * WIDTH); k++) {
        take(lane, index, tile * WIDTH + k, mean[k], deviation[k], msi, response);
    }
}
#endif

// Sums the sample held, from quad `from_quad` on, against columns first .. first + count, over the pixels of the chunk in
// their order.
fn accumulate(lane: u32, first: u32, count: u32, from_quad: u32, record: u32, fresh: bool) {
    for (var pair = lane; pair < count * HELD; pair += WG) {
        let k = pair % HELD;
        let column = first + pair / HELD;
        let quad = from_quad + k;
        if quad < BAND_QUADS {
            var sum = vec4<f32>(0.0);
            for (var p = start(); p < WG; p++) {
                sum += weight[column * WG + p] * sample[k * WG + p];
            }
            let at = record + column * BAND_QUADS + quad;
            if fresh {
                windows[at] = sum;
            } else {
                windows[at] += sum;
            }
        }
    }
}

@compute @workgroup_size(#{WG})
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let in_part = group.y * groups.x + group.x;
    if in_part >= step.hr_part {
        return;
    }
    let n = step.hr_offset + in_part;
    let window = batch[step.hr_first + n];
    let member = step.member * #{PARAMETER_QUADS}u;
    let record = n * #{WINDOW_RECORD}u;
    var response_loss = 0.0;
    for (var chunk = start(); chunk < #{(SIDE * SIDE + WG - 1) / WG}u; chunk++) {
        // Invocations past the last pixel repeat it with weight 0, so that all reach the barriers.
        let inside = chunk * WG + lane < AREA;
        let pixel = min(chunk * WG + lane, AREA - 1u);
        let row = pixel / #{SIDE}u;
        let column = pixel % #{SIDE}u;
        var msi: array<f32, #{MSI + 1}>;
        for (var j = start(); j < MSI; j++) {
            msi[j] = hr_msi[(window * AREA + pixel) * MSI + j];
        }
        msi[MSI] = 1.0;
#if HALF
        encode(lane, 0u, &msi);
#else
#for L in 0..LAYERS
#if !LAST[L]
        var h#{L}: array<f32, #{LENGTH[L]}>;
#if OWN[L] > 0
        layer_#{L}(member, &h#{FROM[L]}, &msi, &h#{L});
#else
        layer_#{L}(member, &msi, &msi, &h#{L});
#endif
#endif
#end
#endif
        // Differences wrap for pixels before the window of the PSF and then fail the comparison.
        let kernel_row = row - #{KERNEL_AT}u;
        let kernel_column = column - #{KERNEL_AT}u;
        let in_kernel = inside && kernel_row < #{KERNEL}u && kernel_column < #{KERNEL}u;
        let in_block = inside && row - #{BLOCK_AT}u < #{SCALE}u && column - #{BLOCK_AT}u < #{SCALE}u;
        for (var p = start(); p < PSFS; p++) {
            var w = 0.0;
            if in_kernel {
                w = bank[p * #{KERNEL * KERNEL}u + kernel_row * #{KERNEL}u + kernel_column];
            }
            weight[p * WG + lane] = w;
        }
        let index = n * AREA + pixel;
        var response: array<f32, #{MSI}>;
        for (var j = start(); j < MSI; j++) {
            response[j] = 0.0;
        }
        for (var tile = start(); tile < #{BAND_TILES}u; tile++) {
#if HALF
            draw(lane, index, tile, &msi, &response);
#else
            draw(lane, index, tile, &msi, &h#{FROM[MEAN]}, &h#{FROM[STD]}, &response);
#endif
#if HELD < BAND_QUADS
            workgroupBarrier();
            accumulate(lane, 0u, PSFS, tile * WIDTH, record, chunk == 0u);
            workgroupBarrier();
#endif
        }
        for (var j = start(); j < MSI; j++) {
            let residual = msi[j] - response[j];
            weight[(PSFS + j) * WG + lane] = select(0.0, -sign(residual), in_block);
            response_loss += select(0.0, abs(residual), in_block);
        }
#if KEEP
        if inside {
            for (var k = start(); k < #{RESPONSE_QUADS}u; k++) {
                var values = vec4<f32>(0.0);
                for (var c = start(); c < min(4u, MSI - 4u * k); c++) {
                    values[c] = response[4u * k + c];
                }
                windows[record + #{WINDOW_RESPONSE}u + pixel * #{RESPONSE_QUADS}u + k] = values;
            }
        }
#endif
#if HELD >= BAND_QUADS
        workgroupBarrier();
        accumulate(lane, 0u, COLUMNS, 0u, record, chunk == 0u);
        workgroupBarrier();
#else
        // Only now are the signs known, and most of the sample is gone: it is drawn again.
        var again: array<f32, #{MSI}>;
        for (var tile = start(); tile < #{BAND_TILES}u; tile++) {
#if HALF
            draw(lane, index, tile, &msi, &again);
#else
            draw(lane, index, tile, &msi, &h#{FROM[MEAN]}, &h#{FROM[STD]}, &again);
#endif
            workgroupBarrier();
            accumulate(lane, PSFS, MSI, tile * WIDTH, record, chunk == 0u);
            workgroupBarrier();
        }
#endif
    }
    storageBarrier();
    workgroupBarrier();

    // Term 1 and its gradient to the five PSF parameters: `weight` is free for their partial sums.
    var blur_loss = 0.0;
    var gradient: array<f32, 5>;
    for (var quad = lane; quad < BAND_QUADS; quad += WG) {
        let residual = lr_hsi[window * BAND_QUADS + quad] - windows[record + quad];
        let s = sign(residual);
        // Bands of the padding are zero on both sides.
        blur_loss += dot(abs(residual), vec4<f32>(1.0));
        for (var p = start(); p < 5u; p++) {
            gradient[p] -= dot(s, windows[record + (1u + p) * BAND_QUADS + quad]);
        }
    }
    weight[lane] = blur_loss;
    for (var p = start(); p < 5u; p++) {
        weight[(1u + p) * WG + lane] = gradient[p];
    }
    weight[6u * WG + lane] = response_loss;
    workgroupBarrier();
    for (var half = WG / 2u; half > 0u; half /= 2u) {
        if lane < half {
            for (var p = start(); p < 7u; p++) {
                weight[p * WG + lane] += weight[p * WG + lane + half];
            }
        }
        workgroupBarrier();
    }
    if lane == 0u {
        let tail = record + #{WINDOW_TAIL}u;
        windows[tail] = vec4<f32>(weight[0], weight[WG], weight[2u * WG], weight[3u * WG]);
        windows[tail + 1u] = vec4<f32>(weight[4u * WG], weight[5u * WG], weight[6u * WG], 0.0);
    }
}
