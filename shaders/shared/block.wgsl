// The learned parameters in blocks of four inputs x four outputs, because of a block's two loads an LR pixel each number
// is used four times. A block is (quad of inputs in the record, quad of gradients, quad of its first weights, 16 x
// distance of two inputs' weights + a bit for each input that there is): `blocks` in src/engine/gpu/blocks.rs.
#import "shared/adam.wgsl"

// Whether input `c` of a block is there.
fn has_input(block: vec4<u32>, c: u32) -> bool {
    return ((block.w >> c) & 1u) != 0u;
}

// Quad of parameters that belongs to input `c` of a block of member `e`.
fn quad_of(e: u32, block: vec4<u32>, c: u32) -> u32 {
    return e * #{PARAMETER_QUADS}u + block.z + c * (block.w / 16u);
}

// Keeps the gradient of a quad of parameters, and where `update` is not zero takes Adam's step on it.
fn learn(at: u32, g: vec4<f32>, update: u32, step_size: f32, root: f32) {
    gradient[at] = g;
    if update != 0u {
        let second = #{MEMBERS * PARAMETER_QUADS}u + at;
        let updated = adam(g, network[at], moments[at], moments[second], step_size, root);
        network[at] = updated.parameter;
        moments[at] = updated.m;
        moments[second] = updated.v;
    }
}
