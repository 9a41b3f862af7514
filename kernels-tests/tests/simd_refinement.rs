//! The vectorised guided update against its twin, at every instruction set that this machine can run.
//!
//! Proves that they agree over odd shapes, centroids and reaches, and that the bits of a row depend neither on the strip
//! it is in nor on the number of threads. Proves nothing of speed.

use hsr_gpu::engine::Geometry;
use hsr_gpu::engine::cpu::CpuEngine;
use hsr_gpu::engine::refinement::{Guide, RefinementGrid, Refiner, Strip};
use hsr_gpu::engine::simd::SimdEngine;
use hsr_gpu::random::{key, philox, uniform};
use kernels_tests::nmse;

struct Case {
    grid: RefinementGrid,
    guide: Guide,
    weights: Vec<f32>,
    lr_msi: Vec<f32>,
    hr_msi: Vec<f32>,
    hr_hsi: Vec<f32>,
}

fn case(
    (rows, columns): (usize, usize),
    (bands, msi_bands): (usize, usize),
    scale: usize,
    centroid: [f64; 2],
    radius: f64,
    precision: f64,
) -> Case {
    let grid = RefinementGrid {
        rows,
        columns,
        bands,
        msi_bands,
        geometry: Geometry { scale, kernel: scale },
        centroid,
    };
    let draw = |n: usize, stream: u32| -> Vec<f32> {
        (0..n as u32)
            .map(|i| uniform::<f32>(philox(key(5), [i, stream, 7, 0])[0]) - 0.5)
            .collect()
    };
    let (lr, hr) = (rows * columns, rows * columns * scale * scale);
    Case {
        grid,
        guide: Guide { radius, precision },
        weights: draw(lr * bands, 1),
        lr_msi: draw(lr * msi_bands, 2),
        hr_msi: draw(hr * msi_bands, 3),
        hr_hsi: draw(hr * bands, 4),
    }
}

/// One pixel, edges on all sides of every pixel, images wider than any vector, lanes that do not divide the bands, centroids
/// in other LR pixels, and a guide that colour does not touch.
fn cases() -> Vec<Case> {
    vec![
        case((1, 1), (1, 1), 1, [0.0; 2], 2.5, 1.0),
        case((5, 7), (31, 3), 4, [0.3, -0.6], 8.0, 2.0),
        case((20, 37), (13, 2), 3, [-4.0, 5.0], 8.0, 0.0),
        case((9, 19), (70, 9), 2, [0.5, 0.5], 4.0, 5.0),
        case((6, 18), (17, 4), 5, [7.0, -8.0], 2.5, 30.0),
        case((4, 3), (64, 1), 7, [0.0; 2], 3.3, 1.0),
    ]
}

/// The HR rows `rows` of the update, from what a strip of them holds.
fn update(refiner: &dyn Refiner<f32>, case: &Case, rows: std::ops::Range<usize>) -> Vec<f32> {
    let (grid, columns) = (&case.grid, case.grid.hr_columns());
    let (bands, b) = (grid.bands, grid.msi_bands);
    let near = grid.lr_rows(&rows, Guide::MAX_RADIUS);
    let strip = Strip {
        hr_row: rows.start,
        lr_row: near.start,
    };
    let mut out = case.hr_hsi[rows.start * columns * bands..rows.end * columns * bands].to_vec();
    refiner
        .guided_update(
            grid,
            strip,
            case.guide,
            &case.weights[near.start * grid.columns * bands..near.end * grid.columns * bands],
            &case.lr_msi[near.start * grid.columns * b..near.end * grid.columns * b],
            &case.hr_msi[rows.start * columns * b..rows.end * columns * b],
            &mut out,
        )
        .unwrap();
    out
}

// Single precision over at most 256 neighbours, and κ to two units in the last place.
#[test]
fn guided_update_is_its_twin() {
    let wide = |x: &[f32]| x.iter().map(|&x| f64::from(x)).collect::<Vec<_>>();
    for engine in SimdEngine::every_level() {
        for case in cases() {
            let rows = 0..case.grid.hr_rows();
            let twin = update(&CpuEngine, &case, rows.clone());
            // What is added, not what was there.
            let added = |x: &[f32]| -> Vec<f64> {
                wide(x)
                    .iter()
                    .zip(wide(&case.hr_hsi))
                    .map(|(x, z)| x - z)
                    .collect()
            };
            let e = nmse(&added(&update(&engine, &case, rows)), &added(&twin));
            assert!(e < 1e-11, "{}: {:?}: NMSE {e:.1e}", engine.level(), case.grid);
        }
    }
}

#[test]
fn bits_depend_on_neither_strips_nor_threads() {
    let alone = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let many = rayon::ThreadPoolBuilder::new().num_threads(5).build().unwrap();
    for engine in SimdEngine::every_level() {
        for case in cases() {
            let height = case.grid.hr_rows();
            let line = case.grid.hr_columns() * case.grid.bands;
            let whole = many.install(|| update(&engine, &case, 0..height));
            for rows in [0..height, 0..1, height / 2..height, height / 3..height / 2 + 1] {
                let part = alone.install(|| update(&engine, &case, rows.clone()));
                assert_eq!(part, whole[rows.start * line..rows.end * line], "{rows:?}");
            }
        }
    }
}
