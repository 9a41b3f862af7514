//! Some rows of both images, read while the rows before are worked on.

use std::ops::Range;

use ndarray::Array3;

use crate::cube::strips::Strips;
use crate::error::Result;
use crate::interrupt;

/// The two images that are compared.
pub(super) struct Images<'a> {
    pub(super) reference: &'a dyn Strips,
    pub(super) estimate: &'a dyn Strips,
    /// Whether pixels that are zero in every band of the reference count.
    pub(super) zeros_count: bool,
}

impl Images<'_> {
    /// Shows `work` all rows, `step` at a time and from top to bottom. It runs on the pool's threads while this one reads on.
    ///
    /// # Errors
    /// Those of the images and of `work`; [`Error::Interrupted`](crate::Error::Interrupted) after Ctrl-C.
    pub(super) fn for_each(
        &self,
        step: usize,
        mut work: impl FnMut(Pair) -> Result<()> + Send,
    ) -> Result<()> {
        let rows = self.reference.dim().0;
        let mut ranges = (0..rows)
            .step_by(step)
            .map(|first| first..(first + step).min(rows));
        let mut next = ranges.next().map(|rows| self.read(rows));
        while let Some(pair) = next {
            interrupt::check()?;
            let pair = pair?;
            let mut done = Ok(());
            next = rayon::in_place_scope(|scope| {
                scope.spawn(|_| done = work(pair));
                ranges.next().map(|rows| self.read(rows))
            });
            done?;
        }
        Ok(())
    }

    fn read(&self, rows: Range<usize>) -> Result<Pair> {
        let (_, columns, bands) = self.reference.dim();
        let mut counted = vec![true; rows.len() * columns];
        let mut samples = |image: &dyn Strips| -> Result<Vec<f32>> {
            let part = image.rows(rows.clone())?;
            if let Some(valid) = &part.valid {
                counted
                    .iter_mut()
                    .zip(valid)
                    .for_each(|(ok, &valid)| *ok &= valid);
            }
            Ok(in_order(part.samples))
        };
        let (reference, estimate) = (samples(self.reference)?, samples(self.estimate)?);
        if !self.zeros_count {
            for (ok, pixel) in counted.iter_mut().zip(reference.chunks_exact(bands.max(1))) {
                *ok &= pixel.iter().any(|&x| x != 0.0);
            }
        }
        Ok(Pair {
            rows,
            bands,
            columns,
            reference,
            estimate,
            counted,
        })
    }
}

/// The samples in the order of the axes, without a copy where they lie so.
fn in_order(samples: Array3<f32>) -> Vec<f32> {
    let count = samples.len();
    if !samples.is_standard_layout() {
        return samples.iter().copied().collect();
    }
    let (all, first) = samples.into_raw_vec_and_offset();
    if all.len() == count {
        return all;
    }
    let first = first.unwrap_or(0);
    all[first..first + count].to_vec()
}

/// Some rows of both images and which of their pixels count.
pub(super) struct Pair {
    /// The image's rows that these are.
    pub(super) rows: Range<usize>,
    pub(super) bands: usize,
    columns: usize,
    reference: Vec<f32>,
    estimate: Vec<f32>,
    /// `true` where a pixel enters the indices.
    counted: Vec<bool>,
}

/// A row of both images.
#[derive(Clone, Copy)]
pub(super) struct Row<'a> {
    pub(super) reference: &'a [f32],
    pub(super) estimate: &'a [f32],
    pub(super) counted: &'a [bool],
}

impl Pair {
    /// Pixels that count.
    pub(super) fn pixels(&self) -> usize {
        self.counted.iter().filter(|&&ok| ok).count()
    }

    /// The image's row `r`.
    pub(super) fn row(&self, r: usize) -> Row<'_> {
        let k = r - self.rows.start;
        let samples = k * self.columns * self.bands..(k + 1) * self.columns * self.bands;
        Row {
            reference: &self.reference[samples.clone()],
            estimate: &self.estimate[samples],
            counted: &self.counted[k * self.columns..(k + 1) * self.columns],
        }
    }
}
