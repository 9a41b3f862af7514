//! Wiener gain of a residual: how much of each spectral direction is signal.
//!
//! Residual = signal + noise with covariances S and N = diag(σ²). Whitened by the noise, noise alone has eigenvalues
//! of at most (1 + √(B/n))² (Marchenko and Pastur); what exceeds that is signal of variance λ − 1, and
//! S(S + N)⁻¹ weighs its direction by 1 − 1/λ.

use nalgebra::{DMatrix, SymmetricEigen};

/// Noise below this is rounding of single precision in images of \[0, 1\].
const LEAST_NOISE: f64 = 1e-7;

/// S(S + N)⁻¹ for the residuals that it was made from.
#[derive(Debug, Clone)]
pub struct WienerGain {
    sigma: Vec<f64>,
    /// B × k, orthonormal columns in whitened space.
    directions: DMatrix<f64>,
    /// k gains in 0..1.
    gains: Vec<f64>,
}

impl WienerGain {
    /// From n residuals of B bands (row-major) and the noise of each band.
    pub fn new(residuals: &[f64], sigma: &[f64]) -> WienerGain {
        let bands = sigma.len();
        let sigma: Vec<f64> = sigma.iter().map(|s| s.max(LEAST_NOISE)).collect();
        let n = residuals.len() / bands;
        let white = DMatrix::from_fn(bands, n, |j, k| residuals[k * bands + j] / sigma[j]);
        let covariance = &white * white.transpose() / n.max(1) as f64;
        let edge = (1.0 + (bands as f64 / n.max(1) as f64).sqrt()).powi(2);
        let eigen = SymmetricEigen::new(covariance);
        let kept: Vec<usize> = (0..bands).filter(|&i| eigen.eigenvalues[i] > edge).collect();
        WienerGain {
            directions: eigen.eigenvectors.select_columns(&kept),
            gains: kept.iter().map(|&i| 1.0 - 1.0 / eigen.eigenvalues[i]).collect(),
            sigma,
        }
    }

    /// Directions that stand above the noise.
    pub fn directions(&self) -> usize {
        self.gains.len()
    }

    /// The part of every residual (n × B, row-major) that is signal.
    pub fn apply(&self, residuals: &[f64]) -> Vec<f64> {
        let bands = self.sigma.len();
        let n = residuals.len() / bands;
        let white = DMatrix::from_fn(bands, n, |j, k| residuals[k * bands + j] / self.sigma[j]);
        let mut scores = self.directions.tr_mul(&white);
        for (mut row, &gain) in scores.row_iter_mut().zip(&self.gains) {
            row *= gain;
        }
        let signal = &self.directions * scores;
        (0..n * bands)
            .map(|i| signal[(i % bands, i / bands)] * self.sigma[i % bands])
            .collect()
    }
}
