// The LR pass of some pixels of one member by a whole workgroup, forward and backward to each layer's affine output.
// Twin: src/engine/cpu/lr_network.rs. Needs `step`, `batch`, `lr_hsi`, `observations`, `network`, `pixels`, for given
// noise `noise`, for a frozen encoder `abundance`.
//
// Without noise the decoder of sigma takes no part: its rows and gradients stay what buffers begin as, zero.
//
// A batch is small and a layer narrow: with an invocation a pixel most of a card would wait for a few long chains of
// loads. So an invocation has a quad of a layer's outputs (going back: of its inputs) of TILE pixels, neighbours in a
// subgroup have the quads of one pixel, and a barrier stands between two layers. Activations live in the record of
// the pixel: `rows` of workgroup memory (LOCAL), or `pixels` in storage memory, which is where `network_update` wants
// them. A barrier for storage memory costs a card a multiple of one for workgroup memory.
#import "shared/start.wgsl"
#import "shared/activation.wgsl"
#import "shared/noise.wgsl"

const BAND_QUADS = #{BAND_QUADS}u;
const RECORD = #{PIXEL_RECORD}u;
// Invocations that share a pixel's bands.
const SHARING = #{SHARING}u;

#if LOCAL
// Distance of two records: odd, so that neighbours lie in other banks.
const ROW_PITCH = RECORD | 1u;

var<workgroup> rows: array<vec4<f32>, #{ROWS_QUADS}>;

// Where the record of pixel first + n of member `e` begins.
fn record_of(e: u32, first: u32, n: u32) -> u32 {
    return n * ROW_PITCH;
}

fn fence() {
    workgroupBarrier();
}
#else
const ROW_PITCH = RECORD;

// Where the record of pixel first + n of member `e` begins.
fn record_of(e: u32, first: u32, n: u32) -> u32 {
    return (e * step.lr_count + first + n) * RECORD;
}

fn fence() {
    storageBarrier();
}
#endif

// Puts the MSI pixel and a one for the bias behind the rows of pixels first .. first + count of member `e`: every
// input of every layer is found in a record. Frozen abundances are put where the encoder would leave them.
fn load(lane: u32, e: u32, first: u32, count: u32) {
    for (var n = lane; n < count; n += #{WG}u) {
        let record = record_of(e, first, n);
        let observation = (first + n) * #{3 * MSI + 6}u;
#for K in 0..EXTRA_QUADS
        var extra#{K} = vec4<f32>(0.0);
#for C in 0..4
#if 4 * K + C < MSI
        extra#{K}[#{C}] = observations[observation + #{4 * K + C}u];
#endif
#if 4 * K + C == MSI
        extra#{K}[#{C}] = 1.0;
#endif
#end
        #{ROWS[0]}[record + #{ROW_QUADS + K}u] = extra#{K};
#end
#if FROZEN
        let window = batch[step.lr_first + first + n];
        for (var k = start(); k < #{QUADS[ABUNDANCE]}u; k++) {
            #{ROWS[0]}[record + #{ROW_AT[ABUNDANCE]}u + k] = abundance[(e * #{WINDOWS}u + window) * #{QUADS[ABUNDANCE]}u + k];
        }
#endif
    }
}

