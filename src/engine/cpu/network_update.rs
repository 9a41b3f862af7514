//! Twin of `shaders/network_update.wgsl`: the gradient of φ over the LR batch, and Adam.

use rayon::prelude::*;

use crate::engine::Problem;
use crate::engine::cpu::lr_network::{LrPass, LrPixel};
use crate::engine::cpu::network::{input, input_offset};
use crate::engine::work::Work;
use crate::network::Branch;
use crate::real::Real;

/// Adam's constants of one update, with the bias corrections worked in (Kingma and Ba, 2015).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Adam {
    /// rate / (1 − β₁ᵗ).
    pub step_size: f64,
    /// 1 / √(1 − β₂ᵗ).
    pub root_correction: f64,
}

impl Adam {
    /// Decay of the first moment.
    pub const BETA1: f64 = 0.9;
    /// Decay of the second moment.
    pub const BETA2: f64 = 0.999;
    /// Added to the root.
    pub const EPSILON: f64 = 1e-8;

    /// Floating-point operations of [`Adam::update`].
    pub const OPERATIONS: usize = 13;

    /// Constants of update number `update` (from 1) at learning rate `rate`.
    pub fn new(rate: f64, update: u64) -> Self {
        let t = update as f64;
        Adam {
            step_size: rate / (1.0 - Self::BETA1.powf(t)),
            root_correction: 1.0 / (1.0 - Self::BETA2.powf(t)).sqrt(),
        }
    }

    /// Updates one parameter and its moments.
    pub fn update<T: Real>(&self, gradient: T, parameter: &mut T, m: &mut T, v: &mut T) {
        *m = T::of(Self::BETA1) * *m + T::of(1.0 - Self::BETA1) * gradient;
        *v = T::of(Self::BETA2) * *v + T::of(1.0 - Self::BETA2) * gradient * gradient;
        let root = v.sqrt() * T::of(self.root_correction) + T::of(Self::EPSILON);
        *parameter -= T::of(self.step_size) * *m / root;
    }
}

/// Work of the gradient over `pixels` LR pixels of each member and of Adam; without σ where a run without noise leaves
/// it out. The sums of chunks into the whole, of which every engine has its own number, are not counted.
pub fn work<T: Real>(problem: &Problem<T>, pixels: usize, with_std: bool) -> Work {
    let architecture = &problem.architecture;
    let layout = architecture.layout();
    let learned = || {
        layout.layers.iter().filter(|l| {
            (with_std || l.branch != Branch::Std) && !(problem.frozen_encoder && l.branch == Branch::Encoder)
        })
    };
    let products: usize = learned().map(|l| (2 * l.inputs + 1) * l.outputs).sum();
    let weights: usize = learned().map(|l| (l.inputs + 1) * l.outputs).sum();
    let record = 2 * layout.activations + architecture.msi_bands;
    // The gradient is written, parameters and both moments are read and written.
    let values = pixels * record + 7 * weights;
    let operations = pixels * products + Adam::OPERATIONS * weights;
    Work::of::<T>(architecture.members * operations, architecture.members * values)
}

/// LR pixels summed before their sum joins the others': fixed, so that bits do not depend on threads.
const CHUNK: usize = 64;

/// Sums the gradient of φ (members × parameters) over the batch; `pixels` is members × batch.
pub fn gradient<T: Real>(pass: &LrPass<T>, pixels: &[LrPixel<T>], gradient: &mut [T]) {
    let (n, size) = (pass.batch.len(), pass.layout.parameters);
    let chunks = n.div_ceil(CHUNK);
    let members = pass.problem.architecture.members;
    let partial: Vec<Vec<T>> = (0..members * chunks)
        .into_par_iter()
        .map(|at| {
            let (member, chunk) = (at / chunks, at % chunks);
            let mut sum = vec![T::zero(); size];
            for k in chunk * CHUNK..n.min((chunk + 1) * CHUNK) {
                add_pixel(pass, &pixels[member * n + k], k, &mut sum);
            }
            sum
        })
        .collect();
    gradient.fill(T::zero());
    for (at, partial) in partial.iter().enumerate() {
        let member = at / chunks;
        for (g, &p) in gradient[member * size..][..size].iter_mut().zip(partial) {
            *g += p;
        }
    }
}

fn add_pixel<T: Real>(pass: &LrPass<T>, pixel: &LrPixel<T>, n: usize, sum: &mut [T]) {
    for layer in &pass.layout.layers {
        if layer.branch == Branch::Encoder && pass.abundance.is_some() {
            continue;
        }
        let offset = input_offset(pass.layout, layer);
        let deltas = &pixel.deltas[layer.activation..][..layer.stride];
        for i in 0..layer.inputs {
            let a = input(layer, offset, i, &pixel.row, &pass.observations[n].lr_msi);
            let row = &mut sum[layer.weight + i * layer.stride..][..layer.stride];
            for (g, &d) in row.iter_mut().zip(deltas) {
                *g += a * d;
            }
        }
        for (g, &d) in sum[layer.bias..][..layer.stride].iter_mut().zip(deltas) {
            *g += d;
        }
    }
}

/// Adam on every parameter of every member; a frozen encoder's parameters stay.
pub fn update<T: Real>(
    pass_decoders_from: Option<usize>,
    size: usize,
    adam: Adam,
    gradient: &[T],
    parameters: &mut [T],
    m: &mut [T],
    v: &mut [T],
) {
    for at in 0..parameters.len() {
        if pass_decoders_from.is_none_or(|from| at % size >= from) {
            adam.update(gradient[at], &mut parameters[at], &mut m[at], &mut v[at]);
        }
    }
}
