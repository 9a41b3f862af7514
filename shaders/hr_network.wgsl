// The HR pass of a window: encode, decode, sample, blur by the PSF and by its derivatives, respond by the SRF, and
// the losses with their gradients to PSF and SRF; a workgroup a window. The sample lives in workgroup memory, a chunk
// of pixels (one or two an invocation) and a tile of bands at a time, or all bands where they fit. Twin:
// src/engine/cpu/hr_network.rs.
//
// Without noise the decoder of sigma takes no part.
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
// Pixels of a chunk.
const CHUNK = #{WG * PIXELS}u;
const AREA = #{SIDE * SIDE}u;
const MSI = #{MSI}u;
const BAND_QUADS = #{BAND_QUADS}u;
const WIDTH = #{BAND_WIDTH}u;
// Quads of bands that `sample` holds at a time.
const HELD = #{HELD}u;
// Distance of two pixels in `sample`: odd, so that neither pixels side by side (written) nor quads side by side (read)
// lie in one bank of the memory.
const PITCH = #{PITCH}u;
// Columns that the sample is summed against: the PSF, its five derivatives, the b signs of Y - Z R.
const PSFS = 6u;
const COLUMNS = #{6 + MSI}u;

var<workgroup> sample: array<vec4<f32>, #{PITCH * WG * PIXELS}>;         // (pixels of the chunk, quads held)
var<workgroup> weight: array<f32, #{(6 + MSI) * WG * PIXELS}>;           // (columns, pixels of the chunk)

// Puts a quad of bands of the chunk's pixel `p` into `sample` and adds its share of Z R to `response`.
fn take(
    p: u32,
    index: u32,
    quad: u32,
    mean: vec4<f32>,
#if WITH_STD
    deviation: vec4<f32>,
#endif
    msi: ptr<function, array<f32, #{MSI + 1}>>,
    response: ptr<function, array<f32, #{MSI}>>,
) {
    var z = mean;
#if WITH_STD
    z += deviation * epsilon(step.step, #{PURPOSE}u, index, index, quad);
#endif
#if LINEAR
    z += linear_path(msi, quad);
#endif
    sample[p * PITCH + quad % HELD] = z;
    for (var j = start(); j < MSI; j++) {
        (*response)[j] += dot(z, srf[j * BAND_QUADS + quad]);
    }
}

// Draws the tile's bands of this invocation's pixels.
#if HALF
fn draw(
    lane: u32,
    tile: u32,
    index: u32,
    msi: ptr<function, array<f32, #{MSI + 1}>>,
    response: ptr<function, array<f32, #{MSI}>>,
) {
    for (var part = start(); part < #{BAND_WIDTH / 4}u; part++) {
        let columns = tile * #{BAND_WIDTH / 4}u + part;
        if columns >= #{HALF_COLUMNS[MEAN] / 16}u {
            break;
        }
        product_#{MEAN}(lane, 0u, columns, 0u);
#if WITH_STD
        product_#{STD}(lane, 0u, columns, 1u);
#endif
        workgroupBarrier();
        for (var k = start(); k < min(4u, BAND_QUADS - 4u * columns); k++) {
            let mean = activate(product_of(lane, 0u, k), #{SLOPE[MEAN]});
            take(
                lane,
                index,
                4u * columns + k,
                mean,
#if WITH_STD
                activate(product_of(lane, 1u, k), #{SLOPE[STD]}),
#endif
                msi,
                response,
            );
        }
        workgroupBarrier();
    }
}
#else
fn draw(
    lane: u32,
    tile: u32,
#for P in 0..PIXELS
    index#{P}: u32,
    msi#{P}: ptr<function, array<f32, #{MSI + 1}>>,
    mean_from#{P}: ptr<function, array<f32, #{LENGTH[FROM[MEAN]]}>>,
#if WITH_STD
    std_from#{P}: ptr<function, array<f32, #{LENGTH[FROM[STD]]}>>,
#endif
    response#{P}: ptr<function, array<f32, #{MSI}>>,
#end
) {
    let member = step.member * #{PARAMETER_QUADS}u;
#for P in 0..PIXELS
    var mean#{P}: array<vec4<f32>, #{BAND_WIDTH}>;
#if WITH_STD
    var deviation#{P}: array<vec4<f32>, #{BAND_WIDTH}>;
#endif
#end
    layer_#{MEAN}(
        member,
        tile,
#for P in 0..PIXELS
        mean_from#{P},
        &mean#{P},
#end
    );
#if WITH_STD
    layer_#{STD}(
        member,
        tile,
#for P in 0..PIXELS
        std_from#{P},
        &deviation#{P},
#end
    );
#endif
    for (var k = start(); k < min(WIDTH, BAND_QUADS - tile * WIDTH); k++) {
        let quad = tile * WIDTH + k;
#for P in 0..PIXELS
        take(
            #{P * WG}u + lane,
            index#{P},
            quad,
            mean#{P}[k],
#if WITH_STD
            deviation#{P}[k],
#endif
            msi#{P},
            response#{P},
        );
#end
    }
}
#endif

