//! Host side of `shaders/network_update.wgsl`: the gradient of φ over the LR batch, and Adam.

use crate::engine::cpu::network::input_offset;
use crate::engine::gpu::defines::Shape;
use crate::engine::gpu::preprocessor::Defines;
use crate::network::Layout;

/// The shader.
pub const FILE: &str = "network_update.wgsl";

/// Quads of parameters a workgroup; its other invocations share the batch.
const QUADS: usize = 8;

/// First quad of a member that learns: a frozen encoder's do not.
fn first_quad(layout: &Layout, frozen_encoder: bool) -> usize {
    if frozen_encoder { layout.decoders / 4 } else { 0 }
}

fn groups(layout: &Layout, frozen_encoder: bool) -> usize {
    (layout.parameters / 4 - first_quad(layout, frozen_encoder)).div_ceil(QUADS)
}

/// What its text depends on.
pub fn defines(layout: &Layout, shape: &Shape, members: usize, frozen_encoder: bool) -> Defines {
    let mut d = shape.pixel_defines();
    d.number("MEMBERS", members)
        .number("PARAMETER_QUADS", layout.parameters / 4)
        .number("FIRST_QUAD", first_quad(layout, frozen_encoder))
        .number("QUAD_GROUPS", groups(layout, frozen_encoder));
    d
}

/// Workgroups: the quads of each member, and one more that sums its loss.
pub fn workgroups(layout: &Layout, members: usize, frozen_encoder: bool) -> [u32; 3] {
    [groups(layout, frozen_encoder) as u32 + 1, members as u32, 1]
}

/// For every quad of a member's parameters: the float of an LR pixel's record that is its input (the row of
/// activations, then the MSI pixel, then a one for the biases), and the quad of gradients that is its output.
pub fn places(layout: &Layout, shape: &Shape) -> Vec<[u32; 2]> {
    let mut places = vec![[0, 0]; layout.parameters / 4];
    let msi = 4 * shape.row;
    for l in &layout.layers {
        let own = l.inputs - l.msi_inputs;
        let below = input_offset(layout, l).unwrap_or(0);
        for i in 0..=l.inputs {
            let input = match i {
                _ if i == l.inputs => msi + shape.msi,
                _ if i < own => below + i,
                _ => msi + i - own,
            };
            for quad in 0..l.stride / 4 {
                places[l.weight / 4 + i * l.stride / 4 + quad] =
                    [input as u32, (l.activation / 4 + quad) as u32];
            }
        }
    }
    places
}
