// The HR pass of a part of a window: encode, decode, sample, respond by the SRF, and sum the sample against the PSF, its
// derivatives and the signs of Y - Z R; a workgroup a part, whose sums `hr_window` adds up. The sample lives in workgroup
// memory: of all bands where they fit, else of a tile of bands, and tiles are drawn twice, because the signs need all
// bands first. Twin: src/engine/cpu/hr_network.rs.
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
@group(0) @binding(3) var<storage, read> bank: array<f32>;                  // (6, K, K)
@group(0) @binding(4) var<storage, read> srf: array<vec4<f32>>;             // (b, B)
@group(0) @binding(5) var<storage, read> network: array<vec4<f32>>;         // (members, parameters), (b + 1, B)
@group(0) @binding(6) var<storage, read_write> parts: array<vec4<f32>>;     // (HR windows, parts, record)
#if KEEP
@group(0) @binding(7) var<storage, read_write> windows: array<vec4<f32>>;   // (HR windows, record)
#endif
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
// Pixels of a part.
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

var<workgroup> sample: array<vec4<f32>, #{PITCH * WG * PIXELS}>;         // (pixels, quads held); then sums of groups
var<workgroup> weight: array<f32, #{(6 + MSI) * WG * PIXELS}>;           // (columns, pixels)

