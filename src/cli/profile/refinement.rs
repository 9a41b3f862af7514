//! The passes of refinement on a made-up image: each as often as `fuse` takes it.

use super::prepared::Prepared;
use crate::engine::refinement::{DCT_SIDE, Guide, PlaneShape, RefinementGrid, Strip};
use crate::engine::{Engine, Geometry, workload};
use crate::error::{Error, Result};
use crate::interrupt;

/// Colours of the made-up MSI differ by about 0.4 a band. With this width nearly no neighbour is negligible: the most work
/// that there is.
const PRECISION: f64 = 0.5;
/// A block at every second row and column, as denoising has them.
const STRIDE: usize = 2;

/// Refuses images that hold no block, or no LR pixel.
///
/// # Errors
/// [`Error::Input`] naming the least side.
pub(super) fn check(side: usize, scale: usize) -> Result<()> {
    let least = DCT_SIDE.next_multiple_of(scale);
    if side < least {
        return Err(Error::input(format!(
            "--side {side}: refinement at x{scale} needs at least {least} pixels; take a larger image or other stages \
             (--stage)"
        )));
    }
    Ok(())
}

/// Denoising of every MSI band (both its passes), the residual, the guided update, the residual again and the interpolated
/// update.
pub(super) fn passes(
    engine: &dyn Engine<f32>,
    side: usize,
    scale: usize,
    bands: usize,
    msi_bands: usize,
) -> Result<Prepared<'_>> {
    let lr = side / scale;
    let hr = lr * scale;
    let grid = RefinementGrid {
        rows: lr,
        columns: lr,
        bands,
        msi_bands,
        geometry: Geometry { scale, kernel: scale },
        centroid: [0.0; 2],
    };
    let guide = Guide {
        radius: Guide::MAX_RADIUS,
        precision: PRECISION,
    };
    let shape = PlaneShape {
        channels: msi_bands,
        rows: hr,
        columns: hr,
    };
    let psf = vec![1.0 / (scale * scale) as f32; scale * scale];
    let target = workload::samples(lr * lr * bands, 4);
    let lr_msi = workload::samples(lr * lr * msi_bands, 5);
    let hr_msi = workload::samples(hr * hr * msi_bands, 6);
    let mut hr_hsi = workload::samples(hr * hr * bands, 7);
    let (mut pilot, mut clean) = (vec![0.0; hr_msi.len()], vec![0.0; hr_msi.len()]);
    let mut residual = vec![0.0; target.len()];
    let modulation = vec![1.0; hr * hr];
    let refiner = engine.refiner();
    Ok(Prepared {
        runs: 1,
        lr_pixels: Some(lr * lr),
        hr_pixels: Some(hr * hr),
        run: Box::new(move || {
            let strip = Strip::default();
            refiner.dct_denoise(shape, STRIDE, &hr_msi, None, &mut pilot)?;
            refiner.dct_denoise(shape, STRIDE, &hr_msi, Some(&pilot), &mut clean)?;
            interrupt::check()?;
            refiner.consistency_residual(&grid, strip, &psf, &target, &hr_hsi, &mut residual)?;
            refiner.guided_update(&grid, strip, guide, &residual, &lr_msi, &clean, &mut hr_hsi)?;
            interrupt::check()?;
            refiner.consistency_residual(&grid, strip, &psf, &target, &hr_hsi, &mut residual)?;
            refiner.bicubic_update(&grid, strip, &residual, &modulation, &mut hr_hsi)
        }),
    })
}
