//! FUSE: fast fusion of multi-band images by a Sylvester equation, solved in closed form.
//!
//! [`CITATION`]. Spectra lie in a subspace, Z = E U. With X = E U H + noise (H: blur and decimation, acting on pixels),
//! Y = RᵀE U + noise and a Gaussian prior U ~ N(μ, Σ) the maximum a posteriori is the solution of (eq. 14)
//!
//! A₁ U HHᵀ + A₂ U = A₃,  A₁ = EᵀΛ_X⁻¹E,  A₂ = (RᵀE)ᵀΛ_Y⁻¹(RᵀE) + Σ⁻¹,  A₃ = EᵀΛ_X⁻¹XHᵀ + (RᵀE)ᵀΛ_Y⁻¹Y + Σ⁻¹μ.
//!
//! A₁ and A₂ are brought to diagonal form together, A₁ = LLᵀ and L⁻¹A₂L⁻ᵀ = QDQᵀ; then the rows of V = QᵀLᵀU are apart, and each is
//! v (HHᵀ + d) = t with HHᵀ of low rank: by Woodbury's formula v = (t − (t H)(HᵀH + d)⁻¹Hᵀ) / d, where HᵀH on the LR grid is a product in
//! the Fourier domain (the sum of |transfer|² over aliases, s⁻² of it), as in the paper's Theorem 1.
//!
//! Defaults: ten dimensions by principal components, as in the paper; μ the expanded HSI. What the paper takes as known or as a
//! hyperparameter is measured: Λ_X by what of X lies outside the subspace, Λ_Y by X·R − (Y∗C)↓, each at least −60 dB of its
//! band; Σ by what the regression of the coefficients on the MSI says of detail, the covariance of A(Y − expand((Y∗C)↓)), and what that leaves of the LR pixels.

use nalgebra::{DMatrix, DVector, SymmetricEigen};
use ndarray::{Array3, ArrayView3, Axis};
use rayon::prelude::*;
use rustfft::num_complex::Complex;

use super::fourier::{Blur, Frame};
use super::pair::{Pair, mapped};
use super::subspace::Subspace;
use crate::cube::fourier::{Fourier, Plane};
use crate::error::{Error, Result};
use crate::interrupt;

/// Where it is published.
pub const CITATION: &str = "Q. Wei, N. Dobigeon, J.-Y. Tourneret: Fast fusion of multi-band images based on solving a Sylvester \
                            equation, IEEE Trans. Image Process. 24 (2015) 4109-4121";

/// Dimensions of the subspace.
const DIMENSIONS: usize = 10;
/// Images of the coefficients that are held at once, in single precision: A₃ in double, the solution, planes on their way.
pub(super) const PLANES: usize = 5 * DIMENSIONS;
/// Least power of noise, relative to that of a band.
const LEAST_NOISE: f64 = 1e-6;
/// The same of an image in \[0, 1\], for bands of zeros.
const LEAST_POWER: f64 = 1e-12;

/// # Errors
/// [`Error::Failed`] where the systems are singular, [`Error::Interrupted`] after a stop.
pub(super) fn fuse(pair: &Pair, progress: &mut dyn FnMut(usize, usize)) -> Result<Array3<f32>> {
    let equation = Equation::new(pair)?;
    interrupt::check()?;
    let (h, w, _) = pair.hsi.dim();
    let system = System::new([h, w], pair);
    // Of A₃ the part on the LR grid, and that on the HR grid.
    let low = mapped(pair.hsi.view(), &equation.from_hsi).mapv(f64::from);
    let mut high = mapped(pair.msi, &equation.from_msi);
    high += &pair.expanded(mapped(pair.hsi.view(), &equation.from_prior).view());
    let high = high.mapv(f64::from);
    interrupt::check()?;
    let solve = |k: usize| {
        let (frame, blur) = (system.frame, &system.blur);
        let mut low = frame.plane(low.view(), 1, (k, None));
        system.low.forward(&mut low);
        let mut t = frame.plane(high.view(), pair.scale, (k, None));
        blur.fourier.forward(&mut t);
        blur.for_each_alias(&low, |f, x| t[f] += x * blur.transfer[f].conj());
        system.solve(&mut t, equation.diagonal[k]);
        blur.fourier.inverse(&mut t);
        t
    };
    let dimensions = equation.diagonal.len();
    let mut solved = Array3::<f32>::zeros((h * pair.scale, w * pair.scale, dimensions));
    let together = rayon::current_num_threads().max(1);
    for first in (0..dimensions).step_by(together) {
        progress(first, dimensions);
        interrupt::check()?;
        let planes: Vec<Plane<f64>> = (first..(first + together).min(dimensions))
            .into_par_iter()
            .map(solve)
            .collect();
        for (k, plane) in planes.iter().enumerate() {
            let mut band = solved.index_axis_mut(Axis(2), first + k);
            band.indexed_iter_mut()
                .for_each(|((r, c), v)| *v = plane[system.frame.place(r, c)].re as f32);
        }
    }
    progress(dimensions, dimensions);
    Ok(mapped(solved.view(), &equation.back))
}

