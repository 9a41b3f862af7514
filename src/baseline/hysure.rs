//! HySure: hyperspectral super-resolution by subspace-based regularisation with vector total variation.
//!
//! [`CITATION`]. Spectra lie in a subspace, Z = E U; U minimises (eq. 9)
//!
//! ½ ‖X − E U B M‖² + λ_m/2 ‖Y − RᵀE U‖² + λ_φ Σ_pixels ‖(U D_h, U D_v)‖,
//!
//! B the blur, M the sampling, D_h and D_v differences of neighbours; the norm is over both differences of all coefficients of a
//! pixel, so that edges of all of them lie in the same places. SALSA splits it by V₁ = U B, V₂ = U, V₃ = U D_h, V₄ = U D_v with scaled
//! multipliers D₁ to D₄ and a weight μ, and repeats:
//!
//! * U = [(V₁+D₁)Bᵀ + V₂+D₂ + (V₃+D₃)D_hᵀ + (V₄+D₄)D_vᵀ] [BBᵀ + I + D_hD_hᵀ + D_vD_vᵀ]⁻¹, a division in the Fourier domain,
//! * V₁ = (EᵀX + μν)/(1+μ) where the HSI has a pixel, ν elsewhere; V₂ = (λ_m(RᵀE)ᵀRᵀE + μ)⁻¹(λ_m(RᵀE)ᵀY + μν); V₃ and V₄: ν, their norm a
//!   pixel made shorter by λ_φ/μ; each with ν = (U …) − D, and D becomes V − ν.
//!
//! Of the multipliers only what is not zero is kept: D₁ on the HSI's pixels, D₂ = (RᵀE)ᵀe with e of as many numbers as the MSI has
//! bands. Two real coefficients are transformed as one complex image, because all filters are real.
//!
//! Defaults as in the paper and its code: λ_m = 1, λ_φ = 5e-4, μ = 0.05, 200 iterations, ten dimensions (singular vectors). The start is the
//! regression of the coefficients on the MSI; the problem is convex, so that it decides how soon and not where the iterations end.

use nalgebra::DMatrix;
use ndarray::{Array3, Axis};
use rayon::prelude::*;
use rustfft::num_complex::Complex;

use super::fourier::{Blur, Frame};
use super::pair::{Pair, mapped};
use super::regression::Degree;
use super::subspace::Subspace;
use crate::cube::fourier::Plane;
use crate::error::{Error, Result};
use crate::interrupt;

/// Where it is published.
pub const CITATION: &str = "M. Simoes, J. Bioucas-Dias, L. B. Almeida, J. Chanussot: A convex formulation for hyperspectral image \
                            superresolution via subspace-based regularization, IEEE Trans. Geosci. Remote Sens. 53 (2015) 3373-3388";

/// Dimensions of the subspace.
const DIMENSIONS: usize = 10;
/// Images of the coefficients that are held at once, in single precision.
pub(super) const PLANES: usize = 8 * DIMENSIONS;
/// λ_m, weight of the MSI.
const MSI: f32 = 1.0;
/// λ_φ, weight of the total variation.
const VARIATION: f32 = 5e-4;
/// μ, weight of the splitting.
const SPLITTING: f32 = 0.05;
/// Iterations.
const ITERATIONS: usize = 200;
/// Pixels that are gone through together.
const BLOCK: usize = 4096;

/// # Errors
/// [`Error::Failed`] where the MSI's system is singular, [`Error::Interrupted`] after a stop.
pub(super) fn fuse(pair: &Pair, progress: &mut dyn FnMut(usize, usize)) -> Result<Array3<f32>> {
    let basis = Subspace::new(pair, DIMENSIONS).basis;
    let (h, w, _) = pair.hsi.dim();
    let frame = Frame::new([h, w], pair.scale, pair.psf.nrows());
    let planes = minimised(pair, &basis, frame, progress)?;
    let mut solved = Array3::<f32>::zeros((h * pair.scale, w * pair.scale, basis.ncols()));
    for (k, mut band) in solved.axis_iter_mut(Axis(2)).enumerate() {
        let plane = &planes[k / 2].image;
        band.indexed_iter_mut().for_each(|((r, c), u)| {
            let both = plane[frame.place(r, c)];
            *u = if k % 2 == 0 { both.re } else { both.im };
        });
    }
    Ok(mapped(solved.view(), &basis))
}

