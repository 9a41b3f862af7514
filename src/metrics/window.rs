//! The indices over sliding windows: UIQI and SSIM.
//!
//! Every window is described by its [`Moments`]; an index is a function of them. Window sums are built by
//! additions alone (never as a difference of running totals), so windows of zeros stay exactly zero.
//! Masked pixels have weight 0 and moments are normalised by the weight that remains.

use std::ops::Range;

use ndarray::{Array2, Axis};

use crate::cube::Cube;

/// Weights of the pixels of a window, the same along rows and columns.
#[derive(Debug, Clone)]
pub(super) enum Weighting {
    /// Equal weights, this many pixels a side.
    Box(usize),
    /// These weights along each axis.
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

    fn side(&self) -> usize {
        match self {
            Weighting::Box(side) => *side,
            Weighting::Taps(taps) => taps.len(),
        }
    }

    /// The weighting for an axis of `length` pixels: its central part if the axis is shorter than the window.
    fn fitted(&self, length: usize) -> Weighting {
        let side = self.side().min(length);
        match self {
            Weighting::Box(_) => Weighting::Box(side),
            Weighting::Taps(taps) => {
                let start = (taps.len() - side) / 2;
                Weighting::Taps(taps[start..start + side].to_vec())
            }
        }
    }

    /// Replaces `data[i]` with Σ_k w_k · data\[i + k·stride\] wherever that stays inside.
    ///
    /// Places whose window does not stay inside hold meaningless numbers afterwards.
    fn slide(&self, data: &mut [f64], scratch: &mut [f64], stride: usize) {
        match self {
            Weighting::Box(side) => slide_box(data, scratch, *side, stride),
            Weighting::Taps(taps) => slide_taps(data, scratch, taps, stride),
        }
    }
}

/// Moments of a plane under separable weights: every row by itself (it stays in the first-level cache), then all columns at once.
fn slide_plane(
    plane: &mut [f64],
    scratch: &mut [f64],
    columns: usize,
    along_rows: &Weighting,
    along_columns: &Weighting,
) {
    for row in plane.chunks_mut(columns) {
        along_rows.slide(row, &mut scratch[..columns], 1);
    }
    along_columns.slide(plane, scratch, columns);
}

/// Sums of `side` equal weights by doubling: sums of 2^n samples from two sums of 2^(n−1).
fn slide_box(data: &mut [f64], scratch: &mut [f64], side: usize, stride: usize) {
    let n = data.len();
    let mut gathered = 0; // samples already in scratch[i]
    let mut power = 1;
    loop {
        if side & power != 0 {
            if gathered == 0 {
                if side == power {
                    return;
                }
                scratch.copy_from_slice(data);
            } else {
                // data[i] holds the first `power` samples, scratch the `gathered` ones after them.
                let shift = power * stride;
                for i in 0..n.saturating_sub(shift) {
                    scratch[i] = data[i] + scratch[i + shift];
                }
            }
            gathered += power;
            if gathered == side {
                data.copy_from_slice(scratch);
                return;
            }
        }
        let shift = power * stride;
        for i in 0..n.saturating_sub(shift) {
            data[i] += data[i + shift];
        }
        power *= 2;
    }
}

fn slide_taps(data: &mut [f64], scratch: &mut [f64], taps: &[f64], stride: usize) {
    // Short enough to stay in the first-level cache for all taps.
    const CHUNK: usize = 512;
    let n = data.len() - (taps.len() - 1) * stride;
    for start in (0..n).step_by(CHUNK) {
        let end = (start + CHUNK).min(n);
        let out = &mut scratch[start..end];
        out.fill(0.0);
        for (k, &w) in taps.iter().enumerate() {
            for (o, &x) in out.iter_mut().zip(&data[start + k * stride..end + k * stride]) {
                *o += w * x;
            }
        }
    }
    data[..n].copy_from_slice(&scratch[..n]);
}

/// Weighted first and second moments of one window.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moments {
    /// Sum of the weights: for equal weights the number of counted pixels.
    pub(super) weight: f64,
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) xx: f64,
    pub(super) yy: f64,
    pub(super) xy: f64,
}

/// Products of one band of both images, 0 where a pixel does not count: x, y, x², y², xy.
pub(super) struct Planes {
    products: [Vec<f64>; 5],
    moments: [Vec<f64>; 5],
    scratch: Vec<f64>,
}

impl Planes {
    pub(super) fn new(rows: usize, columns: usize) -> Self {
        let plane = || vec![0.0; rows * columns];
        Planes {
            products: std::array::from_fn(|_| plane()),
            moments: std::array::from_fn(|_| plane()),
            scratch: plane(),
        }
    }

    /// Takes samples × `gain` of one band.
    pub(super) fn fill(
        &mut self,
        reference: &Cube,
        estimate: &Cube,
        counted: &Array2<bool>,
        band: usize,
        gain: f64,
    ) {
        let [px, py, pxx, pyy, pxy] = &mut self.products;
        let reference = reference.samples.index_axis(Axis(2), band);
        let estimate = estimate.samples.index_axis(Axis(2), band);
        for (i, ((&x, &y), &ok)) in reference.iter().zip(estimate).zip(counted).enumerate() {
            let (x, y) = if ok {
                (f64::from(x) * gain, f64::from(y) * gain)
            } else {
                (0.0, 0.0)
            };
            px[i] = x;
            py[i] = y;
            pxx[i] = x * x;
            pyy[i] = y * y;
            pxy[i] = x * y;
        }
    }
}

