//! Twin of `shaders/lr_network.wgsl`: the LR pass of every member, forward and backward to each layer.
//!
//! X̂_ds = μ + σ ε from (Y∗C)↓ with C held, L_φ = β mean|X̂_ds − X|. Leaves each pixel's row of activations and of
//! gradients to the layers' affine outputs, from which `network_update` takes the gradient of the weights.

use rayon::prelude::*;

use crate::engine::cpu::network::{
    backward_layer, backward_operations, forward, forward_operations, linear_path, linear_values,
    sample_operations, slope_at,
};
use crate::engine::cpu::psf_blur::{LrObservation, sign};
use crate::engine::work::Work;
use crate::engine::{Noise, Problem, TrainingSet};
use crate::network::{Branch, Layer, Layout};
use crate::random::{Purpose, key, normals};
use crate::real::Real;

/// One pixel of one member.
#[derive(Debug, Clone)]
pub struct LrPixel<T> {
    /// Activations of all layers.
    pub row: Vec<T>,
    /// Gradients of L_φ to the layers' affine outputs, laid out like `row`.
    pub deltas: Vec<T>,
    /// X̂_ds, B values.
    pub sample: Vec<T>,
    /// Σ_bands |X̂_ds − X|.
    pub loss: T,
}

impl<T: Real> LrPixel<T> {
    /// All zero.
    pub fn zero(layout: &Layout, bands: usize) -> Self {
        LrPixel {
            row: vec![T::zero(); layout.activations],
            deltas: vec![T::zero(); layout.activations],
            sample: vec![T::zero(); bands],
            loss: T::zero(),
        }
    }
}

/// Inputs of the LR pass.
pub struct LrPass<'a, T> {
    /// The run.
    pub problem: &'a Problem<T>,
    /// Its layout.
    pub layout: &'a Layout,
    /// Its data.
    pub data: &'a TrainingSet<T>,
    /// φ of all members.
    pub network: &'a [T],
    /// The linear path's map.
    pub linear: &'a [T],
    /// Windows of the batch.
    pub batch: &'a [u32],
    /// (Y∗C)↓ of the batch.
    pub observations: &'a [LrObservation<T>],
    /// Frozen abundances of all windows (members × windows × P), for partial fine-tuning.
    pub abundance: Option<&'a [T]>,
    /// Given ε (members × batch × B).
    pub noise: &'a [T],
    /// Step number.
    pub step: u32,
}

/// Work of a pass over `pixels` LR pixels of each member; without σ where a run without noise leaves it out. The sample,
/// which only comparisons ask for, is not counted as written.
pub fn work<T: Real>(problem: &Problem<T>, pixels: usize, with_std: bool) -> Work {
    let architecture = &problem.architecture;
    let (bands, b, members) = (architecture.bands, architecture.msi_bands, architecture.members);
    let layout = architecture.layout();
    let layers = || {
        layout
            .layers
            .iter()
            .filter(|l| with_std || l.branch != Branch::Std)
    };
    let frozen = |l: &Layer| problem.frozen_encoder && l.branch == Branch::Encoder;
    let forward: usize = layers().filter(|l| !frozen(l)).map(forward_operations).sum();
    let backward: usize = layers()
        .filter(|l| !problem.frozen_encoder || !(l.branch == Branch::Encoder || l.index == 0))
        .map(|l| backward_operations(&layout, l))
        .sum();
    // Residual, loss and the gradients to μ and σ.
    let losses = bands * if with_std { 6 } else { 4 };
    let pixel = forward + sample_operations(architecture, problem.noise) + losses + backward;
    let abundances = usize::from(problem.frozen_encoder) * layout.abundances;
    let values = b + bands + abundances + 2 * layout.activations + 1;
    let shared = members * layout.parameters + linear_values(architecture);
    Work::of::<T>(members * pixels * pixel, members * pixels * values + shared)
}

/// Runs the pass; `out` is members × batch.
pub fn lr_network<T: Real>(pass: &LrPass<T>, out: &mut [LrPixel<T>]) {
    let n = pass.batch.len();
    out.par_iter_mut()
        .enumerate()
        .with_min_len(16)
        .for_each(|(at, out)| {
            pixel(pass, at / n, at % n, out);
        });
}

fn pixel<T: Real>(pass: &LrPass<T>, member: usize, n: usize, out: &mut LrPixel<T>) {
    let (layout, architecture) = (pass.layout, &pass.problem.architecture);
    let (bands, stride) = (architecture.bands, architecture.band_stride());
    let parameters = &pass.network[member * layout.parameters..][..layout.parameters];
    let (window, msi) = (pass.batch[n] as usize, &pass.observations[n].lr_msi[..]);
    match pass.abundance {
        None => forward(layout, Branch::Encoder, parameters, &mut out.row, msi),
        Some(frozen) => {
            let p = layout.abundances;
            let from = &frozen[(member * pass.data.windows + window) * p..][..p];
            out.row[layout.abundance..layout.abundance + p].copy_from_slice(from);
        }
    }
    forward(layout, Branch::Mean, parameters, &mut out.row, msi);
    forward(layout, Branch::Std, parameters, &mut out.row, msi);

    let (mean_at, std_at) = (layout.output(Branch::Mean), layout.output(Branch::Std));
    let slope = |branch| T::of(layout.branch(branch).last().map_or(1.0, |l| l.slope));
    let (mean_slope, std_slope) = (slope(Branch::Mean), slope(Branch::Std));
    let scale = T::of(pass.problem.beta / (pass.batch.len() * bands) as f64);
    out.deltas.fill(T::zero());
    out.loss = T::zero();
    let mut quad = [T::zero(); 4];
    for band in 0..bands {
        let epsilon = match pass.problem.noise {
            Noise::Off => T::zero(),
            Noise::Given => pass.noise[(member * pass.batch.len() + n) * bands + band],
            Noise::Philox(seed) => {
                if band % 4 == 0 {
                    let purpose = Purpose::LowResolution as u32 + member as u32;
                    quad = normals(key(seed), pass.step, purpose, n as u32, band as u32 / 4);
                }
                quad[band % 4]
            }
        };
        let (mean, std) = (out.row[mean_at + band], out.row[std_at + band]);
        let mut sample = mean + std * epsilon;
        if architecture.linear_path {
            sample += linear_path(pass.linear, stride, band, msi);
        }
        let residual = sample - pass.data.lr_hsi[window * bands + band];
        let gradient = scale * sign(residual);
        out.sample[band] = sample;
        out.loss += residual.abs();
        out.deltas[mean_at + band] = gradient * slope_at(mean, mean_slope);
        out.deltas[std_at + band] = gradient * epsilon * slope_at(std, std_slope);
    }
    for layer in layout.layers.iter().rev() {
        let into_encoder = layer.branch == Branch::Encoder || layer.index == 0;
        if pass.abundance.is_none() || !into_encoder {
            backward_layer(layout, layer, parameters, &out.row, &mut out.deltas);
        }
    }
}
