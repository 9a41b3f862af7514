// The LR pass of every member, forward and backward to each layer's affine output; an invocation an LR pixel of a
// member. Leaves what `network_update` multiplies into the gradient. Twin: src/engine/cpu/lr_network.rs.
#import "shared/step.wgsl"

@group(0) @binding(0) var<uniform> step: Step;
@group(0) @binding(1) var<storage, read> batch: array<u32>;                 // (batches, windows)
@group(0) @binding(2) var<storage, read> lr_hsi: array<vec4<f32>>;          // (windows, B)
@group(0) @binding(3) var<storage, read> observations: array<f32>;          // (LR pixels, 3 b + 6)
@group(0) @binding(4) var<storage, read> network: array<vec4<f32>>;         // (members, parameters), (b + 1, B)
@group(0) @binding(5) var<storage, read_write> pixels: array<vec4<f32>>;    // (members, LR pixels, record)
#if NOISE == 2
@group(0) @binding(6) var<storage, read> noise: array<vec4<f32>>;           // (members, LR pixels, B)
#endif
#if FROZEN
@group(0) @binding(7) var<storage, read> abundance: array<vec4<f32>>;       // (members, windows, P)
#endif

#import "shared/network.wgsl"
#import "shared/noise.wgsl"

const BAND_QUADS = #{BAND_QUADS}u;
const WIDTH = #{BAND_WIDTH}u;

#for L in 0..LAYERS
#if OWN[L] > 0 && (BRANCH[L] > 0 || !FROZEN) && (FROM[L] != ABUNDANCE || !FROZEN)
// Adds the gradient to the inputs of layer #{L}, from that to its affine outputs (of one tile for a last layer).
fn back_#{L}(
    member: u32,
#if LAST[L]
    tile: u32,
    delta: ptr<function, array<vec4<f32>, #{WIDTH[L]}>>,
#else
    delta: ptr<function, array<vec4<f32>, #{QUADS[L]}>>,