/// v (HHᵀ + d) = t for images v and t in the Fourier domain.
struct System {
    frame: Frame,
    blur: Blur<f64>,
    /// Transforms of framed LR images.
    low: Fourier<f64>,
    /// HᵀH of each frequency of the LR grid.
    squares: Plane<f64>,
}

impl System {
    fn new(inner: [usize; 2], pair: &Pair) -> Self {
        let frame = Frame::new(inner, pair.scale, pair.psf.nrows());
        let blur = Blur::new(frame, pair.psf);
        let squares: Plane<f64> = blur
            .transfer
            .iter()
            .map(|x| Complex::new(x.norm_sqr(), 0.0))
            .collect();
        let [rows, columns] = frame.low();
        System {
            squares: blur.decimated(&squares),
            low: Fourier::new(rows, columns),
            frame,
            blur,
        }
    }

    /// Puts v in the place of t.
    fn solve(&self, t: &mut Plane<f64>, d: f64) {
        let blur = &self.blur;
        let blurred: Plane<f64> = t.iter().zip(&blur.transfer).map(|(t, b)| t * b).collect();
        let mut held = blur.decimated(&blurred);
        held.iter_mut()
            .zip(&self.squares)
            .for_each(|(x, square)| *x /= square.re + d);
        blur.for_each_alias(&held, |f, x| t[f] = (t[f] - x * blur.transfer[f].conj()) / d);
    }
}

/// The equation in the coordinates in which its rows are apart.
struct Equation {
    /// d of each row.
    diagonal: Vec<f64>,
    /// From X, Y and the expanded X to their shares of A₃, p×B, p×b and p×B.
    from_hsi: DMatrix<f64>,
    from_msi: DMatrix<f64>,
    from_prior: DMatrix<f64>,
    /// From rows to spectra, B×p.
    back: DMatrix<f64>,
}

impl Equation {
    fn new(pair: &Pair) -> Result<Self> {
        let subspace = Subspace::new(pair, DIMENSIONS);
        let basis = &subspace.basis;
        let open = || Error::failed("FUSE: the two images leave the equation open");
        let noise = |found: &[f64], power: &[f64]| {
            let least = found
                .iter()
                .zip(power)
                .map(|(&n, &p)| n.max(LEAST_NOISE * p).max(LEAST_POWER));
            DVector::from_iterator(found.len(), least.map(|n| 1.0 / n))
        };
        let inverse_hsi = noise(&subspace.outside, &subspace.power);
        let (misfit, power) = misfit(pair);
        let inverse_msi = noise(&misfit, &power);
        let (bands, b) = (pair.hsi.dim().2, pair.msi.dim().2);
        let response = DMatrix::from_fn(b, bands, |j, k| pair.response[[k, j]]);
        let seen = &response * basis;
        let weighted = |matrix: &DMatrix<f64>, weights: &DVector<f64>| {
            matrix.transpose() * DMatrix::from_diagonal(weights)
        };
        let to_hsi = weighted(basis, &inverse_hsi);
        let to_msi = weighted(&seen, &inverse_msi);
        let prior = covariance(pair, basis)?.cholesky().ok_or_else(open)?.inverse();
        let lower = (&to_hsi * basis).cholesky().ok_or_else(open)?.l();
        let apart = |matrix: &DMatrix<f64>| lower.solve_lower_triangular(matrix).ok_or_else(open);
        let second = &to_msi * &seen + &prior;
        let middle = apart(&apart(&second)?.transpose())?;
        let eigen = SymmetricEigen::new((&middle + middle.transpose()) * 0.5);
        let turn = eigen.eigenvectors.transpose();
        let back = lower
            .transpose()
            .solve_upper_triangular(&eigen.eigenvectors)
            .ok_or_else(open)?;
        if !eigen.eigenvalues.iter().all(|d| *d > 0.0) {
            return Err(open());
        }
        Ok(Equation {
            diagonal: eigen.eigenvalues.iter().copied().collect(),
            from_hsi: &turn * apart(&to_hsi)?,
            from_msi: &turn * apart(&to_msi)?,
            from_prior: &turn * apart(&(prior * basis.transpose()))?,
            back: basis * back,
        })
    }
}

/// Mean square of X·R − (Y∗C)↓ and of (Y∗C)↓, each MSI band.
fn misfit(pair: &Pair) -> (Vec<f64>, Vec<f64>) {
    let b = pair.msi.dim().2;
    let (mut left, mut power, mut count) = (vec![0.0; b], vec![0.0; b], 0.0);
    for (msi, hsi) in pair.spectra() {
        count += 1.0;
        for (j, &y) in msi.iter().enumerate() {
            let response = pair.response.column(j);
            let told: f64 = response.iter().zip(hsi).map(|(r, &x)| r * f64::from(x)).sum();
            left[j] += (told - f64::from(y)).powi(2);
            power[j] += f64::from(y).powi(2);
        }
    }
    let mean = |sums: Vec<f64>| sums.iter().map(|s| s / f64::max(count, 1.0)).collect();
    (mean(left), mean(power))
}

