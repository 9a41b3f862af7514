//! The indices over sliding windows: UIQI and SSIM.
//!
//! Every window is described by its [`Moments`]; an index is a function of them. Masked pixels have weight 0 and moments are
//! normalised by the weight that remains. Windows are gone through in [`Tile`]s, eight bands at a time along the vector lanes.

use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::pair::Row;
use super::slide::{Rows, Weighting};

/// Bands side by side.
const LANES: usize = 8;
/// Moments of a pixel: x, y, x² + y², xy.
const MOMENTS: usize = 4;
/// Windows along a row of a tile: few enough for what is kept of 32 rows to stay in the second-level cache.
const TILE_COLUMNS: usize = 64;
/// Rows of windows of a tile at most, and fewest to begin with where more are to come: a tile reads up to 31 rows more than it has windows.
pub(super) const TILE_ROWS: usize = 96;

/// A number of each of the bands side by side.
type Lanes = [f64; LANES];

/// Weighted first and second moments of one window.
#[derive(Debug, Clone, Copy)]
struct Moments {
    /// Sum of the weights: for equal weights the number of counted pixels.
    weight: f64,
    x: Lanes,
    y: Lanes,
    /// Of x² + y².
    squares: Lanes,
    xy: Lanes,
}

/// The windows of an image under a weighting.
pub(super) struct Windows {
    along_rows: Weighting,
    along_columns: Weighting,
    /// Rows and columns of windows that count.
    kept: (usize, usize),
}

impl Windows {
    /// Of an image of `rows` × `columns`, without the last `dropped` windows of each axis where there are more.
    pub(super) fn new(weighting: Weighting, (rows, columns): (usize, usize), dropped: usize) -> Self {
        let (along_rows, along_columns) = (weighting.fitted(columns), weighting.fitted(rows));
        let kept = |length: usize, side: usize| match length - side + 1 {
            n if n > dropped => n - dropped,
            n => n,
        };
        Windows {
            kept: (kept(rows, along_columns.side()), kept(columns, along_rows.side())),
            along_rows,
            along_columns,
        }
    }

    /// Rows of a window.
    pub(super) fn side(&self) -> usize {
        self.along_columns.side()
    }

    /// Rows and columns of the windows of a tile.
    fn of(&self, tile: &Tile) -> (Range<usize>, Range<usize>) {
        let cut = |range: &Range<usize>, kept: usize| range.start.min(kept)..range.end.min(kept);
        (cut(&tile.rows, self.kept.0), cut(&tile.columns, self.kept.1))
    }
}

/// Windows that are gone through by one thread: those that begin in these rows and columns.
#[derive(Debug, Clone)]
pub(super) struct Tile {
    rows: Range<usize>,
    columns: Range<usize>,
}

impl Tile {
    /// The column of tiles that this one belongs to.
    pub(super) fn column(&self) -> usize {
        self.columns.start / TILE_COLUMNS
    }

    /// Columns of tiles of an image.
    pub(super) fn columns(columns: usize) -> usize {
        columns.div_ceil(TILE_COLUMNS)
    }

    /// The tiles of all windows that begin in `rows` of an image of `columns`, row by row.
    pub(super) fn over(rows: Range<usize>, columns: usize) -> Vec<Tile> {
        let down = rows.clone().step_by(TILE_ROWS);
        down.flat_map(|first| {
            let rows = first..(first + TILE_ROWS).min(rows.end);
            (0..columns).step_by(TILE_COLUMNS).map(move |first| Tile {
                rows: rows.clone(),
                columns: first..(first + TILE_COLUMNS).min(columns),
            })
        })
        .collect()
    }
}

/// Windows of a tile as rows come in, `L` numbers a cell.
struct Slider<'a, const L: usize> {
    windows: &'a Windows,
    pitch: usize,
    ends: Vec<[f64; L]>,
    rows: Rows<L>,
}

impl<'a, const L: usize> Slider<'a, L> {
    fn new(windows: &'a Windows, pitch: usize) -> Self {
        let cells = TILE_COLUMNS * pitch;
        Slider {
            pitch,
            ends: vec![[0.0; L]; cells + (windows.along_rows.side() - 1) * pitch],
            rows: Rows::new(windows.side(), cells),
            windows,
        }
    }

    /// Takes the image's row `r`, whose cells begin with the tile's first column, and tells the row of the tile whose windows
    /// are complete with it, and their sums.
    #[inline(always)]
    fn take(&mut self, tile: &Tile, r: usize, cells: &[[f64; L]]) -> Option<(usize, &[[f64; L]])> {
        let (rows, columns) = self.windows.of(tile);
        if rows.is_empty() || columns.is_empty() || r >= rows.end + self.windows.side() - 1 {
            return None;
        }
        let windows = self.windows;
        let count = columns.len() * self.pitch;
        let along = self.rows.row(r, count);
        windows
            .along_rows
            .along_row(self.pitch, cells, &mut self.ends, along);
        let sums = self.rows.complete(&windows.along_columns, r, count);
        let row = (r + 1).checked_sub(rows.start + windows.side())?;
        Some((row, sums))
    }
}

