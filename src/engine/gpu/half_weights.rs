//! Host side of `shaders/half_weights.wgsl`, and of `shaders/shared/half_network.wgsl`, which reads what it leaves.

use crate::engine::cpu::half_weights::{BLOCK, half_layers};
use crate::engine::gpu::preprocessor::Defines;
use crate::error::{Error, Result};
use crate::network::{Branch, Layout};

/// Invocations of a workgroup of `shared/half_network.wgsl`: one subgroup where cooperative matrices are used.
pub const SUBGROUP: usize = 32;

/// Invocations a workgroup of the shader itself.
const WORKGROUP: usize = 64;

/// What its text depends on.
pub fn defines(layout: &Layout) -> Defines {
    let mut d = Defines::default();
    d.number("HALF_QUADS", half_layers(layout).1)
        .number("PARAMETER_QUADS", layout.parameters / 4);
    d
}

/// Workgroups.
pub fn workgroups(layout: &Layout) -> [u32; 3] {
    [half_layers(layout).1.div_ceil(WORKGROUP) as u32, 1, 1]
}

/// Slots of workgroup memory for the inputs of layers: which one each layer reads, which one it fills (the last layers
/// none), and how many there are. Abundance and inputs of both decoders' last layers stay while they are needed.
fn slots(layout: &Layout) -> (Vec<usize>, Vec<usize>, usize) {
    let (mut from, mut to) = (Vec::new(), Vec::new());
    let mut kept = Vec::new();
    let mut abundance = 0;
    for branch in [Branch::Encoder, Branch::Mean, Branch::Std] {
        let count = layout.branch(branch).count();
        let mut now = abundance;
        for index in 0..count {
            from.push(now);
            if branch == Branch::Encoder || index + 1 < count {
                // There is always one: it differs from at most so many.
                now = (0..kept.len() + 2)
                    .find(|slot| *slot != now && !kept.contains(slot))
                    .unwrap_or_default();
                to.push(now);
            } else {
                to.push(0);
            }
        }
        if branch == Branch::Encoder {
            abundance = now;
        }
        kept.push(now);
    }
    let most = from.iter().chain(&to).max().map_or(1, |m| m + 1);
    (from, to, most)
}

/// Distance of two pixels' inputs: that of the widest layer and 16 bytes more.
fn pitch(layout: &Layout) -> usize {
    let (layers, _) = half_layers(layout);
    layers.iter().map(|h| h.rows).max().unwrap_or(BLOCK) + 8
}

/// Bytes of workgroup memory that the network takes.
pub fn memory(layout: &Layout) -> usize {
    SUBGROUP * (2 * slots(layout).2 * pitch(layout) + 2 * 4 * 20)
}

/// What the text of `shared/half_network.wgsl` depends on beside the tables of the network.
pub fn network(layout: &Layout) -> Defines {
    let (layers, quads) = half_layers(layout);
    let (from, to, count) = slots(layout);
    let table = |values: Vec<usize>| values.into_iter().map(|v| v as i64).collect::<Vec<_>>();
    let next = layout.layers.iter().enumerate().map(|(at, l)| {
        let above = layout.layers.get(at + 1);
        let appended = above.map_or(0, |a| {
            if a.branch == Branch::Encoder {
                a.msi_inputs
            } else {
                0
            }
        });
        (l.outputs + appended + 1).next_multiple_of(BLOCK)
    });
    let mut d = Defines::default();
    d.number("HALF_QUADS", quads)
        .number("HALF_SLOTS", count)
        .number("HALF_PITCH", pitch(layout))
        .table("HALF_AT", table(layers.iter().map(|h| h.at).collect()))
        .table("HALF_ROWS", table(layers.iter().map(|h| h.rows).collect()))
        .table("HALF_COLUMNS", table(layers.iter().map(|h| h.columns).collect()))
        .table("HALF_NEXT", table(next.collect()))
        .table("HALF_FROM", table(from))
        .table("HALF_TO", table(to));
    d
}

/// # Errors
/// [`Error::Failed`] where `needed` bytes of workgroup memory are more than the adapter has.
pub fn fits(needed: usize, memory: usize) -> Result<()> {
    if needed > memory {
        return Err(Error::failed(format!(
            "the setting precision f16 wants {needed} bytes of workgroup memory for this network, the adapter has {memory}: \
             use the setting precision f32"
        )));
    }
    Ok(())
}

#[cfg(all(test, feature = "verify"))]
mod tests {
    use super::*;
    use crate::engine::gpu::compare::cases::cases;

    // No layer writes what it reads, nor what a later one still wants.
    #[test]
    fn slots_are_not_overwritten() {
        for case in cases() {
            let layout = case.architecture.layout();
            let (from, to, count) = slots(&layout);
            let mut owner = vec![None; count];
            let mut abundance = None;
            let mut ends = Vec::new();
            for (at, l) in layout.layers.iter().enumerate() {
                let below = match (l.branch, l.index) {
                    (Branch::Encoder, 0) => None,
                    (_, 0) => abundance,
                    _ => Some(at - 1),
                };
                assert_eq!(owner[from[at]], below, "{}: layer {at}", case.name);
                let last = layout.layers.get(at + 1).is_none_or(|a| a.branch != l.branch);
                if last && l.branch != Branch::Encoder {
                    ends.push((from[at], below));
                } else {
                    assert_ne!(from[at], to[at]);
                    owner[to[at]] = Some(at);
                    if last {
                        abundance = Some(at);
                    }
                }
            }
            // The last layers run after all others.
            for (slot, below) in ends {
                assert_eq!(owner[slot], below, "{}", case.name);
            }
        }
    }
}
