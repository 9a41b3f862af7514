//! The point spread function: a Gaussian of three parameters, and two more for its centre.
//!
//! C_ij ∝ exp(−½ dᵀ Λ d) with d = (i, j) − centre in HR pixels, Λ = MᵀM and M lower-triangular, normalised
//! to sum 1 (Guo et al., CVPR 2023). The centre is counted from the middle of the window, `(K − 1) / 2` on both axes,
//! which is the middle of the LR pixel's block; the learned centre is an offset from it. The published kernels lie half
//! a pixel beside it where K is even: [`published_centre`].

use ndarray::Array2;

use crate::real::Real;

/// Number of PSF parameters: `m00, m10, m11` of the factor M, then the centre's row and column offset.
pub const PARAMETERS: usize = 5;

/// First window row and column of the K×K window of an LR pixel, relative to its s×s block.
///
/// `(s − K) / 2` where K and s are of one parity: then the middle of the window is the middle of the block. Where they are
/// not, element `K / 2` lies on the block's pixel `s / 2` (integer divisions); see [`super::window::of_parity`].
pub fn window_start(scale: usize, kernel: usize) -> isize {
    (scale / 2) as isize - (kernel / 2) as isize
}

/// Offset (row, column) of pixel `K / 2` (integer division) from the middle of a window of side `size`, HR pixels: where
/// the kernels of Guo et al. (CVPR 2023) have their centre.
pub fn published_centre(size: usize) -> [f64; 2] {
    [(size / 2) as f64 - 0.5 * (size as f64 - 1.0); 2]
}

/// Floating-point operations of [`gaussian`] an element.
pub const GAUSSIAN_OPERATIONS: usize = 13;
/// Floating-point operations of [`gaussian_derivatives`] an element: ten for each parameter, and the seven of the
/// exponents' derivatives.
pub const DERIVATIVES_OPERATIONS: usize = 10 * PARAMETERS + 7;

/// Fills `kernel` (K×K, row-major) with the Gaussian of `parameters` (see [`PARAMETERS`]), sum 1.
pub fn gaussian<T: Real>(parameters: &[T], kernel: &mut [T], size: usize) {
    let [m00, m10, m11, cr, cc] = unpack(parameters);
    let mut total = T::zero();
    for i in 0..size {
        for j in 0..size {
            let (dr, dc) = offset(i, j, size, cr, cc);
            // M d = (m00 dr, m10 dr + m11 dc) and dᵀΛd = |M d|².
            let (u, v) = (m00 * dr, m10 * dr + m11 * dc);
            let g = (T::of(-0.5) * (u * u + v * v)).exp();
            kernel[i * size + j] = g;
            total += g;
        }
    }
    for g in kernel.iter_mut() {
        *g /= total;
    }
}

/// Fills `bank` (`PARAMETERS` × K×K) with the derivatives of the normalised kernel to its parameters.
///
/// With q the exponent's derivative, ∂C = C (q − Σ C q), because the normalisation moves with the parameter.
pub fn gaussian_derivatives<T: Real>(parameters: &[T], kernel: &[T], bank: &mut [T], size: usize) {
    let [m00, m10, m11, cr, cc] = unpack(parameters);
    let area = size * size;
    for p in 0..PARAMETERS {
        let mut mean = T::zero();
        for i in 0..size {
            for j in 0..size {
                let (dr, dc) = offset(i, j, size, cr, cc);
                let (u, v) = (m00 * dr, m10 * dr + m11 * dc);
                let q = match p {
                    0 => -u * dr,
                    1 => -v * dr,
                    2 => -v * dc,
                    3 => u * m00 + v * m10,
                    _ => v * m11,
                };
                bank[p * area + i * size + j] = q;
                mean += kernel[i * size + j] * q;
            }
        }
        for (d, &c) in bank[p * area..(p + 1) * area].iter_mut().zip(kernel) {
            *d = c * (*d - mean);
        }
    }
}

fn unpack<T: Real>(parameters: &[T]) -> [T; PARAMETERS] {
    [
        parameters[0],
        parameters[1],
        parameters[2],
        parameters[3],
        parameters[4],
    ]
}

fn offset<T: Real>(i: usize, j: usize, size: usize, row: T, column: T) -> (T, T) {
    let centre = 0.5 * (size as f64 - 1.0);
    (T::of(i as f64 - centre) - row, T::of(j as f64 - centre) - column)
}

/// A Gaussian PSF in the terms that people write: covariance and centre, in HR pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GaussianPsf {
    /// Lower-triangular factor `[m00, m10, m11]` of the precision Λ = MᵀM on (row, column) offsets.
    pub factor: [f64; 3],
    /// Offset (row, column) of the centre from the middle of the window and of the block, in HR pixels.
    pub centre: [f64; 2],
}

impl GaussianPsf {
    /// From a covariance `[[rr, rc], [rc, cc]]` on (row, column) offsets, in HR pixels squared.
    ///
    /// Returns `None` unless the covariance is positive definite and finite.
    pub fn from_covariance(rr: f64, rc: f64, cc: f64) -> Option<Self> {
        let det = rr * cc - rc * rc;
        if !(rr > 0.0 && cc > 0.0 && det > 0.0 && det.is_finite()) {
            return None;
        }
        // Λ = Σ⁻¹ = [[cc, −rc], [−rc, rr]] / det; Λ = MᵀM gives m11² = Λ11, m10 m11 = Λ01, m00² + m10² = Λ00.
        let m11 = (rr / det).sqrt();
        let m10 = -rc / det / m11;
        let m00 = (cc / det - m10 * m10).max(0.0).sqrt();
        Some(GaussianPsf {
            factor: [m00, m10, m11],
            centre: [0.0; 2],
        })
    }

