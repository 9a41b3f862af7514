//! The small matrix products that all other kernels are made of, blocked for registers.
//!
//! Pixels lie along the lanes and weights are broadcast, so one layout serves every width of layer. A block is
//! four rows of results by a few vectors of pixels, kept in registers over the whole inner sum: four by four
//! where there are 32 vector registers, four by two (or two by four) where there are 16. Each product is one
//! function to the compiler (`vectorize`), shared by all callers, and its blocks count with indices alone: an
//! iterator that is not inlined would take the sums through memory.

use pulp::{Simd, WithSimd};

use super::lines::{Rows, View, ViewMut};

/// Rows of a block.
const ROWS: usize = 4;

#[inline(always)]
fn take<const N: usize, T: Copy>(from: &[T], at: usize, fill: T) -> [T; N] {
    let from = &from[at..at + N];
    let mut out = [fill; N];
    let mut k = 0;
    while k < N {
        out[k] = from[k];
        k += 1;
    }
    out
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
    out: ViewMut<S>,
    count: usize,
    add: bool,
) {
    simd.vectorize(AffineProduct {
        map,
        inputs: inputs.map(View::samples),
        out: out.samples(),
        count,
        add,
    });
}

/// A view before the instruction set is known: samples, samples from row to row, first sample.
type Samples<'a> = (&'a [f32], usize, usize);
type SamplesMut<'a> = (&'a mut [f32], usize, usize);

struct AffineProduct<'a> {
    map: Affine<'a>,
    inputs: [Samples<'a>; 2],
    out: SamplesMut<'a>,
    count: usize,
    add: bool,
}

impl WithSimd for AffineProduct<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let AffineProduct { map, count, add, .. } = self;
        let inputs = self.inputs.map(View::<S>::of);
        let mut out = ViewMut::<S>::of(self.out);
        for first in (0..map.stride).step_by(ROWS) {
            let mut v = 0;
            if S::REGISTER_COUNT >= 32 {
                while v + 4 <= count {
                    affine_block::<S, 4>(simd, map, &inputs, &mut out, (first, v), add);
                    v += 4;
                }
            }
            while v + 2 <= count {
                affine_block::<S, 2>(simd, map, &inputs, &mut out, (first, v), add);
                v += 2;
            }
            if v < count {
                affine_block::<S, 1>(simd, map, &inputs, &mut out, (first, v), add);
            }
        }
    }
}

#[inline(always)]
fn affine_block<S: Simd, const V: usize>(
    simd: S,
    map: Affine,
    inputs: &[View<S>; 2],
    out: &mut ViewMut<S>,
    (first, v): (usize, usize),
    add: bool,
) {
    let zero = simd.splat_f32s(0.0);
    let count = inputs[0].rows + inputs[1].rows;
    let bias: [f32; ROWS] = take(map.weights, count * map.stride + first, 0.0);
    let mut sums = [[zero; V]; ROWS];
    for o in 0..ROWS {
        sums[o] = [simd.splat_f32s(bias[o]); V];
    }
    let own = inputs[0].rows * map.stride;
    let sums = affine_sums(
        simd,
        &map.weights[..own],
        (map.stride, first),
        &inputs[0],
        v,
        sums,
    );
    let sums = affine_sums(
        simd,
        &map.weights[own..],
        (map.stride, first),
        &inputs[1],
        v,
        sums,
    );
    let slope = simd.splat_f32s(map.slope);
    let mut results = sums;
    for o in 0..ROWS {
        for p in 0..V {
            results[o][p] = simd.max_f32s(sums[o][p], simd.mul_f32s(slope, sums[o][p]));
        }
    }
    store(simd, out, (first, v), results, add);
}

/// sums + weights · input for four outputs from `first` on; by value, so that the sums stay in registers.
#[inline(always)]
fn affine_sums<S: Simd, const V: usize>(
    simd: S,
    weights: &[f32],
    (stride, first): (usize, usize),
    input: &View<S>,
    v: usize,
    mut sums: [[S::f32s; V]; ROWS],
) -> [[S::f32s; V]; ROWS] {
    let zero = simd.splat_f32s(0.0);
    let (mut from, mut weight) = (input.at + v, first);
    for _ in 0..input.rows {
        let x: [S::f32s; V] = take(input.vectors, from, zero);
        let w: [f32; ROWS] = take(weights, weight, 0.0);
        for o in 0..ROWS {
            let w = simd.splat_f32s(w[o]);
            for p in 0..V {
                sums[o][p] = simd.mul_add_e_f32s(w, x[p], sums[o][p]);
            }
        }
        from += input.stride;
        weight += stride;
    }
    sums
}

