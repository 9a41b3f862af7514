//! GSA: Gram–Schmidt adaptive component substitution, for hyperspectral and multispectral images.
//!
//! [`CITATION`], eqs. 3 to 6: of the expanded bands X̃_k an intensity I = Σ_k w_k X̃_k + w_0 is made whose weights are the
//! least-squares fit of the sharp band at low resolution, (P∗C)↓, by the X_k; then
//!
//! X̂_k = X̃_k + g_k (P − I),  g_k = cov(X̃_k, I) / var(I).
//!
//! With several sharp bands each HSI band goes with the MSI band that it correlates with most, as in the hypersharpening of
//! Selva et al. 2015 ("selected band"), and each group is fused by itself. Covariances are taken over the LR pixels. A ridge of 1e-8 of the mean power keeps
//! the weights finite where a group has more bands than there are LR pixels.

use nalgebra::{DMatrix, DVector};
use ndarray::{Array3, Axis, Zip};
use rayon::prelude::*;

use super::pair::Pair;
use crate::error::{Error, Result};
use crate::interrupt;

/// Where it is published.
pub const CITATION: &str = "B. Aiazzi, S. Baronti, M. Selva: Improving component substitution pansharpening through multivariate \
                            regression of MS+Pan data, IEEE Trans. Geosci. Remote Sens. 45 (2007) 3230-3239";

/// Ridge of the intensity's weights, relative to the mean power of a band.
const RIDGE: f64 = 1e-8;

/// The bands that go with one sharp band.
struct Group {
    bands: Vec<usize>,
    /// Weights of the intensity, one a band, and its offset.
    weights: Vec<f64>,
    offset: f64,
    /// g_k.
    gains: Vec<f64>,
}

/// # Errors
/// [`Error::Failed`] where weights cannot be solved for, [`Error::Interrupted`] after a stop.
pub(super) fn fuse(pair: &Pair) -> Result<Array3<f32>> {
    let bands = pair.hsi.dim().2;
    let msi_bands = pair.msi.dim().2;
    let count = pair.spectra().count().max(1) as f64;
    // Means and second moments of all LR bands, those of the MSI behind those of the HSI.
    let n = bands + msi_bands;
    let joined =
        |msi: &[f32], hsi: &[f32]| DVector::from_iterator(n, hsi.iter().chain(msi).map(|&x| f64::from(x)));
    let mut mean = DVector::<f64>::zeros(n);
    for (msi, hsi) in pair.spectra() {
        mean += joined(msi, hsi) / count;
    }
    let mut covariance = DMatrix::<f64>::zeros(n, n);
    for (msi, hsi) in pair.spectra() {
        let deviation = joined(msi, hsi) - &mean;
        covariance.ger(1.0 / count, &deviation, &deviation, 1.0);
    }
    interrupt::check()?;
    let correlation = |k: usize, j: usize| {
        let power = covariance[(k, k)] * covariance[(j, j)];
        if power > 0.0 {
            covariance[(k, j)] / power.sqrt()
        } else {
            0.0
        }
    };
    let mut members = vec![Vec::new(); msi_bands];
    for k in 0..bands {
        let best =
            (0..msi_bands).max_by(|&a, &b| correlation(k, bands + a).total_cmp(&correlation(k, bands + b)));
        members[best.unwrap_or(0)].push(k);
    }
    let mut out = pair.expanded(pair.hsi.view());
    for (j, members) in members.into_iter().enumerate().filter(|(_, m)| !m.is_empty()) {
        interrupt::check()?;
        let group = Group::new(members, bands + j, &mean, &covariance)?;
        let sharp = pair.msi.index_axis(Axis(2), j);
        Zip::from(out.lanes_mut(Axis(2)))
            .and(sharp)
            .into_par_iter()
            .for_each(|(mut spectrum, &sharp)| {
                let terms = group.bands.iter().zip(&group.weights);
                let intensity: f64 = terms.map(|(&k, w)| w * f64::from(spectrum[k])).sum();
                let detail = f64::from(sharp) - intensity - group.offset;
                for (&k, gain) in group.bands.iter().zip(&group.gains) {
                    spectrum[k] += (gain * detail) as f32;
                }
            });
    }
    Ok(out)
}

impl Group {
    /// Of `bands`, with the sharp band at `sharp` of the joined means and covariances.
    fn new(bands: Vec<usize>, sharp: usize, mean: &DVector<f64>, covariance: &DMatrix<f64>) -> Result<Group> {
        let n = bands.len();
        let own = DMatrix::from_fn(n, n, |a, b| covariance[(bands[a], bands[b])]);
        let with_sharp = DVector::from_fn(n, |a, _| covariance[(bands[a], sharp)]);
        let power = bands
            .iter()
            .map(|&k| covariance[(k, k)] + mean[k].powi(2))
            .sum::<f64>();
        let ridge = (RIDGE * power / n as f64).max(f64::MIN_POSITIVE);
        let normal = &own + DMatrix::identity(n, n) * ridge;
        let solver = normal
            .cholesky()
            .ok_or_else(|| Error::failed("GSA: the HSI's bands leave the weights of the intensity open"))?;
        let weights = solver.solve(&with_sharp);
        let offset = mean[sharp] - bands.iter().zip(&weights).map(|(&k, w)| w * mean[k]).sum::<f64>();
        let with_intensity = &own * &weights;
        let variance = weights.dot(&with_intensity);
        let gain = |covariance: &f64| {
            if variance > ridge {
                covariance / variance
            } else {
                0.0
            }
        };
        Ok(Group {
            gains: with_intensity.iter().map(gain).collect(),
            weights: weights.iter().copied().collect(),
            offset,
            bands,
        })
    }
}
