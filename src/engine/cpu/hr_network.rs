//! Twin of `shaders/hr_network.wgsl`: the HR pass of a window, fused with both degradations and the loss of one.
//!
//! Ẑ is made pixel by pixel and never kept: its blur by the PSF *and by each derivative of the PSF* is summed on
//! the way, so that the gradient of term 1 to the PSF needs no second pass once the sign of X − (Ẑ∗C)↓ is known.

use rayon::prelude::*;

use crate::engine::cpu::degradation::Degradation;
use crate::engine::cpu::network::{
    forward_in, forward_operations, linear_path, linear_values, sample_operations,
};
use crate::engine::cpu::psf_blur::sign;
use crate::engine::work::Work;
use crate::engine::{Noise, Precision, Problem, TrainingSet};
use crate::network::{Branch, Layout};
use crate::random::{Purpose, key, normals};
use crate::real::Real;
use crate::sensor::psf;

/// What one window leaves. Sums are neither weighted nor divided by the batch.
#[derive(Debug, Clone)]
pub struct HrWindow<T> {
    /// (Ẑ∗C)↓, B values.
    pub blur_of_sample: Vec<T>,
    /// The same with each derivative of C to its parameters in its place, PARAMETERS × B.
    pub blur_of_derivatives: Vec<T>,
    /// Ẑ·R of every pixel, S×S×b.
    pub srf_of_sample: Vec<T>,
    /// Σ_bands |X − (Ẑ∗C)↓|: term 1; from [`hr_window`](crate::engine::cpu::hr_window), as its gradient is.
    pub blur_loss: T,
    /// Gradient of `blur_loss` to the PSF's parameters.
    pub psf_gradient: [T; psf::PARAMETERS],
    /// Σ |Y − Ẑ·R| over the block's pixels and MSI bands: term 2.
    pub response_loss: T,
    /// Gradient of `response_loss` to the SRF, B×b.
    pub srf_gradient: Vec<T>,
}

impl<T: Real> HrWindow<T> {
    /// All zero, for windows of side `side`.
    pub fn zero(bands: usize, msi_bands: usize, side: usize) -> Self {
        let zeros = |n: usize| vec![T::zero(); n];
        HrWindow {
            blur_of_sample: zeros(bands),
            blur_of_derivatives: zeros(psf::PARAMETERS * bands),
            srf_of_sample: zeros(side * side * msi_bands),
            blur_loss: T::zero(),
            psf_gradient: [T::zero(); psf::PARAMETERS],
            response_loss: T::zero(),
            srf_gradient: zeros(bands * msi_bands),
        }
    }
}

/// Inputs of the HR pass.
pub struct HrPass<'a, T> {
    /// The run.
    pub problem: &'a Problem<T>,
    /// Its layout.
    pub layout: &'a Layout,
    /// Its data.
    pub data: &'a TrainingSet<T>,
    /// φ of the member that Ẑ is drawn from.
    pub parameters: &'a [T],
    /// The linear path's map.
    pub linear: &'a [T],
    /// PSF bank and SRF.
    pub degradation: &'a Degradation<T>,
    /// Windows of the batch.
    pub batch: &'a [u32],
    /// Given ε (batch × S × S × B).
    pub noise: &'a [T],
    /// Step number.
    pub step: u32,
    /// Arithmetic of the network.
    pub precision: Precision,
}

/// Work of a pass over `windows` windows. Ẑ·R, which only comparisons ask for, is not counted as written.
pub fn work<T: Real>(problem: &Problem<T>, windows: usize) -> Work {
    let (architecture, geometry) = (&problem.architecture, problem.geometry);
    let (bands, b) = (architecture.bands, architecture.msi_bands);
    let layout = architecture.layout();
    let area = geometry.window() * geometry.window();
    let block = geometry.scale * geometry.scale;
    let kernel = geometry.kernel * geometry.kernel;
    let maps = 1 + psf::PARAMETERS;
    let with_std = problem.noise != Noise::Off;
    let drawn = layout
        .layers
        .iter()
        .filter(|l| with_std || l.branch != Branch::Std);
    let network: usize = drawn.map(forward_operations).sum();
    let pixel = network + sample_operations(architecture, problem.noise) + 2 * b * bands;
    let losses = block * b * (2 + 2 * bands);
    let window = area * pixel + kernel * maps * 2 * bands + losses;
    let read = area * b;
    let written = bands * (maps + b) + 1;
    let shared = layout.parameters + maps * kernel + bands * b + linear_values(architecture);
    Work::of::<T>(windows * window, windows * (read + written) + shared)
}