/// Writes a block of results to rows `first ..` and vectors `v ..` of `out`, or adds it.
#[inline(always)]
fn store<S: Simd, const R: usize, const V: usize>(
    simd: S,
    out: &mut ViewMut<S>,
    (first, v): (usize, usize),
    results: [[S::f32s; V]; R],
    add: bool,
) {
    let (at, stride) = (first * out.stride + out.at + v, out.stride);
    let out = &mut out.vectors[at..][..(R - 1) * stride + V];
    for k in 0..R {
        for p in 0..V {
            // SAFETY: k < R and p < V, so the index is below the length that the slice was cut to. With a check here
            // the loops are not unrolled and the sums of the whole block go through memory.
            let to = unsafe { out.get_unchecked_mut(k * stride + p) };
            *to = if add {
                simd.add_f32s(*to, results[k][p])
            } else {
                results[k][p]
            };
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
    (inputs, below): (View<S>, f32),
    to_inputs: ViewMut<S>,
    (count, add): (usize, bool),
) {
    simd.vectorize(Transposed {
        map,
        deltas: deltas.samples(),
        inputs: inputs.samples(),
        below,
        to_inputs: to_inputs.samples(),
        count,
        add,
    });
}

struct Transposed<'a> {
    map: Affine<'a>,
    deltas: Samples<'a>,
    inputs: Samples<'a>,
    below: f32,
    to_inputs: SamplesMut<'a>,
    count: usize,
    add: bool,
}

impl WithSimd for Transposed<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let way = Way {
            map: self.map,
            deltas: View::<S>::of(self.deltas),
            inputs: View::<S>::of(self.inputs),
            below: self.below,
            count: self.count,
            add: self.add,
        };
        let mut to_inputs = ViewMut::<S>::of(self.to_inputs);
        let rows = way.inputs.rows;
        for first in (0..rows).step_by(ROWS) {
            match rows - first {
                1 => transposed_rows::<S, 1>(simd, &way, &mut to_inputs, first),
                2 => transposed_rows::<S, 2>(simd, &way, &mut to_inputs, first),
                3 => transposed_rows::<S, 3>(simd, &way, &mut to_inputs, first),
                _ => transposed_rows::<S, ROWS>(simd, &way, &mut to_inputs, first),
            }
        }
    }
}

/// What the blocks of [`transposed`] share.
struct Way<'a, S: Simd> {
    map: Affine<'a>,
    deltas: View<'a, S>,
    inputs: View<'a, S>,
    below: f32,
    count: usize,
    add: bool,
}

#[inline(always)]
fn transposed_rows<S: Simd, const R: usize>(simd: S, way: &Way<S>, to_inputs: &mut ViewMut<S>, first: usize) {
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
    way: &Way<S>,
    to_inputs: &mut ViewMut<S>,
    (first, v): (usize, usize),
) {
    let zero = simd.splat_f32s(0.0);
    let (stride, deltas) = (way.map.stride, &way.deltas);
    let count = deltas.rows.min(stride);
    let mut weights: [&[f32]; R] = [&[]; R];
    for k in 0..R {
        weights[k] = &way.map.weights[(first + k) * stride..][..count];
    }
    let mut sums = [[zero; V]; R];
    let mut from = deltas.at + v;
    for o in 0..count {
        let d: [S::f32s; V] = take(deltas.vectors, from, zero);
        for k in 0..R {
            // SAFETY: every row of weights was cut to `count` outputs, and o < count.
            let w = simd.splat_f32s(unsafe { *weights[k].get_unchecked(o) });
            for p in 0..V {
                sums[k][p] = simd.mul_add_e_f32s(w, d[p], sums[k][p]);
            }
        }
        from += deltas.stride;
    }
    let below = simd.splat_f32s(way.below);
    let (at, stride) = (first * way.inputs.stride + way.inputs.at + v, way.inputs.stride);
    let inputs = &way.inputs.vectors[at..][..(R - 1) * stride + V];
    let mut results = sums;
    for k in 0..R {
        for p in 0..V {
            // SAFETY: k < R and p < V, so the index is below the length that the slice was cut to; see `store`.
            let x = unsafe { *inputs.get_unchecked(k * stride + p) };
            let sloped = simd.mul_f32s(below, sums[k][p]);
            results[k][p] = simd.select_f32s(simd.greater_than_f32s(x, zero), sums[k][p], sloped);
        }
    }
    store(simd, to_inputs, (first, v), results, way.add);
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
    simd.vectorize(Outer {
        a: a.samples(),
        d: d.samples(),
        count,
        columns: stride,
        target: Sums { gradient, stride },
    });
}

