//! The passes of refinement against their twins: cases of their own, because they know grids and no network.

use std::ops::Range;

use crate::engine::Geometry;
use crate::engine::cpu::CpuEngine;
use crate::engine::gpu::compare::cases::{gaussians, uniforms};
use crate::engine::gpu::compare::rows::{FORWARD, Row, Rows};
use crate::engine::gpu::engine::GpuEngine;
use crate::engine::refinement::{BICUBIC_REACH, Guide, PlaneShape, RefinementGrid, Refiner, Strip};
use crate::error::Result;

/// A small refinement with random images.
#[derive(Debug, Clone)]
pub struct RefinementCase {
    /// Name, for tables.
    pub name: &'static str,
    /// The grids.
    pub grid: RefinementGrid,
    /// The guide.
    pub guide: Guide,
    /// LR rows of a strip in the image's middle.
    pub strip: Range<usize>,
    /// Planes to denoise and distance of their blocks.
    pub planes: (PlaneShape, usize),
}

/// The table: one pixel, odd shapes, K = s, K < s and K > s, moved centroids, the widest guide and narrow ones, 1 to 70
/// bands, 1 to 9 MSI bands, every stride of blocks up to their side.
pub fn refinement_cases() -> Vec<RefinementCase> {
    let case = |name, (rows, columns), bands, msi_bands, (scale, kernel), centroid, radius, strip, stride| {
        let planes = PlaneShape {
            channels: 2,
            rows: 8 + 3 * rows,
            columns: 8 + 5 * columns,
        };
        RefinementCase {
            name,
            grid: RefinementGrid {
                rows,
                columns,
                bands,
                msi_bands,
                geometry: Geometry { scale, kernel },
                centroid,
            },
            guide: Guide {
                radius,
                precision: 3.0,
            },
            strip,
            planes: (planes, stride),
        }
    };
    vec![
        case("refinement, K = s", (5, 7), 31, 3, (4, 4), [0.0; 2], 2.5, 1..3, 2),
        case(
            "refinement, K > s",
            (9, 11),
            13,
            5,
            (3, 7),
            [0.8, -1.3],
            8.0,
            4..7,
            3,
        ),
        case(
            "refinement, K < s",
            (4, 3),
            7,
            1,
            (9, 5),
            [-2.5, 0.4],
            4.0,
            3..4,
            1,
        ),
        case(
            "refinement, s = 1, 70 bands",
            (13, 10),
            70,
            9,
            (1, 3),
            [0.1, 0.2],
            4.0,
            6..7,
            5,
        ),
        case(
            "refinement, s = 2, even K",
            (12, 12),
            33,
            4,
            (2, 6),
            [0.5, 0.5],
            8.0,
            0..6,
            8,
        ),
        case(
            "refinement, one pixel, one band",
            (1, 1),
            1,
            1,
            (1, 1),
            [0.0; 2],
            2.5,
            0..1,
            2,
        ),
    ]
}

/// Numbers in (−½, ½).
fn centred(n: usize, stream: u32) -> Vec<f32> {
    uniforms(n, stream).iter().map(|x| x - 0.5).collect()
}

/// An image on the LR or the HR grid, and its bands.
struct Image {
    samples: Vec<f32>,
    line: usize,
}

impl Image {
    fn rows(&self, rows: &Range<usize>) -> &[f32] {
        &self.samples[rows.start * self.line..rows.end * self.line]
    }
}

/// The kernels.
pub const KERNELS: [&str; 4] = [
    "consistency_residual",
    "guided_update",
    "bicubic_update",
    "dct_denoise",
];

/// Those that work on strips.
const UPDATES: [&str; 3] = [KERNELS[0], KERNELS[1], KERNELS[2]];

