//! Sums over the windows of an image, row after row as they come.
//!
//! A row holds numbers in cells of `L`; a pixel has `pitch` of them. Windows are summed along a row first ([`Weighting::along_row`]),
//! then over the last rows ([`Rows`]). Sums of equal weights come from sums of blocks, the end of one and the beginning of
//! the next (van Herk 1992): three additions a number whatever the window, and never a difference of running totals,
//! so that windows of zeros stay exactly zero. Blocks of rows are counted from the image's first, so that where one begins
//! to look is nowhere in the bits.

/// Weights of the pixels of a window along one axis.
#[derive(Debug, Clone)]
pub(super) enum Weighting {
    /// Equal weights, of this many pixels.
    Box(usize),
    /// These weights.
    Taps(Vec<f64>),
}

impl Weighting {
    /// A Gaussian of standard deviation `sigma` pixels, cut `radius` pixels from its centre.
    pub(super) fn gaussian(sigma: f64, radius: usize) -> Self {
        let side = 2 * radius + 1;
        Weighting::Taps(
            (0..side)
                .map(|i| (-0.5 * ((i as f64 - radius as f64) / sigma).powi(2)).exp())
                .collect(),
        )
    }

    /// Pixels of a window.
    pub(super) fn side(&self) -> usize {
        match self {
            Weighting::Box(side) => *side,
            Weighting::Taps(taps) => taps.len(),
        }
    }

    /// The weighting for an axis of `length` pixels: its central part if the axis is shorter than the window.
    pub(super) fn fitted(&self, length: usize) -> Weighting {
        let side = self.side().min(length);
        match self {
            Weighting::Box(_) => Weighting::Box(side),
            Weighting::Taps(taps) => {
                let start = (taps.len() - side) / 2;
                Weighting::Taps(taps[start..start + side].to_vec())
            }
        }
    }

    /// The windows of a row of pixels of `pitch` cells; `ends` is as long as `row`, `sums` as many pixels as there are
    /// windows to make.
    #[inline(always)]
    pub(super) fn along_row<const L: usize>(
        &self,
        pitch: usize,
        row: &[[f64; L]],
        ends: &mut [[f64; L]],
        sums: &mut [[f64; L]],
    ) {
        match self {
            Weighting::Box(side) => {
                for cell in 0..pitch {
                    box_row(*side, pitch, cell, row, ends, sums);
                }
            }
            Weighting::Taps(taps) => weighted(taps, sums, |k| &row[k * pitch..]),
        }
    }
}

#[inline(always)]
fn add<const L: usize>(to: &mut [f64; L], other: &[f64; L]) {
    for (a, b) in to.iter_mut().zip(other) {
        *a += b;
    }
}

/// Adds every number of `other` to that of `to`.
#[inline(always)]
fn add_all<const L: usize>(to: &mut [[f64; L]], other: &[[f64; L]]) {
    for (a, b) in to.as_flattened_mut().iter_mut().zip(other.as_flattened()) {
        *a += b;
    }
}

/// Sums of cells of several rows, `cells(k)` those that have weight k; some at a time, which stay in registers.
#[inline(always)]
fn weighted<'a, const L: usize>(
    taps: &[f64],
    sums: &mut [[f64; L]],
    cells: impl Fn(usize) -> &'a [[f64; L]],
) {
    const BLOCK: usize = 4;
    let (blocks, rest) = sums.as_chunks_mut::<BLOCK>();
    let whole = blocks.len() * BLOCK;
    for (i, sums) in blocks.iter_mut().enumerate() {
        let mut total = [[0.0; L]; BLOCK];
        for (k, &w) in taps.iter().enumerate() {
            let Some(from) = cells(k)[i * BLOCK..].first_chunk::<BLOCK>() else {
                break;
            };
            for (total, from) in total.iter_mut().zip(from) {
                for l in 0..L {
                    total[l] += w * from[l];
                }
            }
        }
        *sums = total;
    }
    for (i, sum) in rest.iter_mut().enumerate() {
        let mut total = [0.0; L];
        for (k, &w) in taps.iter().enumerate() {
            for (total, from) in total.iter_mut().zip(&cells(k)[whole + i]) {
                *total += w * from;
            }
        }
        *sum = total;
    }
}

