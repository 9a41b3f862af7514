//! The four small matrix products that all other kernels are made of, blocked for registers.
//!
//! Pixels lie along the lanes and weights are broadcast, so one layout serves every width of layer. A block is
//! four rows of results by a few vectors of pixels, kept in registers over the whole inner sum: four by four
//! where there are 32 vector registers, four by two (or two by four) where there are 16.

use pulp::Simd;

use super::lines::{Rows, View, ViewMut};

/// Rows of a block.
const ROWS: usize = 4;

#[inline(always)]
fn take<const N: usize, T: Copy>(from: &[T], at: usize) -> [T; N] {
    let from = &from[at..at + N];
    std::array::from_fn(|k| from[k])
}

/// Weights of an affine map: input by input, each a row of `stride` outputs, the bias row last.
#[derive(Clone, Copy)]
pub(super) struct Affine<'a> {
    /// Weights and bias.
    pub weights: &'a [f32],
    /// Outputs, a multiple of four.
    pub stride: usize,
    /// Slope of the activation for negative values, in 0..=1.
    pub slope: f32,
}

/// out = activation(weights · inputs + bias) over `count` vectors of pixels, added to `out` if `add`.
///
/// The inputs are the rows of both views, one after the other.
#[inline(always)]
pub(super) fn affine<S: Simd>(
    simd: S,
    map: Affine,
    inputs: [View<S>; 2],
    out: &mut ViewMut<S>,
    count: usize,
    add: bool,
) {
    for first in (0..map.stride).step_by(ROWS) {
        let mut v = 0;
        if S::REGISTER_COUNT >= 32 {
            while v + 4 <= count {
                affine_block::<S, 4>(simd, map, inputs, out, (first, v), add);
                v += 4;
            }
        }
        while v + 2 <= count {
            affine_block::<S, 2>(simd, map, inputs, out, (first, v), add);
            v += 2;
        }
        if v < count {
            affine_block::<S, 1>(simd, map, inputs, out, (first, v), add);
        }
    }
}

#[inline(always)]
fn affine_block<S: Simd, const V: usize>(
    simd: S,
    map: Affine,
    inputs: [View<S>; 2],
    out: &mut ViewMut<S>,
    (first, v): (usize, usize),
    add: bool,
) {
    let count = inputs[0].rows() + inputs[1].rows();
    let bias: [f32; ROWS] = take(map.weights, count * map.stride + first);
    let mut sums = [[simd.splat_f32s(0.0); V]; ROWS];
    for (sums, bias) in sums.iter_mut().zip(bias) {
        *sums = [simd.splat_f32s(bias); V];
    }
    let mut weights = map.weights.chunks_exact(map.stride);
    for input in inputs {
        for (row, weights) in input.vectors.chunks_exact(input.stride).zip(weights.by_ref()) {
            let x: [S::f32s; V] = take(row, input.at + v);
            let w: [f32; ROWS] = take(weights, first);
            for (sums, w) in sums.iter_mut().zip(w) {
                let w = simd.splat_f32s(w);
                for (sum, x) in sums.iter_mut().zip(x) {
                    *sum = simd.mul_add_e_f32s(w, x, *sum);
                }
            }
        }
    }
    let slope = simd.splat_f32s(map.slope);
    for (o, sums) in sums.into_iter().enumerate() {
        let at = (first + o) * out.stride + out.at + v;
        for (out, sum) in out.vectors[at..at + V].iter_mut().zip(sums) {
            let y = simd.max_f32s(sum, simd.mul_f32s(slope, sum));
            *out = if add { simd.add_f32s(*out, y) } else { y };
        }
    }
}

