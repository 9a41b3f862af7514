//! The network over HR pixels, members averaged, in tiles.
//!
//! Mean and std leave through a product whose lanes are bands, because the image has bands innermost; a sample and
//! the abundances, which few ask for, are transposed one by one.

use ndarray::{ArrayView3, ArrayViewMut3};
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::lines::{Rows, View, ViewMut};
use super::network::{Net, TILE};
use super::normals::Epsilon;
use super::products::{Affine, AffineByPixel, affine};
use crate::engine::{Output, TrainingState};
use crate::network::{Architecture, Branch};
use crate::random::{Purpose, key};

/// Pixels that one thread takes at a time.
const STRIP: usize = 16 * TILE;

/// The last layer of a decoder (or the linear path) with rows of whole lines.
struct Wide {
    weights: Rows,
    slope: f32,
}

impl Wide {
    /// From a map of `outputs` outputs, rows `stride` apart, bias last.
    fn new(map: Affine, outputs: usize) -> Self {
        let mut weights = Rows::dense(map.weights.len() / map.stride, outputs);
        for (row, from) in map.weights.chunks_exact(map.stride).enumerate() {
            weights.row_mut(row)[..outputs].copy_from_slice(&from[..outputs]);
        }
        Wide {
            weights,
            slope: map.slope,
        }
    }
}

struct Pass<'a> {
    net: Net,
    state: &'a TrainingState<f32>,
    output: Output,
    members: std::ops::Range<usize>,
    /// Last layer of the branch that is written, a member each; for mean and std.
    last: Vec<Wide>,
    /// The linear path, where it takes part.
    linear: Option<Affine<'a>>,
    wide_linear: Option<Wide>,
    first_pixel: u32,
    channels: usize,
}

struct Scratch {
    msi: Rows,
    activations: Rows,
    /// A tile of results, a pixel a row.
    tile: Rows,
}

/// Writes `output` of every pixel of `hr_msi` into `out`; see [`crate::engine::Engine::reconstruct`].
pub(super) fn reconstruct(
    arch: Arch,
    architecture: &Architecture,
    state: &TrainingState<f32>,
    hr_msi: ArrayView3<f32>,
    first_pixel: u32,
    output: Output,
    mut out: ArrayViewMut3<f32>,
) {
    let (b, channels) = (architecture.msi_bands, out.dim().2);
    let net = Net::new(architecture);
    let members = match output {
        Output::Mean | Output::Std => 0..architecture.members,
        Output::Sample { member, .. } | Output::Abundance { member } => member as usize..member as usize + 1,
    };
    let with_linear = architecture.linear_path && matches!(output, Output::Mean | Output::Sample { .. });
    let linear = with_linear.then(|| Affine {
        weights: &state.linear,
        stride: architecture.band_stride(),
        slope: 1.0,
    });
    let branch = if output == Output::Std {
        Branch::Std
    } else {
        Branch::Mean
    };
    let last = match output {
        Output::Mean | Output::Std => members
            .clone()
            .filter_map(|member| {
                let parameters = &state.network[member * net.layout.parameters..][..net.layout.parameters];
                let last = net.layers().iter().rfind(|l| l.layer.branch == branch)?;
                Some(Wide::new(last.map(parameters), architecture.bands))
            })
            .collect(),
        _ => Vec::new(),
    };
    let pass = Pass {
        members,
        last,
        wide_linear: linear.map(|map| Wide::new(map, architecture.bands)),
        linear,
        state,
        output,
        first_pixel,
        channels,
        net,
    };
    let msi = hr_msi.as_standard_layout();
    let Some(msi) = msi.as_slice() else { return };
    let run = |out: &mut [f32]| {
        out.par_chunks_mut(STRIP * channels)
            .zip(msi.par_chunks(STRIP * b))
            .enumerate()
            .for_each_init(
                || Scratch {
                    msi: Rows::dense(b, TILE),
                    activations: Rows::dense(pass.net.layout.activations, TILE),
                    tile: Rows::dense(TILE, channels),
                },
                |scratch, (strip, (out, msi))| {
                    let first = strip * STRIP;
                    arch.dispatch(Strip {
                        pass: &pass,
                        scratch,
                        first,
                        msi,
                        out,
                    });
                },
            );
    };
    match out.as_slice_mut() {
        Some(out) => run(out),
        None => {
            let mut packed = out.to_owned();
            if let Some(packed) = packed.as_slice_mut() {
                run(packed);
            }
            out.assign(&packed);
        }
    }
}

struct Strip<'a> {
    pass: &'a Pass<'a>,
    scratch: &'a mut Scratch,
    /// Number of the strip's first pixel in the call.
    first: usize,
    msi: &'a [f32],
    out: &'a mut [f32],
}