    /// From the variances `v1`, `v2` (HR pixels squared) along the axes turned by `angle` (radians):
    /// covariance Q diag(v1, v2) Qᵀ with Q = \[\[cos, −sin\], \[sin, cos\]\] on (column, row) offsets.
    ///
    /// Returns `None` unless both variances are positive and all three are finite.
    pub fn from_variances(v1: f64, v2: f64, angle: f64) -> Option<Self> {
        if !(v1 > 0.0 && v2 > 0.0 && angle.is_finite()) {
            return None;
        }
        let (s, c) = angle.sin_cos();
        let (cc, rr, rc) = (
            c * c * v1 + s * s * v2,
            s * s * v1 + c * c * v2,
            s * c * (v1 - v2),
        );
        Self::from_covariance(rr, rc, cc)
    }

    /// Covariance `(rr, rc, cc)` on (row, column) offsets, in HR pixels squared.
    pub fn covariance(&self) -> (f64, f64, f64) {
        let [m00, m10, m11] = self.factor;
        let (l00, l01, l11) = (m00 * m00 + m10 * m10, m10 * m11, m11 * m11);
        let det = l00 * l11 - l01 * l01;
        (l11 / det, -l01 / det, l00 / det)
    }

    /// Variances and angle `(v1, v2, angle)` as in [`GaussianPsf::from_variances`], v1 ≥ v2 and angle in
    /// \[0, π).
    pub fn variances(&self) -> (f64, f64, f64) {
        let (rr, rc, cc) = self.covariance();
        let mid = 0.5 * (rr + cc);
        let spread = (0.25 * (rr - cc).powi(2) + rc * rc).sqrt();
        let angle = 0.5 * (2.0 * rc).atan2(cc - rr);
        (mid + spread, mid - spread, angle.rem_euclid(std::f64::consts::PI))
    }

    /// The K×K kernel, sum 1.
    pub fn kernel(&self, size: usize) -> Array2<f64> {
        let mut kernel = Array2::zeros((size, size));
        if let Some(slice) = kernel.as_slice_mut() {
            gaussian(&self.parameters(), slice, size);
        }
        kernel
    }

    /// The parameters in the order of [`PARAMETERS`].
    pub fn parameters(&self) -> [f64; PARAMETERS] {
        let [m00, m10, m11] = self.factor;
        [m00, m10, m11, self.centre[0], self.centre[1]]
    }

    /// The inverse of [`GaussianPsf::parameters`].
    pub fn from_parameters(p: &[f64]) -> Self {
        GaussianPsf {
            factor: [p[0], p[1], p[2]],
            centre: [p[3], p[4]],
        }
    }
}

/// Centroid (row, column) of a kernel with a positive sum, counted from its first pixel.
pub fn centroid(kernel: &Array2<f64>) -> [f64; 2] {
    let mut sums = [0.0; 3];
    for ((i, j), &w) in kernel.indexed_iter() {
        sums[0] += w;
        sums[1] += w * i as f64;
        sums[2] += w * j as f64;
    }
    [sums[1] / sums[0], sums[2] / sums[0]]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variances_and_factor_are_inverse() {
        let psf = GaussianPsf::from_variances(7.0, 2.0, 0.7).unwrap();
        let (v1, v2, angle) = psf.variances();
        assert!((v1 - 7.0).abs() < 1e-12 && (v2 - 2.0).abs() < 1e-12 && (angle - 0.7).abs() < 1e-12);
    }

    // A kernel wide enough for its Gaussian has the Gaussian's second moments (here 5 sigma inside).
    #[test]
    fn kernel_has_the_covariance_it_was_made_from() {
        let psf = GaussianPsf::from_variances(4.0, 2.0, 0.4).unwrap();
        let k = psf.kernel(32);
        let (rr, rc, cc) = psf.covariance();
        let moment = |f: fn(f64, f64) -> f64| -> f64 {
            k.indexed_iter()
                .map(|((i, j), &c)| c * f(i as f64 - 15.5, j as f64 - 15.5))
                .sum()
        };
        assert!((moment(|r, _| r * r) - rr).abs() < 1e-6);
        assert!((moment(|r, c| r * c) - rc).abs() < 1e-6);
        assert!((moment(|_, c| c * c) - cc).abs() < 1e-6);
        assert!((k.sum() - 1.0).abs() < 1e-12);
    }

    // Central differences of step 1e-6 carry an error of about 1e-9 here.
    #[test]
    fn derivatives_match_central_differences() {
        let (size, p) = (5, [0.9, -0.35, 0.6, 0.2, -0.1]);
        let mut kernel = vec![0.0; 25];
        gaussian(&p, &mut kernel, size);
        let mut bank = vec![0.0; PARAMETERS * 25];
        gaussian_derivatives(&p, &kernel, &mut bank, size);
        for k in 0..PARAMETERS {
            let shifted = |h: f64| {
                let mut q = p;
                q[k] += h;
                let mut out = vec![0.0; 25];
                gaussian(&q, &mut out, size);
                out
            };
            let (plus, minus) = (shifted(1e-6), shifted(-1e-6));
            for x in 0..25 {
                assert!(
                    (bank[k * 25 + x] - (plus[x] - minus[x]) / 2e-6).abs() < 1e-8,
                    "parameter {k}, {x}"
                );
            }
        }
    }
}