/// Σ: covariance of the detail of the coefficients in `basis`.
fn covariance(pair: &Pair, basis: &DMatrix<f64>) -> Result<DMatrix<f64>> {
    let (p, b) = (basis.ncols(), pair.msi.dim().2);
    let count = pair.spectra().count().max(1) as f64;
    let rows = |msi: &[f32]| DVector::from_fn(b + 1, |j, _| msi.get(j).map_or(1.0, |&y| f64::from(y)));
    let coefficients = |hsi: &[f32]| {
        basis.tr_mul(&DVector::from_iterator(
            hsi.len(),
            hsi.iter().map(|&x| f64::from(x)),
        ))
    };
    let (mut normal, mut right) = (DMatrix::zeros(b + 1, b + 1), DMatrix::zeros(b + 1, p));
    let mut power = DMatrix::<f64>::zeros(p, p);
    for (msi, hsi) in pair.spectra() {
        let (row, u) = (rows(msi), coefficients(hsi));
        normal.ger(1.0 / count, &row, &row, 1.0);
        right.ger(1.0 / count, &row, &u, 1.0);
        power.ger(1.0 / count, &u, &u, 1.0);
    }
    let ridge = 1e-8 * normal.trace() / (b + 1) as f64;
    let solver = (normal + DMatrix::identity(b + 1, b + 1) * ridge).cholesky();
    let map = solver
        .ok_or_else(|| Error::failed("FUSE: the MSI holds nothing"))?
        .solve(&right);
    let mut left = DMatrix::<f64>::zeros(p, p);
    for (msi, hsi) in pair.spectra() {
        let error = coefficients(hsi) - map.tr_mul(&rows(msi));
        left.ger(1.0 / count, &error, &error, 1.0);
    }
    let detail = second_moments((&pair.msi - &pair.expanded(pair.lr_msi.view())).view());
    let told = map.rows(0, b).into_owned();
    let least = (LEAST_NOISE * power.trace() / p as f64).max(LEAST_POWER);
    Ok(told.transpose() * detail * &told + left + DMatrix::identity(p, p) * least)
}

/// Mean products of the bands of an image.
fn second_moments(image: ArrayView3<f32>) -> DMatrix<f64> {
    let (rows, columns, bands) = image.dim();
    let sums = image
        .axis_iter(Axis(0))
        .into_par_iter()
        .map(|line| {
            let mut sums = DMatrix::<f64>::zeros(bands, bands);
            for pixel in line.outer_iter() {
                let pixel = DVector::from_iterator(bands, pixel.iter().map(|&x| f64::from(x)));
                sums.ger(1.0, &pixel, &pixel, 1.0);
            }
            sums
        })
        .collect::<Vec<_>>();
    sums.iter().fold(DMatrix::zeros(bands, bands), |a, b| a + b) / (rows * columns) as f64
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::*;
    use crate::baseline::Inputs;

    // What was solved for is put into the equation.
    #[test]
    fn the_closed_form_solves_the_equation() {
        let (hsi, msi) = (
            Array3::from_elem((3, 2, 2), 1.0),
            Array3::from_elem((6, 4, 1), 1.0),
        );
        let psf = Array2::from_shape_fn((4, 4), |(i, j)| (1 + i * j) as f64 / 52.0);
        let (response, usable) = (Array2::from_elem((2, 1), 0.5), Array2::from_elem((3, 2), true));
        let inputs = Inputs {
            hsi: hsi.view(),
            msi: msi.view(),
            scale: 2,
            psf: &psf,
            response: &response,
            usable: usable.view(),
        };
        let system = System::new([3, 2], &Pair::new(&inputs).unwrap());
        let blur = &system.blur;
        let image = Array3::from_shape_fn((6, 4, 1), |(r, c, _)| ((5 * r + 3 * c) % 7) as f64);
        let mut t = system.frame.plane(image.view(), 2, (0, None));
        blur.fourier.forward(&mut t);
        for d in [1e-3, 0.5, 20.0] {
            let mut v = t.clone();
            system.solve(&mut v, d);
            let blurred: Plane<f64> = v.iter().zip(&blur.transfer).map(|(v, b)| v * b).collect();
            let mut left: Plane<f64> = v.iter().zip(&t).map(|(v, t)| v * d - t).collect();
            blur.for_each_alias(&blur.decimated(&blurred), |f, x| {
                left[f] += x * blur.transfer[f].conj();
            });
            let worst = left.iter().fold(0.0f64, |m, x| m.max(x.norm()));
            assert!(worst < 1e-9, "{d}: {worst}");
        }
    }
}