/// U after all iterations.
fn minimised(
    pair: &Pair,
    basis: &DMatrix<f64>,
    frame: Frame,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Vec<Coefficients>> {
    let mut seen = Seen::new(pair, basis, frame)?;
    let blur = Blur::<f32>::new(frame, pair.psf);
    let inverse = inverse(&blur, frame);
    let low = mapped(pair.hsi.view(), &basis.transpose());
    let start = pair.applied(&pair.regression(Degree::One)?, pair.msi)?;
    let start = mapped(start.view(), &basis.transpose());
    let pairs = (0..basis.ncols()).step_by(2);
    let mut planes: Vec<Coefficients> = pairs
        .map(|k| {
            let bands = (k, (k + 1 < basis.ncols()).then_some(k + 1));
            let image = frame.plane(start.view(), pair.scale, bands);
            Coefficients::new(image, frame.plane(low.view(), 1, bands), &blur, frame)
        })
        .collect();
    let [rows, columns] = frame.high();
    let mut shrink = vec![1.0f32; rows * columns];
    for iteration in 0..ITERATIONS {
        progress(iteration, ITERATIONS);
        interrupt::check()?;
        planes
            .par_iter_mut()
            .for_each(|plane| plane.update(&blur, &inverse, &shrink, frame));
        shrink
            .par_chunks_mut(BLOCK)
            .enumerate()
            .for_each(|(number, shrink)| shortened(&planes, number * BLOCK, shrink));
        seen.update(&mut planes);
    }
    progress(ITERATIONS, ITERATIONS);
    Ok(planes)
}

/// By what factor V₃ and V₄ are shorter than their ν, at the pixels from `first` on.
fn shortened(planes: &[Coefficients], first: usize, shrink: &mut [f32]) {
    let mut norm = vec![0.0f32; shrink.len()];
    for plane in planes {
        let both = plane.across[first..].iter().zip(&plane.down[first..]);
        for (norm, (across, down)) in norm.iter_mut().zip(both) {
            *norm += across.norm_sqr() + down.norm_sqr();
        }
    }
    for (shrink, norm) in shrink.iter_mut().zip(norm) {
        *shrink = (1.0 - VARIATION / SPLITTING / norm.sqrt().max(f32::MIN_POSITIVE)).max(0.0);
    }
}

/// [BBᵀ + I + D_hD_hᵀ + D_vD_vᵀ]⁻¹ of every frequency.
fn inverse(blur: &Blur<f32>, frame: Frame) -> Vec<f32> {
    let [rows, columns] = frame.high();
    let difference = |k: usize, n: usize| 2.0 - 2.0 * (std::f64::consts::TAU * k as f64 / n as f64).cos();
    let number = |f: usize| difference(f / rows, columns) + difference(f % rows, rows);
    blur.transfer
        .iter()
        .enumerate()
        .map(|(f, x)| (1.0 / (f64::from(x.norm_sqr()) + 1.0 + number(f))) as f32)
        .collect()
}

/// Two coefficients of the subspace, as one complex image.
struct Coefficients {
    /// U.
    image: Plane<f32>,
    /// V₂ + D₂.
    told: Plane<f32>,
    /// V₁ + D₁.
    blurred: Plane<f32>,
    /// ν of V₃ and of V₄.
    across: Plane<f32>,
    down: Plane<f32>,
    /// EᵀX on the LR grid, and D₁ there.
    low: Plane<f32>,
    multiplier: Plane<f32>,
}

impl Coefficients {
    /// At `image`, where all multipliers are zero.
    fn new(image: Plane<f32>, low: Plane<f32>, blur: &Blur<f32>, frame: Frame) -> Self {
        let [rows, columns] = frame.high();
        let mut blurred = image.clone();
        blur.fourier.forward(&mut blurred);
        blurred.iter_mut().zip(&blur.transfer).for_each(|(x, b)| *x *= b);
        blur.fourier.inverse(&mut blurred);
        let difference = |at: usize, next: usize| image[next] - image[at];
        Coefficients {
            across: (0..image.len())
                .map(|at| difference(at, right(at, columns)))
                .collect(),
            down: (0..image.len())
                .map(|at| difference(at, (at + columns) % (rows * columns)))
                .collect(),
            told: image.clone(),
            multiplier: vec![Complex::default(); low.len()],
            blurred,
            low,
            image,
        }
    }

    /// U, then V₁ and the ν of V₃ and V₄; `shrink` is by what factor the last V₃ and V₄ are shorter than their ν.
    fn update(&mut self, blur: &Blur<f32>, inverse: &[f32], shrink: &[f32], frame: Frame) {
        let [rows, columns] = frame.high();
        let all = rows * columns;
        // V + D is 2 V − ν, and D is V − ν.
        for (at, here) in shrink.iter().enumerate() {
            let factor = 2.0 * here - 1.0;
            let (left, up) = (left(at, columns), (at + all - columns) % all);
            let (from_left, from_up) = (2.0 * shrink[left] - 1.0, 2.0 * shrink[up] - 1.0);
            self.told[at] += self.across[left] * from_left - self.across[at] * factor
                + self.down[up] * from_up
                - self.down[at] * factor;
        }
        blur.fourier.forward(&mut self.told);
        blur.fourier.forward(&mut self.blurred);
        let sums = self.told.iter_mut().zip(&mut self.blurred);
        for ((told, blurred), (b, inverse)) in sums.zip(blur.transfer.iter().zip(inverse)) {
            *told = (*told + *blurred * b.conj()).scale(*inverse);
            *blurred = *told * b;
        }
        blur.fourier.inverse(&mut self.told);
        blur.fourier.inverse(&mut self.blurred);
        std::mem::swap(&mut self.image, &mut self.told);
        let [low_rows, low_columns] = frame.low();
        for r in 0..low_rows {
            for c in 0..low_columns {
                let (low, high) = (r * low_columns + c, (r * columns + c) * frame.scale);
                let free = self.blurred[high] - self.multiplier[low];
                let held = (self.low[low] + free * SPLITTING) / (1.0 + SPLITTING);
                self.multiplier[low] = held - free;
                self.blurred[high] = held + self.multiplier[low];
            }
        }
        for (at, shrink) in shrink.iter().enumerate() {
            let multiplier = shrink - 1.0;
            let here = self.image[at];
            self.across[at] = self.image[right(at, columns)] - here - self.across[at] * multiplier;
            self.down[at] = self.image[(at + columns) % all] - here - self.down[at] * multiplier;
        }
    }
}

/// The pixel beside one, the last of a row beside its first.
fn right(at: usize, columns: usize) -> usize {
    let column = at % columns;
    at - column + (column + 1) % columns
}

fn left(at: usize, columns: usize) -> usize {
    let column = at % columns;
    at - column + (column + columns - 1) % columns
}

/// Some pixels of a plane's U, and room for its V₂ + D₂ there.
type Block<'a> = (&'a [Complex<f32>], &'a mut [Complex<f32>]);

/// The MSI, and what follows from it for V₂.
struct Seen {
    /// Y, band by band on the frame.
    bands: Vec<Vec<f32>>,
    /// e of D₂ = (RᵀE)ᵀe, likewise.
    multiplier: Vec<Vec<f32>>,
    /// RᵀE, b×p.
    response: Vec<Vec<f32>>,
    /// (μ/λ_m + RᵀE(RᵀE)ᵀ)⁻¹, b×b.
    inverse: Vec<Vec<f32>>,
}

impl Seen {
    fn new(pair: &Pair, basis: &DMatrix<f64>, frame: Frame) -> Result<Self> {
        let (bands, b) = (pair.hsi.dim().2, pair.msi.dim().2);
        let response = DMatrix::from_fn(b, bands, |j, k| pair.response[[k, j]]) * basis;
        let ridge = DMatrix::identity(b, b) * f64::from(SPLITTING / MSI);
        let inverse = (&response * response.transpose() + ridge)
            .cholesky()
            .ok_or_else(|| Error::failed("HySure: the response is no matrix of numbers"))?
            .inverse();
        let listed = |m: &DMatrix<f64>| -> Vec<Vec<f32>> {
            m.row_iter()
                .map(|row| row.iter().map(|&x| x as f32).collect())
                .collect()
        };
        let [rows, columns] = frame.high();
        Ok(Seen {
            bands: (0..b)
                .map(|j| {
                    let plane = frame.plane(pair.msi, pair.scale, (j, None));
                    plane.iter().map(|x| x.re).collect()
                })
                .collect(),
            multiplier: vec![vec![0.0; rows * columns]; b],
            response: listed(&response),
            inverse: listed(&inverse),
        })
    }

    /// V₂ + D₂ of the coefficients, into their `told`: with ν = U − D₂ the new e is the inverse times Y − RᵀE ν, and V₂ + D₂ = ν + 2 D₂.
    fn update(&mut self, planes: &mut [Coefficients]) {
        let b = self.bands.len();
        let mut blocks: Vec<(Vec<&mut [f32]>, Vec<Block>)> = Vec::new();
        let mut multipliers: Vec<_> = self.multiplier.iter_mut().map(|m| m.chunks_mut(BLOCK)).collect();
        let mut coefficients: Vec<_> = planes
            .iter_mut()
            .map(|p| p.image.chunks(BLOCK).zip(p.told.chunks_mut(BLOCK)))
            .collect();
        loop {
            let m: Vec<_> = multipliers.iter_mut().filter_map(Iterator::next).collect();
            let c: Vec<_> = coefficients.iter_mut().filter_map(Iterator::next).collect();
            if m.is_empty() {
                break;
            }
            blocks.push((m, c));
        }
        let (bands, response, inverse) = (&self.bands, &self.response, &self.inverse);
        blocks
            .into_par_iter()
            .enumerate()
            .for_each(|(number, (mut e, mut u))| {
                let first = number * BLOCK;
                let size = e.first().map_or(0, |e| e.len());
                // U − D₂, where e is the old one.
                add(&mut u, &e, response, -1.0, true);
                let mut left: Vec<Vec<f32>> = bands.iter().map(|y| y[first..first + size].to_vec()).collect();
                for (j, left) in left.iter_mut().enumerate() {
                    for (q, (_, told)) in u.iter().enumerate() {
                        let (re, im) = weights(response, j, q);
                        for (l, x) in left.iter_mut().zip(told.iter()) {
                            *l -= re * x.re + im * x.im;
                        }
                    }
                }
                for (j, e) in e.iter_mut().enumerate() {
                    e.fill(0.0);
                    for (k, left) in left.iter().enumerate().take(b) {
                        let weight = inverse[j][k];
                        e.iter_mut().zip(left).for_each(|(e, l)| *e += weight * l);
                    }
                }
                add(&mut u, &e, response, 2.0, false);
            });
    }
}

/// Weights of MSI band `j` of the two coefficients of plane `q`.
fn weights(response: &[Vec<f32>], j: usize, q: usize) -> (f32, f32) {
    let row = &response[j];
    (row[2 * q], row.get(2 * q + 1).copied().unwrap_or(0.0))
}

/// Adds `factor` (RᵀE)ᵀe to the second of each pair of planes, which is first made equal to the first where `anew`.
fn add(planes: &mut [Block], e: &[&mut [f32]], response: &[Vec<f32>], factor: f32, anew: bool) {
    for (q, (image, told)) in planes.iter_mut().enumerate() {
        if anew {
            told.copy_from_slice(image);
        }
        for (j, e) in e.iter().enumerate() {
            let (re, im) = weights(response, j, q);
            let weight = Complex::new(re * factor, im * factor);
            told.iter_mut().zip(e.iter()).for_each(|(t, &e)| *t += weight * e);
        }
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::*;
    use crate::baseline::Inputs;
    use crate::random::{key, normals};

    /// What is minimised, of U (pixels of the frame × p).
    fn objective(pair: &Pair, basis: &DMatrix<f64>, frame: Frame, u: &DMatrix<f64>) -> f64 {
        let [rows, columns] = frame.high();
        let [low_rows, low_columns] = frame.low();
        let (psf, size) = (pair.psf, pair.psf.nrows() as isize);
        let start = (frame.scale / 2) as isize - size / 2;
        let hsi: Vec<Plane<f64>> = (0..basis.nrows())
            .map(|k| frame.plane(pair.hsi.view().mapv(f64::from).view(), 1, (k, None)))
            .collect();
        let msi: Vec<Plane<f64>> = (0..pair.msi.dim().2)
            .map(|j| frame.plane(pair.msi.mapv(f64::from).view(), frame.scale, (j, None)))
            .collect();
        let joined = |x: isize, n: usize| x.rem_euclid(n as isize) as usize;
        let z = u * basis.transpose();
        let mut sum = 0.0;
        for r in 0..low_rows {
            for c in 0..low_columns {
                for (k, hsi) in hsi.iter().enumerate() {
                    let mut blurred = 0.0;
                    for ((i, j), weight) in psf.indexed_iter() {
                        let row = joined((r * frame.scale) as isize + start + i as isize, rows);
                        let column = joined((c * frame.scale) as isize + start + j as isize, columns);
                        blurred += weight * z[(row * columns + column, k)];
                    }
                    sum += 0.5 * (hsi[r * low_columns + c].re - blurred).powi(2);
                }
            }
        }
        // Outside of the subspace nothing can be told, by any U.
        for at in 0..rows * columns {
            for (j, msi) in msi.iter().enumerate() {
                let told: f64 = (0..basis.nrows())
                    .map(|k| z[(at, k)] * pair.response[[k, j]])
                    .sum();
                sum += 0.5 * f64::from(MSI) * (msi[at].re - told).powi(2);
            }
            let next = [right(at, columns), (at + columns) % (rows * columns)];
            let squares = next.map(|next| (u.row(next) - u.row(at)).norm_squared());
            sum += f64::from(VARIATION) * (squares[0] + squares[1]).sqrt();
        }
        sum
    }

    // The problem is convex: at its minimum no small step in any direction makes it smaller.
    #[test]
    fn the_iterations_end_at_the_minimum() {
        let hsi = Array3::from_shape_fn((3, 3, 4), |(r, c, k)| {
            0.4 + 0.2 * ((2 * r + c) as f32 + 0.4 * k as f32).sin()
        });
        let msi = Array3::from_shape_fn((6, 6, 2), |(r, c, j)| {
            0.4 + 0.2 * ((r + 2 * j) as f32 + 0.5 * c as f32).cos()
        });
        let psf = Array2::from_shape_fn((4, 4), |(i, j)| ((1 + i) * (4 - j)) as f64 / 100.0);
        let response = Array2::from_shape_fn((4, 2), |(k, j)| if k / 2 == j { 0.5 } else { 0.0 });
        let usable = Array2::from_elem((3, 3), true);
        let inputs = Inputs {
            hsi: hsi.view(),
            msi: msi.view(),
            scale: 2,
            psf: &psf,
            response: &response,
            usable: usable.view(),
        };
        let pair = Pair::new(&inputs).unwrap();
        // Three of four dimensions, so that the second plane holds one alone.
        let basis = Subspace::new(&pair, 3).basis;
        let frame = Frame::new([3, 3], 2, 4);
        let planes = minimised(&pair, &basis, frame, &mut |_, _| ()).unwrap();
        let all: usize = frame.high().iter().product();
        let u = DMatrix::from_fn(all, 3, |at, k| {
            let both = planes[k / 2].image[at];
            f64::from(if k % 2 == 0 { both.re } else { both.im })
        });
        assert!(planes[1].image.iter().all(|x| x.im.abs() < 1e-6));
        let least = objective(&pair, &basis, frame, &u);
        for number in 0..20 {
            let draw = |at: usize, k: usize| normals::<f64>(key(7), number, 0, at as u32, 0)[k];
            for size in [1e-3, 1e-2, 0.1] {
                let other = &u + DMatrix::from_fn(all, 3, |at, k| size * draw(at, k));
                let found = objective(&pair, &basis, frame, &other);
                assert!(found > least * (1.0 - 1e-5), "{size}: {found} {least}");
            }
        }
        let flat = DMatrix::from_fn(all, 3, |_, k| u.column(k).mean());
        assert!(objective(&pair, &basis, frame, &flat) > least);
    }
}