/// The way back through an affine map: `to_inputs` = weightsᵀ · deltas, times the activation's slope at `inputs`.
///
/// `inputs` are the activations that the map read (its own, not the concatenated ones), `below` is their slope
/// for negative values; adds to `to_inputs` if `add`.
#[inline(always)]
pub(super) fn transposed<S: Simd>(
    simd: S,
    map: Affine,
    deltas: View<S>,
    inputs: View<S>,
    below: f32,
    to_inputs: &mut ViewMut<S>,
    (count, add): (usize, bool),
) {
    let way = Way {
        map,
        deltas,
        inputs,
        below,
        count,
        add,
    };
    let rows = inputs.rows();
    for first in (0..rows).step_by(ROWS) {
        match rows - first {
            1 => transposed_rows::<S, 1>(simd, way, to_inputs, first),
            2 => transposed_rows::<S, 2>(simd, way, to_inputs, first),
            3 => transposed_rows::<S, 3>(simd, way, to_inputs, first),
            _ => transposed_rows::<S, ROWS>(simd, way, to_inputs, first),
        }
    }
}

/// Arguments of [`transposed`].
#[derive(Clone, Copy)]
struct Way<'a, S: Simd> {
    map: Affine<'a>,
    deltas: View<'a, S>,
    inputs: View<'a, S>,
    below: f32,
    count: usize,
    add: bool,
}

#[inline(always)]
fn transposed_rows<S: Simd, const R: usize>(simd: S, way: Way<S>, to_inputs: &mut ViewMut<S>, first: usize) {
    let mut v = 0;
    if S::REGISTER_COUNT >= 32 {
        while v + 4 <= way.count {
            transposed_block::<S, R, 4>(simd, way, to_inputs, (first, v));
            v += 4;
        }
    }
    while v + 2 <= way.count {
        transposed_block::<S, R, 2>(simd, way, to_inputs, (first, v));
        v += 2;
    }
    if v < way.count {
        transposed_block::<S, R, 1>(simd, way, to_inputs, (first, v));
    }
}

#[inline(always)]
fn transposed_block<S: Simd, const R: usize, const V: usize>(
    simd: S,
    way: Way<S>,
    to_inputs: &mut ViewMut<S>,
    (first, v): (usize, usize),
) {
    let Way {
        map,
        deltas,
        inputs,
        below,
        add,
        ..
    } = way;
    let mut weights = [map.weights; R];
    for (k, weights) in weights.iter_mut().enumerate() {
        *weights = &weights[(first + k) * map.stride..][..map.stride];
    }
    let mut sums = [[simd.splat_f32s(0.0); V]; R];
    for (o, row) in (0..map.stride).zip(deltas.vectors.chunks_exact(deltas.stride)) {
        let d: [S::f32s; V] = take(row, deltas.at + v);
        for (sums, weights) in sums.iter_mut().zip(weights) {
            let w = simd.splat_f32s(weights[o]);
            for (sum, d) in sums.iter_mut().zip(d) {
                *sum = simd.mul_add_e_f32s(w, d, *sum);
            }
        }
    }
    let (zero, below) = (simd.splat_f32s(0.0), simd.splat_f32s(below));
    for (k, sums) in sums.into_iter().enumerate() {
        let x: [S::f32s; V] = take(inputs.row(first + k, v + V), v);
        let at = (first + k) * to_inputs.stride + to_inputs.at + v;
        for ((to, sum), x) in to_inputs.vectors[at..at + V].iter_mut().zip(sums).zip(x) {
            let sloped = simd.mul_f32s(below, sum);
            let d = simd.select_f32s(simd.greater_than_f32s(x, zero), sum, sloped);
            *to = if add { simd.add_f32s(*to, d) } else { d };
        }
    }
}

/// gradient\[i, o\] += Σ over `count` vectors of pixels of a\[i\] · d\[o\]: the gradient of a map's weights.
///
/// `gradient` starts at a's first row and has `stride` columns, a multiple of four; d has as many rows.
#[inline(always)]
pub(super) fn outer<S: Simd>(
    simd: S,
    a: View<S>,
    d: View<S>,
    count: usize,
    gradient: &mut [f32],
    stride: usize,
) {
    each_block(simd, a, (d, stride), count, Sums { gradient, stride });
}