/// As [`outer`], but the lanes stay apart: lanes\[i, o\] is a vector of partial sums, to be added up once at the end.
#[inline(always)]
pub(super) fn outer_lanes<S: Simd>(
    simd: S,
    a: View<S>,
    d: View<S>,
    count: usize,
    lanes: &mut [f32],
    stride: usize,
) {
    simd.vectorize(Outer {
        a: a.samples(),
        d: d.samples(),
        count,
        columns: stride,
        target: Lanes { lanes, stride },
    });
}

struct Outer<'a, T> {
    a: Samples<'a>,
    d: Samples<'a>,
    count: usize,
    columns: usize,
    target: T,
}

/// Where [`Outer`] leaves its sums.
trait Target {
    /// What the vector of sums for (i, o) starts from.
    fn start<S: Simd>(&self, simd: S, i: usize, o: usize) -> S::f32s;
    /// Takes the vectors of sums for (i, o ..).
    fn finish<S: Simd, const C: usize>(&mut self, simd: S, i: usize, o: usize, sums: [S::f32s; C]);
}

struct Sums<'a> {
    gradient: &'a mut [f32],
    stride: usize,
}

impl Target for Sums<'_> {
    #[inline(always)]
    fn start<S: Simd>(&self, simd: S, _: usize, _: usize) -> S::f32s {
        simd.splat_f32s(0.0)
    }

    #[inline(always)]
    fn finish<S: Simd, const C: usize>(&mut self, simd: S, i: usize, o: usize, sums: [S::f32s; C]) {
        let at = i * self.stride + o;
        let to = &mut self.gradient[at..at + C];
        for l in 0..C {
            to[l] += simd.reduce_sum_f32s(sums[l]);
        }
    }
}

struct Lanes<'a> {
    lanes: &'a mut [f32],
    stride: usize,
}

impl Target for Lanes<'_> {
    #[inline(always)]
    fn start<S: Simd>(&self, _: S, i: usize, o: usize) -> S::f32s {
        S::as_simd_f32s(self.lanes).0[i * self.stride + o]
    }

    #[inline(always)]
    fn finish<S: Simd, const C: usize>(&mut self, _: S, i: usize, o: usize, sums: [S::f32s; C]) {
        let at = i * self.stride + o;
        let to = &mut S::as_mut_simd_f32s(self.lanes).0[at..at + C];
        to[..C].copy_from_slice(&sums);
    }
}

impl<T: Target> WithSimd for Outer<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let (a, d) = (View::<S>::of(self.a), View::<S>::of(self.d));
        let rows = a.rows;
        for i in (0..rows).step_by(ROWS) {
            let columns = (self.columns, self.count);
            match rows - i {
                1 => outer_columns::<S, T, 1>(simd, (&a, i), &d, columns, &mut self.target),
                2 => outer_columns::<S, T, 2>(simd, (&a, i), &d, columns, &mut self.target),
                3 => outer_columns::<S, T, 3>(simd, (&a, i), &d, columns, &mut self.target),
                _ => outer_columns::<S, T, ROWS>(simd, (&a, i), &d, columns, &mut self.target),
            }
        }
    }
}

#[inline(always)]
fn outer_columns<S: Simd, T: Target, const R: usize>(
    simd: S,
    a: (&View<S>, usize),
    d: &View<S>,
    (columns, count): (usize, usize),
    target: &mut T,
) {
    if S::REGISTER_COUNT >= 32 {
        for o in (0..columns).step_by(4) {
            outer_block::<S, T, R, 4>(simd, a, (d, o), count, target);
        }
    } else {
        for o in (0..columns).step_by(2) {
            outer_block::<S, T, R, 2>(simd, a, (d, o), count, target);
        }
    }
}