#for L in 0..LAYERS
#if (BRANCH[L] > 0 || !FROZEN) && (BRANCH[L] < 2 || NOISE)
// Layer #{L}. `member` is the offset of the member's parameters in quads, `base` that of the first pixel's record.
fn forward_#{L}(lane: u32, member: u32, base: u32, count: u32) {
    for (var item = lane; item < (count + #{TILE - 1}u) / #{TILE}u * #{QUADS[L]}u; item += #{WG}u) {
        let quad = item % #{QUADS[L]}u;
        var w = member + #{WEIGHT[L]}u + quad;
#for P in 0..TILE
        // Past the last pixel the last is done again.
        let p#{P} = base + min(item / #{QUADS[L]}u * #{TILE}u + #{P}u, count - 1u) * ROW_PITCH;
        var s#{P} = vec4<f32>(0.0);
#end
#if OWN[L] >= 4
        for (var k = start(); k < #{OWN[L] / 4}u; k++) {
#for P in 0..TILE
            let a#{P} = #{ROWS[0]}[p#{P} + #{ROW_AT[FROM[L]]}u + k];
#end
#for C in 0..4
            let w#{C} = network[w + #{C * QUADS[L]}u];
#for P in 0..TILE
            s#{P} += a#{P}[#{C}] * w#{C};
#end
#end
            w += #{4 * QUADS[L]}u;
        }
#endif
#for C in 0..OWN[L] % 4
        let r#{C} = network[w + #{C * QUADS[L]}u];
#for P in 0..TILE
        s#{P} += #{ROWS[0]}[p#{P} + #{ROW_AT[FROM[L]] + OWN[L] / 4}u][#{C}] * r#{C};
#end
#end
        w += #{OWN[L] % 4 * QUADS[L]}u;
#for J in 0..MSI_INPUTS[L]
        let m#{J} = network[w + #{J * QUADS[L]}u];
#for P in 0..TILE
        s#{P} += #{ROWS[0]}[p#{P} + #{ROW_QUADS + J / 4}u][#{J % 4}] * m#{J};
#end
#end
        let bias = network[w + #{MSI_INPUTS[L] * QUADS[L]}u];
#for P in 0..TILE
        #{ROWS[0]}[p#{P} + #{ROW_AT[L]}u + quad] = activate(s#{P} + bias, #{SLOPE[L]});
#end
    }
}
#endif

#if !LAST[L] && (BRANCH[L] > 0 || !FROZEN) && (BRANCH[L] < 2 || NOISE)
// Gradient to the affine outputs of layer #{L}, from those of the layers that it feeds.
fn backward_#{L}(lane: u32, member: u32, base: u32, count: u32) {
    for (var item = lane; item < (count + #{TILE - 1}u) / #{TILE}u * #{QUADS[L]}u; item += #{WG}u) {
        let quad = item % #{QUADS[L]}u;
#for P in 0..TILE
        let p#{P} = base + min(item / #{QUADS[L]}u * #{TILE}u + #{P}u, count - 1u) * ROW_PITCH;
        var g#{P} = vec4<f32>(0.0);
#end
#for A in 0..LAYERS
#if OWN[A] > 0 && FROM[A] == L && (BRANCH[A] < 2 || NOISE)
        for (var k = start(); k < #{QUADS[A]}u; k++) {
#for C in 0..4
            // Past the last output stand other inputs' weights; what they give is dropped below.
            let w#{C} = network[member + #{WEIGHT[A]}u + min(4u * quad + #{C}u, #{OWN[A]}u) * #{QUADS[A]}u + k];
#end
#for P in 0..TILE
            let d#{P} = #{ROWS[0]}[p#{P} + #{PIXEL_DELTAS + ROW_AT[A]}u + k];
            g#{P} += vec4<f32>(dot(w0, d#{P}), dot(w1, d#{P}), dot(w2, d#{P}), dot(w3, d#{P}));
#end
        }
#endif
#end
        let inside = vec4<u32>(0u, 1u, 2u, 3u) + 4u * quad < vec4<u32>(#{OUTPUTS[L]}u);
#for P in 0..TILE
        let o#{P} = #{ROWS[0]}[p#{P} + #{ROW_AT[L]}u + quad];
        #{ROWS[0]}[p#{P} + #{PIXEL_DELTAS + ROW_AT[L]}u + quad] =
            select(vec4<f32>(0.0), g#{P} * slope_at(o#{P}, #{SLOPE[L]}), inside);
#end
    }
}
#endif
#end

// Draws the sample of pixels first .. first + count with the random numbers of step `counter`, and leaves the gradient
// of L_phi at both decoders' ends. Returns this invocation's share of the loss: the bands lane % SHARING,
// + SHARING .. of the pixels lane / SHARING, + WG / SHARING ..
fn compare(lane: u32, e: u32, first: u32, count: u32, counter: u32) -> f32 {
    var loss = 0.0;
    for (var n = lane / SHARING; n < count; n += #{WG / SHARING}u) {
        let record = record_of(e, first, n);
        let deltas = record + #{PIXEL_DELTAS}u;
        let window = batch[step.lr_first + first + n];
        for (var quad = lane % SHARING; quad < BAND_QUADS; quad += SHARING) {
            let mean = #{ROWS[0]}[record + #{ROW_AT[MEAN]}u + quad];
            var z = mean;
#if NOISE
            let deviation = #{ROWS[0]}[record + #{ROW_AT[STD]}u + quad];
            let e_quad = epsilon(counter, #{PURPOSE}u + e, first + n, e * step.lr_count + first + n, quad);
            z += deviation * e_quad;
#endif
#if LINEAR
            z += network[#{LINEAR_AT + MSI * BAND_QUADS}u + quad];
#for J in 0..MSI
            z += #{ROWS[0]}[record + #{ROW_QUADS + J / 4}u][#{J % 4}] * network[#{LINEAR_AT + J * BAND_QUADS}u + quad];
#end
#endif
            let residual = z - lr_hsi[window * BAND_QUADS + quad];
            let inside = vec4<u32>(0u, 1u, 2u, 3u) + 4u * quad < vec4<u32>(#{BANDS}u);
            let gradient = select(vec4<f32>(0.0), step.lr_scale * sign(residual), inside);
            loss += dot(select(vec4<f32>(0.0), abs(residual), inside), vec4<f32>(1.0));
#if KEEP
            #{ROWS[0]}[record + #{PIXEL_SAMPLE}u + quad] = z;
#endif
            #{ROWS[0]}[deltas + #{ROW_AT[MEAN]}u + quad] = gradient * slope_at(mean, #{SLOPE[MEAN]});
#if NOISE
            #{ROWS[0]}[deltas + #{ROW_AT[STD]}u + quad] = gradient * e_quad * slope_at(deviation, #{SLOPE[STD]});
#endif
        }
    }
    return loss;
}

// Forward, sample and backward of pixels first .. first + count of member `e`; returns what `compare` returns.
fn lr_pass(lane: u32, e: u32, first: u32, count: u32, counter: u32) -> f32 {
    let member = e * #{PARAMETER_QUADS}u;
    let base = record_of(e, first, 0u);
#for L in 0..LAYERS
#if (BRANCH[L] > 0 || !FROZEN) && (BRANCH[L] < 2 || NOISE)
    forward_#{L}(lane, member, base, count);
    fence();
#endif
#end
    let loss = compare(lane, e, first, count, counter);
#for R in 0..LAYERS
#let L = LAYERS - 1 - R
#if !LAST[L] && (BRANCH[L] > 0 || !FROZEN) && (BRANCH[L] < 2 || NOISE)
    fence();
    backward_#{L}(lane, member, base, count);
#endif
#end
    return loss;
}