/// As [`outer`], but the lanes stay apart: lanes\[i, o\] is a vector of partial sums, to be added up once at the end.
#[inline(always)]
pub(super) fn outer_lanes<S: Simd>(
    simd: S,
    a: View<S>,
    d: View<S>,
    count: usize,
    lanes: &mut [S::f32s],
    stride: usize,
) {
    each_block(simd, a, (d, stride), count, Lanes { lanes, stride });
}

/// Where [`each_block`] leaves its sums.
trait Target<S: Simd> {
    /// What the vectors of sums for (i, o) start from.
    fn start(&self, simd: S, i: usize, o: usize) -> S::f32s;
    /// Takes the sums for (i, o).
    fn finish(&mut self, simd: S, i: usize, o: usize, sums: S::f32s);
}

struct Sums<'a> {
    gradient: &'a mut [f32],
    stride: usize,
}

impl<S: Simd> Target<S> for Sums<'_> {
    #[inline(always)]
    fn start(&self, simd: S, _: usize, _: usize) -> S::f32s {
        simd.splat_f32s(0.0)
    }

    #[inline(always)]
    fn finish(&mut self, simd: S, i: usize, o: usize, sums: S::f32s) {
        self.gradient[i * self.stride + o] += simd.reduce_sum_f32s(sums);
    }
}

struct Lanes<'a, S: Simd> {
    lanes: &'a mut [S::f32s],
    stride: usize,
}

impl<S: Simd> Target<S> for Lanes<'_, S> {
    #[inline(always)]
    fn start(&self, _: S, i: usize, o: usize) -> S::f32s {
        self.lanes[i * self.stride + o]
    }

    #[inline(always)]
    fn finish(&mut self, _: S, i: usize, o: usize, sums: S::f32s) {
        self.lanes[i * self.stride + o] = sums;
    }
}

#[inline(always)]
fn each_block<S: Simd>(
    simd: S,
    a: View<S>,
    (d, columns): (View<S>, usize),
    count: usize,
    mut target: impl Target<S>,
) {
    let rows = a.rows();
    for i in (0..rows).step_by(ROWS) {
        match rows - i {
            1 => each_column::<S, 1>(simd, (a, i), (d, columns), count, &mut target),
            2 => each_column::<S, 2>(simd, (a, i), (d, columns), count, &mut target),
            3 => each_column::<S, 3>(simd, (a, i), (d, columns), count, &mut target),
            _ => each_column::<S, ROWS>(simd, (a, i), (d, columns), count, &mut target),
        }
    }
}

#[inline(always)]
fn each_column<S: Simd, const R: usize>(
    simd: S,
    a: (View<S>, usize),
    (d, columns): (View<S>, usize),
    count: usize,
    target: &mut impl Target<S>,
) {
    if S::REGISTER_COUNT >= 32 {
        for o in (0..columns).step_by(4) {
            outer_block::<S, R, 4>(simd, a, (d, o), count, target);
        }
    } else {
        for o in (0..columns).step_by(2) {
            outer_block::<S, R, 2>(simd, a, (d, o), count, target);
        }
    }
}

#[inline(always)]
fn outer_block<S: Simd, const R: usize, const C: usize>(
    simd: S,
    (a, i): (View<S>, usize),
    (d, o): (View<S>, usize),
    count: usize,
    target: &mut impl Target<S>,
) {
    let mut a_rows = [a.vectors; R];
    for (k, row) in a_rows.iter_mut().enumerate() {
        *row = a.row(i + k, count);
    }
    let mut d_rows = [d.vectors; C];
    for (l, row) in d_rows.iter_mut().enumerate() {
        *row = d.row(o + l, count);
    }
    let mut sums = [[simd.splat_f32s(0.0); C]; R];
    for (k, sums) in sums.iter_mut().enumerate() {
        for (l, sum) in sums.iter_mut().enumerate() {
            *sum = target.start(simd, i + k, o + l);
        }
    }
    for v in 0..count {
        let mut d = [simd.splat_f32s(0.0); C];
        for (d, row) in d.iter_mut().zip(d_rows) {
            *d = row[v];
        }
        for (sums, row) in sums.iter_mut().zip(a_rows) {
            let x = row[v];
            for (sum, d) in sums.iter_mut().zip(d) {
                *sum = simd.mul_add_e_f32s(x, d, *sum);
            }
        }
    }
    for (k, sums) in sums.into_iter().enumerate() {
        for (l, sum) in sums.into_iter().enumerate() {
            target.finish(simd, i + k, o + l, sum);
        }
    }
}

