//! The spectral response function: each MSI band a mixture of four Gaussians over the HSI's bands.
//!
//! R_ij ∝ Σ_k exp(−(i − μ_jk)² / (2 σ_jk²)), every column normalised to sum 1 (Guo et al., CVPR 2023).
//! μ and σ are in band index, counted from 0. Parameters lie as all means (b×4), then all widths (b×4).

use crate::real::Real;

/// Gaussians a column of the response is made of.
pub const GAUSSIANS: usize = 4;

/// Floating-point operations of [`mixture`] an element of the response.
pub const MIXTURE_OPERATIONS: usize = 6 * GAUSSIANS + 2;
/// Floating-point operations of [`mixture_backward`] an element of the response.
pub const MIXTURE_BACKWARD_OPERATIONS: usize = 19 * GAUSSIANS + 2;

/// Number of parameters of a response with `msi_bands` columns.
pub fn parameters(msi_bands: usize) -> usize {
    2 * GAUSSIANS * msi_bands
}

/// Fills `response` (B×b, row-major) from `parameters`; every column sums to 1.
pub fn mixture<T: Real>(parameters: &[T], response: &mut [T], bands: usize, msi_bands: usize) {
    for j in 0..msi_bands {
        let mut total = T::zero();
        for i in 0..bands {
            let mut g = T::zero();
            for k in 0..GAUSSIANS {
                let (mean, width) = component(parameters, msi_bands, j, k);
                let z = (T::of(i as f64) - mean) / width;
                g += (T::of(-0.5) * z * z).exp();
            }
            response[i * msi_bands + j] = g;
            total += g;
        }
        for i in 0..bands {
            response[i * msi_bands + j] /= total;
        }
    }
}

/// Gradient of a loss to the mixture's parameters, from its gradient `to_response` (B×b) to the response.
///
/// `response` is what [`mixture`] made of `parameters`. With g the unnormalised column and S its sum,
/// ∂L/∂g_i = (d_i − Σ d R) / S.
pub fn mixture_backward<T: Real>(
    parameters: &[T],
    response: &[T],
    to_response: &[T],
    gradient: &mut [T],
    bands: usize,
    msi_bands: usize,
) {
    let widths = GAUSSIANS * msi_bands;
    for j in 0..msi_bands {
        let mut mean_gradient = T::zero();
        let mut total = T::zero();
        for i in 0..bands {
            mean_gradient += to_response[i * msi_bands + j] * response[i * msi_bands + j];
            for k in 0..GAUSSIANS {
                let (mean, width) = component(parameters, msi_bands, j, k);
                let z = (T::of(i as f64) - mean) / width;
                total += (T::of(-0.5) * z * z).exp();
            }
        }
        for k in 0..GAUSSIANS {
            let (mean, width) = component(parameters, msi_bands, j, k);
            let (mut to_mean, mut to_width) = (T::zero(), T::zero());
            for i in 0..bands {
                let z = (T::of(i as f64) - mean) / width;
                let to_g = (to_response[i * msi_bands + j] - mean_gradient) / total;
                let slope = to_g * (T::of(-0.5) * z * z).exp() * z / width;
                to_mean += slope;
                to_width += slope * z;
            }
            gradient[j * GAUSSIANS + k] = to_mean;
            gradient[widths + j * GAUSSIANS + k] = to_width;
        }
    }
}

fn component<T: Real>(parameters: &[T], msi_bands: usize, j: usize, k: usize) -> (T, T) {
    (
        parameters[j * GAUSSIANS + k],
        parameters[GAUSSIANS * msi_bands + j * GAUSSIANS + k],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_sum_to_one_and_gradient_matches_central_differences() {
        let (bands, msi) = (13, 2);
        let p: Vec<f64> = vec![
            1.0, 3.0, 5.5, 7.0, 4.0, 8.0, 9.5, 12.0, 2.0, 1.5, 3.0, 2.2, 1.2, 2.0, 4.0, 2.5,
        ];
        let weight = |i: usize| ((i * 7 + 3) % 11) as f64 - 5.0;
        let loss = |p: &[f64]| -> f64 {
            let mut r = vec![0.0; bands * msi];
            mixture(p, &mut r, bands, msi);
            r.iter().enumerate().map(|(i, x)| weight(i) * x).sum()
        };
        let mut r = vec![0.0; bands * msi];
        mixture(&p, &mut r, bands, msi);
        for j in 0..msi {
            assert!(((0..bands).map(|i| r[i * msi + j]).sum::<f64>() - 1.0).abs() < 1e-12);
        }
        let to_r: Vec<f64> = (0..bands * msi).map(weight).collect();
        let mut gradient = vec![0.0; parameters(msi)];
        mixture_backward(&p, &r, &to_r, &mut gradient, bands, msi);
        // Central differences of step 1e-5 carry an error of about 1e-9 here.
        for k in 0..p.len() {
            let (mut a, mut b) = (p.clone(), p.clone());
            a[k] += 1e-5;
            b[k] -= 1e-5;
            assert!(
                (gradient[k] - (loss(&a) - loss(&b)) / 2e-5).abs() < 1e-7,
                "parameter {k}"
            );
        }
    }
}