impl WithSimd for Strip<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Strip {
            pass,
            scratch,
            first,
            msi,
            out,
        } = self;
        let (b, channels) = (pass.net.msi_bands, pass.channels);
        let tiles = msi.chunks(TILE * b).zip(out.chunks_mut(TILE * channels));
        for (tile, (msi, out)) in tiles.enumerate() {
            for j in 0..b {
                let row = scratch.msi.row_mut(j);
                for (to, from) in row.iter_mut().zip(msi[j..].iter().step_by(b)) {
                    *to = *from;
                }
            }
            let pixels = out.len() / channels;
            match pass.output {
                Output::Mean => averaged(simd, pass, scratch, Branch::Mean, pixels),
                Output::Std => averaged(simd, pass, scratch, Branch::Std, pixels),
                Output::Abundance { .. } | Output::Sample { .. } => {
                    transposed(simd, pass, scratch, first + tile * TILE, pixels);
                }
            }
            for (k, to) in out.chunks_exact_mut(channels).enumerate() {
                to.copy_from_slice(&scratch.tile.row(k)[..channels]);
            }
        }
    }
}

/// Mean over members of a decoder's output.
#[inline(always)]
fn averaged<S: Simd>(simd: S, pass: &Pass, scratch: &mut Scratch, branch: Branch, pixels: usize) {
    let net = &pass.net;
    let count = pixels.div_ceil(S::F32_LANES);
    let share = 1.0 / pass.members.len() as f32;
    let Some(last) = net.layers().iter().rfind(|l| l.layer.branch == branch) else {
        return;
    };
    let (offset, own) = (last.offset.unwrap_or(0), last.own());
    let mut add = false;
    if let Some(Wide { weights, slope }) = &pass.wide_linear {
        let inputs = (scratch.msi.all(), scratch.msi.stride());
        simd.vectorize(AffineByPixel {
            weights,
            slope: *slope,
            inputs,
            out: &mut scratch.tile,
            pixels,
            share: 1.0,
            add,
        });
        add = true;
    }
    for (member, Wide { weights, slope }) in pass.members.clone().zip(&pass.last) {
        let parameters = &pass.state.network[member * net.layout.parameters..][..net.layout.parameters];
        let msi = scratch.msi.view(0, net.msi_bands, 0);
        let rows = &mut scratch.activations;
        net.forward(simd, (Branch::Encoder, false), parameters, msi, rows, (0, count));
        net.forward(simd, (branch, true), parameters, msi, rows, (0, count));
        let stride = rows.stride();
        let inputs = (&rows.all()[offset * stride..][..own * stride], stride);
        simd.vectorize(AffineByPixel {
            weights,
            slope: *slope,
            inputs,
            out: &mut scratch.tile,
            pixels,
            share,
            add,
        });
        add = true;
    }
}

/// A sample or the abundances of one member.
#[inline(always)]
fn transposed<S: Simd>(simd: S, pass: &Pass, scratch: &mut Scratch, first: usize, pixels: usize) {
    let net = &pass.net;
    let count = pixels.div_ceil(S::F32_LANES);
    let parameters =
        &pass.state.network[pass.members.start * net.layout.parameters..][..net.layout.parameters];
    let msi = scratch.msi.view::<S>(0, net.msi_bands, 0);
    let rows = &mut scratch.activations;
    net.forward(simd, (Branch::Encoder, false), parameters, msi, rows, (0, count));
    let mut from = net.layout.abundance;
    if let Output::Sample { seed, .. } = pass.output {
        from = net.mean_at;
        net.forward(simd, (Branch::Mean, false), parameters, msi, rows, (0, count));
        net.forward(simd, (Branch::Std, false), parameters, msi, rows, (0, count));
        let stride = rows.stride();
        let (before, rest) = rows.all_mut().split_at_mut(net.std_at * stride);
        if let Some(map) = pass.linear {
            let z = ViewMut::new(&mut before[net.mean_at * stride..], stride, 0);
            affine(simd, map, [msi, View::empty()], z, count, true);
        }
        let epsilon = Epsilon::Philox {
            key: key(seed),
            step: 0,
            purpose: Purpose::Inference as u32,
            first: pass.first_pixel,
        };
        let std = View::<S>::new(rest, stride, 0);
        let z = ViewMut::new(&mut before[net.mean_at * stride..], stride, 0);
        epsilon.add_scaled(simd, first, std, z, (count, net.bands));
    }
    for c in 0..pass.channels {
        for k in 0..pixels {
            let value = scratch.activations.row(from + c)[k];
            scratch.tile.row_mut(k)[c] = value;
        }
    }
}