/// The same map with pixels and outputs the other way round: outputs along the lanes, one pixel a row of `out`.
///
/// For results that leave in the images' own order (bands innermost). `weights` has a row an input and the bias row
/// last, each of whole lines; `inputs` are rows of pixels; out = share · activation(…) for `pixels` pixels, added
/// to `out` if `add`.
#[inline(always)]
pub(super) fn affine_by_pixel<S: Simd>(
    simd: S,
    (weights, slope): (&Rows, f32),
    inputs: (&[f32], usize),
    out: &mut Rows,
    pixels: usize,
    (share, add): (f32, bool),
) {
    let vectors = out.stride() / S::F32_LANES;
    let mut v = 0;
    while v < vectors {
        let pair = v + 2 <= vectors;
        let block = if S::REGISTER_COUNT >= 32 { 8 } else { 4 };
        for first in (0..pixels).step_by(block) {
            let at = (first, v);
            match (pair, block) {
                (true, 8) => {
                    pixel_block::<S, 8, 2>(simd, (weights, slope), inputs, out, at, (share, add));
                }
                (true, _) => {
                    pixel_block::<S, 4, 2>(simd, (weights, slope), inputs, out, at, (share, add));
                }
                (false, _) => {
                    pixel_block::<S, 4, 1>(simd, (weights, slope), inputs, out, at, (share, add));
                    if block == 8 {
                        let at = (first + 4, v);
                        pixel_block::<S, 4, 1>(simd, (weights, slope), inputs, out, at, (share, add));
                    }
                }
            }
        }
        v += if pair { 2 } else { 1 };
    }
}

#[inline(always)]
fn pixel_block<S: Simd, const P: usize, const V: usize>(
    simd: S,
    (weights, slope): (&Rows, f32),
    (inputs, input_stride): (&[f32], usize),
    out: &mut Rows,
    (first, v): (usize, usize),
    (share, add): (f32, bool),
) {
    let rows = inputs.len() / input_stride;
    let all = S::as_simd_f32s(weights.all()).0;
    let stride = weights.stride() / S::F32_LANES;
    let bias: [S::f32s; V] = take(&all[rows * stride..], v);
    let mut sums = [bias; P];
    for (x, w) in inputs.chunks_exact(input_stride).zip(all.chunks_exact(stride)) {
        let x: [f32; P] = take(x, first);
        let w: [S::f32s; V] = take(w, v);
        for (sums, x) in sums.iter_mut().zip(x) {
            let x = simd.splat_f32s(x);
            for (sum, w) in sums.iter_mut().zip(w) {
                *sum = simd.mul_add_e_f32s(x, w, *sum);
            }
        }
    }
    let (slope, share) = (simd.splat_f32s(slope), simd.splat_f32s(share));
    let out_stride = out.stride() / S::F32_LANES;
    let out = S::as_mut_simd_f32s(out.all_mut()).0;
    for (k, sums) in sums.into_iter().enumerate() {
        let at = (first + k) * out_stride + v;
        for (out, sum) in out[at..at + V].iter_mut().zip(sums) {
            let y = simd.mul_f32s(share, simd.max_f32s(sum, simd.mul_f32s(slope, sum)));
            *out = if add { simd.add_f32s(*out, y) } else { y };
        }
    }
}
