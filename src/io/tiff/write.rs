//! Writing GeoTIFF row by row: bands apart (as most programs want spectral images), in strips of about 64 KiB, deflate
//! behind a predictor, or as the options ask. The directory stands at the end, because only then the lengths of the strips are
//! known. In a cloud-optimised file it stands in front: there the chunks wait in files without a name, one for every
//! overview, until all are known.
//!
//! Memory: that of the images of the file (`level`), 64 MiB or a row of all bands each.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use ndarray::ArrayView3;

use super::creation::TiffOptions;
use super::level::Level;
use super::overview::Halver;
use super::page::tags;
use super::tag::{Tag, word};
use super::{gdal, geo};
use crate::cube::exact::Exact;
use crate::cube::{Metadata, SampleType};
use crate::error::{Error, Result};
use crate::io::file::{Partial, Prepared};
use crate::io::path::folder_of;
use crate::io::samples::width;

/// A TIFF file that grows by rows.
pub(crate) struct TiffWriter {
    path: PathBuf,
    file: Partial,
    big: bool,
    metadata: Metadata,
    bands: usize,
    /// The whole image and its overviews.
    levels: Vec<Level>,
    /// What makes of the rows of each those of the next.
    halvers: Vec<Halver>,
    /// Where the chunks of each wait, in a cloud-optimised file.
    waiting: Vec<File>,
    /// Where the next byte goes: in the file, or in each of those.
    at: Vec<u64>,
}

/// Checks that an image can be written as TIFF so.
///
/// # Errors
/// [`Error::Input`] where it has more bands, rows or columns than the format counts, or options do not suit it.
pub(crate) fn check(
    path: &Path,
    dim: (usize, usize, usize),
    kind: SampleType,
    options: &TiffOptions,
) -> Result<()> {
    let (rows, columns, bands) = dim;
    if bands > usize::from(u16::MAX) || rows.max(columns) > u32::MAX as usize {
        return Err(Error::input(format!(
            "{}: TIFF counts at most 65535 bands and 4294967295 rows and columns, not {rows} x {columns} x {bands}; write ENVI",
            path.display()
        )));
    }
    options.predictor(path, kind)?;
    options.is_big(path, most_bytes(dim, kind, options)).map(drop)
}

/// The most bytes that a file may have.
fn most_bytes(dim: (usize, usize, usize), kind: SampleType, options: &TiffOptions) -> u64 {
    let (rows, columns, bands) = dim;
    let (high, wide) = options
        .tile()
        .unwrap_or_else(|| (TiffOptions::strip(dim, kind, options), columns.max(1)));
    let (down, across) = (rows.div_ceil(high) as u64, columns.div_ceil(wide) as u64);
    let chunks = down * across * bands as u64;
    let stored = match options.tile() {
        Some(_) => chunks * (high * wide * width(kind)) as u64,
        None => rows as u64 * columns as u64 * (bands * width(kind)) as u64,
    };
    // All overviews together are at most as much again: of an image of one row each is half as long.
    let images = if options.is_cog() { 2 } else { 1 };
    // Codes of LZW take up to twelve bits a byte where nothing repeats; the others add at most a thousandth. A chunk in the directory is
    // sixteen bytes, and 16 MiB are more than everything else that the directory holds.
    let packed = match options.packing {
        super::creation::Packing::Lzw => stored + stored / 2,
        _ => stored + stored / 1000,
    };
    (packed + 32 * chunks) * images + (1 << 24)
}

/// The whole image and its overviews, each half as wide and high, down to one that lies in a tile.
fn levels(
    path: &Path,
    dim: (usize, usize, usize),
    kind: SampleType,
    options: &TiffOptions,
) -> Result<Vec<Level>> {
    let mut levels = Vec::new();
    let mut next = dim;
    let side = options.tile().map_or(usize::MAX, |(rows, _)| rows);
    loop {
        levels.push(Level::new(path, next, kind, options)?);
        if !options.is_cog() || next.0.max(next.1) <= side {
            return Ok(levels);
        }
        next = (next.0.div_ceil(2), next.1.div_ceil(2), dim.2);
    }
}

