//! One image of a TIFF file that is being written, the whole one or an overview: rows are gathered until a row of strips or tiles
//! is whole, then cut into chunks, and those compressed.
//!
//! Memory: 64 MiB of rows (or a row), and as much of what is compressed at once. A row of tiles that is more lies in a file
//! without a name in the folder of the result.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::ZlibEncoder;
use ndarray::{ArrayView3, Axis, s};
use rayon::prelude::*;
use ruzstd::encoding::{CompressionLevel, compress_to_vec};

use super::chunk::Predictor;
use super::creation::{HELD, Packing, TiffOptions};
use super::page::{sample_format, tags};
use super::tag::Tag;
use crate::cube::SampleType;
use crate::cube::exact::Exact;
use crate::error::{Error, Result};
use crate::io::path::folder_of;
use crate::io::samples::{width, write_samples};

/// An image of the file.
pub(super) struct Level {
    path: PathBuf,
    dim: (usize, usize, usize),
    kind: SampleType,
    packing: Packing,
    predictor: Predictor,
    /// Rows and columns of a chunk.
    chunk: (usize, usize),
    tiled: bool,
    /// Rows of each band that wait for their chunks to be whole.
    held: Held,
    held_rows: usize,
    done_rows: usize,
    /// Of each band's chunks, from the upper left on.
    offsets: Vec<u64>,
    counts: Vec<u64>,
}

/// The rows of a row of chunks, one band behind the other.
enum Held {
    Memory(Vec<u8>),
    Disk(File),
}

impl Held {
    fn new(path: &Path, bytes: usize) -> Result<Self> {
        if bytes <= HELD {
            return Ok(Held::Memory(vec![0; bytes]));
        }
        let file = tempfile::tempfile_in(folder_of(path));
        file.map(Held::Disk)
            .map_err(|e| Error::failed(format!("{}: a temporary file: {e}", path.display())))
    }
}

impl Packing {
    /// The value of tag 259.
    fn code(self) -> u16 {
        match self {
            Packing::None => 1,
            Packing::Lzw => 5,
            Packing::Deflate(_) => 8,
            Packing::Zstd => 50000,
        }
    }

    fn pack(self, bytes: Vec<u8>) -> Vec<u8> {
        match self {
            Packing::None => bytes,
            Packing::Lzw => {
                let mut encoder = weezl::encode::Encoder::with_tiff_size_switch(weezl::BitOrder::Msb, 8);
                // Any bytes can be written in codes of eight bits and more.
                encoder.encode(&bytes).unwrap_or_default()
            }
            Packing::Deflate(level) => {
                let mut encoder = ZlibEncoder::new(Vec::new(), Compression::new(level));
                // Writing to a Vec cannot fail.
                let _ = encoder.write_all(&bytes);
                encoder.finish().unwrap_or_default()
            }
            Packing::Zstd => compress_to_vec(bytes.as_slice(), CompressionLevel::Fastest),
        }
    }
}

impl Level {
    /// An image of so many rows, columns and bands of the file that becomes `path`.
    ///
    /// # Errors
    /// [`Error::Input`] for options that do not suit the samples, [`Error::Failed`] where no temporary file can be made.
    pub(super) fn new(
        path: &Path,
        dim: (usize, usize, usize),
        kind: SampleType,
        options: &TiffOptions,
    ) -> Result<Self> {
        let (rows, columns, bands) = dim;
        let tile = options.tile();
        let chunk = tile.unwrap_or_else(|| (TiffOptions::strip(dim, kind, options), columns));
        let chunks = rows.div_ceil(chunk.0) * columns.div_ceil(chunk.1.max(1)) * bands;
        Ok(Level {
            path: path.to_owned(),
            dim,
            kind,
            packing: options.packing,
            predictor: options.predictor(path, kind)?,
            chunk,
            tiled: tile.is_some(),
            held: Held::new(path, chunk.0 * columns * width(kind) * bands)?,
            held_rows: 0,
            done_rows: 0,
            offsets: vec![0; chunks],
            counts: vec![0; chunks],
        })
    }

    /// Its rows.
    pub(super) fn rows(&self) -> usize {
        self.dim.0
    }

    /// Moves all chunks by so many bytes.
    pub(super) fn moved(&mut self, by: u64) {
        self.offsets.iter_mut().for_each(|at| *at += by);
    }

    /// Adds rows; `put` takes the bytes of a chunk and says where they lie.
    ///
    /// # Errors
    /// Those of `put`, and [`Error::Failed`] for a temporary file.
    pub(super) fn append<T: Copy + Into<Exact> + Sync>(
        &mut self,
        samples: ArrayView3<T>,
        put: &mut dyn FnMut(&[u8]) -> Result<u64>,
    ) -> Result<()> {
        let rows = samples.dim().0;
        let mut first = 0;
        while first < rows {
            let end = rows.min(first + self.chunk.0 - self.held_rows);
            self.hold(samples.slice(s![first..end, .., ..]))?;
            self.held_rows += end - first;
            first = end;
            if self.held_rows == self.chunk.0 || self.done_rows + self.held_rows == self.dim.0 {
                self.flush(put)?;
            }
        }
        Ok(())
    }

    fn failed(&self, error: &io::Error) -> Error {
        Error::failed(format!("{}: a temporary file: {error}", self.path.display()))
    }

    /// Bytes of a row of one band.
    fn row(&self) -> usize {
        self.dim.1 * width(self.kind)
    }

