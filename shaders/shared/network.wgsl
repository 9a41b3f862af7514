// #{PIXELS} pixel(s) through the network: twin of src/engine/cpu/network.rs.
//
// An invocation may have more than one pixel, because a load of weights, the same for all of them, costs a GPU more
// than the multiply-adds that it serves with one.
//
// A layer's inputs lie in one array: the outputs below, the concatenated MSI pixel, and a one for the bias, as its
// weights lie in the parameter block. So a layer is one loop over its inputs with named vec4 accumulators, up to eight
// at once; one at once for a software rasteriser, whose time to compile grows with the number of loads in the text.
// A decoder's last layer gives one tile of bands at a time: 2 x B outputs fit no registers for B = 200. Outputs past
// the layer's last quad repeat that quad and are never read.
#import "shared/start.wgsl"
#import "shared/activation.wgsl"

#for L in 0..LAYERS
// Layer #{L}. `member` is the offset of the member's parameters in quads.
fn layer_#{L}(
    member: u32,
#if LAST[L]
    tile: u32,
#endif
#for P in 0..PIXELS
#if OWN[L] > 0
    input#{P}: ptr<function, array<f32, #{LENGTH[FROM[L]]}>>,
#else
    input#{P}: ptr<function, array<f32, #{MSI + 1}>>,
#endif
#if LAST[L]
    to#{P}: ptr<function, array<vec4<f32>, #{WIDTH[L]}>>,
#else
    msi#{P}: ptr<function, array<f32, #{MSI + 1}>>,
    to#{P}: ptr<function, array<f32, #{LENGTH[L]}>>,
#endif
#end
) {
#if PARTS[L] > 1
    for (var part = start(); part < #{PARTS[L]}u; part++) {
    let at = part * #{ACCUMULATORS[L]}u;
#else
    let at = 0u;
#endif
#for K in 0..ACCUMULATORS[L]
#if LAST[L]
    let o#{K} = min(tile * #{WIDTH[L]}u + at + #{K}u, #{QUADS[L] - 1}u);
#else
    let o#{K} = min(at + #{K}u, #{QUADS[L] - 1}u);
#endif
#for P in 0..PIXELS
    var s#{K}_#{P} = vec4<f32>(0.0);
#end
#end
    for (var i = start(); i < #{OWN[L] + MSI_INPUTS[L] + 1}u; i++) {
#for P in 0..PIXELS
        let a#{P} = (*input#{P})[i];
#end
        let w = member + #{WEIGHT[L]}u + i * #{QUADS[L]}u;
#for K in 0..ACCUMULATORS[L]
        let w#{K} = network[w + o#{K}];
#for P in 0..PIXELS
        s#{K}_#{P} += a#{P} * w#{K};
#end
#end
    }
#for P in 0..PIXELS
#for K in 0..ACCUMULATORS[L]
    s#{K}_#{P} = activate(s#{K}_#{P}, #{SLOPE[L]});
#if LAST[L]
    (*to#{P})[at + #{K}u] = s#{K}_#{P};
#else
#for C in 0..4
    (*to#{P})[4u * at + #{4 * K + C}u] = s#{K}_#{P}[#{C}];
#end
#endif
#end
#end
#if PARTS[L] > 1
    }
#endif
#if !LAST[L]
#for P in 0..PIXELS
    for (var j = start(); j < #{APPENDED[L]}u; j++) {
        (*to#{P})[#{OUTPUTS[L]}u + j] = (*msi#{P})[j];
    }
    (*to#{P})[#{OUTPUTS[L] + APPENDED[L]}] = 1.0;
#end
#endif
}

#end
