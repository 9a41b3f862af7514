//! Host side of `shaders/lr_steps.wgsl`: many LR steps a dispatch, a workgroup a member.
//!
//! It is for software adapters, where every dispatch is a hand-off to threads and a workgroup a core: there it trains 64 LR
//! pixels and 32 members in half the time. On a card one workgroup leaves all other multiprocessors idle and waits for its
//! own storage barriers: an H200 took 104 µs for a step of CAVE's fine-tuning (256 LR pixels, 1.4 M multiply-adds), which
//! `lr_network` and `network_update` do in a fraction of that.

use crate::engine::gpu::blocks;
use crate::engine::gpu::defines::{ShaderTarget, Shape};
use crate::engine::gpu::lr_network;
use crate::engine::gpu::preprocessor::Defines;
use crate::engine::{Noise, Problem};
use crate::error::Result;
use crate::network::{Branch, Layout};

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
pub(super) const MOST_BINDINGS: u32 = 12;

/// Storage buffers that it binds in a run: given ε and frozen abundances are one each.
pub fn bindings(noise: Noise, frozen_encoder: bool) -> u32 {
    MOST_BINDINGS - u32::from(noise != Noise::Given) - u32::from(!frozen_encoder)
}

/// Whether steps on `lr_count` LR pixels are taken here. A matter of the adapter and of sizes alone: the bits of a run do
/// not depend on how its steps are queued.
pub fn suits(layout: &Layout, frozen_encoder: bool, lr_count: usize, target: ShaderTarget) -> bool {
    let learned = layout
        .layers
        .iter()
        .filter(|l| !frozen_encoder || l.branch != Branch::Encoder);
    let multiply_adds: usize = learned.map(|l| l.inputs * l.outputs).sum();
    target.software && 5 * lr_count * multiply_adds / 2 <= MOST
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
    target: ShaderTarget,
) -> Result<Defines> {
    let tile = target.lr_pixels;
    let mut d = lr_network::pass(
        problem,
        layout,
        shape,
        windows,
        [SHARE / tile, tile, 8, 0],
        target,
    )?;
    d.extend(&blocks::defines(layout, shape, problem.frozen_encoder))
        .number("PITCH", pitch);
    Ok(d)
}

/// Workgroups: one a member.
pub fn workgroups(members: usize) -> [u32; 3] {
    [members as u32, 1, 1]
}
