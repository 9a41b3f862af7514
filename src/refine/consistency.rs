//! The update of the reconstruction toward X: Z ← Z + up(G (X − (Z∗C)↓)).
//!
//! The network's mean is the prior; the residual of the LR pixels, weighed by its Wiener gain, is the target. It is
//! spread once by [`spread`](crate::refine::spread), then what the spread has missed is interpolated and added a few
//! times (iterative back-projection), so that on clean data (Z∗C)↓ = X. There is no such step toward Y: the network
//! has seen Y at every pixel, and a projection on Y = Z·R gained at most 0.1 dB and lost up to 0.5 dB on the CAVE,
//! AVIRIS and EnMAP scenes, with the estimated response and with the true one.

use ndarray::{Array2, Array3, ArrayView2, ArrayView3, Axis};

use crate::engine::Geometry;
use crate::engine::refinement::{RefinementGrid, Refiner};
use crate::error::Result;
use crate::refine::gains::WienerGain;
use crate::refine::noise::hsi_noise;
use crate::refine::spread::{Lattice, choose, weights};
use crate::refine::{RefinementReport, decibels};
use crate::sensor::psf::window_start;

/// Interpolated corrections after the spread.
const BACK_PROJECTIONS: usize = 2;
/// A band is taken for one that cannot be negative unless X goes below 0 by more than this many σ.
const NEGATIVE: f64 = 4.0;

/// What was observed, as the network was trained on it.
#[derive(Debug, Clone, Copy)]
pub struct Observed<'a> {
    /// X, h×w×B.
    pub lr_hsi: ArrayView3<'a, f32>,
    /// Y, H×W×b.
    pub hr_msi: ArrayView3<'a, f32>,
    /// LR pixels whose window holds no masked pixel, h×w.
    pub usable: ArrayView2<'a, bool>,
    /// C, K×K.
    pub psf: &'a Array2<f64>,
    /// Scale and K.
    pub geometry: Geometry,
}

impl Observed<'_> {
    fn grid(&self) -> RefinementGrid {
        let (rows, columns, bands) = self.lr_hsi.dim();
        let Geometry { scale, kernel } = self.geometry;
        let mut centroid = [0.0; 2];
        for ((i, j), &weight) in self.psf.indexed_iter() {
            centroid[0] += weight * (i as f64 + 0.5);
            centroid[1] += weight * (j as f64 + 0.5);
        }
        let from_centre = window_start(scale, kernel) as f64 - scale as f64 / 2.0;
        RefinementGrid {
            rows,
            columns,
            bands,
            msi_bands: self.hr_msi.dim().2,
            geometry: self.geometry,
            centroid: centroid.map(|at| at + from_centre),
        }
    }
}

