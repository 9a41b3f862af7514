//! Starting values of the weights, drawn from the seed and nothing else.

use serde::{Deserialize, Serialize};

use super::{Architecture, Layer};
use crate::random::{Purpose, key, normals, philox, uniform};
use crate::real::Real;

/// The distribution that weights and biases start from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Initialisation {
    /// Weights and biases uniform in ±1/√fan_in; what the authors' code really runs.
    FanIn,
    /// Weights normal with standard deviation 0.2·√(2/fan_in) (Kaiming-normal × 0.2), biases zero; what the
    /// authors wrote and never reached.
    Kaiming,
    /// Weights uniform in ±√(6 / (fan_in + fan_out)) (Glorot and Bengio 2010), biases zero.
    Xavier,
}

/// Parameters of all members, one block after the other, padding zero.
pub fn initial_parameters<T: Real>(
    architecture: &Architecture,
    initialisation: Initialisation,
    seed: u64,
) -> Vec<T> {
    let layout = architecture.layout();
    let mut parameters = vec![T::zero(); layout.parameters * architecture.members];
    for (member, block) in parameters.chunks_exact_mut(layout.parameters).enumerate() {
        for layer in &layout.layers {
            // The parameter's own offset is its counter, so no draw depends on the order of the loop.
            for o in 0..layer.outputs {
                for i in 0..=layer.inputs {
                    let at = layer.weight + i * layer.stride + o;
                    let bias = i == layer.inputs;
                    block[at] = T::of(draw(initialisation, seed, member, at, layer, bias));
                }
            }
        }
    }
    parameters
}

fn draw(
    initialisation: Initialisation,
    seed: u64,
    member: usize,
    at: usize,
    layer: &Layer,
    bias: bool,
) -> f64 {
    let (fan_in, fan_out) = (layer.inputs as f64, layer.outputs as f64);
    let (at, member, purpose) = (at as u32, member as u32, Purpose::Initialisation as u32);
    let symmetric = || 2.0 * uniform::<f64>(philox(key(seed), [at, 0, purpose, member])[0]) - 1.0;
    match initialisation {
        Initialisation::FanIn => symmetric() / fan_in.sqrt(),
        _ if bias => 0.0,
        Initialisation::Kaiming => {
            0.2 * (2.0 / fan_in).sqrt() * normals::<f64>(key(seed), member, purpose, at, 0)[0]
        }
        Initialisation::Xavier => symmetric() * (6.0 / (fan_in + fan_out)).sqrt(),
    }
}
