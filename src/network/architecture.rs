//! Layer widths and activations, and where each parameter lies in the flat parameter block.
//!
//! The block is what both engines compute on, so it is laid out for four-wide loads: the weights of a layer
//! lie input by input, each input's row of outputs padded with zeros to a multiple of four, the bias row
//! after them. Padding takes part in nothing: its gradient is zero, so it stays zero.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Most networks that are trained side by side.
pub const MOST_MEMBERS: usize = 64;

/// What follows a layer's affine map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Activation {
    /// x for x > 0, slope · x otherwise.
    Leaky,
    /// x for x > 0, 0 otherwise.
    Relu,
    /// x.
    Linear,
}

/// Widths and activations of the network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Architecture {
    /// HSI bands B.
    pub bands: usize,
    /// MSI bands b.
    pub msi_bands: usize,
    /// Output widths of the encoder's layers; the last is the number of abundances P.
    pub encoder: Vec<usize>,
    /// Whether the MSI pixel is concatenated before every encoder layer but the first.
    pub concatenate: bool,
    /// Hidden widths of the mean decoder; its last layer has B outputs.
    pub mean: Vec<usize>,
    /// Hidden widths of the standard deviation decoder; its last layer has B outputs.
    pub std: Vec<usize>,
    /// Slope of [`Activation::Leaky`] for negative values.
    pub slope: f64,
    /// Activation after the encoder's last layer; the others have [`Activation::Leaky`].
    pub encoder_last: Activation,
    /// Activation after each decoder's last layer; the others have [`Activation::Leaky`].
    pub decoder_last: Activation,
    /// Networks trained side by side, each from its own start.
    pub members: usize,
    /// Whether a fixed linear map from MSI pixel to bands is added to the mean.
    pub linear_path: bool,
}

/// The part of the network that a layer belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Branch {
    /// MSI pixel to abundance.
    Encoder,
    /// Abundance to mean.
    Mean,
    /// Abundance to standard deviation.
    Std,
}

impl Branch {
    /// The name that checkpoints use.
    pub fn name(self) -> &'static str {
        match self {
            Branch::Encoder => "encoder",
            Branch::Mean => "mean",
            Branch::Std => "std",
        }
    }
}

/// One layer and its place in the parameter block and in a pixel's row of activations.
#[derive(Debug, Clone, PartialEq)]
pub struct Layer {
    /// Which part it belongs to.
    pub branch: Branch,
    /// Its number within the branch, from 0.
    pub index: usize,
    /// Inputs, the concatenated MSI bands included.
    pub inputs: usize,
    /// How many of the inputs, the last ones, are MSI bands.
    pub msi_inputs: usize,
    /// Outputs.
    pub outputs: usize,
    /// Outputs rounded up to a multiple of four: the distance between two inputs' weights.
    pub stride: usize,
    /// Offset of weight (input 0, output 0) in the parameter block; (i, o) is at `weight + i·stride + o`.
    pub weight: usize,
    /// Offset of the bias row in the parameter block, directly after the weights.
    pub bias: usize,
    /// Offset of the outputs in a pixel's row of activations.
    pub activation: usize,
    /// Slope for negative values: of a leaky unit its own, 0 for ReLU, 1 for linear.
    pub slope: f64,
}

/// Where everything lies: the layers in order encoder, mean, std.
#[derive(Debug, Clone, PartialEq)]
pub struct Layout {
    /// All layers.
    pub layers: Vec<Layer>,
    /// Parameters of one member, padding included.
    pub parameters: usize,
    /// Offset of the first decoder parameter: what partial fine-tuning trains lies from here on.
    pub decoders: usize,
    /// Length of a pixel's row of activations, padding included.
    pub activations: usize,
    /// Offset of the abundance in a pixel's row.
    pub abundance: usize,
    /// Abundances P.
    pub abundances: usize,
}

impl Layout {
    /// The layers of a branch, in order.
    pub fn branch(&self, branch: Branch) -> impl Iterator<Item = &Layer> {
        self.layers.iter().filter(move |l| l.branch == branch)
    }

    /// Offset of a decoder's output in a pixel's row of activations.
    pub fn output(&self, branch: Branch) -> usize {
        self.branch(branch)
            .last()
            .map_or(self.abundance, |l| l.activation)
    }
}

fn round_up(n: usize) -> usize {
    n.div_ceil(4) * 4
}

/// Bytes that weights and moments of all members may take; the networks of the presets take less than a thousandth.
const MOST_BYTES: u64 = 2 << 30;

impl Architecture {
    /// Checks that the widths make a network.
    ///
    /// # Errors
    /// [`Error::Input`] that names the first wrong field.
    pub fn check(&self) -> Result<()> {
        const WIDEST: usize = 4096;
        let widths = self.encoder.iter().chain(&self.mean).chain(&self.std);
        if self.encoder.is_empty() {
            return Err(Error::input("network: `encoder` needs at least one layer width"));
        }
        if widths.clone().any(|&w| w == 0 || w > WIDEST) {
            return Err(Error::input(format!(
                "network: every layer width must lie in 1..={WIDEST}"
            )));
        }
        if self.members == 0 || self.members > MOST_MEMBERS {
            return Err(Error::input(format!(
                "network: `members` must lie in 1..={MOST_MEMBERS}"
            )));
        }
        let bytes = 3 * size_of::<f32>() as u64 * self.members as u64 * self.weights() as u64;
        if bytes > MOST_BYTES {
            return Err(Error::input(format!(
                "network: its weights and Adam's moments would take {} MB for {} members, more than {}; take fewer members or narrower \
                 layers",
                bytes / 1_000_000,
                self.members,
                MOST_BYTES / 1_000_000
            )));
        }
        if !(0.0..=1.0).contains(&self.slope) {
            return Err(Error::input("network: `slope` must lie in 0..=1"));
        }
        Ok(())
    }

