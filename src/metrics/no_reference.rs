//! Quality of a fused image where no reference exists: agreement of its bands and of its detail with the two images that it was
//! made of. The indices lie in 0..=1; QNR and HQNR are best at 1, the distortions at 0.
//!
//! They compare the universal image quality index Q (Wang and Bovik, IEEE Signal Processing Letters 9, 2002) across scales, over
//! blocks that lie side by side and show the same ground. They rank results of one pair; between scenes they say little.

use ndarray::{Array2, ArrayView3};
use rayon::prelude::*;
use serde::Serialize;

use crate::error::{Error, Result};

/// Side of a block on the LR grid, where Q is taken, at most; on the HR grid it is the ratio times as much.
const SIDE: usize = 8;
/// Bands between which Q is compared, spread over the spectrum: all pairs of 200 would be 19,900.
const BANDS: usize = 24;

/// The indices of a fused image.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct NoReference {
    /// Spectral distortion D_λ: by how much Q between the bands of the result differs from that of the HSI (Alparone et al.,
    /// Photogrammetric Engineering & Remote Sensing 74, 2008).
    pub d_lambda: f64,
    /// Spatial distortion D_s: by how much Q between a band and the MSI's bands differs between the two scales (same source; mean
    /// over the MSI's bands).
    pub d_s: f64,
    /// (1 − D_λ)(1 − D_s).
    pub qnr: f64,
    /// Spectral distortion of hyperspectral fusion: 1 less Q of the degraded result and the HSI, mean over the bands (Khan et
    /// al., IEEE TGRS 47, 2009). The result is degraded by block means, not by the sensor's own PSF.
    pub d_lambda_khan: f64,
    /// (1 − D_λ of Khan)(1 − D_s): the hybrid index of Aiazzi et al. (IEEE GRSL 11, 2014).
    pub hqnr: f64,
}

/// Indices of `fused` (H×W×B), made of `hsi` (h×w×B) and `msi` (H×W×b), H = s·h. Pixels that are not finite are not looked for:
/// `usable` (h×w) says which LR pixels, with the HR pixels of their blocks, take part.
///
/// # Errors
/// [`Error::Input`] where the sizes do not belong to each other or no block is usable.
pub fn no_reference(
    fused: ArrayView3<f32>,
    hsi: ArrayView3<f32>,
    msi: ArrayView3<f32>,
    usable: &Array2<bool>,
) -> Result<NoReference> {
    let ((rows, columns, bands), (h, w, _)) = (fused.dim(), hsi.dim());
    let scale = rows / h.max(1);
    let fits = hsi.dim().2 == bands && msi.dim().0 == rows && msi.dim().1 == columns;
    if !fits || scale == 0 || (h * scale, w * scale) != (rows, columns) {
        return Err(Error::input(format!(
            "the result is {rows} x {columns} x {bands}, the HSI {h} x {w} x {}, the MSI {} x {} x {}: the result must have the \
             HSI's bands and the MSI's pixels, a whole number of them an HSI pixel",
            hsi.dim().2,
            msi.dim().0,
            msi.dim().1,
            msi.dim().2
        )));
    }
    let side = SIDE.min(h).min(w);
    let blocks: Vec<(usize, usize)> = (0..h / side)
        .flat_map(|r| (0..w / side).map(move |c| (r * side, c * side)))
        .filter(|&(r, c)| {
            usable
                .slice(ndarray::s![r..r + side, c..c + side])
                .iter()
                .all(|&ok| ok)
        })
        .collect();
    if blocks.is_empty() || side < 2 {
        return Err(Error::input(format!(
            "no block of {SIDE} x {SIDE} HSI pixels without masked pixels; nothing can be compared"
        )));
    }
    let low_result = reduced(fused, scale);
    let low_msi = reduced(msi, scale);
    let low = Plane {
        blocks: &blocks,
        side,
        factor: 1,
    };
    let high = Plane { factor: scale, ..low };
    let few: Vec<usize> = (0..bands.min(BANDS))
        .map(|k| k * bands / bands.min(BANDS))
        .collect();
    let pairs: Vec<(usize, usize)> = few
        .iter()
        .flat_map(|&i| few.iter().filter(move |&&j| j < i).map(move |&j| (i, j)))
        .collect();
    let spectral = pairs
        .par_iter()
        .map(|&(i, j)| (high.q((fused, i), (fused, j)) - low.q((hsi, i), (hsi, j))).abs());
    let d_lambda = mean(&spectral.collect::<Vec<_>>());
    let across: Vec<(usize, usize)> = few
        .iter()
        .flat_map(|&i| (0..msi.dim().2).map(move |j| (i, j)))
        .collect();
    let spatial = across
        .par_iter()
        .map(|&(i, j)| (high.q((fused, i), (msi, j)) - low.q((hsi, i), (low_msi.view(), j))).abs());
    let d_s = mean(&spatial.collect::<Vec<_>>());
    let own = (0..bands)
        .into_par_iter()
        .map(|i| low.q((low_result.view(), i), (hsi, i)));
    let d_lambda_khan = 1.0 - mean(&own.collect::<Vec<_>>());
    Ok(NoReference {
        d_lambda,
        d_s,
        qnr: (1.0 - d_lambda) * (1.0 - d_s),
        d_lambda_khan,
        hqnr: (1.0 - d_lambda_khan) * (1.0 - d_s),
    })
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// Means over blocks of `scale`² pixels.
fn reduced(image: ArrayView3<f32>, scale: usize) -> ndarray::Array3<f32> {
    let (rows, columns, bands) = image.dim();
    let mut low = ndarray::Array3::zeros((rows / scale, columns / scale, bands));
    let share = 1.0 / (scale * scale) as f32;
    for ((r, c, band), &x) in image.indexed_iter() {
        low[[r / scale, c / scale, band]] += share * x;
    }
    low
}

/// The blocks on one of the two grids.
#[derive(Clone, Copy)]
struct Plane<'a> {
    /// First row and column of each, LR pixels.
    blocks: &'a [(usize, usize)],
    /// Side, LR pixels.
    side: usize,
    /// Pixels of this grid an LR pixel.
    factor: usize,
}

