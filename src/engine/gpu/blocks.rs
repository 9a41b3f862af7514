//! The blocks that `lr_steps` and `network_update` sum gradients in; host side of `shaders/shared/block.wgsl`.

use crate::engine::cpu::network::input_offset;
use crate::engine::gpu::defines::Shape;
use crate::engine::gpu::preprocessor::Defines;
use crate::network::{Branch, Layout};

/// What the text that takes blocks depends on.
pub fn defines(layout: &Layout, shape: &Shape, frozen_encoder: bool) -> Defines {
    let mut d = Defines::default();
    d.number("PARAMETER_QUADS", layout.parameters / 4)
        .number("BLOCKS", blocks(layout, shape, frozen_encoder).len());
    d
}

/// The blocks of 4 inputs × 4 outputs that the learned parameters are made of: quad of inputs in an LR pixel's record,
/// quad of gradients, quad of the first input's weights, and 16 × distance of two inputs' weights + a bit for each of the
/// four inputs that there is.
pub fn blocks(layout: &Layout, shape: &Shape, frozen_encoder: bool) -> Vec<[u32; 4]> {
    let mut blocks = Vec::new();
    let learned = layout
        .layers
        .iter()
        .filter(|l| !frozen_encoder || l.branch != Branch::Encoder);
    for l in learned {
        let (own, distance) = (l.inputs - l.msi_inputs, l.stride / 4);
        let below = input_offset(layout, l).unwrap_or(0) / 4;
        let mut push = |input: usize, row: isize, there: &dyn Fn(usize) -> bool| {
            let bits: usize = (0..4).filter(|&c| there(c)).map(|c| 1 << c).sum();
            for quad in 0..distance {
                // Rows before the block's first that is there may lie before the layer: the shader's sum wraps back.
                let first = (l.weight / 4 + quad) as isize + row * distance as isize;
                let output = l.activation / 4 + quad;
                blocks.push([
                    input as u32,
                    output as u32,
                    first as u32,
                    (16 * distance + bits) as u32,
                ]);
            }
        };
        for k in 0..own.div_ceil(4) {
            push(below + k, 4 * k as isize, &|c| 4 * k + c < own);
        }
        // The MSI pixel, where the layer takes it, and the one that the biases stand behind.
        for k in 0..shape.extra {
            let there = |c: usize| match 4 * k + c {
                j if j < shape.msi => l.msi_inputs > 0,
                j => j == shape.msi,
            };
            if (0..4).any(there) {
                let row = (own + 4 * k) as isize - (shape.msi - l.msi_inputs) as isize;
                push(shape.row + k, row, &there);
            }
        }
    }
    blocks
}

#[cfg(all(test, feature = "verify"))]
mod tests {
    use super::*;
    use crate::engine::gpu::compare::cases::cases;

    // Every learned quad of parameters stands in one block, and in no second one.
    #[test]
    fn blocks_cover_the_parameters_once() {
        for case in cases() {
            let layout = case.architecture.layout();
            let shape = Shape::new(&case.architecture, &layout, case.geometry, false);
            let mut seen = vec![0; layout.parameters / 4];
            for [_, _, first, distance] in blocks(&layout, &shape, case.frozen) {
                for c in (0..4).filter(|c| distance >> c & 1 == 1) {
                    seen[first.wrapping_add(c * (distance / 16)) as usize] += 1;
                }
            }
            let from = if case.frozen { layout.decoders / 4 } else { 0 };
            assert!(seen[..from].iter().all(|&n| n == 0), "{}", case.name);
            assert!(seen[from..].iter().all(|&n| n == 1), "{}", case.name);
        }
    }
}
