//! Rows of samples that start on cache lines: what the vector kernels read and write.
//!
//! A row is one channel (band, unit, MSI band) over many pixels, so that pixels lie along the vector lanes.

use bytemuck::{Pod, Zeroable};
use pulp::Simd;

/// Samples of a cache line; rows are whole lines, so any vector length divides them.
pub(super) const LINE: usize = 16;

#[derive(Debug, Clone, Copy, Default, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([f32; LINE]);

/// Rows of equal length, zero at first.
#[derive(Debug, Clone, Default)]
pub(super) struct Rows {
    lines: Vec<Line>,
    stride: usize,
}

impl Rows {
    /// `rows` rows of at least `length` samples, one close behind the other.
    pub fn dense(rows: usize, length: usize) -> Self {
        let lines = length.div_ceil(LINE);
        Rows {
            lines: vec![Line::default(); rows * lines],
            stride: lines * LINE,
        }
    }

    /// `rows` rows of at least `length` samples, each an odd number of lines: a column of vectors through all
    /// rows then spreads over the sets of a cache, where a power of two would fall on a few of them.
    pub fn spread(rows: usize, length: usize) -> Self {
        Self::dense(rows, (length.div_ceil(LINE) | 1) * LINE)
    }

    /// Distance of two rows in samples.
    pub fn stride(&self) -> usize {
        self.stride
    }

    pub fn all(&self) -> &[f32] {
        bytemuck::cast_slice(&self.lines)
    }

    pub fn all_mut(&mut self) -> &mut [f32] {
        bytemuck::cast_slice_mut(&mut self.lines)
    }

    pub fn row(&self, row: usize) -> &[f32] {
        &self.all()[row * self.stride..][..self.stride]
    }

    pub fn row_mut(&mut self, row: usize) -> &mut [f32] {
        let stride = self.stride;
        &mut self.all_mut()[row * stride..][..stride]
    }

    /// Rows `from .. from + count` as vectors, seen from sample `at` of each (a multiple of [`LINE`]).
    #[inline(always)]
    pub fn view<S: Simd>(&self, from: usize, count: usize, at: usize) -> View<'_, S> {
        View::new(
            &self.all()[from * self.stride..][..count * self.stride],
            self.stride,
            at,
        )
    }
}

/// Some rows as vectors.
#[derive(Clone, Copy)]
pub(super) struct View<'a, S: Simd> {
    /// All vectors of the rows.
    pub vectors: &'a [S::f32s],
    /// Number of rows.
    pub rows: usize,
    /// Vectors from one row to the next.
    pub stride: usize,
    /// First vector of each row that belongs to the view.
    pub at: usize,
}

impl<'a, S: Simd> View<'a, S> {
    /// Rows that lie `stride` samples apart in `samples`, seen from sample `at`; both are multiples of [`LINE`].
    #[inline(always)]
    pub fn new(samples: &'a [f32], stride: usize, at: usize) -> Self {
        Self::of((samples, stride, at))
    }

    /// No rows.
    #[inline(always)]
    pub fn empty() -> Self {
        Self::of((&[], LINE, 0))
    }

    /// From samples, distance of rows and first sample.
    #[inline(always)]
    pub fn of((samples, stride, at): (&'a [f32], usize, usize)) -> Self {
        View {
            vectors: S::as_simd_f32s(samples).0,
            rows: samples.len() / stride,
            stride: stride / S::F32_LANES,
            at: at / S::F32_LANES,
        }
    }

    /// What [`View::of`] takes.
    #[inline(always)]
    pub fn samples(self) -> (&'a [f32], usize, usize) {
        let lanes = S::F32_LANES;
        (
            bytemuck::cast_slice(self.vectors),
            self.stride * lanes,
            self.at * lanes,
        )
    }

    /// `count` vectors of row `row`.
    #[inline(always)]
    pub fn row(&self, row: usize, count: usize) -> &'a [S::f32s] {
        &self.vectors[row * self.stride + self.at..][..count]
    }
}

/// Some rows as vectors, to write to.
pub(super) struct ViewMut<'a, S: Simd> {
    /// All vectors of the rows.
    pub vectors: &'a mut [S::f32s],
    /// Vectors from one row to the next.
    pub stride: usize,
    /// First vector of each row that belongs to the view.
    pub at: usize,
}

impl<'a, S: Simd> ViewMut<'a, S> {
    /// As [`View::new`].
    #[inline(always)]
    pub fn new(samples: &'a mut [f32], stride: usize, at: usize) -> Self {
        Self::of((samples, stride, at))
    }

    /// As [`View::of`].
    #[inline(always)]
    pub fn of((samples, stride, at): (&'a mut [f32], usize, usize)) -> Self {
        ViewMut {
            vectors: S::as_mut_simd_f32s(samples).0,
            stride: stride / S::F32_LANES,
            at: at / S::F32_LANES,
        }
    }

    /// What [`ViewMut::of`] takes.
    #[inline(always)]
    pub fn samples(self) -> (&'a mut [f32], usize, usize) {
        let lanes = S::F32_LANES;
        (
            bytemuck::cast_slice_mut(self.vectors),
            self.stride * lanes,
            self.at * lanes,
        )
    }

    /// `count` vectors of row `row`.
    #[inline(always)]
    pub fn row(&mut self, row: usize, count: usize) -> &mut [S::f32s] {
        &mut self.vectors[row * self.stride + self.at..][..count]
    }
}