impl Plane<'_> {
    /// Mean Q of two bands over the blocks; blocks in which both are constant are left out.
    fn q(&self, (a, i): (ArrayView3<f32>, usize), (b, j): (ArrayView3<f32>, usize)) -> f64 {
        let side = self.side * self.factor;
        let of_block = |&(r, c): &(usize, usize)| {
            let (r, c) = (r * self.factor, c * self.factor);
            let block = ndarray::s![r..r + side, c..c + side, ..];
            let (a, b) = (a.slice(block), b.slice(block));
            let mut sums = [0.0f64; 5];
            let n = (side * side) as f64;
            for (x, y) in a
                .index_axis(ndarray::Axis(2), i)
                .iter()
                .zip(b.index_axis(ndarray::Axis(2), j))
            {
                let (x, y) = (f64::from(*x), f64::from(*y));
                for (sum, value) in sums.iter_mut().zip([x, y, x * x, y * y, x * y]) {
                    *sum += value / n;
                }
            }
            let [x, y, xx, yy, xy] = sums;
            let below = (xx - x * x + yy - y * y) * (x * x + y * y);
            (below > 1e-12 * (xx + yy).powi(2)).then(|| 4.0 * (xy - x * y) * x * y / below)
        };
        let values: Vec<f64> = self.blocks.iter().filter_map(of_block).collect();
        mean(&values)
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array3;

    use super::*;

    const SCALE: usize = 4;

    fn truth() -> Array3<f32> {
        Array3::from_shape_fn((64, 64, 6), |(r, c, b)| {
            let (r, c, b) = (r as f32, c as f32, b as f32);
            2.0 + (0.11 * r + 0.3 * b).sin() * (0.13 * c).cos() + 0.3 * (0.05 * r * b).cos()
        })
    }

    fn msi(image: &Array3<f32>) -> Array3<f32> {
        let means = image.mean_axis(ndarray::Axis(2)).unwrap_or_default();
        means.insert_axis(ndarray::Axis(2))
    }

    #[test]
    fn the_truth_has_little_distortion_and_a_flat_image_has_more() {
        let truth = truth();
        let (hsi, y) = (reduced(truth.view(), SCALE), msi(&truth));
        let usable = Array2::from_elem((16, 16), true);
        let of = |z: &Array3<f32>| no_reference(z.view(), hsi.view(), y.view(), &usable).unwrap();
        let good = of(&truth);
        // Degraded by block means as here, the truth is the HSI exactly.
        assert!(
            good.d_lambda_khan < 1e-5 && good.qnr > 0.9 && good.hqnr > 0.9,
            "{good:?}"
        );
        let nearest = Array3::from_shape_fn(truth.dim(), |(r, c, b)| hsi[[r / SCALE, c / SCALE, b]]);
        let swapped = Array3::from_shape_fn(truth.dim(), |(r, c, b)| truth[[r, c, 5 - b]]);
        assert!(of(&nearest).d_s > good.d_s);
        assert!(of(&swapped).d_lambda_khan > 0.05 && of(&swapped).hqnr < good.hqnr);
    }

    #[test]
    fn what_does_not_belong_together_is_refused() {
        let truth = truth();
        let (hsi, y) = (reduced(truth.view(), SCALE), msi(&truth));
        let usable = Array2::from_elem((16, 16), true);
        assert!(no_reference(truth.view(), hsi.view(), hsi.view(), &usable).is_err());
        assert!(no_reference(y.view(), hsi.view(), y.view(), &usable).is_err());
        let none = Array2::from_elem((16, 16), false);
        assert_eq!(
            no_reference(truth.view(), hsi.view(), y.view(), &none)
                .unwrap_err()
                .exit_code(),
            2
        );
    }
}
