//! The spectral response eliminated: how badly the best response explains a blurred MSI band.
//!
//! The model of one band of L = (Y∗C)↓ is L = X·r + noise, r a smooth Gaussian process over the bands with
//! covariance τ² exp(−|i − k| / ℓ). With λ = σ²/τ² and X·T = U S Vᵀ (T Tᵀ the covariance), the penalised least-squares
//! misfit is m(λ) = Lᵀ (I − U diag(S²/(S²+λ)) Uᵀ) L, and minus twice the log-likelihood of L, with the noise
//! variance profiled out, is N log m + Σ log(1 + S²/λ). Its minimum over λ weighs the smoothness by itself: exact
//! data drive λ to nothing, noisy data or fewer LR pixels than bands keep it up.

use nalgebra::{DMatrix, DVector};
use pulp::{Arch, Simd, WithSimd};

/// Relative misfit below which differences are rounding of single-precision samples.
const FLOOR: f64 = 1e-14;
/// Ratio of neighbouring values of λ that are tried.
const STEP: f64 = 2.0;
/// λ relative to the largest S²: from here ...
const SMALLEST: f64 = 1e-17;
/// ... up to here.
const LARGEST: f64 = 1e2;

/// Values of λ that are weighed side by side.
const LANES: usize = 8;

/// What is left of a band when the response has been eliminated.
pub(super) struct Eliminated {
    /// Minus twice the log-likelihood, up to a constant: lower is better.
    pub score: f64,
    /// λ of the likelihood's maximum; 0 where the response is known.
    pub lambda: f64,
    /// Misfit relative to the variance of the band, floor included.
    pub misfit: f64,
}

/// Eliminates the response from a band: an orthonormal basis and the weight that each direction is given.
pub(super) struct Eliminator {
    basis: DMatrix<f64>,
    strength: Vec<f64>,
    /// (λ, Σ log(1 + S²/λ)); empty where the response is known.
    grid: Vec<(f64, f64)>,
}

/// Windows of one band, reduced to what the misfit of a kernel on them needs; the pixels have gone.
pub(super) struct Quadratic {
    coefficients: DMatrix<f64>,
    rest: DMatrix<f64>,
    /// Wᵀ W: its form is the variance of the blurred band (times the pixels).
    pub spread: DMatrix<f64>,
    /// Pixels that were summed over.
    pub pixels: usize,
}

/// X with its column means removed, as Q·R, from which eliminators for several ℓ are made cheaply.
pub(super) struct Factored {
    q: DMatrix<f64>,
    r: DMatrix<f64>,
}

impl Factored {
    /// From the LR-HSI pixels × bands. The means are removed because an offset tells nothing about the PSF.
    pub fn new(pixels: &DMatrix<f64>) -> Self {
        let mut centred = pixels.clone();
        for mut column in centred.column_iter_mut() {
            let mean = column.mean();
            column.add_scalar_mut(-mean);
        }
        let qr = centred.qr();
        Factored { q: qr.q(), r: qr.r() }
    }

    /// The eliminator for a response of correlation length `length` (bands).
    pub fn eliminator(&self, length: f64) -> Eliminator {
        let factor = covariance_factor(self.r.ncols(), length);
        let svd = (&self.r * factor).svd(true, false);
        let largest = svd.singular_values.iter().fold(0.0, |a: f64, &b| a.max(b));
        let kept: Vec<usize> = (0..svd.singular_values.len())
            .filter(|&k| svd.singular_values[k] > 1e-9 * largest)
            .collect();
        let basis = match &svd.u {
            Some(u) => &self.q * u.select_columns(&kept),
            None => DMatrix::zeros(self.q.nrows(), 0),
        };
        let strength: Vec<f64> = kept.iter().map(|&k| svd.singular_values[k].powi(2)).collect();
        let mut grid = Vec::new();
        let mut lambda = SMALLEST * largest * largest;
        while lambda > 0.0 && lambda < LARGEST * largest * largest {
            grid.push((lambda, strength.iter().map(|s| (s / lambda).ln_1p()).sum()));
            lambda *= STEP;
        }
        Eliminator {
            basis,
            strength,
            grid,
        }
    }
}

/// Lower-triangular T with T Tᵀ = exp(−|i − k| / ℓ): a first-order autoregression, written down directly.
fn covariance_factor(bands: usize, length: f64) -> DMatrix<f64> {
    let rho = (-1.0 / length).exp();
    let fresh = (1.0 - rho * rho).sqrt();
    DMatrix::from_fn(bands, bands, |i, k| match (i, k) {
        (i, k) if i < k => 0.0,
        (i, 0) => rho.powi(i as i32),
        (i, k) => fresh * rho.powi((i - k) as i32),
    })
}

/// Inverse of the covariance exp(−|i − k| / ℓ), which is tridiagonal.
pub(super) fn covariance_inverse(bands: usize, length: f64) -> DMatrix<f64> {
    let rho = (-1.0 / length).exp();
    let scale = 1.0 / (1.0 - rho * rho);
    DMatrix::from_fn(bands, bands, |i, k| {
        if bands == 1 {
            1.0
        } else if i == k {
            let inner = i > 0 && i + 1 < bands;
            scale * if inner { 1.0 + rho * rho } else { 1.0 }
        } else if i.abs_diff(k) == 1 {
            -scale * rho
        } else {
            0.0
        }
    })
}

