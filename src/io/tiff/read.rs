//! Rows of an image out of its chunks.

use std::collections::HashMap;
use std::ops::Range;

use super::chunk::{ChunkReader, Compression};
use super::directory::{Outcome, Source};
use super::page::Page;
use crate::io::samples::{Float, decode, width};

/// Chunks that stay open between strips.
const KEPT: usize = 2048;
/// Bytes of decoded chunks that are kept between strips.
const HELD: usize = 256 << 20;

/// An open file, and its chunks that have been read in part.
pub(super) struct Reading {
    pub source: Source,
    /// By image and number within it.
    pub open: HashMap<(usize, u64), ChunkReader>,
}

/// Buffers that rows go through.
pub(super) struct Buffers<T> {
    pub row: Vec<u8>,
    pub scratch: Vec<u8>,
    pub samples: Vec<T>,
}

/// Rows that are read, and the image that they go into.
pub(super) struct Target<'a, T> {
    pub rows: Range<usize>,
    pub columns: usize,
    pub bands: usize,
    /// What stands where a chunk was never written.
    pub empty: T,
    pub out: &'a mut [T],
}

/// Which chunk, and where its first sample belongs.
struct ChunkPlace {
    /// Image, and chunk within it.
    number: (usize, u64),
    /// Row and column of chunks.
    row: usize,
    column: usize,
    band: usize,
}

/// Reads rows of one image of the file, whose first band is number `band` of the target.
pub(super) fn read_page<T: Float>(
    reading: &mut Reading,
    (number, page): (usize, &Page),
    band: usize,
    buffers: &mut Buffers<T>,
    to: &mut Target<T>,
) -> Outcome<()> {
    let (down, across) = page.chunks();
    let planes = page.bands / page.stride();
    for row in to.rows.start / page.chunk.0..to.rows.end.div_ceil(page.chunk.0) {
        for plane in 0..planes {
            for column in 0..across {
                let chunk = ((plane * down + row) * across + column) as u64;
                let place = ChunkPlace {
                    number: (number, chunk),
                    row,
                    column,
                    band: band + plane * page.stride(),
                };
                read_chunk(reading, page, &place, buffers, to)?;
            }
        }
    }
    Ok(())
}

/// Reads the part of a chunk that lies in the rows wanted.
fn read_chunk<T: Float>(
    reading: &mut Reading,
    page: &Page,
    place: &ChunkPlace,
    buffers: &mut Buffers<T>,
    to: &mut Target<T>,
) -> Outcome<()> {
    let (columns, bands) = (to.columns, to.bands);
    let top = place.row * page.chunk.0;
    let left = place.column * page.chunk.1;
    let stored = page.stored_rows(place.row);
    let wanted = to.rows.start.max(top)..to.rows.end.min(top + stored);
    let (stride, width) = (page.stride(), width(page.kind));
    let in_image = page.chunk.1.min(columns - left) * stride;
    // Held against the file's length when it was opened.
    let size = page.row_bytes().unwrap_or(0);
    let first = to.rows.start;
    let to_of_row = |r: usize| ((r - first) * columns + left) * bands + place.band;

    let open = reading.open.remove(&place.number);
    let mut reader = match open.filter(|reader| reader.rows <= wanted.start - top) {
        Some(reader) => reader,
        None => {
            let (at, length) = page.place(&mut reading.source, place.number.1)?;
            if length == 0 {
                for r in wanted {
                    let out = &mut to.out[to_of_row(r)..];
                    (0..in_image).for_each(|k| out[k / stride * bands + k % stride] = to.empty);
                }
                return Ok(());
            }
            match &page.whole {
                None => ChunkReader::new(page.compression, at, length),
                Some(codec) => {
                    let bytes = ChunkReader::compressed(&mut reading.source.file, at, length)?;
                    ChunkReader::held(codec.decode(&bytes, page.shape(place.row))?)
                }
            }
        }
    };
    let file = &mut reading.source.file;
    reader.skip(file, wanted.start - top, size, &mut buffers.scratch)?;
    buffers.row.resize(size, 0);
    for r in wanted.clone() {
        reader.row(file, &mut buffers.row)?;
        let order = page.predictor.undo(
            &mut buffers.row,
            &mut buffers.scratch,
            (width, stride),
            reading.source.order,
        );
        buffers.samples.clear();
        if page.packed {
            let bit = |k: usize| T::from_f64(f64::from(buffers.row[k / 8] >> (7 - k % 8) & 1));
            buffers.samples.extend((0..in_image).map(bit));
        } else {
            decode(
                page.kind,
                order,
                &buffers.row[..in_image * width],
                &mut buffers.samples,
            );
        }
        let out = &mut to.out[to_of_row(r)..];
        if stride == bands {
            out[..in_image].copy_from_slice(&buffers.samples);
        } else {
            for (pixel, samples) in buffers.samples.chunks_exact(stride).enumerate() {
                out[pixel * bands..pixel * bands + stride].copy_from_slice(samples);
            }
        }
    }
    let more = wanted.end < page.rows.min(top + stored);
    // Decoded chunks take their size; those beyond a bound are decoded once more.
    let kept = match page.whole {
        None => KEPT,
        Some(_) => HELD / (size * stored).max(1),
    };
    if more && page.compression != Compression::None && reading.open.len() < kept {
        reading.open.insert(place.number, reader);
    }
    Ok(())
}