/// Runs the pass, a window each.
pub fn hr_network<T: Real>(pass: &HrPass<T>, out: &mut [HrWindow<T>]) {
    out.par_iter_mut()
        .enumerate()
        .for_each(|(n, out)| window(pass, n, out));
}

fn window<T: Real>(pass: &HrPass<T>, n: usize, out: &mut HrWindow<T>) {
    let (architecture, geometry) = (&pass.problem.architecture, pass.problem.geometry);
    let (bands, b) = (architecture.bands, architecture.msi_bands);
    let (side, size) = (geometry.window(), geometry.kernel);
    let (kernel_at, block_at) = (geometry.kernel_offset(), geometry.block_offset());
    let window = pass.batch[n] as usize;
    let pixels = &pass.data.hr_msi[window * side * side * b..][..side * side * b];

    let mut row = vec![T::zero(); pass.layout.activations];
    let mut z = vec![T::zero(); bands];
    // Blur by the PSF and by its derivatives: (1 + PARAMETERS) × B.
    let mut blurred = vec![T::zero(); (1 + psf::PARAMETERS) * bands];
    out.response_loss = T::zero();
    out.srf_gradient.fill(T::zero());
    for pixel in 0..side * side {
        let msi = &pixels[pixel * b..][..b];
        sample(pass, n * side * side + pixel, msi, &mut row, &mut z);

        let (r, c) = (pixel / side, pixel % side);
        let inside = |x: usize, at: usize, length: usize| (at..at + length).contains(&x);
        if inside(r, kernel_at, size) && inside(c, kernel_at, size) {
            let at = (r - kernel_at) * size + c - kernel_at;
            for (p, sums) in blurred.chunks_exact_mut(bands).enumerate() {
                let weight = pass.degradation.bank[p * size * size + at];
                for (sum, &z) in sums.iter_mut().zip(&z) {
                    *sum += weight * z;
                }
            }
        }
        let in_block = inside(r, block_at, geometry.scale) && inside(c, block_at, geometry.scale);
        for (j, &y) in msi.iter().enumerate() {
            let mut response = T::zero();
            for (band, &z) in z.iter().enumerate() {
                response += z * pass.degradation.srf[band * b + j];
            }
            out.srf_of_sample[pixel * b + j] = response;
            if in_block {
                let residual = y - response;
                let s = sign(residual);
                out.response_loss += residual.abs();
                for (band, &z) in z.iter().enumerate() {
                    out.srf_gradient[band * b + j] -= s * z;
                }
            }
        }
    }
    let (sample, derivatives) = blurred.split_at(bands);
    out.blur_of_sample.copy_from_slice(sample);
    out.blur_of_derivatives.copy_from_slice(derivatives);
}

/// Ẑ of one HR pixel; `index` is its number in the batch.
fn sample<T: Real>(pass: &HrPass<T>, index: usize, msi: &[T], row: &mut [T], z: &mut [T]) {
    let layout = pass.layout;
    let with_std = pass.problem.noise != Noise::Off;
    for branch in [Branch::Encoder, Branch::Mean, Branch::Std] {
        // Without noise nothing depends on σ, and its part of the row stays zero.
        if with_std || branch != Branch::Std {
            forward_in(pass.precision, layout, branch, pass.parameters, row, msi);
        }
    }
    let (mean_at, std_at) = (layout.output(Branch::Mean), layout.output(Branch::Std));
    let bands = z.len();
    let mut quad = [T::zero(); 4];
    for (band, z) in z.iter_mut().enumerate() {
        let epsilon = match pass.problem.noise {
            Noise::Off => T::zero(),
            Noise::Given => pass.noise[index * bands + band],
            Noise::Philox(seed) => {
                if band % 4 == 0 {
                    let purpose = Purpose::HighResolution as u32;
                    quad = normals(key(seed), pass.step, purpose, index as u32, band as u32 / 4);
                }
                quad[band % 4]
            }
        };
        *z = row[mean_at + band] + row[std_at + band] * epsilon;
        if pass.problem.architecture.linear_path {
            *z += linear_path(pass.linear, pass.problem.architecture.band_stride(), band, msi);
        }
    }
}
