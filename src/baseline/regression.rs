//! Regression from MSI pixel to spectrum: the simplest fusion of all, and a part of others.
//!
//! Of degree 2 it is the control that every table of quality shows: a network that does not beat it has not been trained well. A fusion
//! by the network blends it into its mean ([`Blend`]): its errors are smooth in colour and place, so what is left of them after
//! the residual has been spread can be smaller than what is left of the network's, though its own error is larger. Of degree 1
//! it synthesises the sharp band of hypersharpening (Selva et al. 2015).

use nalgebra::{DMatrix, DVector};
use rayon::prelude::*;

/// Ridge relative to the mean power of a monomial: keeps the solution finite where MSI bands are collinear or LR
/// pixels are fewer than monomials, and is far below what one LR pixel says elsewhere.
const RIDGE: f64 = 1e-8;

/// Highest degree of the monomials of a [`Regression`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Degree {
    /// 1 and the MSI's bands.
    One,
    /// Their products, too.
    Two,
}

impl Degree {
    /// Number of monomials in `msi_bands` variables.
    fn monomials(self, msi_bands: usize) -> usize {
        let linear = 1 + msi_bands;
        match self {
            Degree::One => linear,
            Degree::Two => linear + msi_bands * (msi_bands + 1) / 2,
        }
    }
}

/// Least-squares map from all monomials up to a degree of an MSI pixel to a spectrum.
///
/// Gain and offset of the MSI's bands do not matter: such polynomials are closed under them.
#[derive(Debug, Clone, PartialEq)]
pub struct Regression {
    /// Mean of each MSI band over the LR pixels.
    mean: Vec<f32>,
    /// Inverse of its standard deviation, 0 for a band of one value: brought to mean 0 and deviation 1, one ridge
    /// suits all monomials.
    inverse_deviation: Vec<f32>,
    /// Monomials × B: 1, x_j, and of degree 2 x_j·x_k (j ≤ k).
    map: Vec<f32>,
    bands: usize,
}

impl Regression {
    /// Fits pairs of an LR-MSI pixel (b) and its spectrum (B). `None` where there is no pair.
    pub fn fit<'a>(
        pairs: impl Iterator<Item = (&'a [f32], &'a [f32])> + Clone,
        degree: Degree,
    ) -> Option<Self> {
        let (b, bands) = pairs.clone().next().map(|(msi, hsi)| (msi.len(), hsi.len()))?;
        let count = pairs.clone().count() as f64;
        let mut mean = vec![0.0f64; b];
        let mut variance = vec![0.0f64; b];
        for (msi, _) in pairs.clone() {
            for (m, &x) in mean.iter_mut().zip(msi) {
                *m += f64::from(x) / count;
            }
        }
        for (msi, _) in pairs.clone() {
            for ((v, m), &x) in variance.iter_mut().zip(&mean).zip(msi) {
                *v += (f64::from(x) - m).powi(2) / count;
            }
        }
        let mut regression = Regression {
            mean: mean.iter().map(|&m| m as f32).collect(),
            inverse_deviation: variance
                .iter()
                .map(|&v| if v > 0.0 { 1.0 / v.sqrt() as f32 } else { 0.0 })
                .collect(),
            map: Vec::new(),
            bands,
        };
        let n = degree.monomials(b);
        let mut normal = DMatrix::<f64>::zeros(n, n);
        let mut right = DMatrix::<f64>::zeros(n, bands);
        let mut single = vec![0.0; n];
        for (msi, hsi) in pairs {
            regression.fill(msi, &mut single);
            let row = DVector::from_fn(n, |j, _| f64::from(single[j]));
            let spectrum = DVector::from_fn(bands, |i, _| f64::from(hsi[i]));
            normal.ger(1.0, &row, &row, 1.0);
            right.ger(1.0, &row, &spectrum, 1.0);
        }
        let ridge = RIDGE * normal.trace() / n as f64;
        for j in 0..n {
            normal[(j, j)] += ridge;
        }
        // The first monomial is 1 and the ridge is positive, so the matrix is positive definite.
        let map = normal.cholesky()?.solve(&right);
        regression.map = (0..n * bands)
            .map(|i| map[(i / bands, i % bands)] as f32)
            .collect();
        Some(regression)
    }

    /// Bands B of the spectra.
    pub fn bands(&self) -> usize {
        self.bands
    }

    /// Number of monomials.
    fn monomials(&self) -> usize {
        self.map.len() / self.bands.max(1)
    }

    /// The spectrum (B) that an MSI pixel (b) is mapped to; `row` is room for the monomials.
    fn predict(&self, row: &mut [f32], msi: &[f32], spectrum: &mut [f32]) {
        self.fill(msi, row);
        spectrum.fill(0.0);
        for (&m, coefficients) in row.iter().zip(self.map.chunks_exact(self.bands)) {
            for (z, &c) in spectrum.iter_mut().zip(coefficients) {
                *z += m * c;
            }
        }
    }

    fn fill(&self, pixel: &[f32], row: &mut [f32]) {
        let b = self.mean.len();
        row[0] = 1.0;
        for (j, &x) in pixel.iter().enumerate() {
            row[1 + j] = (x - self.mean[j]) * self.inverse_deviation[j];
        }
        if row.len() == 1 + b {
            return;
        }
        let mut next = 1 + b;
        for j in 0..b {
            for k in j..b {
                row[next] = row[1 + j] * row[1 + k];
                next += 1;
            }
        }
    }
}

/// What another prediction becomes in a mixture with a regression: z ← own · z + share · q(Y) + offset.
#[derive(Debug, Clone, PartialEq)]
pub struct Blend {
    /// q; none where its share is 0.
    pub regression: Option<Regression>,
    /// Weight of the regression.
    pub share: f32,
    /// Weight of the other prediction.
    pub own: f32,
    /// What is added, B.
    pub offset: Vec<f32>,
}

impl Blend {
    /// The regression alone.
    pub fn alone(regression: Regression) -> Self {
        Blend {
            share: 1.0,
            own: 0.0,
            offset: vec![0.0; regression.bands()],
            regression: Some(regression),
        }
    }

    /// Blends the spectra of `hsi` (pixels × B), whose colours are `msi` (pixels × b).
    pub fn apply(&self, msi: &[f32], hsi: &mut [f32]) {
        let bands = self.offset.len();
        let b = msi.len() / (hsi.len() / bands).max(1);
        let regression = self.regression.as_ref();
        let regression = regression.filter(|_| self.share != 0.0);
        let monomials = regression.map_or(0, Regression::monomials);
        hsi.par_chunks_exact_mut(bands)
            .zip(msi.par_chunks_exact(b.max(1)))
            .with_min_len(256)
            .for_each_init(
                || (vec![0.0; monomials], vec![0.0; bands]),
                |(row, spectrum), (out, pixel)| {
                    if let Some(regression) = regression {
                        regression.predict(row, pixel, spectrum);
                    }
                    for (j, z) in out.iter_mut().enumerate() {
                        *z = self.own * *z + self.share * spectrum[j] + self.offset[j];
                    }
                },
            );
    }
}