impl TiffWriter {
    /// Begins a file.
    ///
    /// # Errors
    /// [`Error::Input`] if the folder cannot take it, the format cannot count so far, or the options do not suit the image.
    pub(crate) fn create(
        path: &Path,
        dim: (usize, usize, usize),
        kind: SampleType,
        metadata: &Metadata,
        options: &TiffOptions,
    ) -> Result<Self> {
        check(path, dim, kind, options)?;
        let big = options.is_big(path, most_bytes(dim, kind, options))?;
        let levels = levels(path, dim, kind, options)?;
        let mut file = Partial::create(path)?;
        let header: &[u8] = if big {
            b"II\x2b\0\x08\0\0\0\0\0\0\0\0\0\0\0"
        } else {
            b"II\x2a\0\0\0\0\0"
        };
        file.write(|sink| sink.write_all(header))?;
        let mut waiting = Vec::new();
        if options.is_cog() {
            for _ in &levels {
                waiting.push(tempfile::tempfile_in(folder_of(path)).map_err(|e| failed(path, &e))?);
            }
        }
        let start = if options.is_cog() { 0 } else { header.len() as u64 };
        let halver = |level: &Level| Halver::new(level.rows(), kind, metadata.nodata);
        Ok(TiffWriter {
            path: path.to_owned(),
            file,
            big,
            metadata: metadata.clone(),
            bands: dim.2,
            halvers: levels[..levels.len() - 1].iter().map(halver).collect(),
            at: vec![start; levels.len()],
            levels,
            waiting,
        })
    }

    /// Adds rows.
    ///
    /// # Errors
    /// [`Error::Failed`] if writing fails.
    pub(crate) fn append<T: Copy + Into<Exact> + Sync>(&mut self, samples: ArrayView3<T>) -> Result<()> {
        self.add(0, samples)?;
        let Some(halver) = self.halvers.first_mut() else {
            return Ok(());
        };
        let mut rows = halver.halved(samples);
        for level in 1..self.levels.len() {
            self.add(level, rows.view())?;
            if let Some(halver) = self.halvers.get_mut(level) {
                rows = halver.halved(rows.view());
            }
        }
        Ok(())
    }

    /// Adds rows to one of the images.
    fn add<T: Copy + Into<Exact> + Sync>(&mut self, level: usize, samples: ArrayView3<T>) -> Result<()> {
        let (path, at, file) = (&self.path, &mut self.at[level], &mut self.file);
        let mut waiting = self.waiting.get_mut(level);
        self.levels[level].append(samples, &mut |bytes| {
            match &mut waiting {
                Some(waiting) => waiting.write_all(bytes).map_err(|e| failed(path, &e))?,
                None => file.write(|sink| sink.write_all(bytes))?,
            }
            let here = *at;
            *at += bytes.len() as u64;
            Ok(here)
        })
    }

    /// The tags of an image, in ascending order as the format demands.
    fn tags(&self, number: usize) -> Vec<Tag> {
        let mut list = self.levels[number].tags(self.big);
        if number > 0 {
            // Of reduced resolution.
            list.push(Tag::long(tags::SUBFILE_TYPE, 1));
        } else {
            if let Some(grid) = &self.metadata.grid {
                list.extend(geo::tags(grid));
            }
            if let Some(xml) = gdal::write(&self.metadata, self.bands) {
                list.push(Tag::text(gdal::XML, &xml));
            }
        }
        if let Some(value) = self.metadata.nodata {
            list.push(Tag::text(gdal::NODATA, &value.to_string().to_lowercase()));
        }
        list.sort_by_key(|tag| tag.number);
        list
    }