/// Sums of an index, weighted, and of the weights, over rows of windows.
#[derive(Debug, Clone)]
pub(super) struct IndexSums {
    /// Rows of windows × bands.
    pub(super) sums: Vec<f64>,
    /// Of every row of windows.
    pub(super) weights: Vec<f64>,
}

/// What is to be computed of all tiles.
pub(super) struct Indices<'a> {
    pub(super) uiqi: &'a Windows,
    pub(super) ssim: &'a Windows,
    /// Whether UIQI is that of `sewar` and SSIM that of sample (co)variances, as in the published code.
    pub(super) as_published: bool,
    /// What samples are multiplied with.
    pub(super) gain: f64,
    /// Dynamic range of every band, for SSIM.
    pub(super) ranges: &'a [f64],
}

/// UIQI and SSIM of a tile, in the widest vectors there are.
pub(super) struct OfTile<'a, R> {
    pub(super) indices: &'a Indices<'a>,
    pub(super) tile: &'a Tile,
    /// Hands out the image's rows.
    pub(super) row: R,
}

impl<'r, R: Fn(usize) -> Row<'r>> WithSimd for OfTile<'_, R> {
    type Output = [IndexSums; 2];

    // The compiler makes the vectors, from loops over a fixed number of lanes that are inlined here.
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> [IndexSums; 2] {
        self.indices.of(self.tile, self.row)
    }
}

impl Indices<'_> {
    #[inline(always)]
    fn of<'r>(&self, tile: &Tile, row: impl Fn(usize) -> Row<'r>) -> [IndexSums; 2] {
        let bands = self.ranges.len();
        let rows = self.rows(tile);
        let [uiqi, ssim] = [self.uiqi, self.ssim].map(|windows| weights(windows, tile, &row));
        let mut sums = [&uiqi, &ssim].map(|weights| IndexSums {
            sums: vec![0.0; weights.len() * bands],
            weights: weights.iter().map(|row| row.iter().sum()).collect(),
        });
        let mut cells = Vec::new();
        let mut sliders = [self.uiqi, self.ssim].map(|windows| Slider::<LANES>::new(windows, MOMENTS));
        for first in (0..bands).step_by(LANES) {
            let lanes = first..(first + LANES).min(bands);
            let mut ranges = [0.0; LANES];
            ranges[..lanes.len()].copy_from_slice(&self.ranges[lanes.clone()]);
            let structure = Structure::new(&ranges, self.as_published);
            for r in rows.clone() {
                self.fill(&mut cells, row(r), tile.columns.start, lanes.clone());
                if let Some((k, moments)) = sliders[0].take(tile, r, &cells) {
                    let row = if self.as_published {
                        row_sum(&uiqi[k], moments, sewar_uqi)
                    } else {
                        row_sum(&uiqi[k], moments, strict_uiqi)
                    };
                    sums[0].sums[k * bands..][lanes.clone()].copy_from_slice(&row[..lanes.len()]);
                }
                if let Some((k, moments)) = sliders[1].take(tile, r, &cells) {
                    let row = row_sum(&ssim[k], moments, |m| structure.ssim(m));
                    sums[1].sums[k * bands..][lanes.clone()].copy_from_slice(&row[..lanes.len()]);
                }
            }
        }
        sums
    }

    /// The image's rows that the windows of a tile lie in.
    fn rows(&self, tile: &Tile) -> Range<usize> {
        let ends = [self.uiqi, self.ssim].map(|w| w.of(tile).0.end + w.side() - 1);
        tile.rows.start..ends[0].max(ends[1])
    }

    /// Cells of the pixels of a row from a column on, of some bands.
    #[inline(always)]
    fn fill(&self, cells: &mut Vec<Lanes>, row: Row<'_>, column: usize, lanes: Range<usize>) {
        let bands = self.ranges.len();
        let side = self.uiqi.along_rows.side().max(self.ssim.along_rows.side());
        let end = (column + TILE_COLUMNS + side - 1).min(row.counted.len());
        cells.clear();
        for c in column..end {
            if !row.counted[c] {
                cells.extend_from_slice(&[[0.0; LANES]; MOMENTS]);
                continue;
            }
            let here = c * bands + lanes.start..c * bands + lanes.end;
            let x = widened(&row.reference[here.clone()], self.gain);
            let y = widened(&row.estimate[here], self.gain);
            let (mut squares, mut xy) = ([0.0; LANES], [0.0; LANES]);
            for l in 0..LANES {
                squares[l] = x[l] * x[l] + y[l] * y[l];
                xy[l] = x[l] * y[l];
            }
            cells.extend_from_slice(&[x, y, squares, xy]);
        }
    }
}