// Adds the share of a quad of bands to Z R.
fn respond(z: vec4<f32>, quad: u32, response: ptr<function, array<f32, #{MSI}>>) {
#for J in 0..MSI
    (*response)[#{J}] += dot(z, srf[#{J * BAND_QUADS}u + quad]);
#end
}

// Draws the tile's bands of this invocation's pixels into `sample`, and adds their share of Z R. `index` is the number of
// its first pixel in the batch.
#if HALF
fn draw(
    lane: u32,
    tile: u32,
    index: u32,
    msi: ptr<function, array<vec4<f32>, #{MSI / 4 + 1}>>,
    response: ptr<function, array<f32, #{MSI}>>,
) {
    for (var part = rolled(); part < #{BAND_WIDTH / 4}u; part++) {
        let columns = tile * #{BAND_WIDTH / 4}u + part;
        if columns >= #{HALF_COLUMNS[MEAN] / 16}u {
            break;
        }
        product_#{MEAN}(lane, 0u, columns, 0u);
#if WITH_STD
        product_#{STD}(lane, 0u, columns, 1u);
#endif
        workgroupBarrier();
        for (var k = rolled(); k < min(4u, BAND_QUADS - 4u * columns); k++) {
            let quad = 4u * columns + k;
            var z = activate(product_of(lane, 0u, k), #{SLOPE[MEAN]});
#if WITH_STD
            z += activate(product_of(lane, 1u, k), #{SLOPE[STD]}) * epsilon(step.step, #{PURPOSE}u, index, index, quad);
#endif
#if LINEAR
            z += linear_path(msi, quad);
#endif
            sample[lane * PITCH + quad % HELD] = z;
            respond(z, quad, response);
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
    msi#{P}: ptr<function, array<vec4<f32>, #{MSI / 4 + 1}>>,
    mean_from#{P}: ptr<function, array<vec4<f32>, #{LENGTH[FROM[MEAN]]}>>,
#if WITH_STD
    std_from#{P}: ptr<function, array<vec4<f32>, #{LENGTH[FROM[STD]]}>>,
#endif
    response#{P}: ptr<function, array<f32, #{MSI}>>,
#end
) {
    let member = step.member * #{PARAMETER_QUADS}u;
#if HELD >= BAND_QUADS
    let at = lane * PITCH + tile * WIDTH;
#else
    let at = lane * PITCH;
#endif
#if WITH_STD
#for P in 0..PIXELS
    var deviation#{P}: array<vec4<f32>, #{BAND_WIDTH}>;
#end
    layer_#{STD}(
        member,
        tile,
#for P in 0..PIXELS
        std_from#{P},
        &deviation#{P},
#end
    );
#for K in 0..BAND_WIDTH
#if BAND_TILES * BAND_WIDTH > BAND_QUADS
    if tile * WIDTH + #{K}u < BAND_QUADS {
#endif
#for P in 0..PIXELS
    sample[at + #{P * WG * PITCH + K}u] = deviation#{P}[#{K}];
#end
#if BAND_TILES * BAND_WIDTH > BAND_QUADS
    }
#endif
#end
    // One text for all normals: there is more in it than in a layer.
    for (var k = rolled(); k < min(WIDTH, BAND_QUADS - tile * WIDTH); k++) {
#for P in 0..PIXELS
        sample[at + #{P * WG * PITCH}u + k] *= epsilon(step.step, #{PURPOSE}u, index#{P}, index#{P}, tile * WIDTH + k);
#end
    }
#endif
#for P in 0..PIXELS
    var mean#{P}: array<vec4<f32>, #{BAND_WIDTH}>;
#end
    layer_#{MEAN}(
        member,
        tile,
#for P in 0..PIXELS
        mean_from#{P},
        &mean#{P},
#end
    );
#for K in 0..BAND_WIDTH
#if BAND_TILES * BAND_WIDTH > BAND_QUADS
    if tile * WIDTH + #{K}u < BAND_QUADS {
#endif
#for P in 0..PIXELS
    var z#{K}_#{P} = mean#{P}[#{K}];
#if WITH_STD
    z#{K}_#{P} += sample[at + #{P * WG * PITCH + K}u];
#endif
#if LINEAR
    z#{K}_#{P} += linear_path(msi#{P}, tile * WIDTH + #{K}u);
#endif
    sample[at + #{P * WG * PITCH + K}u] = z#{K}_#{P};
    respond(z#{K}_#{P}, tile * WIDTH + #{K}u, response#{P});
#end
#if BAND_TILES * BAND_WIDTH > BAND_QUADS
    }
#endif
#end
}
#endif

// Sums the sample held, from quad `from_quad` on, against all columns: an invocation sums every group-th pixel of a quad
// of bands (a round), so that a quad of the sample is read once. The groups are added up in their order.
const LANES = #{LANES}u;
const GROUPS = #{WG / LANES}u;

fn accumulate(lane: u32, from_quad: u32, record: u32) {
    workgroupBarrier();
#for R in 0..ROUNDS
#for C in 0..6 + MSI
    var sum#{R}_#{C} = vec4<f32>(0.0);
#end
#end
    if lane < GROUPS * LANES {
        for (var p = rolled() + lane / LANES; p < CHUNK; p += GROUPS) {
#for R in 0..ROUNDS
            let z#{R} = sample[p * PITCH + min(lane % LANES + #{R}u * LANES, HELD - 1u)];
#end
#for C in 0..6 + MSI
            let w#{C} = weight[#{C}u * CHUNK + p];
#for R in 0..ROUNDS
            sum#{R}_#{C} += w#{C} * z#{R};
#end
#end
        }
    }
#for R in 0..ROUNDS
    let quad#{R} = from_quad + #{R}u * LANES + lane % LANES;
    let there#{R} = #{R}u * LANES + lane % LANES < HELD && quad#{R} < BAND_QUADS;
#if WG / LANES < 2
    if lane < LANES && there#{R} {
#for C in 0..6 + MSI
        parts[record + #{C * BAND_QUADS}u + quad#{R}] = sum#{R}_#{C};
#end
    }
#else
#for A in 0..(6 + MSI + TOGETHER - 1) / TOGETHER
    workgroupBarrier();
#for C in A * TOGETHER..A * TOGETHER + TOGETHER
#if C < 6 + MSI
    sample[#{(C - A * TOGETHER) * WG}u + lane] = sum#{R}_#{C};
#endif
#end
    workgroupBarrier();
    // An invocation for each column and quad of bands.
    for (var c = rolled() + lane / LANES; c < min(#{TOGETHER}u, COLUMNS - #{A * TOGETHER}u); c += GROUPS) {
        if lane < GROUPS * LANES && there#{R} {
            var sum = vec4<f32>(0.0);
            for (var group = start(); group < GROUPS; group++) {
                sum += sample[c * WG + group * LANES + lane % LANES];
            }
            parts[record + (#{A * TOGETHER}u + c) * BAND_QUADS + quad#{R}] = sum;
        }
    }
#end
#endif
#end
    workgroupBarrier();
}

@compute @workgroup_size(#{WG})
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let number = step.first_group + group.y * groups.x + group.x;
    if number >= step.hr_count * #{WINDOW_PARTS}u {
        return;
    }
    let n = number / #{WINDOW_PARTS}u;
    let window = batch[step.hr_first + n];
    let record = number * #{PART_RECORD}u;
    var response_loss = 0.0;
    // Places past the last pixel repeat it with weight 0, so that all invocations reach the barriers.
#for P in 0..PIXELS
    let place#{P} = number % #{WINDOW_PARTS}u * CHUNK + #{P * WG}u + lane;
    let inside#{P} = place#{P} < AREA;
    let pixel#{P} = min(place#{P}, AREA - 1u);
    let index#{P} = n * AREA + pixel#{P};
    var msi#{P}: array<vec4<f32>, #{MSI / 4 + 1}>;
#for J in 0..MSI
    msi#{P}[#{J / 4}][#{J % 4}] = hr_msi[(window * AREA + pixel#{P}) * MSI + #{J}u];
#end
    msi#{P}[#{MSI / 4}][#{MSI % 4}] = 1.0;
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
#end
#if HALF
    encode(lane, 0u, &msi0);
#else
    let member = step.member * #{PARAMETER_QUADS}u;
#for L in 0..LAYERS
#if !LAST[L] && (BRANCH[L] < 2 || WITH_STD)
#for P in 0..PIXELS
    var h#{L}_#{P}: array<vec4<f32>, #{LENGTH[L]}>;
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
#if HELD < BAND_QUADS
    for (var turn = rolled(); turn < 2u; turn++) {
#endif
#for P in 0..PIXELS
    var response#{P}: array<f32, #{MSI}>;
#for J in 0..MSI
    response#{P}[#{J}] = 0.0;
#end
#end
    for (var tile = rolled(); tile < #{BAND_TILES}u; tile++) {
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
        if turn > 0u {
            accumulate(lane, tile * WIDTH, record);
        }
#endif
    }
#if HELD < BAND_QUADS
    if turn == 0u {
#endif
#for P in 0..PIXELS
#for J in 0..MSI
    let residual#{P}_#{J} = msi#{P}[#{J / 4}][#{J % 4}] - response#{P}[#{J}];
    weight[#{(6 + J) * WG * PIXELS + P * WG}u + lane] = select(0.0, -sign(residual#{P}_#{J}), in_block#{P});
    response_loss += select(0.0, abs(residual#{P}_#{J}), in_block#{P});
#end
#if KEEP
    if inside#{P} {
        let kept = n * #{WINDOW_RECORD}u + #{WINDOW_RESPONSE}u + pixel#{P} * #{RESPONSE_QUADS}u;
#for J in 0..MSI
        windows[kept + #{J / 4}u][#{J % 4}] = response#{P}[#{J}];
#end
    }
#endif
#end
#if HELD < BAND_QUADS
    }
    }
#else
    accumulate(lane, 0u, record);
#endif
    // `weight` is free for the shares of term 2.
    weight[lane] = response_loss;
    workgroupBarrier();
    for (var half = WG / 2u; half > 0u; half /= 2u) {
        if lane < half {
            weight[lane] += weight[lane + half];
        }
        workgroupBarrier();
    }
    if lane == 0u {
        parts[record + #{(6 + MSI) * BAND_QUADS}u] = vec4<f32>(weight[0], 0.0, 0.0, 0.0);
    }
}