/// Runs one of [`UPDATES`] over the LR rows `lr`, or the HR rows of their blocks.
fn update(
    refiner: &dyn Refiner<f32>,
    case: &RefinementCase,
    kernel: &str,
    lr: &Range<usize>,
) -> Result<Vec<f32>> {
    let (grid, s) = (&case.grid, case.grid.geometry.scale);
    let image = |rows: usize, line: usize, stream: u32| Image {
        samples: centred(rows * line, stream),
        line,
    };
    let low = |bands: usize, stream| image(grid.rows, grid.columns * bands, stream);
    let high = |bands: usize, stream| image(grid.hr_rows(), grid.hr_columns() * bands, stream);
    let (lr_hsi, hr_hsi) = (low(grid.bands, 31), high(grid.bands, 32));
    let (lr_msi, hr_msi) = (low(grid.msi_bands, 33), high(grid.msi_bands, 34));
    let strip = |hr: &Range<usize>, lr: &Range<usize>| Strip {
        hr_row: hr.start,
        lr_row: lr.start,
    };
    let hr = lr.start * s..lr.end * s;
    let mut out = hr_hsi.rows(&hr).to_vec();
    match kernel {
        "consistency_residual" => {
            let seen = grid.hr_rows_of(lr);
            let psf = uniforms(grid.geometry.kernel.pow(2), 30);
            let total: f32 = psf.iter().sum();
            let psf: Vec<f32> = psf.iter().map(|x| x / total).collect();
            let (target, seen_rows) = (lr_hsi.rows(lr), hr_hsi.rows(&seen));
            out = vec![0.0; target.len()];
            refiner.consistency_residual(grid, strip(&seen, lr), &psf, target, seen_rows, &mut out)?;
        }
        "guided_update" => {
            let near = grid.lr_rows(&hr, Guide::MAX_RADIUS);
            let (weights, colours) = (lr_hsi.rows(&near), lr_msi.rows(&near));
            let strip = strip(&hr, &near);
            refiner.guided_update(
                grid,
                strip,
                case.guide,
                weights,
                colours,
                hr_msi.rows(&hr),
                &mut out,
            )?;
        }
        _ => {
            let near = grid.lr_rows(&hr, BICUBIC_REACH);
            let modulation = high(1, 37);
            let (strip, residual) = (strip(&hr, &near), lr_hsi.rows(&near));
            refiner.bicubic_update(grid, strip, residual, modulation.rows(&hr), &mut out)?;
        }
    }
    Ok(out)
}

/// Denoises noise of variance 1 on a slope, by thresholds and by the gains of a pilot.
fn denoised(refiner: &dyn Refiner<f32>, case: &RefinementCase, with_pilot: bool) -> Result<Vec<f32>> {
    let (shape, stride) = case.planes;
    let count = shape.channels * shape.rows * shape.columns;
    let slope = (0..count).map(|i| (i % shape.columns) as f32 * 0.2);
    let noisy: Vec<f32> = gaussians(count, 35)
        .iter()
        .zip(slope)
        .map(|(n, s)| n + s)
        .collect();
    let pilot = gaussians(count, 36);
    let mut out = vec![0.0; count];
    refiner.dct_denoise(shape, stride, &noisy, with_pilot.then_some(&pilot), &mut out)?;
    Ok(out)
}

/// What `kernel` makes of a case: of the whole image, or without and with a pilot.
///
/// # Errors
/// Where the device fails.
pub fn refined(refiner: &dyn Refiner<f32>, case: &RefinementCase, kernel: &str) -> Result<Vec<Vec<f32>>> {
    if UPDATES.contains(&kernel) {
        Ok(vec![update(refiner, case, kernel, &(0..case.grid.rows))?])
    } else {
        [false, true]
            .map(|pilot| denoised(refiner, case, pilot))
            .into_iter()
            .collect()
    }
}

/// Runs `kernel` on a case on the GPU and through its twin: the whole image, and a strip, which must be the same to the bit
/// as on the GPU's whole image.
///
/// # Errors
/// [`crate::Error::Failed`] where the device fails.
pub fn compare_refinement(engine: &GpuEngine, case: &RefinementCase, kernel: &str) -> Result<Vec<Row>> {
    let mut rows = Rows::of(case.name);
    let (grid, s) = (&case.grid, case.grid.geometry.scale);
    if let Some(kernel) = UPDATES.into_iter().find(|k| *k == kernel) {
        let whole = update(engine, case, kernel, &(0..grid.rows))?;
        let twin = update(&CpuEngine, case, kernel, &(0..grid.rows))?;
        rows.add(kernel, "whole image", FORWARD, &whole, &twin);
        let strip = update(engine, case, kernel, &case.strip)?;
        let line = grid.bands
            * match kernel {
                "consistency_residual" => grid.columns,
                _ => s * grid.hr_columns(),
            };
        let part = &whole[case.strip.start * line..case.strip.end * line];
        rows.add(kernel, "strip", 0.0, &strip, part);
    } else {
        for (with_pilot, tensor) in [(false, "by thresholds"), (true, "by a pilot's gains")] {
            let gpu = denoised(engine, case, with_pilot)?;
            let twin = denoised(&CpuEngine, case, with_pilot)?;
            rows.add("dct_denoise", tensor, FORWARD, &gpu, &twin);
        }
    }
    Ok(rows.done())
}
