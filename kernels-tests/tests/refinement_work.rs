//! What the passes of refinement declare as their work, against a count of what their twins do.

use hsr_gpu::engine::Geometry;
use hsr_gpu::engine::cpu::bicubic_update::{self, bicubic_update};
use hsr_gpu::engine::cpu::consistency_residual::{self, consistency_residual};
use hsr_gpu::engine::cpu::dct_denoise::{self, block_work, dct_denoise, pixel_work};
use hsr_gpu::engine::cpu::guided_update::{self, guided_update};
use hsr_gpu::engine::refinement::{Guide, PlaneShape, RefinementGrid, Strip};
use hsr_gpu::real::Real;
use kernels_tests::counted::{Counted, Counter};

fn numbers(n: usize) -> Vec<Counted> {
    (0..n).map(|i| Counted::of((i % 7) as f64 * 0.1)).collect()
}

/// Bytes of slices, each once.
fn bytes<const N: usize>(slices: [&[Counted]; N]) -> u64 {
    slices.iter().map(|s| size_of_val(*s) as u64).sum()
}

#[test]
fn updates_declare_what_they_do() {
    let counter = Counter::alone();
    let grid = RefinementGrid {
        rows: 5,
        columns: 6,
        bands: 4,
        msi_bands: 3,
        geometry: Geometry { scale: 2, kernel: 5 },
        centroid: [0.0; 2],
    };
    let (lr, hr) = (30, 120);
    let strip = Strip::default();
    let (psf, low, mut high) = (numbers(25), numbers(lr * 4), numbers(hr * 4));

    let mut residual = low.clone();
    let did = counter.operations(|| consistency_residual(&grid, strip, &psf, &low, &high, &mut residual));
    let declared = consistency_residual::work::<Counted>(&grid, &(0..5), &(0..10));
    assert_eq!(declared.operations, did);
    assert_eq!(declared.bytes, bytes([&psf, &low, &high, &residual]));
    // Rows in two parts are the same work; a row of the LR grid sees five rows, some of them twice at the edge.
    let part = |rows| consistency_residual::work::<Counted>(&grid, &(0..5), &rows).operations;
    assert_eq!(part(0..3) + part(3..10), did);

    // Colour aside, no neighbour at these places is negligible.
    let guide = Guide {
        radius: 2.55,
        precision: 0.0,
    };
    let (lr_msi, hr_msi) = (numbers(lr * 3), numbers(hr * 3));
    let did = counter.operations(|| guided_update(&grid, strip, guide, &low, &lr_msi, &hr_msi, &mut high));
    let declared = guided_update::work::<Counted>(&grid, &(0..10), guide, 4);
    assert_eq!(declared.operations, did);
    assert_eq!(declared.bytes, bytes([&low, &lr_msi, &hr_msi, &high, &high]));

    let modulation = numbers(hr);
    let did = counter.operations(|| bicubic_update(&grid, strip, &low, &modulation, &mut high));
    let declared = bicubic_update::work::<Counted>(&grid, 10, 5);
    assert_eq!(declared.operations, did);
    assert_eq!(declared.bytes, bytes([&low, &modulation, &high, &high]));
}

#[test]
fn denoising_declares_what_it_does() {
    let counter = Counter::alone();
    let shape = PlaneShape {
        channels: 1,
        rows: 13,
        columns: 20,
    };
    let (noisy, mut out) = (numbers(260), numbers(260));
    let pilot = numbers(260);
    let did = counter.operations(|| dct_denoise(shape, 2, &noisy, Some(&pilot), &mut out));
    let blocks = 4 * 7;
    let declared = block_work::<Counted>(blocks, true) + pixel_work::<Counted>(blocks, 260);
    assert_eq!(dct_denoise::work::<Counted>(shape, 2, true), declared);
    // The twin sums strips by themselves and then adds both sums, which is two operations a pixel.
    assert_eq!(declared.operations + 2 * 260, did);
}