/// The windows of an image under a weighting.
pub(super) struct Windows {
    along_rows: Weighting,
    along_columns: Weighting,
    /// Rows and columns of windows that count.
    kept: (usize, usize),
}

/// Weighted mean of an index over windows, as far as they have been seen.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Mean {
    sum: f64,
    weight: f64,
}

impl Mean {
    /// The mean. Every counted pixel lies in some window, but the dropped ones may have held them all: then 1.
    pub(super) fn value(&self) -> f64 {
        if self.weight > 0.0 {
            self.sum / self.weight
        } else {
            1.0
        }
    }
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

    /// The windows that begin in the rows `first`, over the part of the image from there on.
    pub(super) fn support(&self, first: Range<usize>, counted: &Array2<bool>) -> Support<'_> {
        let columns = counted.ncols();
        let mut weights: Vec<f64> = counted.iter().map(|&ok| f64::from(u8::from(ok))).collect();
        let mut scratch = vec![0.0; weights.len()];
        slide_plane(
            &mut weights,
            &mut scratch,
            columns,
            &self.along_rows,
            &self.along_columns,
        );
        Support {
            rows: first.end.min(self.kept.0).saturating_sub(first.start),
            windows: self,
            columns,
            weights,
        }
    }
}

/// Windows of a part of an image and the weight that its counted pixels leave each of them.
pub(super) struct Support<'a> {
    windows: &'a Windows,
    /// Rows of windows.
    rows: usize,
    columns: usize,
    weights: Vec<f64>,
}

impl Support<'_> {
    /// Adds these windows to the weighted mean of an index, row after row.
    pub(super) fn add(&self, planes: &mut Planes, index: impl Fn(&Moments) -> f64, mean: &mut Mean) {
        for (moment, product) in planes.moments.iter_mut().zip(&planes.products) {
            moment.copy_from_slice(product);
            let (rows, columns) = (&self.windows.along_rows, &self.windows.along_columns);
            slide_plane(moment, &mut planes.scratch, self.columns, rows, columns);
        }
        let [x, y, xx, yy, xy] = &planes.moments;
        for r in 0..self.rows {
            for i in r * self.columns..r * self.columns + self.windows.kept.1 {
                let weight = self.weights[i];
                if weight > 0.0 {
                    mean.sum += weight
                        * index(&Moments {
                            weight,
                            x: x[i] / weight,
                            y: y[i] / weight,
                            xx: xx[i] / weight,
                            yy: yy[i] / weight,
                            xy: xy[i] / weight,
                        });
                    mean.weight += weight;
                }
            }
        }
    }
}

/// Relative size below which a variance is the rounding error of E\[x²\] − E\[x\]² and not a variance: single-precision
/// samples that differ at all have more than 10⁻¹⁴ of their square.
const VARIANCE_FLOOR: f64 = 1e-14;

/// Universal image quality index of a window (Wang and Bovik 2002, equation 1):
/// 4·cov·x̄·ȳ / ((var x + var y)(x̄² + ȳ²)); the luminance term alone where both are constant, 1 where
/// both are zero.
pub(super) fn uiqi(m: &Moments) -> f64 {
    let squares = m.x * m.x + m.y * m.y;
    let variances = m.xx + m.yy - squares;
    if squares == 0.0 {
        1.0
    } else if variances <= VARIANCE_FLOOR * (m.xx + m.yy) {
        2.0 * m.x * m.y / squares
    } else {
        4.0 * (m.xy - m.x * m.y) * m.x * m.y / (variances * squares)
    }
}

/// The same index as `sewar.uqi` computes it: formulas for window sums applied to window means, N = 64.
pub(super) fn sewar_uqi(m: &Moments) -> f64 {
    const N: f64 = 64.0;
    let product = m.x * m.y;
    let squares = m.x * m.x + m.y * m.y;
    let variances = N * (m.xx + m.yy) - squares;
    if variances * squares == 0.0 {
        1.0
    } else {
        4.0 * (N * m.xy - product) * product / (variances * squares)
    }
}

/// Structural similarity of a window (Wang et al. 2004, equation 13) with K₁ = 0.01, K₂ = 0.03 and the dynamic
/// `range`; `sample` divides (co)variances by n − 1 instead of n, for equal weights.
pub(super) fn ssim(m: &Moments, range: f64, sample: bool) -> f64 {
    let (c1, c2) = ((0.01 * range).powi(2), (0.03 * range).powi(2));
    let unbiased = if sample && m.weight > 1.0 {
        m.weight / (m.weight - 1.0)
    } else {
        1.0
    };
    let variances = unbiased * (m.xx + m.yy - m.x * m.x - m.y * m.y);
    let covariance = unbiased * (m.xy - m.x * m.y);
    (2.0 * m.x * m.y + c1) * (2.0 * covariance + c2) / ((m.x * m.x + m.y * m.y + c1) * (variances + c2))
}
