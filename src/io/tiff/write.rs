//! Writing GeoTIFF row by row: bands apart (as most programs want spectral images), in strips of about 64 KiB, deflate
//! behind a predictor. The directory stands at the end, because only then the lengths of the strips are known.
//!
//! Memory: the rows of one strip of all bands, twice (64 MiB each at most, or a row).

use std::io::{SeekFrom, Write};
use std::path::Path;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use ndarray::{ArrayView3, Axis, s};
use rayon::prelude::*;

use super::chunk::Predictor;
use super::page::{sample_format, tags};
use super::tag::{Tag, word};
use super::{gdal, geo};
use crate::cube::exact::Exact;
use crate::cube::{Metadata, SampleType};
use crate::error::{Error, Result};
use crate::io::file::{Partial, Prepared};
use crate::io::samples::{width, write_samples};

/// Bytes of a strip before compression.
const STRIP: usize = 1 << 16;
/// Bytes of the strips of all bands that are held.
const HELD: usize = 64 << 20;

/// A TIFF file that grows by rows.
pub(crate) struct TiffWriter {
    file: Partial,
    big: bool,
    dim: (usize, usize, usize),
    kind: SampleType,
    metadata: Metadata,
    predictor: Predictor,
    rows_per_strip: usize,
    /// Rows of each band that wait for their strip to be whole.
    held: Vec<Vec<u8>>,
    held_rows: usize,
    done_rows: usize,
    /// Where the next byte goes.
    at: u64,
    offsets: Vec<u64>,
    counts: Vec<u64>,
}

/// Checks that an image can be written as TIFF.
///
/// # Errors
/// [`Error::Input`] where it has more bands, rows or columns than the format counts.
pub(crate) fn check(path: &Path, (rows, columns, bands): (usize, usize, usize)) -> Result<()> {
    if bands > usize::from(u16::MAX) || rows.max(columns) > u32::MAX as usize {
        return Err(Error::input(format!(
            "{}: TIFF counts at most 65535 bands and 4294967295 rows and columns, not {rows} x {columns} x {bands}; write ENVI",
            path.display()
        )));
    }
    Ok(())
}

fn rows_per_strip((rows, columns, bands): (usize, usize, usize), kind: SampleType) -> usize {
    let row = (columns * width(kind)).max(1);
    (STRIP / row)
        .min(HELD / (row * bands.max(1)))
        .clamp(1, rows.max(1))
}

/// Whether a file could grow beyond what the offsets of a classic TIFF reach.
fn is_big(dim: (usize, usize, usize), kind: SampleType) -> bool {
    let samples = dim.0 as u64 * dim.1 as u64 * (dim.2 * width(kind)) as u64;
    let strips = (dim.0.div_ceil(rows_per_strip(dim, kind)) * dim.2) as u64;
    // Deflate adds at most a thousandth, a strip in the directory is sixteen bytes, and 16 MiB are more than everything
    // else that the directory holds.
    samples + samples / 1000 + 16 * strips + (1 << 24) > u64::from(u32::MAX)
}

impl TiffWriter {
    /// Begins a file.
    ///
    /// # Errors
    /// [`Error::Input`] if the folder cannot take it or the format cannot count so far.
    pub(crate) fn create(
        path: &Path,
        dim: (usize, usize, usize),
        kind: SampleType,
        metadata: &Metadata,
    ) -> Result<Self> {
        check(path, dim)?;
        TiffWriter::begin(path, dim, kind, metadata, is_big(dim, kind))
    }

