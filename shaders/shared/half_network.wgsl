// The network in 16 bits: weights and the inputs of every layer are rounded to f16, products are summed in f32. Twin:
// `forward_in` in src/engine/cpu/network.rs. Needs `weights`, as `half_weights` leaves them.
//
// A layer is a product of two matrices, pixels x inputs times inputs x outputs, cut into 16 x 16: the MSI pixel and a one
// for the bias are inputs, and inputs and outputs are padded with zeros to multiples of 16. With MATRIX the cooperative
// matrices of a subgroup multiply (the workgroup is one subgroup), without it every invocation sums the row of its
// pixel; inputs, weights and products lie in the same places either way.
#import "shared/start.wgsl"
#import "shared/activation.wgsl"

// Distances of two pixels' rows: multiples of 16 bytes, as cooperative loads want, and of no large power of two, which
// would put all rows into the same banks.
const INPUT_PITCH = #{HALF_PITCH}u;
const PRODUCT_PITCH = 20u;

var<workgroup> inputs: array<f16, #{HALF_SLOTS * WG * HALF_PITCH}>;     // (slots, pixels, inputs)
var<workgroup> products: array<f32, #{2 * WG * 20}>;                    // (2, pixels, 16 outputs)

#for L in 0..LAYERS
// Outputs 16 * tile .. of layer #{L} before the activation, of all pixels, into part `to` of `products`. `member` is the
// offset of the member's weights in quads.
fn product_#{L}(lane: u32, member: u32, tile: u32, to: u32) {
#if MATRIX
#for M in 0..WG / 16
    var c#{M} = coop_mat16x16<f32, C>();
#end
    for (var k = 0u; k < #{HALF_ROWS[L]}u; k += 16u) {
        let at = 4u * (member + #{HALF_AT[L]}u + k * #{HALF_COLUMNS[L] / 4}u) + 16u * tile;
        let b = coopLoadT<coop_mat16x16<f16, B>>(&weights[at], #{HALF_COLUMNS[L]}u);
#for M in 0..WG / 16
        let a#{M} = coopLoadT<coop_mat16x16<f16, A>>(
            &inputs[#{(HALF_FROM[L] * WG + 16 * M) * HALF_PITCH}u + k], INPUT_PITCH,
        );
        c#{M} = coopMultiplyAdd(a#{M}, b, c#{M});
#end
    }
#for M in 0..WG / 16
    coopStoreT(c#{M}, &products[(to * #{WG}u + #{16 * M}u) * PRODUCT_PITCH], PRODUCT_PITCH);
#end
#else
#for K in 0..4
    var s#{K} = vec4<f32>(0.0);
#end
    for (var k = start(); k < #{HALF_ROWS[L]}u; k++) {
        let a = f32(inputs[(#{HALF_FROM[L] * WG}u + lane) * INPUT_PITCH + k]);
        let at = member + #{HALF_AT[L]}u + k * #{HALF_COLUMNS[L] / 4}u + 4u * tile;
#for K in 0..4
        s#{K} += a * vec4<f32>(weights[at + #{K}u]);
#end
    }
    let row = (to * #{WG}u + lane) * PRODUCT_PITCH;
#for K in 0..4
#for C in 0..4
    products[row + #{4 * K + C}u] = s#{K}[#{C}];
#end
#end
#endif
}

#if !LAST[L]
// Layer #{L}: leaves the next layers' inputs in its slot.
fn hidden_#{L}(lane: u32, member: u32, msi: ptr<function, array<vec4<f32>, #{MSI / 4 + 1}>>) {
    let row = (#{HALF_TO[L] * WG}u + lane) * INPUT_PITCH;
    for (var tile = start(); tile < #{HALF_COLUMNS[L] / 16}u; tile++) {
        product_#{L}(lane, member, tile, 0u);
        workgroupBarrier();
        for (var quad = start(); quad < 4u; quad++) {
            let x = activate(product_of(lane, 0u, quad), #{SLOPE[L]});
            for (var c = start(); c < 4u; c++) {
                let o = 16u * tile + 4u * quad + c;
                if o < #{OUTPUTS[L]}u {
                    inputs[row + o] = f16(x[c]);
                }
            }
        }
        workgroupBarrier();
    }
#for J in 0..APPENDED[L]
    inputs[row + #{OUTPUTS[L] + J}u] = f16((*msi)[#{J / 4}][#{J % 4}]);
#end
    inputs[row + #{OUTPUTS[L] + APPENDED[L]}u] = 1.0h;
    for (var j = start() + #{OUTPUTS[L] + APPENDED[L] + 1}u; j < #{HALF_NEXT[L]}u; j++) {
        inputs[row + j] = 0.0h;
    }
    workgroupBarrier();
}
#endif
#end

// Four neighbouring outputs of this invocation's pixel from part `part` of `products`.
fn product_of(lane: u32, part: u32, quad: u32) -> vec4<f32> {
    let at = (part * #{WG}u + lane) * PRODUCT_PITCH + 4u * quad;
    return vec4<f32>(products[at], products[at + 1u], products[at + 2u], products[at + 3u]);
}

// Encoder and the decoders up to their last layers, whose inputs it leaves.
fn encode(lane: u32, member: u32, msi: ptr<function, array<vec4<f32>, #{MSI / 4 + 1}>>) {
    let row = (#{HALF_FROM[0] * WG}u + lane) * INPUT_PITCH;
#for J in 0..MSI + 1
    inputs[row + #{J}u] = f16((*msi)[#{J / 4}][#{J % 4}]);
#end
    for (var j = start() + #{MSI + 1}u; j < #{HALF_ROWS[0]}u; j++) {
        inputs[row + j] = 0.0h;
    }
    workgroupBarrier();
#for L in 0..LAYERS
#if !LAST[L] && (BRANCH[L] == 0 || (BRANCH[L] == 1 && WITH_MEAN) || (BRANCH[L] == 2 && WITH_STD))
    hidden_#{L}(lane, member, msi);
#endif
#end
}
