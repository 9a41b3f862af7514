//! `experiment network`: the supplement's section D, Table 1. Layers, parameters and operations of every preset, counted
//! from the layout that the engines compute on.

use serde::Serialize;

use crate::coordination::config::{Config, PRESETS};
use crate::error::Result;
use crate::report::table::Table;

/// Bands of the HSI and of the MSI that a preset is counted for: those of the paper's data sets, and of CAVE for the
/// presets that are for no data set.
const BANDS: [(&str, usize, usize); 3] = [("chikusei", 128, 3), ("wv2", 8, 3), ("", 31, 3)];

/// A layer, acting on one pixel.
#[derive(Debug, Clone, Serialize)]
pub struct LayerCount {
    /// `encoder`, `mean` or `std`, and the layer's number from 1.
    pub name: String,
    /// Inputs, the concatenated MSI bands included.
    pub inputs: usize,
    /// MSI bands among them.
    pub concatenated: usize,
    /// Outputs.
    pub outputs: usize,
    /// Weights and biases.
    pub parameters: usize,
    /// Multiply-adds of a pixel.
    pub multiply_adds: usize,
    /// Slope of the activation for negative values: 0 is ReLU, 1 is none.
    pub slope: f64,
}

/// The network of a preset.
#[derive(Debug, Clone, Serialize)]
pub struct NetworkCount {
    /// The preset.
    pub preset: String,
    /// Bands B of the HSI.
    pub bands: usize,
    /// Bands b of the MSI.
    pub msi_bands: usize,
    /// Its layers.
    pub layers: Vec<LayerCount>,
    /// Members, each with all the layers.
    pub members: usize,
    /// Weights and biases of a member.
    pub parameters: usize,
    /// Multiply-adds of a pixel through encoder and both decoders of a member.
    pub multiply_adds: usize,
    /// The same without the decoder of σ: what a reconstruction computes.
    pub multiply_adds_reconstruct: usize,
    /// Fixed numbers of the linear path, 0 where it is off.
    pub linear_path: usize,
}

/// Counts every preset.
///
/// # Errors
/// [`crate::Error`] if the program was built with a broken preset.
pub fn count() -> Result<Vec<NetworkCount>> {
    PRESETS.iter().map(|(preset, _)| count_preset(preset)).collect()
}

fn count_preset(preset: &str) -> Result<NetworkCount> {
    let (_, bands, msi_bands) = *BANDS
        .iter()
        .find(|(name, ..)| *name == preset)
        .unwrap_or(&BANDS[BANDS.len() - 1]);
    let config = Config::load(preset, None)?;
    let pixels = config.training.patch.pow(2) * config.training.batch;
    let architecture = config.architecture(bands, msi_bands, pixels)?;
    let layers: Vec<LayerCount> = architecture
        .layout()
        .layers
        .iter()
        .map(|l| LayerCount {
            name: format!("{} {}", l.branch.name(), l.index + 1),
            inputs: l.inputs,
            concatenated: if l.index > 0 { l.msi_inputs } else { 0 },
            outputs: l.outputs,
            parameters: (l.inputs + 1) * l.outputs,
            multiply_adds: l.inputs * l.outputs,
            slope: l.slope,
        })
        .collect();
    let reconstruct = layers.iter().filter(|l| !l.name.starts_with("std"));
    Ok(NetworkCount {
        preset: preset.to_owned(),
        bands,
        msi_bands,
        members: architecture.members,
        parameters: architecture.weights(),
        multiply_adds: architecture.multiply_adds(),
        multiply_adds_reconstruct: reconstruct.map(|l| l.multiply_adds).sum(),
        linear_path: if architecture.linear_path {
            (msi_bands + 1) * bands
        } else {
            0
        },
        layers,
    })
}

/// A table a preset.
pub fn tables(counts: &[NetworkCount]) -> Vec<Table> {
    let activation = |slope: f64| match slope {
        0.0 => "ReLU".to_owned(),
        1.0 => "none".to_owned(),
        slope => format!("LeakyReLU({slope})"),
    };
    counts
        .iter()
        .map(|n| Table {
            title: format!("{}: B = {}, b = {}", n.preset, n.bands, n.msi_bands),
            head: ["layer", "shape", "parameters", "multiply-adds", "activation"]
                .map(str::to_owned)
                .to_vec(),
            rows: n
                .layers
                .iter()
                .map(|l| {
                    let shape = match l.concatenated {
                        0 => format!("{} x {}", l.inputs, l.outputs),
                        b => format!("({} + {b}) x {}", l.inputs - b, l.outputs),
                    };
                    vec![
                        l.name.clone(),
                        shape,
                        l.parameters.to_string(),
                        l.multiply_adds.to_string(),
                        activation(l.slope),
                    ]
                })
                .chain([vec![
                    "all".to_owned(),
                    String::new(),
                    n.parameters.to_string(),
                    n.multiply_adds.to_string(),
                    String::new(),
                ]])
                .collect(),
            note: format!(
                "A pixel; {} without the decoder of σ, as a reconstruction needs. {} member(s){}.",
                n.multiply_adds_reconstruct,
                n.members,
                match n.linear_path {
                    0 => String::new(),
                    fixed => format!(", and a fixed linear path of {fixed} numbers"),
                }
            ),
        })
        .collect()
}

/// All layers, one a line.
pub fn csv(counts: &[NetworkCount]) -> String {
    let mut text = String::from(
        "preset,bands,msi_bands,layer,inputs,concatenated,outputs,parameters,multiply_adds,slope\n",
    );
    for n in counts {
        for l in &n.layers {
            text.push_str(&format!(
                "{},{},{},{},{},{},{},{},{},{}\n",
                n.preset,
                n.bands,
                n.msi_bands,
                l.name,
                l.inputs,
                l.concatenated,
                l.outputs,
                l.parameters,
                l.multiply_adds,
                l.slope
            ));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    // By hand from Table 1 with the concatenation of its own code: encoder 3x4, 7x8, 11x16, 19x24, 27x16, twice
    // 16x24 and 24x31, one bias an output.
    #[test]
    fn cave_is_table_1() {
        let cave = count_preset("cave").unwrap();
        let shapes: Vec<(usize, usize)> = cave.layers.iter().map(|l| (l.inputs, l.outputs)).collect();
        assert_eq!(
            shapes,
            [
                (3, 4),
                (7, 8),
                (11, 16),
                (19, 24),
                (27, 16),
                (16, 24),
                (24, 31),
                (16, 24),
                (24, 31)
            ]
        );
        assert_eq!((cave.multiply_adds, cave.multiply_adds_reconstruct), (3388, 2260));
        assert_eq!(cave.parameters, 3388 + 4 + 8 + 16 + 24 + 16 + 2 * (24 + 31));
        assert_eq!(count().unwrap().len(), PRESETS.len());
        assert_eq!(csv(&[cave]).lines().count(), 10);
    }
}