/// Sums of `side` pixels, of one of their `pitch` cells.
#[inline(always)]
fn box_row<const L: usize>(
    side: usize,
    pitch: usize,
    cell: usize,
    row: &[[f64; L]],
    ends: &mut [[f64; L]],
    sums: &mut [[f64; L]],
) {
    let pixels = sums.len() / pitch;
    // Of pixel i and those behind it in its block.
    let mut end = [0.0; L];
    for i in (0..pixels.next_multiple_of(side).min(row.len() / pitch)).rev() {
        if (i + 1) % side == 0 {
            end = [0.0; L];
        }
        add(&mut end, &row[i * pitch + cell]);
        ends[i * pitch + cell] = end;
    }
    // Of the block behind.
    let mut beginning = [0.0; L];
    for i in 0..pixels {
        if i % side == 0 {
            beginning = [0.0; L];
        } else {
            add(&mut beginning, &row[(i + side - 1) * pitch + cell]);
        }
        let mut sum = ends[i * pitch + cell];
        add(&mut sum, &beginning);
        sums[i * pitch + cell] = sum;
    }
}

/// The last rows of sums along rows, as many as a window has.
pub(super) struct Rows<const L: usize> {
    rows: Vec<Vec<[f64; L]>>,
    /// Sum of the rows of the block that has begun.
    beginning: Vec<[f64; L]>,
    sums: Vec<[f64; L]>,
}

impl<const L: usize> Rows<L> {
    /// For windows of `side` rows of up to `cells` cells.
    pub(super) fn new(side: usize, cells: usize) -> Self {
        Rows {
            rows: vec![vec![[0.0; L]; cells]; side],
            beginning: vec![[0.0; L]; cells],
            sums: vec![[0.0; L]; cells],
        }
    }

    /// Where the sums along the image's row `r` go; [`Rows::complete`] takes them from there.
    #[inline(always)]
    pub(super) fn row(&mut self, r: usize, cells: usize) -> &mut [[f64; L]] {
        let place = r % self.rows.len();
        &mut self.rows[place][..cells]
    }

    /// The windows that end with the image's row `r`. They mean nothing before as many rows have come as a window has.
    #[inline(always)]
    pub(super) fn complete(&mut self, weighting: &Weighting, r: usize, cells: usize) -> &[[f64; L]] {
        let side = self.rows.len();
        let place = r % side;
        match weighting {
            Weighting::Box(_) => self.complete_box(place, cells),
            Weighting::Taps(taps) => {
                let rows = &self.rows;
                weighted(taps, &mut self.sums[..cells], |k| &rows[(place + 1 + k) % side]);
            }
        }
        &self.sums[..cells]
    }

    /// `rows` holds those of the block that has begun up to `place`, behind it sums from there to the end of the block before.
    #[inline(always)]
    fn complete_box(&mut self, place: usize, cells: usize) {
        let row = &self.rows[place][..cells];
        if place == 0 {
            self.beginning[..cells].copy_from_slice(row);
        } else {
            add_all(&mut self.beginning[..cells], row);
        }
        if let Some(ends) = self.rows.get(place + 1) {
            let parts = ends[..cells].as_flattened().iter();
            let parts = parts.zip(self.beginning[..cells].as_flattened());
            for (sum, (end, beginning)) in self.sums[..cells].as_flattened_mut().iter_mut().zip(parts) {
                *sum = end + beginning;
            }
        } else {
            for i in (0..place).rev() {
                let (before, behind) = self.rows.split_at_mut(i + 1);
                add_all(&mut before[i][..cells], &behind[0][..cells]);
            }
            self.sums[..cells].copy_from_slice(&self.rows[0][..cells]);
        }
    }
}