#[inline(always)]
fn outer_block<S: Simd, T: Target, const R: usize, const C: usize>(
    simd: S,
    (a, i): (&View<S>, usize),
    (d, o): (&View<S>, usize),
    count: usize,
    target: &mut T,
) {
    let zero = simd.splat_f32s(0.0);
    let mut a_rows: [&[S::f32s]; R] = [&[]; R];
    for k in 0..R {
        a_rows[k] = a.row(i + k, count);
    }
    let mut d_rows: [&[S::f32s]; C] = [&[]; C];
    for l in 0..C {
        d_rows[l] = d.row(o + l, count);
    }
    let mut sums = [[zero; C]; R];
    for k in 0..R {
        for l in 0..C {
            sums[k][l] = target.start(simd, i + k, o + l);
        }
    }
    for v in 0..count {
        let mut e = [zero; C];
        for l in 0..C {
            e[l] = d_rows[l][v];
        }
        for k in 0..R {
            let x = a_rows[k][v];
            for l in 0..C {
                sums[k][l] = simd.mul_add_e_f32s(x, e[l], sums[k][l]);
            }
        }
    }
    for k in 0..R {
        target.finish(simd, i + k, o, sums[k]);
    }
}

/// The same map with pixels and outputs the other way round: outputs along the lanes, one pixel a row of `out`.
///
/// For results that leave in the images' own order (bands innermost). `weights` has a row an input and the bias row
/// last, each of whole lines; `inputs` are rows of pixels; out = share · activation(…) for `pixels` pixels, added
/// to `out` if `add`.
pub(super) struct AffineByPixel<'a> {
    pub weights: &'a Rows,
    pub slope: f32,
    /// Rows of pixels, and samples from row to row.
    pub inputs: (&'a [f32], usize),
    pub out: &'a mut Rows,
    pub pixels: usize,
    pub share: f32,
    pub add: bool,
}

impl WithSimd for AffineByPixel<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let vectors = self.weights.stride() / S::F32_LANES;
        let mut v = 0;
        while v + 2 <= vectors {
            if S::REGISTER_COUNT >= 32 {
                for first in (0..self.pixels).step_by(8) {
                    pixel_block::<S, 8, 2>(simd, &mut self, (first, v));
                }
            } else {
                for first in (0..self.pixels).step_by(4) {
                    pixel_block::<S, 4, 2>(simd, &mut self, (first, v));
                }
            }
            v += 2;
        }
        if v < vectors {
            for first in (0..self.pixels).step_by(8) {
                pixel_block::<S, 8, 1>(simd, &mut self, (first, v));
            }
        }
    }
}

#[inline(always)]
fn pixel_block<S: Simd, const P: usize, const V: usize>(
    simd: S,
    product: &mut AffineByPixel,
    (first, v): (usize, usize),
) {
    let zero = simd.splat_f32s(0.0);
    let (inputs, input_stride) = product.inputs;
    let rows = inputs.len() / input_stride;
    let weights = S::as_simd_f32s(product.weights.all()).0;
    let stride = product.weights.stride() / S::F32_LANES;
    let bias: [S::f32s; V] = take(weights, rows * stride + v, zero);
    let mut sums = [bias; P];
    for row in 0..rows {
        let x: [f32; P] = take(inputs, row * input_stride + first, 0.0);
        let w: [S::f32s; V] = take(weights, row * stride + v, zero);
        for k in 0..P {
            let x = simd.splat_f32s(x[k]);
            for p in 0..V {
                sums[k][p] = simd.mul_add_e_f32s(x, w[p], sums[k][p]);
            }
        }
    }
    let (slope, share) = (simd.splat_f32s(product.slope), simd.splat_f32s(product.share));
    let out_stride = product.out.stride() / S::F32_LANES;
    let out = S::as_mut_simd_f32s(product.out.all_mut()).0;
    for k in 0..P {
        let at = (first + k) * out_stride + v;
        let out = &mut out[at..at + V];
        for p in 0..V {
            let sum = sums[k][p];
            let y = simd.mul_f32s(share, simd.max_f32s(sum, simd.mul_f32s(slope, sum)));
            out[p] = if product.add { simd.add_f32s(out[p], y) } else { y };
        }
    }
}