#endif
    to: ptr<function, array<vec4<f32>, #{QUADS[FROM[L]]}>>,
) {
#if LAST[L]
    let first = tile * #{WIDTH[L]}u;
    let quads = min(#{WIDTH[L]}u, #{QUADS[L]}u - first);
#else
    let first = 0u;
    let quads = #{QUADS[L]}u;
#endif
    for (var i = start(); i < #{OWN[L]}u; i++) {
        let w = member + #{WEIGHT[L]}u + i * #{QUADS[L]}u + first;
        var sum = 0.0;
        for (var k = start(); k < quads; k++) {
            sum += dot(network[w + k], (*delta)[k]);
        }
        (*to)[i / 4u][i % 4u] += sum;
    }
}
#endif
#end

@compute @workgroup_size(#{WG})
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let n = id.x;
    if n >= step.lr_count {
        return;
    }
    let window = batch[step.lr_first + n];
    let member = id.y * #{PARAMETER_QUADS}u;
    let record = (id.y * step.lr_count + n) * #{PIXEL_RECORD}u;
    let deltas = record + #{PIXEL_DELTAS}u;
    // The MSI pixel and a one for the bias stand behind the row: every input of every layer is found in it.
    var msi: array<f32, #{MSI + 1}>;
    for (var j = start(); j < #{MSI}u; j++) {
        msi[j] = observations[n * #{3 * MSI + 6}u + j];
    }
    msi[#{MSI}] = 1.0;
    for (var k = start(); k < #{EXTRA_QUADS}u; k++) {
        var extra = vec4<f32>(0.0);
        for (var c = start(); c < min(4u, #{MSI + 1}u - 4u * k); c++) {
            extra[c] = msi[4u * k + c];
        }
        pixels[record + #{ROW_QUADS}u + k] = extra;
    }

#for L in 0..LAYERS
#if !LAST[L] && (BRANCH[L] > 0 || !FROZEN || L == ABUNDANCE)
    var h#{L}: array<f32, #{LENGTH[L]}>;
    var d#{L}: array<vec4<f32>, #{QUADS[L]}>;
#if FROZEN && L == ABUNDANCE
    for (var k = start(); k < #{QUADS[L]}u; k++) {
        let a = abundance[(id.y * #{WINDOWS}u + window) * #{QUADS[L]}u + k];
        for (var c = start(); c < 4u; c++) {
            h#{L}[4u * k + c] = a[c];
        }
    }
    h#{L}[#{OUTPUTS[L]}] = 1.0;
#else
#if OWN[L] > 0
    layer_#{L}(member, &h#{FROM[L]}, &msi, &h#{L});
#else
    layer_#{L}(member, &msi, &msi, &h#{L});
#endif
#endif
    for (var k = start(); k < #{QUADS[L]}u; k++) {
        pixels[record + #{ROW_AT[L]}u + k] = vec4<f32>(
            h#{L}[4u * k], h#{L}[4u * k + 1u], h#{L}[4u * k + 2u], h#{L}[4u * k + 3u],
        );
    }
#endif
#end

    var loss = 0.0;
    for (var tile = start(); tile < #{BAND_TILES}u; tile++) {
        var mean: array<vec4<f32>, #{BAND_WIDTH}>;
        var deviation: array<vec4<f32>, #{BAND_WIDTH}>;
        layer_#{MEAN}(member, &h#{FROM[MEAN]}, tile, &mean);
        layer_#{STD}(member, &h#{FROM[STD]}, tile, &deviation);
        for (var k = start(); k < WIDTH; k++) {
            let quad = tile * WIDTH + k;
            if quad >= BAND_QUADS {
                break;
            }
            let e = epsilon(#{PURPOSE}u + id.y, n, id.y * step.lr_count + n, quad);
            var z = mean[k] + deviation[k] * e;
#if LINEAR
            z += linear_path(&msi, quad);
#endif
            let residual = z - lr_hsi[window * BAND_QUADS + quad];
            let inside = vec4<u32>(0u, 1u, 2u, 3u) + 4u * quad < vec4<u32>(#{BANDS}u);
            let gradient = select(vec4<f32>(0.0), step.lr_scale * sign(residual), inside);
            loss += dot(select(vec4<f32>(0.0), abs(residual), inside), vec4<f32>(1.0));
            pixels[record + #{ROW_AT[MEAN]}u + quad] = mean[k];
            pixels[record + #{ROW_AT[STD]}u + quad] = deviation[k];
#if KEEP
            pixels[record + #{PIXEL_SAMPLE}u + quad] = z;
#endif
            mean[k] = gradient * slope_at(mean[k], #{SLOPE[MEAN]});
            deviation[k] = gradient * e * slope_at(deviation[k], #{SLOPE[STD]});
            pixels[deltas + #{ROW_AT[MEAN]}u + quad] = mean[k];
            pixels[deltas + #{ROW_AT[STD]}u + quad] = deviation[k];
        }
#if FROM[MEAN] != ABUNDANCE || !FROZEN
        back_#{MEAN}(member, tile, &mean, &d#{FROM[MEAN]});
#endif
#if FROM[STD] != ABUNDANCE || !FROZEN
        back_#{STD}(member, tile, &deviation, &d#{FROM[STD]});
#endif
    }
    pixels[record + #{PIXEL_LOSS}u] = vec4<f32>(loss, 0.0, 0.0, 0.0);

#for R in 0..LAYERS
#let L = LAYERS - 1 - R
#if !LAST[L] && (BRANCH[L] > 0 || !FROZEN)
    for (var k = start(); k < #{QUADS[L]}u; k++) {
        d#{L}[k] *= slope_at(vec4<f32>(
            h#{L}[4u * k], h#{L}[4u * k + 1u], h#{L}[4u * k + 2u], h#{L}[4u * k + 3u],
        ), #{SLOPE[L]});
        pixels[deltas + #{ROW_AT[L]}u + k] = d#{L}[k];
    }
#if OWN[L] > 0 && (FROM[L] != ABUNDANCE || !FROZEN)
    back_#{L}(member, &d#{L}, &d#{FROM[L]});
#endif
#endif
#end
}
