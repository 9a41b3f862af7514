//! Rows of an image in a file of raw samples: `.npy` and ENVI's data files. The file is read by position and never as
//! a whole; whoever wants it whole asks for all rows.
//!
//! Memory: the rows asked for as `f32`, and two blocks of 1 MiB.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use ndarray::Array3;

use super::file::{State, read_error};
use super::samples::{BLOCK, ByteOrder, Float, decode, width};
use crate::cube::exact::Exact;
use crate::cube::strips::Strips;
use crate::cube::{Cube, Metadata, SampleType, filled};
use crate::error::Result;

/// How samples lie in the file.
#[derive(Debug, Clone)]
pub(crate) struct RawLayout {
    /// Rows, columns, bands.
    pub dim: [usize; 3],
    /// Which of these axes each axis of the file is, slowest first.
    pub axes: [usize; 3],
    /// Numeric type.
    pub kind: SampleType,
    /// Byte order.
    pub order: ByteOrder,
    /// Bytes before the first sample.
    pub offset: u64,
}

/// An image file that is read strip by strip.
pub(crate) struct StripFile {
    path: PathBuf,
    file: Mutex<File>,
    state: State,
    layout: RawLayout,
    metadata: Metadata,
    notes: Vec<String>,
}

impl StripFile {
    /// Over an open file whose length has been held against `layout`.
    ///
    /// # Errors
    /// [`Error::Input`] if the file cannot be looked at.
    pub(crate) fn new(path: &Path, file: File, layout: RawLayout, metadata: Metadata) -> Result<Self> {
        Ok(StripFile {
            state: State::of(path, &file)?,
            path: path.to_owned(),
            file: Mutex::new(file),
            layout,
            metadata,
            notes: Vec::new(),
        })
    }

    /// With notes for whoever reads the image.
    pub(crate) fn with_notes(mut self, notes: Vec<String>) -> Self {
        self.notes = notes;
        self
    }

    fn fill<T: Float>(&self, rows: &Range<usize>, out: &mut [T]) -> Result<()> {
        let RawLayout {
            dim,
            axes,
            kind,
            order,
            offset,
        } = self.layout;
        let strides = [dim[1] * dim[2], dim[2], 1];
        // Axes before the rows are gone through one by one; from the rows on the file is read in one piece.
        let at = axes.iter().position(|&a| a == 0).unwrap_or(0);
        let (outer, inner) = (&axes[..at], &axes[at + 1..]);
        let count = |axes: &[usize]| axes.iter().map(|&a| dim[a]).product::<usize>();
        let (pieces, row) = (count(outer), count(inner));
        if row == 0 || rows.is_empty() {
            return Ok(());
        }
        // Where the samples of a row go.
        let places: Vec<usize> = (0..row).map(|k| place(k, inner, &dim, &strides)).collect();
        let in_order = places.iter().enumerate().all(|(k, &p)| k == p);
        let at_once = (BLOCK / (row * width(kind))).max(1);
        let mut bytes = Vec::new();
        let mut samples: Vec<T> = Vec::new();
        let mut file = self.file.lock().unwrap_or_else(|e| e.into_inner());
        let fail = |e: std::io::Error| read_error(&self.path, &e);
        for piece in 0..pieces {
            let base = place(piece, outer, &dim, &strides);
            for first in rows.clone().step_by(at_once) {
                let here = first..(first + at_once).min(rows.end);
                let from = (piece * dim[0] + first) as u64 * (row * width(kind)) as u64;
                file.seek(SeekFrom::Start(offset + from)).map_err(fail)?;
                bytes.resize(here.len() * row * width(kind), 0);
                file.read_exact(&mut bytes).map_err(fail)?;
                samples.clear();
                decode(kind, order, &bytes, &mut samples);
                for (r, samples) in here.zip(samples.chunks_exact(row)) {
                    let to = &mut out[(r - rows.start) * strides[0] + base..];
                    if in_order {
                        to[..row].copy_from_slice(samples);
                    } else {
                        samples.iter().zip(&places).for_each(|(&x, &p)| to[p] = x);
                    }
                }
            }
        }
        self.state.check(&self.path, &file)
    }
}

/// Offset of the `k`-th place along some axes (slowest first).
fn place(mut k: usize, axes: &[usize], dim: &[usize; 3], strides: &[usize; 3]) -> usize {
    let mut offset = 0;
    for &axis in axes.iter().rev() {
        offset += k % dim[axis] * strides[axis];
        k /= dim[axis];
    }
    offset
}

impl Strips for StripFile {
    fn dim(&self) -> (usize, usize, usize) {
        self.layout.dim.into()
    }

    fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    fn sample_type(&self) -> SampleType {
        self.layout.kind
    }

    fn rows(&self, rows: Range<usize>) -> Result<Cube> {
        let [_, columns, bands] = self.layout.dim;
        let mut cube = Cube::new(filled((rows.len(), columns, bands), |out| self.fill(&rows, out))?);
        cube.sample_type = self.layout.kind;
        cube.metadata = self.metadata.clone();
        Ok(cube)
    }

    fn exact(&self, rows: Range<usize>) -> Result<Option<Array3<Exact>>> {
        if self.layout.kind.fits_single() {
            return Ok(None);
        }
        let [_, columns, bands] = self.layout.dim;
        let mut samples = Array3::from_elem((rows.len(), columns, bands), Exact::from(0.0));
        if let Some(out) = samples.as_slice_mut() {
            self.fill(&rows, out)?;
        }
        Ok(Some(samples))
    }

    fn notes(&self) -> &[String] {
        &self.notes
    }
}
