//! One pixel through the network and back: the twin of `shaders/shared/network.wgsl`.

use crate::engine::{Noise, Precision};
use crate::network::{Architecture, Branch, Layer, Layout};
use crate::random::NORMALS_OPERATIONS;
use crate::real::Real;

/// x for x > 0, slope · x otherwise.
fn activate<T: Real>(x: T, slope: T) -> T {
    if x > T::zero() { x } else { slope * x }
}

/// Derivative of the activation, told from its output: for slopes ≥ 0 output and input have one sign.
pub fn slope_at<T: Real>(output: T, slope: T) -> T {
    if output > T::zero() { T::one() } else { slope }
}

/// Offset of a layer's own inputs in a pixel's row of activations; `None` where the MSI pixel is the input.
pub fn input_offset(layout: &Layout, layer: &Layer) -> Option<usize> {
    match (layer.branch, layer.index) {
        (Branch::Encoder, 0) => None,
        (_, 0) => Some(layout.abundance),
        _ => layout
            .layers
            .iter()
            .find(|l| l.branch == layer.branch && l.index + 1 == layer.index)
            .map(|l| l.activation),
    }
}

/// Input `i` of a layer: the preceding outputs, then the concatenated MSI pixel.
pub fn input<T: Real>(layer: &Layer, offset: Option<usize>, i: usize, row: &[T], msi: &[T]) -> T {
    match offset {
        Some(offset) if i < layer.inputs - layer.msi_inputs => row[offset + i],
        _ => msi[i + layer.msi_inputs - layer.inputs],
    }
}

/// Runs one layer on a pixel: `row` is the pixel's row of activations, `msi` its MSI spectrum.
pub fn forward_layer<T: Real>(
    precision: Precision,
    layout: &Layout,
    layer: &Layer,
    parameters: &[T],
    row: &mut [T],
    msi: &[T],
) {
    let offset = input_offset(layout, layer);
    // The layer's outputs never overlap its inputs: every layer has its own place in the row.
    let (before, rest) = row.split_at_mut(layer.activation);
    let out = &mut rest[..layer.stride];
    for (o, &bias) in out.iter_mut().zip(&parameters[layer.bias..]) {
        *o = precision.round(bias);
    }
    for i in 0..layer.inputs {
        let a = precision.round(input(layer, offset, i, before, msi));
        let weights = &parameters[layer.weight + i * layer.stride..][..layer.stride];
        for (o, &w) in out.iter_mut().zip(weights) {
            *o += precision.round(w) * a;
        }
    }
    let slope = T::of(layer.slope);
    for o in out.iter_mut() {
        *o = activate(*o, slope);
    }
}

/// Floating-point operations of [`forward_layer`]: weights, bias and activation.
pub fn forward_operations(layer: &Layer) -> usize {
    2 * layer.inputs * layer.outputs + layer.outputs
}

/// Floating-point operations of [`backward_layer`].
pub fn backward_operations(layout: &Layout, layer: &Layer) -> usize {
    let own = layer.inputs - layer.msi_inputs;
    input_offset(layout, layer).map_or(0, |_| own * (2 * layer.outputs + 2))
}

/// Floating-point operations of a sample's bands, one pixel: μ + σ ε and what ε costs to draw. The linear path, where
/// there is one, is counted with it.
pub fn sample_operations(architecture: &Architecture, noise: Noise) -> usize {
    let bands = architecture.bands;
    let drawn = match noise {
        Noise::Philox(_) => NORMALS_OPERATIONS * bands.div_ceil(4),
        Noise::Given | Noise::Off => 0,
    };
    2 * bands + drawn + linear_path_operations(architecture)
}

/// Floating-point operations of [`linear_path`] over all bands, its addition to μ included; 0 where it is off.
pub fn linear_path_operations(architecture: &Architecture) -> usize {
    usize::from(architecture.linear_path) * architecture.bands * (2 * architecture.msi_bands + 1)
}

/// Values of the linear path's map; 0 where it is off.
pub fn linear_values(architecture: &Architecture) -> usize {
    usize::from(architecture.linear_path) * architecture.linear_parameters()
}

/// Runs a branch on a pixel.
pub fn forward<T: Real>(layout: &Layout, branch: Branch, parameters: &[T], row: &mut [T], msi: &[T]) {
    forward_in(Precision::F32, layout, branch, parameters, row, msi);
}

/// Runs a branch on a pixel with the factors of all products rounded as `precision` says.
pub fn forward_in<T: Real>(
    precision: Precision,
    layout: &Layout,
    branch: Branch,
    parameters: &[T],
    row: &mut [T],
    msi: &[T],
) {
    for layer in layout.branch(branch) {
        forward_layer(precision, layout, layer, parameters, row, msi);
    }
}

/// Sends `deltas` (gradients to each layer's affine output) one layer down.
///
/// Adds Σ_o w(i, o) δ_o, times the slope at the input's own activation, to the input's place in `deltas`.
pub fn backward_layer<T: Real>(
    layout: &Layout,
    layer: &Layer,
    parameters: &[T],
    row: &[T],
    deltas: &mut [T],
) {
    let Some(offset) = input_offset(layout, layer) else {
        return;
    };
    let below = layout.layers.iter().find(|l| l.activation == offset);
    let slope = T::of(below.map_or(1.0, |l| l.slope));
    for i in 0..layer.inputs - layer.msi_inputs {
        let weights = &parameters[layer.weight + i * layer.stride..][..layer.stride];
        let mut sum = T::zero();
        for (&w, &d) in weights.iter().zip(&deltas[layer.activation..]) {
            sum += w * d;
        }
        deltas[offset + i] += sum * slope_at(row[offset + i], slope);
    }
}

/// Band `band` of the linear path for a pixel: Σ_j map(j, band) msi_j + map(b, band).
pub fn linear_path<T: Real>(map: &[T], stride: usize, band: usize, msi: &[T]) -> T {
    let mut sum = map[msi.len() * stride + band];
    for (j, &y) in msi.iter().enumerate() {
        sum += map[j * stride + band] * y;
    }
    sum
}