/// Weights that the counted pixels leave the windows of a tile, row by row.
#[inline(always)]
fn weights<'r>(windows: &Windows, tile: &Tile, row: &impl Fn(usize) -> Row<'r>) -> Vec<Vec<f64>> {
    let (rows, _) = windows.of(tile);
    let mut slider = Slider::<1>::new(windows, 1);
    let mut weights = Vec::with_capacity(rows.len());
    let mut cells = Vec::new();
    for r in rows.start..rows.end + windows.side() - 1 {
        let counted = row(r).counted;
        let end = (tile.columns.start + slider.ends.len()).min(counted.len());
        cells.clear();
        cells.extend(
            counted[tile.columns.start..end]
                .iter()
                .map(|&ok| [f64::from(u8::from(ok))]),
        );
        if let Some((_, sums)) = slider.take(tile, r, &cells) {
            weights.push(sums.as_flattened().to_vec());
        }
    }
    weights
}

/// Samples × `gain`, zeros behind the last band.
#[inline(always)]
fn widened(samples: &[f32], gain: f64) -> Lanes {
    let mut wide = [0.0; LANES];
    if let Some(all) = samples.first_chunk::<LANES>() {
        for l in 0..LANES {
            wide[l] = f64::from(all[l]) * gain;
        }
    } else {
        for (w, &x) in wide.iter_mut().zip(samples) {
            *w = f64::from(x) * gain;
        }
    }
    wide
}

/// Σ weight · index over a row of windows.
#[inline(always)]
fn row_sum(weights: &[f64], moments: &[Lanes], index: impl Fn(&Moments) -> Lanes) -> Lanes {
    let mut sum = [0.0; LANES];
    for (&weight, m) in weights.iter().zip(moments.as_chunks::<MOMENTS>().0) {
        if weight == 0.0 {
            continue;
        }
        let share = 1.0 / weight;
        let mut means = *m;
        for x in means.as_flattened_mut() {
            *x *= share;
        }
        let [x, y, squares, xy] = means;
        let values = index(&Moments {
            weight,
            x,
            y,
            squares,
            xy,
        });
        for l in 0..LANES {
            sum[l] += weight * values[l];
        }
    }
    sum
}

/// Relative size below which a variance is the rounding error of E\[x²\] − E\[x\]² and not a variance: single-precision
/// samples that differ at all have more than 10⁻¹⁴ of their square.
const VARIANCE_FLOOR: f64 = 1e-14;

/// Universal image quality index of a window (Wang and Bovik 2002, equation 1):
/// 4·cov·x̄·ȳ / ((var x + var y)(x̄² + ȳ²)); the luminance term alone where both are constant, 1 where
/// both are zero.
// Choices between numbers and no branches, so that lanes go through it together.
#[inline(always)]
fn strict_uiqi(m: &Moments) -> Lanes {
    let mut index = [0.0; LANES];
    for (l, index) in index.iter_mut().enumerate() {
        let product = m.x[l] * m.y[l];
        let means = m.x[l] * m.x[l] + m.y[l] * m.y[l];
        let variances = m.squares[l] - means;
        let flat = variances <= VARIANCE_FLOOR * m.squares[l];
        let varied = 4.0 * (m.xy[l] - product) * product;
        let numerator = if flat { 2.0 * product } else { varied };
        let quotient = numerator / if flat { means } else { variances * means };
        *index = if means == 0.0 { 1.0 } else { quotient };
    }
    index
}

/// The same index as `sewar.uqi` computes it: formulas for window sums applied to window means, N = 64.
#[inline(always)]
fn sewar_uqi(m: &Moments) -> Lanes {
    const N: f64 = 64.0;
    let mut index = [0.0; LANES];
    for (l, index) in index.iter_mut().enumerate() {
        let product = m.x[l] * m.y[l];
        let means = m.x[l] * m.x[l] + m.y[l] * m.y[l];
        let denominator = (N * m.squares[l] - means) * means;
        let quotient = 4.0 * (N * m.xy[l] - product) * product / denominator;
        *index = if denominator == 0.0 { 1.0 } else { quotient };
    }
    index
}

/// Structural similarity of a window (Wang et al. 2004, equation 13) with K₁ = 0.01 and K₂ = 0.03.
struct Structure {
    c1: Lanes,
    c2: Lanes,
    /// (Co)variances divided by n − 1 instead of n, for equal weights.
    sample: bool,
}

impl Structure {
    /// For bands of these dynamic ranges.
    fn new(ranges: &Lanes, sample: bool) -> Self {
        Structure {
            c1: ranges.map(|range| (0.01 * range).powi(2)),
            c2: ranges.map(|range| (0.03 * range).powi(2)),
            sample,
        }
    }

    #[inline(always)]
    fn ssim(&self, m: &Moments) -> Lanes {
        let unbiased = if self.sample && m.weight > 1.0 {
            m.weight / (m.weight - 1.0)
        } else {
            1.0
        };
        let mut index = [0.0; LANES];
        for (l, index) in index.iter_mut().enumerate() {
            let (c1, c2) = (self.c1[l], self.c2[l]);
            let product = m.x[l] * m.y[l];
            let means = m.x[l] * m.x[l] + m.y[l] * m.y[l];
            let variances = unbiased * (m.squares[l] - means);
            let covariance = unbiased * (m.xy[l] - product);
            let alike = (2.0 * product + c1) * (2.0 * covariance + c2);
            *index = alike / ((means + c1) * (variances + c2));
        }
        index
    }
}
