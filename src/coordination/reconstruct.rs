//! The network run over an image, strip by strip.

use std::ops::Range;

use ndarray::{Array3, ArrayView3, ArrayViewMut3, s};

use crate::coordination::model::Model;
use crate::cube::filled;
use crate::cube::strips::strip_rows;
use crate::engine::{Engine, Output};
use crate::error::{Error, Result};
use crate::interrupt;

/// Runs the network over an HR-MSI (rows × columns × b, scaled as the training data) tile by tile.
///
/// `progress` is told rows done and rows in all.
///
/// # Errors
/// [`Error::Interrupted`] after Ctrl-C, [`Error::Failed`] where the device fails.
pub fn reconstruct(
    engine: &dyn Engine<f32>,
    model: &Model,
    hr_msi: ArrayView3<f32>,
    output: Output,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Array3<f32>> {
    let (rows, columns, _) = hr_msi.dim();
    let bands = model.architecture.bands;
    let (tile, line) = (strip_rows(columns, bands), columns * bands);
    filled((rows, columns, bands), |out| {
        for first in (0..rows).step_by(tile) {
            let range = first..(first + tile).min(rows);
            let part = &mut out[first * line..range.end * line];
            reconstruct_rows(engine, model, hr_msi, range.clone(), output, part)?;
            progress(range.end, rows);
        }
        Ok(())
    })
}

/// [`reconstruct`] of some rows of an HR-MSI, into room for them.
///
/// # Errors
/// As [`reconstruct`].
pub fn reconstruct_rows(
    engine: &dyn Engine<f32>,
    model: &Model,
    hr_msi: ArrayView3<f32>,
    rows: Range<usize>,
    output: Output,
    out: &mut [f32],
) -> Result<()> {
    interrupt::check()?;
    let columns = hr_msi.dim().1;
    let shape = (rows.len(), columns, model.architecture.bands);
    let out = ArrayViewMut3::from_shape(shape, out)
        .map_err(|e| Error::failed(format!("room for {} rows of a result: {e}", rows.len())))?;
    engine.reconstruct(
        &model.architecture,
        &model.state,
        hr_msi.slice(s![rows.clone(), .., ..]),
        (rows.start * columns) as u32,
        output,
        out,
    )
}