#if HELD >= BAND_QUADS
// An invocation sums every group-th pixel of a chunk, for a quad of bands a round, against all columns at once: so a quad
// of the sample is read once and sums stay in registers from chunk to chunk.
const LANES = #{LANES}u;
const GROUPS = #{WG / LANES}u;

fn accumulate(lane: u32, sums: ptr<function, array<vec4<f32>, #{ROUNDS * (6 + MSI)}>>) {
    if lane >= GROUPS * LANES {
        return;
    }
    for (var p = lane / LANES; p < CHUNK; p += GROUPS) {
#for R in 0..ROUNDS
        let z#{R} = sample[p * PITCH + min(lane % LANES + #{R}u * LANES, HELD - 1u)];
#end
#for C in 0..6 + MSI
        let w#{C} = weight[#{C}u * CHUNK + p];
#for R in 0..ROUNDS
        (*sums)[#{R * (6 + MSI) + C}] += w#{C} * z#{R};
#end
#end
    }
}

// Adds up the groups, in their order, into the window's record. `sample` is free for their sums.
fn finish(lane: u32, record: u32, sums: ptr<function, array<vec4<f32>, #{ROUNDS * (6 + MSI)}>>) {
#for R in 0..ROUNDS
#for C in 0..6 + MSI
    sample[lane] = (*sums)[#{R * (6 + MSI) + C}];
    workgroupBarrier();
    if lane < LANES && #{R}u * LANES + lane < HELD {
        var sum = sample[lane];
        for (var group = start() + 1u; group < GROUPS; group++) {
            sum += sample[group * LANES + lane];
        }
        windows[record + #{C}u * BAND_QUADS + #{R}u * LANES + lane] = sum;
    }
    workgroupBarrier();
#end
#end
}
#else
// Sums the sample held, from quad `from_quad` on, against columns first .. first + count, over the pixels of the chunk in
// their order.
fn accumulate(lane: u32, first: u32, count: u32, from_quad: u32, record: u32, fresh: bool) {
    for (var pair = lane; pair < count * HELD; pair += WG) {
        let k = pair % HELD;
        let column = first + pair / HELD;
        let quad = from_quad + k;
        if quad < BAND_QUADS {
            var sum = vec4<f32>(0.0);
            for (var p = start(); p < CHUNK; p++) {
                sum += weight[column * CHUNK + p] * sample[p * PITCH + k];
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
#endif

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
    let member = step.member * #{PARAMETER_QUADS}u;
    let record = n * #{WINDOW_RECORD}u;
    var response_loss = 0.0;
#if HELD >= BAND_QUADS
    var sums: array<vec4<f32>, #{ROUNDS * (6 + MSI)}>;
#endif
    for (var chunk = start(); chunk < #{(SIDE * SIDE + WG * PIXELS - 1) / (WG * PIXELS)}u; chunk++) {
        // Places past the last pixel repeat it with weight 0, so that all invocations reach the barriers.
#for P in 0..PIXELS
        let place#{P} = chunk * CHUNK + #{P * WG}u + lane;
        let inside#{P} = place#{P} < AREA;
        let pixel#{P} = min(place#{P}, AREA - 1u);
        let index#{P} = n * AREA + pixel#{P};
        var msi#{P}: array<f32, #{MSI + 1}>;
        for (var j = start(); j < MSI; j++) {
            msi#{P}[j] = hr_msi[(window * AREA + pixel#{P}) * MSI + j];
        }
        msi#{P}[MSI] = 1.0;
#end
#if HALF
        encode(lane, 0u, &msi0);
#else
#for L in 0..LAYERS
#if !LAST[L] && (BRANCH[L] < 2 || WITH_STD)
#for P in 0..PIXELS
        var h#{L}_#{P}: array<f32, #{LENGTH[L]}>;
#end
        layer_#{L}(
            member,
#for P in 0..PIXELS
#if OWN[L] > 0
            &h#{FROM[L]}_#{P},
#else
            &msi#{P},
#endif
            &msi#{P},
            &h#{L}_#{P},
#end
        );
#endif
#end
#endif
#for P in 0..PIXELS
        // Differences wrap for pixels before the window of the PSF and then fail the comparison.
        let row#{P} = pixel#{P} / #{SIDE}u;
        let column#{P} = pixel#{P} % #{SIDE}u;
        let kernel_row#{P} = row#{P} - #{KERNEL_AT}u;
        let kernel_column#{P} = column#{P} - #{KERNEL_AT}u;
        let in_kernel#{P} = inside#{P} && kernel_row#{P} < #{KERNEL}u && kernel_column#{P} < #{KERNEL}u;
        let in_block#{P} = inside#{P} && row#{P} - #{BLOCK_AT}u < #{SCALE}u && column#{P} - #{BLOCK_AT}u < #{SCALE}u;
        for (var c = start(); c < PSFS; c++) {
            var w = 0.0;
            if in_kernel#{P} {
                w = bank[c * #{KERNEL * KERNEL}u + kernel_row#{P} * #{KERNEL}u + kernel_column#{P}];
            }
            weight[c * CHUNK + #{P * WG}u + lane] = w;
        }
        var response#{P}: array<f32, #{MSI}>;
        for (var j = start(); j < MSI; j++) {
            response#{P}[j] = 0.0;
        }
#end
        for (var tile = start(); tile < #{BAND_TILES}u; tile++) {
#if HALF
            draw(lane, tile, index0, &msi0, &response0);
#else
            draw(
                lane,
                tile,
#for P in 0..PIXELS
                index#{P},
                &msi#{P},
                &h#{FROM[MEAN]}_#{P},
#if WITH_STD
                &h#{FROM[STD]}_#{P},
#endif
                &response#{P},
#end
            );
#endif
#if HELD < BAND_QUADS
            workgroupBarrier();
            accumulate(lane, 0u, PSFS, tile * WIDTH, record, chunk == 0u);
            workgroupBarrier();
#endif
        }
#for P in 0..PIXELS
        for (var j = start(); j < MSI; j++) {
            let residual = msi#{P}[j] - response#{P}[j];
            weight[(PSFS + j) * CHUNK + #{P * WG}u + lane] = select(0.0, -sign(residual), in_block#{P});
            response_loss += select(0.0, abs(residual), in_block#{P});
        }
#if KEEP
        if inside#{P} {
            for (var k = start(); k < #{RESPONSE_QUADS}u; k++) {
                var values = vec4<f32>(0.0);
                for (var c = start(); c < min(4u, MSI - 4u * k); c++) {
                    values[c] = response#{P}[4u * k + c];
                }
                windows[record + #{WINDOW_RESPONSE}u + pixel#{P} * #{RESPONSE_QUADS}u + k] = values;
            }
        }
#endif
#end
#if HELD >= BAND_QUADS
        workgroupBarrier();
        accumulate(lane, &sums);
        workgroupBarrier();
#else
        // Only now are the signs known, and most of the sample is gone: it is drawn again.
        var again: array<f32, #{MSI}>;
        for (var tile = start(); tile < #{BAND_TILES}u; tile++) {
#if HALF
            draw(lane, tile, index0, &msi0, &again);
#else
            draw(
                lane,
                tile,
                index0,
                &msi0,
                &h#{FROM[MEAN]}_0,
#if WITH_STD
                &h#{FROM[STD]}_0,
#endif
                &again,
            );
#endif
            workgroupBarrier();
            accumulate(lane, PSFS, MSI, tile * WIDTH, record, chunk == 0u);
            workgroupBarrier();
        }
#endif
    }
#if HELD >= BAND_QUADS
    finish(lane, record, &sums);
#endif
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
