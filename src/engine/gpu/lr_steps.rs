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
use crate::engine::gpu::blocks;
use crate::engine::gpu::defines::{Shape, Target};
use crate::engine::gpu::lr_network;
use crate::engine::gpu::preprocessor::Defines;
use crate::error::Result;
use crate::network::{Branch, Layout};

/// The shader.
pub const FILE: &str = "lr_steps.wgsl";

/// LR pixels that an invocation takes at a time on a GPU: a load of weights then serves both. Its workgroup has
/// `SHARE` invocations over that.
pub(super) const TILE: usize = 2;
/// The same on a software rasteriser, which switches from lane to lane at every barrier, idle ones too: with 8 pixels, 64
/// invocations took a third of the time of 256 (llvmpipe).
pub(super) const SOFTWARE_TILE: usize = 8;
/// Pixels times invocations of a workgroup, which are 256 at most: as many as every adapter has.
const SHARE: usize = 512;
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
    let tile = target.lr_pixels;
    let mut d = lr_network::pass(problem, layout, shape, windows, (SHARE / tile, tile), target)?;
    d.extend(&blocks::defines(layout, shape, problem.frozen_encoder))
        .number("PITCH", pitch);
    Ok(d)
}

/// Workgroups: one a member.
pub fn workgroups(members: usize) -> [u32; 3] {
    [members as u32, 1, 1]
}