    fn hold<T: Copy + Into<Exact> + Sync>(&mut self, samples: ArrayView3<T>) -> Result<()> {
        let (kind, row) = (self.kind, self.row());
        let (of_band, begin) = (self.chunk.0 * row, self.held_rows * row);
        let planes = samples.axis_iter(Axis(2)).into_par_iter();
        let bytes = |plane: ndarray::ArrayView2<T>, mut to: &mut [u8]| {
            // There is room for all of it.
            let _ = write_samples(&mut to, kind, plane.iter().copied());
        };
        match &mut self.held {
            Held::Memory(held) => {
                held.par_chunks_mut(of_band.max(1))
                    .zip(planes)
                    .for_each(|(held, plane)| bytes(plane, &mut held[begin..]));
                Ok(())
            }
            Held::Disk(file) => {
                let count = samples.dim().0 * row;
                let mut all = vec![0; count * samples.dim().2];
                all.par_chunks_mut(count.max(1))
                    .zip(planes)
                    .for_each(|(to, plane)| bytes(plane, to));
                let written = all
                    .chunks(count.max(1))
                    .enumerate()
                    .try_for_each(|(band, bytes)| {
                        file.seek(SeekFrom::Start((band * of_band + begin) as u64))?;
                        file.write_all(bytes)
                    });
                written.map_err(|e| self.failed(&e))
            }
        }
    }

    /// Compresses and hands out the chunks of the rows that are held, of some bands at a time.
    fn flush(&mut self, put: &mut dyn FnMut(&[u8]) -> Result<u64>) -> Result<()> {
        let (rows, columns, bands) = self.dim;
        let of_band = self.chunk.0 * self.row();
        let across = columns.div_ceil(self.chunk.1.max(1));
        let down = rows.div_ceil(self.chunk.0);
        let at_once = (HELD / of_band.max(1)).clamp(1, bands.max(1));
        let mut slab = Vec::new();
        for first in (0..bands).step_by(at_once) {
            let count = at_once.min(bands - first);
            let (begin, length) = (first * of_band, count * of_band);
            if let Held::Disk(file) = &mut self.held {
                slab.clear();
                let read = file
                    .seek(SeekFrom::Start(begin as u64))
                    .and_then(|_| file.take(length as u64).read_to_end(&mut slab));
                read.map_err(|e| self.failed(&e))?;
                // Rows beyond the image's end were never written.
                slab.resize(length, 0);
            }
            let held = match &self.held {
                Held::Memory(held) => &held[begin..begin + length],
                Held::Disk(_) => &slab,
            };
            let packed: Vec<Vec<u8>> = (0..count * across)
                .into_par_iter()
                .map(|k| self.packed(&held[k / across * of_band..], k % across))
                .collect();
            for (k, bytes) in packed.iter().enumerate() {
                let (band, column) = (first + k / across, k % across);
                let chunk = (band * down + self.done_rows / self.chunk.0) * across + column;
                self.offsets[chunk] = put(bytes)?;
                self.counts[chunk] = bytes.len() as u64;
            }
        }
        self.done_rows += self.held_rows;
        self.held_rows = 0;
        Ok(())
    }

    /// The chunk at a column of chunks of a band's rows. A tile has its full size, beyond the image's end 0.
    fn packed(&self, band: &[u8], column: usize) -> Vec<u8> {
        let (row, width) = (self.row(), width(self.kind));
        let begin = column * self.chunk.1 * width;
        let end = row.min(begin + self.chunk.1 * width);
        let rows = if self.tiled { self.chunk.0 } else { self.held_rows };
        let mut bytes = vec![0; rows * self.chunk.1 * width];
        let mut scratch = Vec::new();
        let to = bytes.chunks_exact_mut((self.chunk.1 * width).max(1));
        for (r, to) in to.enumerate() {
            if r < self.held_rows {
                to[..end - begin].copy_from_slice(&band[r * row + begin..r * row + end]);
            }
            self.predictor.apply(to, &mut scratch, width);
        }
        self.packing.pack(bytes)
    }

    /// The tags that say how its samples lie, in a file of offsets of 64 bits or 32.
    pub(super) fn tags(&self, big: bool) -> Vec<Tag> {
        let (rows, columns, bands) = self.dim;
        let each = |value: u16| vec![value; bands];
        let mut list = vec![
            Tag::long(tags::COLUMNS, columns as u32),
            Tag::long(tags::ROWS, rows as u32),
            Tag::shorts(tags::BITS_PER_SAMPLE, &each(8 * width(self.kind) as u16)),
            Tag::shorts(tags::COMPRESSION, &[self.packing.code()]),
            // Black is zero.
            Tag::shorts(tags::PHOTOMETRIC, &[1]),
            Tag::shorts(tags::SAMPLES_PER_PIXEL, &[bands as u16]),
            Tag::shorts(tags::PLANAR_CONFIGURATION, &[2]),
            Tag::shorts(tags::PREDICTOR, &[self.predictor.code()]),
            Tag::shorts(tags::SAMPLE_FORMAT, &each(sample_format(self.kind))),
        ];
        let (offsets, counts) = if self.tiled {
            list.push(Tag::long(tags::TILE_WIDTH, self.chunk.1 as u32));
            list.push(Tag::long(tags::TILE_LENGTH, self.chunk.0 as u32));
            (tags::TILE_OFFSETS, tags::TILE_BYTE_COUNTS)
        } else {
            list.push(Tag::long(tags::ROWS_PER_STRIP, self.chunk.0 as u32));
            (tags::STRIP_OFFSETS, tags::STRIP_BYTE_COUNTS)
        };
        list.push(Tag::places(offsets, &self.offsets, big));
        list.push(Tag::places(counts, &self.counts, big));
        if bands > 1 {
            // Samples beyond the grey one, without a meaning of their own.
            list.push(Tag::shorts(tags::EXTRA_SAMPLES, &vec![0; bands - 1]));
        }
        list
    }
}
