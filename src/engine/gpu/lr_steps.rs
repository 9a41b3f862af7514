//! Host side of `shaders/lr_steps.wgsl`: many LR steps a dispatch, a workgroup a member.
//!
//! Which batches it is for is a matter of arithmetic, **not yet of measurement**. A step of a member that takes n LR
//! pixels and a network of M multiply-adds is about 5/2 n M of them (forward, to the inputs, to the weights). A workgroup
//! stays on one multiprocessor: 128 multiply-adds a cycle at 1.9 GHz on an H200, of which the loads (six of 16 bytes for 32
//! multiply-adds of four) leave a third, 80 G/s. Two dispatches a step, with the barriers between them and what the host
//! spends on recording them, cost some 10 to 20 µs however small they are, and spread over the whole card. So one workgroup wins
//! below about 1.5 M multiply-adds and stays near up to twice as many. The 64 LR pixels of `member_step` (six
//! layers of 24) are 0.8 M, CAVE's fine-tuning on 256 is 1.4 M, both here; `member_step` at 256 is 3 M: one workgroup needs its
//! goal of 0.04 ms for the products alone, and eight members would use eight of 132 multiprocessors, so that goes
//! to `lr_network` and `network_update`, whose 256 workgroups share it out.

use crate::engine::Problem;
use crate::engine::cpu::network::input_offset;
use crate::engine::gpu::defines::{Shape, Target};
use crate::engine::gpu::lr_network;
use crate::engine::gpu::preprocessor::Defines;
use crate::error::Result;
use crate::network::{Branch, Layout};

/// The shader.
pub const FILE: &str = "lr_steps.wgsl";

/// Invocations of a workgroup: as many as every adapter has.
const WORKGROUP: usize = 256;
/// LR pixels that an invocation takes at a time: a load of weights then serves both.
const TILE: usize = 2;
/// Most multiply-adds of a member's step. With [`super::recording::STEPS`] steps a dispatch this is also what keeps a dispatch
/// short: 0.3 GFLOP a workgroup, 0.06 s where a multiprocessor does 5 GFLOP/s.
const MOST: usize = 2_000_000;
/// Storage buffers that it binds at most.
pub(super) const BINDINGS: u32 = 12;

/// Whether steps on `lr_count` LR pixels are taken here, on an adapter with `bindings` storage buffers a shader. A matter of
/// sizes alone: the bits of a run do not depend on how its steps are queued.
pub fn suits(layout: &Layout, frozen_encoder: bool, lr_count: usize, bindings: u32) -> bool {
    let learned = layout
        .layers
        .iter()
        .filter(|l| !frozen_encoder || l.branch != Branch::Encoder);
    let multiply_adds: usize = learned.map(|l| l.inputs * l.outputs).sum();
    bindings >= BINDINGS && 5 * lr_count * multiply_adds / 2 <= MOST
}

/// What its text depends on; `windows` is the number of windows of the training set, `pitch` the distance of two
/// steps' uniforms in bytes.
///
/// # Errors
/// As [`crate::engine::gpu::defines::network`].
pub fn defines(
    problem: &Problem<f32>,
    layout: &Layout,
    shape: &Shape,
    (windows, pitch): (usize, usize),
    target: Target,
) -> Result<Defines> {
    let mut d = lr_network::pass(problem, layout, shape, windows, (WORKGROUP, TILE), target)?;
    d.number("PITCH", pitch)
        .number("BLOCKS", blocks(layout, shape, problem.frozen_encoder).len());
    Ok(d)
}

/// Workgroups: one a member.
pub fn workgroups(members: usize) -> [u32; 3] {
    [members as u32, 1, 1]
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::gpu::cases::cases;

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