/// What several λ leave of a band's directions: Σ a²λ / (S² + λ) for each.
struct Shrunk<'a> {
    /// a² of each direction.
    powers: &'a [f64],
    /// S² of each.
    strength: &'a [f64],
    lambdas: [f64; LANES],
}

impl WithSimd for Shrunk<'_> {
    type Output = [f64; LANES];

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> [f64; LANES] {
        let mut sums = [0.0; LANES];
        for (&power, &strength) in self.powers.iter().zip(self.strength) {
            for (sum, lambda) in sums.iter_mut().zip(self.lambdas) {
                *sum += power * lambda / (strength + lambda);
            }
        }
        sums
    }
}

impl Eliminator {
    /// For a known response: `predicted` is X·r of the band; only a gain and an offset stay free.
    pub fn known(predicted: &DVector<f64>) -> Self {
        let mut basis = predicted.clone();
        basis.add_scalar_mut(-predicted.mean());
        let norm = basis.norm();
        let kept = if norm > 0.0 { 1 } else { 0 };
        if kept == 1 {
            basis /= norm;
        }
        Eliminator {
            basis: DMatrix::from_columns(&[basis]).columns(0, kept).into_owned(),
            strength: vec![1.0; kept],
            grid: Vec::new(),
        }
    }

    /// Best λ and what is left of the zero-mean `band`.
    pub fn eliminate(&self, band: &DVector<f64>) -> Eliminated {
        let coefficients = self.basis.tr_mul(band);
        let rest = (band - &self.basis * &coefficients).norm_squared();
        self.weigh(&coefficients, rest, band.norm_squared(), band.len())
    }

    /// Best λ for a band of `pixels` samples and squared norm `variance`, given by its coefficients in the basis and
    /// the squared norm of the rest.
    pub fn weigh(&self, coefficients: &DVector<f64>, rest: f64, variance: f64, pixels: usize) -> Eliminated {
        let freedom = (pixels.max(2) - 1) as f64;
        let variance = variance.max(f64::MIN_POSITIVE);
        let powers: Vec<f64> = coefficients.iter().map(|a| a * a).collect();
        let mut best = Eliminated {
            score: f64::INFINITY,
            lambda: 0.0,
            misfit: 1.0,
        };
        // Without a grid the response is known and no direction is shrunk.
        let grid = if self.grid.is_empty() {
            &[(0.0, 0.0)]
        } else {
            &self.grid[..]
        };
        for several in grid.chunks(LANES) {
            let mut lambdas = [1.0; LANES];
            for (lane, &(lambda, _)) in lambdas.iter_mut().zip(several) {
                *lane = lambda;
            }
            let shrunk = Arch::new().dispatch(Shrunk {
                powers: &powers,
                strength: &self.strength,
                lambdas,
            });
            for (&(lambda, volume), shrunk) in several.iter().zip(shrunk) {
                let misfit = (rest + shrunk) / variance + FLOOR;
                let score = freedom * misfit.ln() + volume;
                if score < best.score {
                    best = Eliminated {
                        score,
                        lambda,
                        misfit,
                    };
                }
            }
        }
        best
    }

    /// The misfit as a quadratic form in the weights of a kernel: `windows` is pixels × weights, zero-mean columns.
    pub fn quadratic(&self, windows: &DMatrix<f64>) -> Quadratic {
        let coefficients = self.basis.tr_mul(windows);
        let rest = windows - &self.basis * &coefficients;
        Quadratic {
            rest: rest.tr_mul(&rest),
            spread: windows.tr_mul(windows),
            coefficients,
            pixels: windows.nrows(),
        }
    }

    /// The matrix of the quadratic form at `lambda`.
    pub fn form(&self, quadratic: &Quadratic, lambda: f64) -> DMatrix<f64> {
        let mut scaled = quadratic.coefficients.clone();
        for (k, mut row) in scaled.row_iter_mut().enumerate() {
            row *= (lambda / (self.strength[k] + lambda)).sqrt();
        }
        &quadratic.rest + scaled.tr_mul(&scaled)
    }

    /// [`Eliminator::eliminate`] of the windows' product with `weights`.
    pub fn eliminate_weights(&self, quadratic: &Quadratic, weights: &DVector<f64>) -> Eliminated {
        self.weigh(
            &(&quadratic.coefficients * weights),
            weights.dot(&(&quadratic.rest * weights)).max(0.0),
            weights.dot(&(&quadratic.spread * weights)),
            quadratic.pixels,
        )
    }

    /// The residual whose squared norm is the penalised misfit at `lambda`, of each column of `vectors`.
    pub fn residual(&self, vectors: &DMatrix<f64>, lambda: f64) -> DMatrix<f64> {
        let mut coefficients = self.basis.tr_mul(vectors);
        for (k, mut row) in coefficients.row_iter_mut().enumerate() {
            row *= 1.0 - (lambda / (self.strength[k] + lambda)).sqrt();
        }
        vectors - &self.basis * coefficients
    }

    /// Directions of the response that the data determine at `lambda`: Σ S²/(S²+λ).
    pub fn directions(&self, lambda: f64) -> f64 {
        self.strength.iter().map(|s| s / (s + lambda)).sum()
    }
}
