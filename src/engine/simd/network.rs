//! The network over a tile of pixels that lie along the lanes: forward of a branch; see the twin for the meaning.

use pulp::Simd;

use super::lines::{Rows, View, ViewMut};
use super::products::{Affine, affine};
use crate::engine::cpu::network::input_offset;
use crate::network::{Architecture, Branch, Layer, Layout};

/// Pixels that go through the network at once: their activations of a layer stay in the first-level cache.
pub(super) const TILE: usize = 64;

/// The layers, with what the kernels would otherwise look up again and again.
#[derive(Debug, Clone)]
pub(super) struct Net {
    pub layout: Layout,
    pub bands: usize,
    pub msi_bands: usize,
    /// Outputs of the two decoders in the rows of activations.
    pub mean_at: usize,
    pub std_at: usize,
    layers: Vec<Wired>,
}

/// A layer and where its inputs come from.
#[derive(Debug, Clone)]
pub(super) struct Wired {
    pub layer: Layer,
    /// Row of the first of the layer's own inputs; `None` where the MSI pixel is the input.
    pub offset: Option<usize>,
    /// Slope for negative values of the layer that made the inputs.
    pub below: f32,
}

impl Wired {
    /// Inputs that are not the concatenated MSI pixel.
    pub fn own(&self) -> usize {
        match self.offset {
            Some(_) => self.layer.inputs - self.layer.msi_inputs,
            None => 0,
        }
    }

    /// The layer's map within one member's `parameters`.
    #[inline(always)]
    pub fn map<'a>(&self, parameters: &'a [f32]) -> Affine<'a> {
        Affine {
            weights: &parameters[self.layer.weight..self.layer.bias + self.layer.stride],
            stride: self.layer.stride,
            slope: self.layer.slope as f32,
        }
    }
}

impl Net {
    pub fn new(architecture: &Architecture) -> Self {
        let layout = architecture.layout();
        let layers = layout
            .layers
            .iter()
            .map(|layer| {
                let offset = input_offset(&layout, layer);
                let below = layout.layers.iter().find(|l| Some(l.activation) == offset);
                Wired {
                    layer: layer.clone(),
                    offset,
                    below: below.map_or(1.0, |l| l.slope as f32),
                }
            })
            .collect();
        Net {
            mean_at: layout.output(Branch::Mean),
            std_at: layout.output(Branch::Std),
            bands: architecture.bands,
            msi_bands: architecture.msi_bands,
            layout,
            layers,
        }
    }

    /// All layers, encoder, mean, std.
    pub fn layers(&self) -> &[Wired] {
        &self.layers
    }

    /// Slope for negative values of a branch's last layer.
    pub fn last_slope(&self, branch: Branch) -> f32 {
        self.layout.branch(branch).last().map_or(1.0, |l| l.slope as f32)
    }

    /// Runs a branch over `count` vectors of pixels from sample `at` of `rows` (one row an activation).
    ///
    /// `msi` are the MSI bands of the same pixels; `skip_last` leaves the branch's last layer out.
    #[inline(always)]
    pub fn forward<S: Simd>(
        &self,
        simd: S,
        (branch, skip_last): (Branch, bool),
        parameters: &[f32],
        msi: View<S>,
        rows: &mut Rows,
        (at, count): (usize, usize),
    ) {
        let stride = rows.stride();
        let mut layers = self.layers.iter().filter(|l| l.layer.branch == branch).peekable();
        while let Some(wired) = layers.next() {
            if skip_last && layers.peek().is_none() {
                break;
            }
            let (before, rest) = rows.all_mut().split_at_mut(wired.layer.activation * stride);
            let own = match wired.offset {
                Some(offset) => View::new(&before[offset * stride..][..wired.own() * stride], stride, at),
                None => View::empty(),
            };
            let msi = if wired.layer.msi_inputs > 0 {
                msi
            } else {
                View::empty()
            };
            let out = ViewMut::new(&mut rest[..wired.layer.stride * stride], stride, at);
            affine(simd, wired.map(parameters), [own, msi], out, count, false);
        }
    }
}