    fn begin(
        path: &Path,
        dim: (usize, usize, usize),
        kind: SampleType,
        metadata: &Metadata,
        big: bool,
    ) -> Result<Self> {
        let rows_per_strip = rows_per_strip(dim, kind);
        let strips = dim.0.div_ceil(rows_per_strip) * dim.2;
        let mut file = Partial::create(path)?;
        let header: &[u8] = if big {
            b"II\x2b\0\x08\0\0\0\0\0\0\0\0\0\0\0"
        } else {
            b"II\x2a\0\0\0\0\0"
        };
        file.write(|sink| sink.write_all(header))?;
        Ok(TiffWriter {
            file,
            big,
            dim,
            kind,
            metadata: metadata.clone(),
            predictor: match kind {
                SampleType::F16 | SampleType::F32 | SampleType::F64 => Predictor::FloatingPoint,
                // Differences of 64 bits are younger than most readers.
                SampleType::U64 | SampleType::I64 => Predictor::None,
                _ => Predictor::Horizontal,
            },
            rows_per_strip,
            held: vec![Vec::new(); dim.2],
            held_rows: 0,
            done_rows: 0,
            at: header.len() as u64,
            offsets: vec![0; strips],
            counts: vec![0; strips],
        })
    }

    /// Adds rows.
    ///
    /// # Errors
    /// [`Error::Failed`] if writing fails.
    pub(crate) fn append<T: Copy + Into<Exact> + Sync>(&mut self, samples: ArrayView3<T>) -> Result<()> {
        let (rows, kind) = (samples.dim().0, self.kind);
        let mut first = 0;
        while first < rows {
            let end = rows.min(first + self.rows_per_strip - self.held_rows);
            let part = samples.slice(s![first..end, .., ..]);
            self.held
                .par_iter_mut()
                .zip(part.axis_iter(Axis(2)).into_par_iter())
                .for_each(|(held, plane)| {
                    // Writing to a Vec cannot fail.
                    let _ = write_samples(held, kind, plane.iter().copied());
                });
            self.held_rows += end - first;
            first = end;
            if self.held_rows == self.rows_per_strip || self.done_rows + self.held_rows == self.dim.0 {
                self.flush()?;
            }
        }
        Ok(())
    }

    /// Compresses and writes a strip of every band.
    fn flush(&mut self) -> Result<()> {
        let (rows, columns, _) = self.dim;
        let (width, predictor) = (width(self.kind), self.predictor);
        let strips: Vec<Vec<u8>> = self
            .held
            .par_iter_mut()
            .map(|held| {
                let mut scratch = Vec::new();
                for row in held.chunks_exact_mut((columns * width).max(1)) {
                    predictor.apply(row, &mut scratch, width);
                }
                let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
                // Writing to a Vec cannot fail.
                let _ = encoder.write_all(held);
                held.clear();
                encoder.finish().unwrap_or_default()
            })
            .collect();
        let (strip, of_band) = (
            self.done_rows / self.rows_per_strip,
            rows.div_ceil(self.rows_per_strip),
        );
        for (band, bytes) in strips.iter().enumerate() {
            self.offsets[band * of_band + strip] = self.at;
            self.counts[band * of_band + strip] = bytes.len() as u64;
            self.at += bytes.len() as u64;
            self.file.write(|sink| sink.write_all(bytes))?;
        }
        self.done_rows += self.held_rows;
        self.held_rows = 0;
        Ok(())
    }

