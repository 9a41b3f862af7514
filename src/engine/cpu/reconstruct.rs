//! Twin of `shaders/reconstruct.wgsl`: the network over HR pixels, members averaged.

use ndarray::parallel::prelude::*;
use ndarray::{ArrayView3, ArrayViewMut3, Axis};

use crate::engine::cpu::network::{
    forward_in, forward_operations, linear_path, linear_path_operations, linear_values, sample_operations,
};
use crate::engine::work::Work;
use crate::engine::{Noise, Output, Precision, TrainingState};
use crate::network::{Architecture, Branch, Layer};
use crate::random::{Purpose, key, normals};
use crate::real::Real;

/// Work of `pixels` pixels.
pub fn work<T: Real>(architecture: &Architecture, output: Output, pixels: usize) -> Work {
    let layout = architecture.layout();
    let (with_mean, with_std, members) = match output {
        Output::Mean => (true, false, architecture.members),
        Output::Std => (false, true, architecture.members),
        Output::Sample { .. } => (true, true, 1),
        Output::Abundance { .. } => (false, false, 1),
    };
    let wanted = |l: &&Layer| match l.branch {
        Branch::Encoder => true,
        Branch::Mean => with_mean,
        Branch::Std => with_std,
    };
    let network: usize = layout.layers.iter().filter(wanted).map(forward_operations).sum();
    let channels = match output {
        Output::Abundance { .. } => layout.abundances,
        _ => architecture.bands,
    };
    let once = match output {
        Output::Mean => linear_path_operations(architecture),
        Output::Sample { seed, .. } => sample_operations(architecture, Noise::Philox(seed)),
        Output::Std | Output::Abundance { .. } => 0,
    };
    let linear = if with_mean { linear_values(architecture) } else { 0 };
    // And the share of a member, once a call.
    Work::of::<T>(
        1 + pixels * (members * (network + 2 * channels) + once),
        pixels * (architecture.msi_bands + channels) + members * layout.parameters + linear,
    )
}

/// Writes `output` of every pixel of `hr_msi` into `out`; see [`crate::engine::Engine::reconstruct`].
pub fn reconstruct<T: Real>(
    precision: Precision,
    architecture: &Architecture,
    state: &TrainingState<T>,
    hr_msi: ArrayView3<T>,
    first_pixel: u32,
    output: Output,
    mut out: ArrayViewMut3<T>,
) {
    let layout = architecture.layout();
    let (columns, stride) = (hr_msi.dim().1, architecture.band_stride());
    let (mean_at, std_at) = (layout.output(Branch::Mean), layout.output(Branch::Std));
    let members = match output {
        Output::Mean | Output::Std => 0..architecture.members,
        Output::Sample { member, .. } | Output::Abundance { member } => member as usize..member as usize + 1,
    };
    let share = T::one() / T::of(members.len() as f64);
    out.axis_iter_mut(Axis(0))
        .into_par_iter()
        .enumerate()
        .for_each(|(r, mut out)| {
            let mut row = vec![T::zero(); layout.activations];
            let mut msi = vec![T::zero(); architecture.msi_bands];
            for (c, mut out) in out.axis_iter_mut(Axis(0)).enumerate() {
                for (y, &from) in msi.iter_mut().zip(hr_msi.slice(ndarray::s![r, c, ..])) {
                    *y = from;
                }
                out.fill(T::zero());
                for member in members.clone() {
                    let parameters = &state.network[member * layout.parameters..][..layout.parameters];
                    forward_in(precision, &layout, Branch::Encoder, parameters, &mut row, &msi);
                    if !matches!(output, Output::Abundance { .. } | Output::Std) {
                        forward_in(precision, &layout, Branch::Mean, parameters, &mut row, &msi);
                    }
                    if matches!(output, Output::Std | Output::Sample { .. }) {
                        forward_in(precision, &layout, Branch::Std, parameters, &mut row, &msi);
                    }
                    let from = match output {
                        Output::Abundance { .. } => layout.abundance,
                        Output::Std => std_at,
                        Output::Mean | Output::Sample { .. } => mean_at,
                    };
                    for (o, &x) in out.iter_mut().zip(&row[from..]) {
                        *o += share * x;
                    }
                }
                if architecture.linear_path && matches!(output, Output::Mean | Output::Sample { .. }) {
                    for (band, o) in out.iter_mut().enumerate() {
                        *o += linear_path(&state.linear, stride, band, &msi);
                    }
                }
                if let Output::Sample { seed, .. } = output {
                    let pixel = first_pixel.wrapping_add((r * columns + c) as u32);
                    for (band, o) in out.iter_mut().enumerate() {
                        let quad =
                            normals::<T>(key(seed), 0, Purpose::Inference as u32, pixel, band as u32 / 4);
                        *o += row[std_at + band] * quad[band % 4];
                    }
                }
            }
        });
}
