//! Wiener gain of a residual: how much of each spectral direction is signal.
//!
//! Residual = signal + noise with covariances S and N = diag(σ²). Whitened by the noise, noise alone has eigenvalues
//! of at most (1 + √(B/n))² (Marchenko and Pastur); what exceeds that is signal of variance λ − 1, and
//! S(S + N)⁻¹ weighs its direction by 1 − 1/λ.

use nalgebra::{DMatrix, SymmetricEigen};
use rayon::prelude::*;

/// Noise below this is rounding of single precision in images of \[0, 1\].
const LEAST_NOISE: f64 = 1e-7;
/// Residuals that are turned at once.
const CHUNK: usize = 1024;

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
    /// From residuals (B samples each) and the noise of each band.
    pub fn new<'a>(residuals: impl Iterator<Item = &'a [f32]>, sigma: &[f64]) -> WienerGain {
        let bands = sigma.len();
        let sigma: Vec<f64> = sigma.iter().map(|s| s.max(LEAST_NOISE)).collect();
        let mut covariance = DMatrix::zeros(bands, bands);
        let mut n = 0usize;
        let mut residuals = residuals.peekable();
        while residuals.peek().is_some() {
            let chunk: Vec<&[f32]> = residuals.by_ref().take(CHUNK).collect();
            let white = white(&chunk, &sigma);
            covariance.gemm(1.0, &white, &white.transpose(), 1.0);
            n += chunk.len();
        }
        let n = n.max(1) as f64;
        let edge = (1.0 + (bands as f64 / n).sqrt()).powi(2);
        let eigen = SymmetricEigen::new(covariance / n);
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

    /// Leaves of every residual (n × B, row-major) the part that is signal.
    pub fn apply(&self, residuals: &mut [f32]) {
        let bands = self.sigma.len();
        residuals.par_chunks_mut(CHUNK * bands).for_each(|chunk| {
            let pixels: Vec<&[f32]> = chunk.chunks_exact(bands).collect();
            let mut scores = self.directions.tr_mul(&white(&pixels, &self.sigma));
            for (mut row, &gain) in scores.row_iter_mut().zip(&self.gains) {
                row *= gain;
            }
            let signal = &self.directions * scores;
            for (pixel, signal) in chunk.chunks_exact_mut(bands).zip(signal.column_iter()) {
                for ((out, s), sigma) in pixel.iter_mut().zip(&signal).zip(&self.sigma) {
                    *out = (s * sigma) as f32;
                }
            }
        });
    }
}

/// Residuals as columns, in units of their noise.
fn white(residuals: &[&[f32]], sigma: &[f64]) -> DMatrix<f64> {
    DMatrix::from_fn(sigma.len(), residuals.len(), |j, k| {
        f64::from(residuals[k][j]) / sigma[j]
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{key, normals};

    const BANDS: usize = 12;

    fn sigma() -> Vec<f64> {
        (0..BANDS).map(|j| 0.01 * (1.0 + j as f64 / 4.0)).collect()
    }

    /// n residuals: `strength` times one known spectrum, and noise of [`sigma`]; the signal and the whole.
    fn residuals(n: usize, strength: f64) -> (Vec<f32>, Vec<f32>) {
        let spectrum: Vec<f64> = (0..BANDS).map(|j| (0.7 * j as f64).sin()).collect();
        let mut signal = Vec::new();
        let mut whole = Vec::new();
        for k in 0..n {
            let draw = |quad| normals::<f64>(key(5), 1, 0, k as u32, quad);
            let score = strength * draw(100)[0];
            for (j, (s, sigma)) in spectrum.iter().zip(sigma()).enumerate() {
                signal.push((score * s) as f32);
                whole.push((score * s + sigma * draw(j as u32 / 4)[j % 4]) as f32);
            }
        }
        (signal, whole)
    }

    fn square(a: &[f32], b: &[f32]) -> f64 {
        a.iter().zip(b).map(|(x, y)| f64::from(x - y).powi(2)).sum()
    }

    fn gain(residuals: &[f32], sigma: &[f64]) -> WienerGain {
        WienerGain::new(residuals.chunks(BANDS), sigma)
    }

    fn applied(gain: &WienerGain, residuals: &[f32]) -> Vec<f32> {
        let mut signal = residuals.to_vec();
        gain.apply(&mut signal);
        signal
    }

    // S = v vᵀ and N known: the ideal gain is S(S + N)⁻¹, and the error that it leaves is that of the estimate but for
    // the 4000 residuals it is estimated from (1 %).
    #[test]
    fn gain_is_that_of_the_known_covariance() {
        for strength in [0.02, 0.1] {
            let (signal, whole) = residuals(4000, strength);
            let gain = gain(&whole, &sigma());
            assert_eq!(gain.directions(), 1, "{strength}");
            let v = DMatrix::from_fn(BANDS, 1, |j, _| strength * (0.7 * j as f64).sin());
            let s = &v * v.transpose();
            let n = DMatrix::from_diagonal(&nalgebra::DVector::from_vec(
                sigma().iter().map(|s| s * s).collect(),
            ));
            let ideal = &s * (&s + n).try_inverse().unwrap();
            let wide: Vec<f64> = whole.iter().map(|&x| f64::from(x)).collect();
            let whole_matrix = DMatrix::from_row_slice(4000, BANDS, &wide);
            let best: Vec<f32> = (whole_matrix * ideal.transpose())
                .transpose()
                .iter()
                .map(|&x| x as f32)
                .collect();
            let (found, best) = (square(&applied(&gain, &whole), &signal), square(&best, &signal));
            assert!(found < 1.02 * best, "{strength}: {found} against {best}");
            assert!(found < 0.9 * square(&whole, &signal));
        }
    }

    #[test]
    fn noise_alone_has_no_direction() {
        for n in [5, 12, 40, 2000] {
            let (_, whole) = residuals(n, 0.0);
            let gain = gain(&whole, &sigma());
            // The largest eigenvalue scatters about the edge; what slips through has a gain near that of the edge.
            let nothing = vec![0.0; whole.len()];
            let passed = square(&applied(&gain, &whole), &nothing);
            let power = square(&whole, &nothing);
            assert!(
                gain.directions() <= 1 && passed < 0.25 * power,
                "{n}: {passed} of {power}"
            );
        }
    }

    #[test]
    fn what_has_no_noise_passes_whole() {
        let (signal, _) = residuals(6, 0.1);
        let gain_of_signal = gain(&signal, &[0.0; BANDS]);
        assert!(square(&applied(&gain_of_signal, &signal), &signal).sqrt() < 1e-6);
        assert_eq!(gain(&[0.0; BANDS], &sigma()).directions(), 0);
    }
}