    /// An image's directory, which begins at `at`, with its values behind it; `last` says that no other follows.
    fn directory(&self, number: usize, at: u64, last: bool) -> Vec<u8> {
        let (big, tags) = (self.big, self.tags(number));
        let (inline, entry) = if big { (8, 20) } else { (4, 12) };
        let count = if big {
            word(tags.len() as u64, true)
        } else {
            (tags.len() as u16).to_le_bytes().into()
        };
        let values_at = at + (count.len() + entry * tags.len() + inline) as u64;
        let mut values = Vec::new();
        let mut directory = count;
        for tag in &tags {
            directory.extend(tag.number.to_le_bytes());
            directory.extend(tag.kind.to_le_bytes());
            directory.extend(word(tag.count, big));
            if tag.bytes.len() <= inline {
                directory.extend(&tag.bytes);
                directory.extend(vec![0; inline - tag.bytes.len()]);
            } else {
                directory.extend(word(values_at + values.len() as u64, big));
                values.extend(&tag.bytes);
                // Values begin at even places, and so does the next directory.
                values.extend(vec![0; tag.bytes.len() % 2]);
            }
        }
        let next = if last { 0 } else { values_at + values.len() as u64 };
        directory.extend(word(next, big));
        directory.extend(values);
        directory
    }

    /// Writes what is left and brings everything to disk.
    ///
    /// # Errors
    /// [`Error::Failed`] if that fails.
    pub(crate) fn finish(mut self) -> Result<Prepared> {
        let start = if self.big { 8 } else { 4 };
        if !self.waiting.is_empty() {
            return self.finish_in_front();
        }
        let at = self.at[0];
        let padding = at % 2;
        let directory = self.directory(0, at + padding, true);
        let place = word(at + padding, self.big);
        self.file.write(|sink| {
            sink.write_all(&vec![0; padding as usize])?;
            sink.write_all(&directory)?;
            sink.seek(SeekFrom::Start(start))?;
            sink.write_all(&place)
        })?;
        self.file.finish()
    }

    /// The directories in front, from the whole image to the smallest; behind them the chunks, from the smallest on.
    fn finish_in_front(mut self) -> Result<Prepared> {
        let (start, first) = if self.big { (8, 16) } else { (4, 8) };
        let count = self.levels.len();
        // Their lengths do not depend on the places in them.
        let lengths: Vec<u64> = (0..count)
            .map(|k| self.directory(k, 0, false).len() as u64)
            .collect();
        let mut at = first + lengths.iter().sum::<u64>();
        for level in (0..count).rev() {
            self.levels[level].moved(at);
            at += self.at[level];
        }
        let mut at = first;
        let mut directories = Vec::new();
        for (level, length) in lengths.iter().enumerate() {
            directories.extend(self.directory(level, at, level + 1 == count));
            at += length;
        }
        let place = word(first, self.big);
        self.file.write(|sink| {
            sink.seek(SeekFrom::Start(start))?;
            sink.write_all(&place)?;
            sink.seek(SeekFrom::Start(first))?;
            sink.write_all(&directories)
        })?;
        for waiting in self.waiting.iter_mut().rev() {
            self.file.write(|sink| {
                waiting.rewind()?;
                std::io::copy(waiting, sink).map(drop)
            })?;
        }
        self.file.finish()
    }
}

fn failed(path: &Path, error: &std::io::Error) -> Error {
    Error::failed(format!("{}: a temporary file: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cube::strips::collect;
    use ndarray::{Array3, s};

    #[test]
    fn a_file_is_big_where_offsets_of_32_bits_could_end() {
        let options = TiffOptions::default();
        let is_big = |dim, kind| {
            options
                .is_big(Path::new("a.tif"), most_bytes(dim, kind, &options))
                .unwrap()
        };
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
        let options = TiffOptions::parse(&["BIGTIFF=YES".to_owned()], &[&path]).unwrap();
        let mut writer = TiffWriter::create(&path, dim, SampleType::F32, &metadata, &options).unwrap();
        writer.append(samples.slice(s![..7, .., ..])).unwrap();
        writer.append(samples.slice(s![7.., .., ..])).unwrap();
        writer.finish().unwrap().publish().unwrap();
        assert_eq!(std::fs::read(&path).unwrap()[..4], *b"II\x2b\0");
        let back = collect(&super::super::open_cube(&path).unwrap()).unwrap();
        assert_eq!((back.samples, back.metadata), (samples, metadata));
    }
}
