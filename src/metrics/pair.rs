//! Rows of the two images that are compared, with the pixels that count.

use std::ops::Range;

use ndarray::{Array2, s};

use crate::cube::Cube;
use crate::cube::strips::Strips;
use crate::error::Result;

/// Some rows of both images and which of their pixels count.
pub(super) struct Pair {
    pub first: usize,
    pub reference: Cube,
    pub estimate: Cube,
    /// `true` where a pixel enters the indices.
    pub counted: Array2<bool>,
}

impl Pair {
    pub fn read(
        reference: &dyn Strips,
        estimate: &dyn Strips,
        rows: Range<usize>,
        zeros_count: bool,
    ) -> Result<Pair> {
        let first = rows.start;
        let (reference, estimate) = (reference.rows(rows.clone())?, estimate.rows(rows)?);
        let counted = Array2::from_shape_fn((reference.rows(), reference.columns()), |(r, c)| {
            reference.is_valid(r, c)
                && estimate.is_valid(r, c)
                && (zeros_count || reference.samples.slice(s![r, c, ..]).iter().any(|&x| x != 0.0))
        });
        Ok(Pair {
            first,
            reference,
            estimate,
            counted,
        })
    }
}