/// Refines `hr_hsi` (H×W×B) in place and notes in `report` what was done.
///
/// Where the noise of X cannot be told, or no direction of the residual stands above it, nothing is changed.
///
/// # Errors
/// [`crate::Error::Failed`] where the device fails.
pub fn refine(
    refiner: &dyn Refiner<f32>,
    observed: &Observed,
    hr_hsi: &mut Array3<f32>,
    report: &mut RefinementReport,
) -> Result<()> {
    let grid = observed.grid();
    let (pixels, bands) = (grid.rows * grid.columns, grid.bands);
    let Some(sigma) = hsi_noise(observed.lr_hsi, observed.usable) else {
        return Ok(());
    };
    let usable: Vec<bool> = observed.usable.iter().copied().collect();
    let psf: Vec<f32> = observed.psf.iter().map(|&x| x as f32).collect();
    let lr_hsi: Vec<f32> = observed.lr_hsi.iter().copied().collect();
    let hr_msi = observed.hr_msi.as_standard_layout();
    let hr_msi = hr_msi.as_slice().unwrap_or_default();
    let Some(samples) = hr_hsi.as_slice_mut() else {
        return Err(crate::Error::failed(
            "refinement takes images in standard layout only",
        ));
    };
    let mut residual = vec![0.0f32; pixels * bands];
    let difference = |target: &[f32], samples: &[f32], residual: &mut [f32]| -> Result<()> {
        refiner.consistency_residual(&grid, &psf, target, samples, residual)?;
        for (part, _) in residual
            .chunks_exact_mut(bands)
            .zip(&usable)
            .filter(|(_, ok)| !**ok)
        {
            part.fill(0.0);
        }
        Ok(())
    };
    difference(&lr_hsi, samples, &mut residual)?;
    let wide: Vec<f64> = residual.iter().map(|&x| f64::from(x)).collect();
    let inside: Vec<f64> = wide
        .chunks_exact(bands)
        .zip(&usable)
        .filter(|(_, ok)| **ok)
        .flat_map(|(part, _)| part.iter().copied())
        .collect();
    let gain = WienerGain::new(&inside, &sigma);
    let signal = gain.apply(&wide);
    let (power, kept) = (square(&wide), square(&signal));
    let count = inside.len().max(1) as f64;
    report.residual = ((power / count).sqrt(), (power / count).sqrt());
    report.hsi_snr_db = decibels(
        mean_square(&lr_hsi, &usable, bands),
        square(&sigma) / bands as f64,
    );
    if kept > 0.0 {
        report.signal_share = kept / power;
        report.directions = gain.directions();
        let target: Vec<f32> = (0..pixels * bands)
            .map(|i| (f64::from(lr_hsi[i]) - wide[i] + signal[i]) as f32)
            .collect();
        let lr_msi = blurred(refiner, &grid, &psf, hr_msi)?;
        let lattice = Lattice {
            rows: grid.rows,
            columns: grid.columns,
            colours: &lr_msi,
            colour_variance: variance(observed.hr_msi),
            usable: &usable,
        };
        if let Some((guide, _)) = choose(&lattice, &signal) {
            let alpha: Vec<f32> = weights(&lattice, guide, &signal)
                .iter()
                .map(|&a| a as f32)
                .collect();
            refiner.guided_update(&grid, guide, &alpha, &lr_msi, hr_msi, samples)?;
            report.reach = Some(guide.radius);
        }
        for _ in 0..BACK_PROJECTIONS {
            difference(&target, samples, &mut residual)?;
            refiner.bicubic_update(&grid, &residual, samples)?;
        }
        difference(&lr_hsi, samples, &mut residual)?;
        let after: f64 = residual.iter().map(|&x| f64::from(x).powi(2)).sum();
        report.residual.1 = (after / count).sqrt();
    }
    not_negative(observed, &sigma, hr_hsi);
    Ok(())
}

/// (Y∗C)↓, h×w×b.
fn blurred(
    refiner: &dyn Refiner<f32>,
    grid: &RefinementGrid,
    psf: &[f32],
    hr_msi: &[f32],
) -> Result<Vec<f32>> {
    let b = grid.msi_bands;
    let grid = RefinementGrid { bands: b, ..*grid };
    let zero = vec![0.0; grid.rows * grid.columns * b];
    let mut out = zero.clone();
    refiner.consistency_residual(&grid, psf, &zero, hr_msi, &mut out)?;
    out.iter_mut().for_each(|x| *x = -*x);
    Ok(out)
}

/// Sets negative samples to 0 in the bands where X has none beyond its noise.
fn not_negative(observed: &Observed, sigma: &[f64], hr_hsi: &mut Array3<f32>) {
    let floor: Vec<f32> = observed
        .lr_hsi
        .axis_iter(Axis(2))
        .zip(sigma)
        .map(|(band, &sigma)| {
            let least = band.iter().copied().fold(f32::INFINITY, f32::min);
            if f64::from(least) < -NEGATIVE * sigma {
                f32::NEG_INFINITY
            } else {
                0.0
            }
        })
        .collect();
    ndarray::Zip::from(hr_hsi.rows_mut()).par_for_each(|mut pixel| {
        for (z, &floor) in pixel.iter_mut().zip(&floor) {
            *z = z.max(floor);
        }
    });
}

fn square(values: &[f64]) -> f64 {
    values.iter().map(|x| x * x).sum()
}

fn mean_square(samples: &[f32], usable: &[bool], bands: usize) -> f64 {
    let (mut sum, mut count) = (0.0, 0usize);
    for (pixel, _) in samples.chunks_exact(bands).zip(usable).filter(|(_, ok)| **ok) {
        sum += pixel.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>();
        count += bands;
    }
    sum / count.max(1) as f64
}

/// Mean over the bands of their variance.
fn variance(image: ArrayView3<f32>) -> f64 {
    let bands = image.dim().2;
    let mut sum = 0.0;
    for band in image.axis_iter(Axis(2)) {
        let n = band.len() as f64;
        let (first, second) = band.iter().fold((0.0, 0.0), |(a, b), &x| {
            let x = f64::from(x);
            (a + x, b + x * x)
        });
        sum += (second / n - (first / n).powi(2)).max(0.0);
    }
    sum / bands as f64
}
