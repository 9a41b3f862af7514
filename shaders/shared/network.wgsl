// #{PIXELS} pixel(s) through the network: twin of src/engine/cpu/network.rs.
//
// An invocation may have more than one pixel, because a load of weights, the same for all of them, costs a GPU more
// than the multiply-adds that it serves with one.
//
// A layer's inputs lie in one array of quads: the outputs below, the concatenated MSI pixel, and a one for the bias, as
// its weights lie in the parameter block. So a layer is one loop over quads of inputs with named vec4 accumulators for
// its outputs, as many as registers hold; one at once, and input by input, for a software rasteriser, whose time to
// compile grows with the number of loads in the text. Every index of an array but that loop's is a constant, so that
// compilers may keep arrays in registers. A decoder's last layer gives one tile of bands at a time: B outputs fit no
// registers for B = 200. Outputs past the layer's last quad repeat that quad and are never read.
#import "shared/start.wgsl"
#import "shared/activation.wgsl"

fn first_input() -> u32 {
#if ROLLED
    return rolled();
#else
    return start();
#endif
}

#for L in 0..LAYERS
#let INPUTS = OWN[L] + MSI_INPUTS[L] + 1
// Layer #{L}. `member` is the offset of the member's parameters in quads.
fn layer_#{L}(
    member: u32,
#if LAST[L]
    tile: u32,
#endif
#for P in 0..PIXELS
#if OWN[L] > 0
    input#{P}: ptr<function, array<vec4<f32>, #{LENGTH[FROM[L]]}>>,
#else
    input#{P}: ptr<function, array<vec4<f32>, #{MSI / 4 + 1}>>,
#endif
#if LAST[L]
    to#{P}: ptr<function, array<vec4<f32>, #{WIDTH[L]}>>,
#else
    msi#{P}: ptr<function, array<vec4<f32>, #{MSI / 4 + 1}>>,
    to#{P}: ptr<function, array<vec4<f32>, #{LENGTH[L]}>>,
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
#if SOFTWARE
    for (var i = start(); i < #{INPUTS}u; i++) {
        let w = member + #{WEIGHT[L]}u + i * #{QUADS[L]}u;
#for P in 0..PIXELS
        let a#{P} = (*input#{P})[i / 4u][i % 4u];
#end
#for K in 0..ACCUMULATORS[L]
        let w#{K} = network[w + o#{K}];
#for P in 0..PIXELS
        s#{K}_#{P} += a#{P} * w#{K};
#end
#end
    }
#else
#if INPUTS >= 4
    for (var q = first_input(); q < #{INPUTS / 4}u; q++) {
#for P in 0..PIXELS
        let a#{P} = (*input#{P})[q];
#end
        let w = member + #{WEIGHT[L]}u + q * #{4 * QUADS[L]}u;
#if STEP < 4
        // Not all at once: their weights would take the registers of other invocations.
        for (var c = rolled(); c < 4u; c += #{STEP}u) {
#for C in 0..STEP
#for K in 0..ACCUMULATORS[L]
            let w#{C}_#{K} = network[w + (c + #{C}u) * #{QUADS[L]}u + o#{K}];
#for P in 0..PIXELS
            s#{K}_#{P} += a#{P}[c + #{C}u] * w#{C}_#{K};
#end
#end
#end
        }
#else
#for C in 0..4
#for K in 0..ACCUMULATORS[L]
        let w#{C}_#{K} = network[w + #{C * QUADS[L]}u + o#{K}];
#for P in 0..PIXELS
        s#{K}_#{P} += a#{P}[#{C}] * w#{C}_#{K};
#end
#end
#end
#endif
    }
#endif
#for C in 0..INPUTS % 4
#for K in 0..ACCUMULATORS[L]
    let r#{C}_#{K} = network[member + #{WEIGHT[L] + (INPUTS / 4 * 4 + C) * QUADS[L]}u + o#{K}];
#for P in 0..PIXELS
    s#{K}_#{P} += (*input#{P})[#{INPUTS / 4}][#{C}] * r#{C}_#{K};
#end
#end
#end
#endif
#for P in 0..PIXELS
#for K in 0..ACCUMULATORS[L]
    (*to#{P})[at + #{K}u] = activate(s#{K}_#{P}, #{SLOPE[L]});
#end
#end
#if PARTS[L] > 1
    }
#endif
#if !LAST[L]
#for P in 0..PIXELS
#for J in 0..APPENDED[L]
    (*to#{P})[#{(OUTPUTS[L] + J) / 4}][#{(OUTPUTS[L] + J) % 4}] = (*msi#{P})[#{J / 4}][#{J % 4}];
#end
    (*to#{P})[#{(OUTPUTS[L] + APPENDED[L]) / 4}][#{(OUTPUTS[L] + APPENDED[L]) % 4}] = 1.0;
#end
#endif
}

#end
