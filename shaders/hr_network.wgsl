// The HR pass of a window: encode, decode, sample, blur by the PSF and by its derivatives, respond by the SRF, and
// the losses with their gradients to PSF and SRF; a workgroup a window. The sample lives in workgroup memory, a chunk
// of pixels and a tile of bands at a time. Twin: src/engine/cpu/hr_network.rs.
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

#import "shared/network.wgsl"
#import "shared/noise.wgsl"

const WG = #{WG}u;
const AREA = #{SIDE * SIDE}u;
const MSI = #{MSI}u;
const BAND_QUADS = #{BAND_QUADS}u;
const WIDTH = #{BAND_WIDTH}u;
// Columns that the sample is summed against: the PSF, its five derivatives, the b signs of Y - Z R.
const PSFS = 6u;
const COLUMNS = #{6 + MSI}u;

var<workgroup> sample: array<vec4<f32>, #{BAND_WIDTH * WG}>;    // (quads of the tile, pixels of the chunk)
var<workgroup> weight: array<f32, #{(6 + MSI) * WG}>;           // (columns, pixels of the chunk)

// Puts the tile's bands of this invocation's pixel into `sample` and adds their share of Z R to `response`.
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
    for (var k = start(); k < WIDTH; k++) {
        let quad = tile * WIDTH + k;
        if quad >= BAND_QUADS {
            break;
        }
        var z = mean[k] + deviation[k] * epsilon(step.step, #{PURPOSE}u, index, index, quad);
#if LINEAR
        z += linear_path(msi, quad);
#endif
        sample[k * WG + lane] = z;
        for (var j = start(); j < MSI; j++) {
            (*response)[j] += dot(z, srf[j * BAND_QUADS + quad]);
        }
    }
}

// Sums the tile's sample against columns first .. first + count, over the pixels of the chunk in their order.
fn accumulate(lane: u32, first: u32, count: u32, tile: u32, record: u32, fresh: bool) {
    for (var pair = lane; pair < count * WIDTH; pair += WG) {
        let k = pair % WIDTH;
        let column = first + pair / WIDTH;
        let quad = tile * WIDTH + k;
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
    let n = group.y * groups.x + group.x;
    if n >= step.hr_count {
        return;
    }
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
#if BAND_TILES == 1
        draw(lane, index, 0u, &msi, &h#{FROM[MEAN]}, &h#{FROM[STD]}, &response);
#else
        for (var tile = start(); tile < #{BAND_TILES}u; tile++) {
            draw(lane, index, tile, &msi, &h#{FROM[MEAN]}, &h#{FROM[STD]}, &response);
            workgroupBarrier();
            accumulate(lane, 0u, PSFS, tile, record, chunk == 0u);
            workgroupBarrier();
        }
#endif
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
#if BAND_TILES == 1
        workgroupBarrier();
        accumulate(lane, 0u, COLUMNS, 0u, record, chunk == 0u);
        workgroupBarrier();
#else
        // Only now are the signs known; a second pass over the tiles costs less than keeping the sample.
        var again: array<f32, #{MSI}>;
        for (var tile = start(); tile < #{BAND_TILES}u; tile++) {
            draw(lane, index, tile, &msi, &h#{FROM[MEAN]}, &h#{FROM[STD]}, &again);
            workgroupBarrier();
            accumulate(lane, PSFS, MSI, tile, record, chunk == 0u);
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