    /// The layers and their places.
    pub fn layout(&self) -> Layout {
        let mut layout = Layout {
            layers: Vec::new(),
            parameters: 0,
            decoders: 0,
            activations: 0,
            abundance: 0,
            abundances: self.encoder.last().copied().unwrap_or(0),
        };
        let slope = |activation| match activation {
            Activation::Leaky => self.slope,
            Activation::Relu => 0.0,
            Activation::Linear => 1.0,
        };
        let mut inputs = self.msi_bands;
        for (index, &outputs) in self.encoder.iter().enumerate() {
            let msi_inputs = match index {
                0 => self.msi_bands,
                _ if self.concatenate => self.msi_bands,
                _ => 0,
            };
            let last = index + 1 == self.encoder.len();
            let total = if index == 0 { inputs } else { inputs + msi_inputs };
            layout.push(
                Branch::Encoder,
                index,
                (total, msi_inputs),
                outputs,
                slope(if last {
                    self.encoder_last
                } else {
                    Activation::Leaky
                }),
            );
            inputs = outputs;
        }
        layout.abundance = layout.output(Branch::Encoder);
        layout.decoders = layout.parameters;
        for (branch, hidden) in [(Branch::Mean, &self.mean), (Branch::Std, &self.std)] {
            let mut inputs = layout.abundances;
            for (index, &outputs) in hidden.iter().chain([&self.bands]).enumerate() {
                let last = index == hidden.len();
                let activation = if last {
                    self.decoder_last
                } else {
                    Activation::Leaky
                };
                // With the linear path the mean is a correction to it and must be able to fall as well.
                let linear = last && self.linear_path && branch == Branch::Mean;
                let slope = if linear { 1.0 } else { slope(activation) };
                layout.push(branch, index, (inputs, 0), outputs, slope);
                inputs = outputs;
            }
        }
        layout
    }

    /// Number of weights and biases of one member, without padding.
    pub fn weights(&self) -> usize {
        self.layout()
            .layers
            .iter()
            .map(|l| (l.inputs + 1) * l.outputs)
            .sum()
    }

    /// Multiply-adds of one pixel through encoder and both decoders.
    pub fn multiply_adds(&self) -> usize {
        self.layout().layers.iter().map(|l| l.inputs * l.outputs).sum()
    }

    /// Length of the linear path's map: (b + 1) rows of B padded to a multiple of four, the offset last.
    pub fn linear_parameters(&self) -> usize {
        (self.msi_bands + 1) * self.band_stride()
    }

    /// B rounded up to a multiple of four.
    pub fn band_stride(&self) -> usize {
        round_up(self.bands)
    }
}

impl Layout {
    fn push(
        &mut self,
        branch: Branch,
        index: usize,
        (inputs, msi_inputs): (usize, usize),
        outputs: usize,
        slope: f64,
    ) {
        let stride = round_up(outputs);
        let weight = self.parameters;
        let bias = weight + inputs * stride;
        self.layers.push(Layer {
            branch,
            index,
            inputs,
            msi_inputs,
            outputs,
            stride,
            weight,
            bias,
            activation: self.activations,
            slope,
        });
        self.parameters = bias + stride;
        self.activations += stride;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cave() -> Architecture {
        Architecture {
            bands: 31,
            msi_bands: 3,
            encoder: vec![4, 8, 16, 24, 16],
            concatenate: true,
            mean: vec![24],
            std: vec![24],
            slope: 0.2,
            encoder_last: Activation::Leaky,
            decoder_last: Activation::Relu,
            members: 1,
            linear_path: false,
        }
    }

    // Table 1 of the paper with the concatenation of its code (DESIGN: 3,388 multiply-adds a pixel, of
    // which 1,132 are the encoder's and 2 x 1,128 the decoders').
    #[test]
    fn cave_counts() {
        assert_eq!(cave().multiply_adds(), 3388);
        let layout = cave().layout();
        let inputs: Vec<usize> = layout.branch(Branch::Encoder).map(|l| l.inputs).collect();
        assert_eq!(inputs, [3, 7, 11, 19, 27]);
    }

    #[test]
    fn offsets_are_aligned_and_do_not_overlap() {
        let layout = Architecture {
            bands: 13,
            msi_bands: 5,
            mean: vec![9],
            std: vec![],
            ..cave()
        }
        .layout();
        let mut end = 0;
        for l in &layout.layers {
            assert_eq!(l.weight, end);
            assert_eq!(l.bias, l.weight + l.inputs * l.stride);
            assert!(l.weight % 4 == 0 && l.bias % 4 == 0 && l.activation % 4 == 0);
            end = l.bias + l.stride;
        }
        assert_eq!(end, layout.parameters);
    }
}
