//! Twin of `shaders/half_weights.wgsl`: a member's weights rounded to f16, each layer's a matrix of inputs × outputs, both
//! padded with zeros to multiples of 16, the bias an input behind the others.

use half::f16;

use crate::engine::work::Work;
use crate::network::Layout;
use crate::real::Real;

/// Side of the square blocks that matrices are cut into.
pub const BLOCK: usize = 16;

/// The matrix of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HalfLayer {
    /// Offset in quads of weights.
    pub at: usize,
    /// Inputs and the bias, padded.
    pub rows: usize,
    /// Outputs, padded.
    pub columns: usize,
}

/// Work of the kernel: parameters read, half as many bytes written for every weight of the padded matrices.
pub fn work(layout: &Layout) -> Work {
    Work::of::<f32>(0, layout.parameters + 2 * half_layers(layout).1)
}

/// The matrices of all layers in the layout's order, and the quads that they take.
pub fn half_layers(layout: &Layout) -> (Vec<HalfLayer>, usize) {
    let mut end = 0;
    let layers = layout
        .layers
        .iter()
        .map(|l| {
            let at = end;
            let (rows, columns) = (
                (l.inputs + 1).next_multiple_of(BLOCK),
                l.outputs.next_multiple_of(BLOCK),
            );
            end += rows * columns / 4;
            HalfLayer { at, rows, columns }
        })
        .collect();
    (layers, end)
}

/// For every quad of weights the quad of the member's parameters that it comes from; [`u32::MAX`] for padding.
pub fn sources(layout: &Layout) -> Vec<u32> {
    let (halves, quads) = half_layers(layout);
    let mut sources = vec![u32::MAX; quads];
    for (l, h) in layout.layers.iter().zip(&halves) {
        for row in 0..=l.inputs {
            for quad in 0..l.stride / 4 {
                sources[h.at + row * h.columns / 4 + quad] = ((l.weight + row * l.stride) / 4 + quad) as u32;
            }
        }
    }
    sources
}

/// The weights of a member with these parameters.
pub fn half_weights<T: Real>(layout: &Layout, parameters: &[T]) -> Vec<f16> {
    sources(layout)
        .iter()
        .flat_map(|&from| match from {
            u32::MAX => [f16::ZERO; 4],
            from => std::array::from_fn(|c| f16::from_f64(parameters[4 * from as usize + c].f64())),
        })
        .collect()
}
