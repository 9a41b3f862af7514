//! Values that programs read by name: sizes, pairs and ranges, as JSON has them.

use std::ops::Range;

use serde::{Serialize, Serializer};

/// Rows, columns and bands of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Size {
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub columns: usize,
    /// Bands.
    pub bands: usize,
}

impl From<(usize, usize, usize)> for Size {
    fn from((rows, columns, bands): (usize, usize, usize)) -> Self {
        Size { rows, columns, bands }
    }
}

/// Serializes rows, columns and bands by their names.
pub(crate) fn size<S: Serializer>(
    dim: &(usize, usize, usize),
    to: S,
) -> std::result::Result<S::Ok, S::Error> {
    Size::from(*dim).serialize(to)
}

/// What there is down the rows and across the columns.
#[derive(Serialize)]
struct DownAcross<T> {
    down: T,
    across: T,
}

/// Serializes a pair as `down` and `across`.
pub(crate) fn down_across<T: Serialize + Copy, S: Serializer>(
    &[down, across]: &[T; 2],
    to: S,
) -> std::result::Result<S::Ok, S::Error> {
    DownAcross { down, across }.serialize(to)
}

/// The same of a pair that may be missing.
pub(crate) fn down_across_if<T: Serialize + Copy, S: Serializer>(
    pair: &Option<[T; 2]>,
    to: S,
) -> std::result::Result<S::Ok, S::Error> {
    pair.map(|[down, across]| DownAcross { down, across })
        .serialize(to)
}

/// A number before something was done and after it.
#[derive(Serialize)]
struct BeforeAfter {
    before: f64,
    after: f64,
}

/// Serializes a pair as `before` and `after`.
pub(crate) fn before_after<S: Serializer>(
    &(before, after): &(f64, f64),
    to: S,
) -> std::result::Result<S::Ok, S::Error> {
    BeforeAfter { before, after }.serialize(to)
}

/// The same of an array.
pub(crate) fn before_after_of<S: Serializer>(
    &[before, after]: &[f64; 2],
    to: S,
) -> std::result::Result<S::Ok, S::Error> {
    BeforeAfter { before, after }.serialize(to)
}

/// A part of an image.
#[derive(Serialize)]
struct Rectangle<'a> {
    /// From `start` up to but without `end`.
    rows: &'a Range<usize>,
    columns: &'a Range<usize>,
}

/// Serializes rows and columns by their names.
pub(crate) fn part<S: Serializer>(
    (rows, columns): &(Range<usize>, Range<usize>),
    to: S,
) -> std::result::Result<S::Ok, S::Error> {
    Rectangle { rows, columns }.serialize(to)
}

/// An output of the network.
#[derive(Serialize)]
struct Output {
    member: usize,
    band: usize,
}

/// Serializes outputs of the network by their members and bands.
pub(crate) fn outputs<S: Serializer>(all: &[(usize, usize)], to: S) -> std::result::Result<S::Ok, S::Error> {
    to.collect_seq(all.iter().map(|&(member, band)| Output { member, band }))
}