    /// The tags of the image, in ascending order as the format demands.
    fn tags(&self) -> Vec<Tag> {
        let (rows, columns, bands) = self.dim;
        let each = |value: u16| vec![value; bands];
        let mut list = vec![
            Tag::long(tags::COLUMNS, columns as u32),
            Tag::long(tags::ROWS, rows as u32),
            Tag::shorts(tags::BITS_PER_SAMPLE, &each(8 * width(self.kind) as u16)),
            Tag::shorts(tags::COMPRESSION, &[8]),
            // Black is zero.
            Tag::shorts(tags::PHOTOMETRIC, &[1]),
            Tag::places(tags::STRIP_OFFSETS, &self.offsets, self.big),
            Tag::shorts(tags::SAMPLES_PER_PIXEL, &[bands as u16]),
            Tag::long(tags::ROWS_PER_STRIP, self.rows_per_strip as u32),
            Tag::places(tags::STRIP_BYTE_COUNTS, &self.counts, self.big),
            Tag::shorts(tags::PLANAR_CONFIGURATION, &[2]),
            Tag::shorts(tags::PREDICTOR, &[self.predictor.code()]),
            Tag::shorts(tags::SAMPLE_FORMAT, &each(sample_format(self.kind))),
        ];
        if bands > 1 {
            // Samples beyond the grey one, without a meaning of their own.
            list.push(Tag::shorts(tags::EXTRA_SAMPLES, &vec![0; bands - 1]));
        }
        if let Some(grid) = &self.metadata.grid {
            list.extend(geo::tags(grid));
        }
        if let Some(xml) = gdal::write(&self.metadata, bands) {
            list.push(Tag::text(gdal::XML, &xml));
        }
        if let Some(value) = self.metadata.nodata {
            list.push(Tag::text(gdal::NODATA, &value.to_string().to_lowercase()));
        }
        list.sort_by_key(|tag| tag.number);
        list
    }

    /// Writes the directory and brings everything to disk.
    ///
    /// # Errors
    /// [`Error::Failed`] if that fails.
    pub(crate) fn finish(mut self) -> Result<Prepared> {
        let (big, tags) = (self.big, self.tags());
        let inline = if big { 8 } else { 4 };
        let mut values = Vec::new();
        let mut entries = Vec::new();
        // Directories and values begin at even places.
        let start = self.at + self.at % 2;
        for tag in &tags {
            entries.extend(tag.number.to_le_bytes());
            entries.extend(tag.kind.to_le_bytes());
            entries.extend(word(tag.count, big));
            if tag.bytes.len() <= inline {
                entries.extend(&tag.bytes);
                entries.extend(vec![0; inline - tag.bytes.len()]);
            } else {
                entries.extend(word(start + values.len() as u64, big));
                values.extend(&tag.bytes);
                values.extend(vec![0; tag.bytes.len() % 2]);
            }
        }
        let directory = start + values.len() as u64;
        let count = if big {
            word(tags.len() as u64, true)
        } else {
            (tags.len() as u16).to_le_bytes().into()
        };
        self.file.write(|sink| {
            sink.write_all(&vec![0; (start - self.at) as usize])?;
            sink.write_all(&values)?;
            sink.write_all(&count)?;
            sink.write_all(&entries)?;
            sink.write_all(&word(0, big))?;
            sink.seek(SeekFrom::Start(if big { 8 } else { 4 }))?;
            sink.write_all(&word(directory, big))
        })?;
        self.file.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cube::strips::collect;
    use ndarray::Array3;

    #[test]
    fn a_file_is_big_where_offsets_of_32_bits_could_end() {
        assert!(!is_big((16_000, 16_000, 4), SampleType::F32));
        assert!(is_big((16_384, 16_384, 4), SampleType::F32));
        assert!(is_big((10_000, 10_000, 200), SampleType::U16));
    }

    #[test]
    fn a_big_file_reads_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("big.tif");
        let samples = Array3::from_shape_fn((30, 9, 3), |(r, c, b)| (r * 100 + c * 10 + b) as f32);
        let metadata = Metadata {
            nodata: Some(-1.0),
            ..Metadata::default()
        };
        let dim = samples.dim();
        let mut writer = TiffWriter::begin(&path, dim, SampleType::F32, &metadata, true).unwrap();
        writer.append(samples.slice(s![..7, .., ..])).unwrap();
        writer.append(samples.slice(s![7.., .., ..])).unwrap();
        writer.finish().unwrap().publish().unwrap();
        assert_eq!(std::fs::read(&path).unwrap()[..4], *b"II\x2b\0");
        let back = collect(&super::super::open_cube(&path).unwrap()).unwrap();
        assert_eq!((back.samples, back.metadata), (samples, metadata));
    }
}
