//! One image of a TIFF file: what its directory says of rows, columns, bands, and of the chunks (strips or tiles) that
//! hold them.

use std::sync::Arc;

use super::chunk::{Compression, Predictor};
use super::directory::{Directory, Fault, Outcome, Source, Values};
use super::whole::{Codec, Shape};
use crate::cube::SampleType;
use crate::io::samples::width;

/// Tag numbers of TIFF 6.0 and its supplements.
pub(super) mod tags {
    pub const SUBFILE_TYPE: u16 = 254;
    pub const COLUMNS: u16 = 256;
    pub const ROWS: u16 = 257;
    pub const BITS_PER_SAMPLE: u16 = 258;
    pub const COMPRESSION: u16 = 259;
    pub const PHOTOMETRIC: u16 = 262;
    pub const FILL_ORDER: u16 = 266;
    pub const DESCRIPTION: u16 = 270;
    pub const STRIP_OFFSETS: u16 = 273;
    pub const SAMPLES_PER_PIXEL: u16 = 277;
    pub const ROWS_PER_STRIP: u16 = 278;
    pub const STRIP_BYTE_COUNTS: u16 = 279;
    pub const PLANAR_CONFIGURATION: u16 = 284;
    pub const PREDICTOR: u16 = 317;
    pub const TILE_WIDTH: u16 = 322;
    pub const TILE_LENGTH: u16 = 323;
    pub const TILE_OFFSETS: u16 = 324;
    pub const TILE_BYTE_COUNTS: u16 = 325;
    pub const EXTRA_SAMPLES: u16 = 338;
    pub const SAMPLE_FORMAT: u16 = 339;
}

/// How the samples of one image lie in the file.
#[derive(Debug, Clone)]
pub(super) struct Page {
    pub rows: usize,
    pub columns: usize,
    pub bands: usize,
    pub kind: SampleType,
    pub compression: Compression,
    /// Of chunks that are decoded whole.
    pub whole: Option<Arc<Codec>>,
    pub predictor: Predictor,
    /// Every band has chunks of its own.
    pub planar: bool,
    /// Rows and columns of a chunk.
    pub chunk: (usize, usize),
    /// Chunks at the right and lower edge are stored in full size.
    tiled: bool,
    /// Eight samples a byte, the first in its highest bit: only masks are read so.
    pub packed: bool,
    /// The band that is marked as transparency.
    pub alpha: Option<usize>,
    offsets: Values,
    counts: Option<Values>,
}

impl Page {
    /// What a directory says, held against the length of the file. A mask may have samples of one bit.
    pub(super) fn read(source: &mut Source, directory: &Directory, mask: bool) -> Outcome<Self> {
        let damage = |what: &str| Fault::Damage(what.to_owned());
        let mut need = |tag: u16, name: &str| -> Outcome<usize> {
            let value = source.one(directory, tag)?;
            let value = value.ok_or_else(|| Fault::Damage(format!("it has no {name}")))?;
            match usize::try_from(value) {
                Ok(value) if value > 0 && value <= u32::MAX as usize => Ok(value),
                _ => Err(Fault::Damage(format!("its {name} is {value}"))),
            }
        };
        let columns = need(tags::COLUMNS, "ImageWidth")?;
        let rows = need(tags::ROWS, "ImageLength")?;
        let tiled = directory.values(tags::TILE_OFFSETS).is_some();
        let chunk = if tiled {
            (
                need(tags::TILE_LENGTH, "TileLength")?,
                need(tags::TILE_WIDTH, "TileWidth")?,
            )
        } else {
            let strip = source
                .one(directory, tags::ROWS_PER_STRIP)?
                .unwrap_or(rows as u64);
            (usize::try_from(strip).unwrap_or(rows).clamp(1, rows), columns)
        };
        let bands = source.one(directory, tags::SAMPLES_PER_PIXEL)?.unwrap_or(1) as usize;
        if bands == 0 || bands > usize::from(u16::MAX) {
            return Err(Fault::Damage(format!("its SamplesPerPixel is {bands}")));
        }
        let bits = source
            .same(directory, tags::BITS_PER_SAMPLE, "BitsPerSample")?
            .unwrap_or(1);
        let format = source
            .same(directory, tags::SAMPLE_FORMAT, "SampleFormat")?
            .unwrap_or(1);
        let packed = mask && bits == 1 && bands == 1;
        let kind = sample_type(if packed { 8 } else { bits }, format)?;
        let code = source.one(directory, tags::COMPRESSION)?.unwrap_or(1);
        let whole = Codec::read(source, directory, code)?.map(Arc::new);
        let compression = match whole {
            Some(_) => Some(Compression::Whole),
            None => Compression::from_code(code),
        };
        let compression = compression.ok_or_else(|| {
            Fault::Damage(format!(
                "its compression (number {code}) is not read; rewrite it with gdal_translate -co COMPRESS=DEFLATE"
            ))
        })?;
        let code = source.one(directory, tags::PREDICTOR)?.unwrap_or(1);
        let predictor = match Predictor::from_code(code) {
            // libtiff, too, heeds predictors only where there is a compression.
            Some(_) if compression == Compression::None || whole.is_some() => Predictor::None,
            Some(predictor) => predictor,
            None => return Err(Fault::Damage(format!("its predictor {code} is unknown"))),
        };
        let float = matches!(kind, SampleType::F16 | SampleType::F32 | SampleType::F64);
        if predictor == Predictor::FloatingPoint && !float {
            return Err(damage("its predictor is for floats and its samples are integers"));
        }
        if source.one(directory, tags::FILL_ORDER)?.unwrap_or(1) != 1 {
            return Err(damage(
                "its bits are in reverse order (FillOrder 2), which is not read",
            ));
        }
        let planar = match source.one(directory, tags::PLANAR_CONFIGURATION)?.unwrap_or(1) {
            1 => false,
            2 => true,
            other => return Err(Fault::Damage(format!("its PlanarConfiguration is {other}"))),
        };
        let (offsets, counts) = if tiled {
            (tags::TILE_OFFSETS, tags::TILE_BYTE_COUNTS)
        } else {
            (tags::STRIP_OFFSETS, tags::STRIP_BYTE_COUNTS)
        };
        // 1 and 2 are transparency, 0 is anything.
        let further = source.numbers(directory, tags::EXTRA_SAMPLES)?;
        let first = bands.saturating_sub(further.len());
        let alpha = further.iter().position(|&x| x == 1.0 || x == 2.0);
        let offsets = directory
            .values(offsets)
            .ok_or_else(|| damage("it has neither strips nor tiles"))?;
        let page = Page {
            rows,
            columns,
            bands,
            kind,
            compression,
            whole,
            predictor,
            planar,
            chunk,
            tiled,
            packed,
            alpha: alpha.map(|at| first + at),
            offsets,
            counts: directory.values(counts),
        };
        let (down, across) = page.chunks();
        let chunks = (down as u64 * across as u64).checked_mul(if planar { bands as u64 } else { 1 });
        let listed = page.counts.map_or(1, |counts| counts.count).min(offsets.count);
        if chunks.is_none_or(|n| n > listed) || page.counts.is_none() && compression != Compression::None {
            return Err(Fault::Damage(format!(
                "it lists {listed} strips or tiles, and its size asks for {}",
                chunks.map_or("more than there can be".to_owned(), |n| n.to_string())
            )));
        }
        Ok(page)
    }

    /// Bytes of all samples, uncompressed; `None` if that is beyond counting.
    pub(super) fn bytes(&self) -> Option<u64> {
        let pixels = (self.rows as u64).checked_mul(self.columns as u64)?;
        if self.packed {
            Some(pixels.div_ceil(8))
        } else {
            pixels.checked_mul((self.bands * width(self.kind)) as u64)
        }
    }

    /// Chunks from top to bottom and from left to right, of one band where bands are apart.
    pub(super) fn chunks(&self) -> (usize, usize) {
        (
            self.rows.div_ceil(self.chunk.0),
            self.columns.div_ceil(self.chunk.1),
        )
    }

    /// Bands in one chunk.
    pub(super) fn stride(&self) -> usize {
        if self.planar { 1 } else { self.bands }
    }

    /// Bytes of a row of a chunk.
    pub(super) fn row_bytes(&self) -> Option<usize> {
        if self.packed {
            return Some(self.chunk.1.div_ceil(8));
        }
        self.chunk.1.checked_mul(self.stride() * width(self.kind))
    }

    /// Offset and length of a chunk; a length of 0 for one that was never written.
    pub(super) fn place(&self, source: &mut Source, chunk: u64) -> Outcome<(u64, u64)> {
        let at = source.unsigned(&self.offsets, chunk)?;
        let length = match &self.counts {
            Some(counts) => source.unsigned(counts, chunk)?,
            None => source.length.saturating_sub(at),
        };
        if at.checked_add(length).is_none_or(|end| end > source.length) {
            return Err(Fault::Damage(format!(
                "strip or tile {chunk} lies outside the file; it is truncated or damaged"
            )));
        }
        Ok((at, length))
    }

    /// Rows that a chunk of chunk row `down` stores.
    pub(super) fn stored_rows(&self, down: usize) -> usize {
        if self.tiled {
            self.chunk.0
        } else {
            self.chunk.0.min(self.rows - down * self.chunk.0)
        }
    }

    /// What a chunk of chunk row `down` holds.
    pub(super) fn shape(&self, down: usize) -> Shape {
        Shape {
            rows: self.stored_rows(down),
            columns: self.chunk.1,
            bands: self.stride(),
            kind: self.kind,
        }
    }

    /// `true` if the other image can be further bands of this one.
    pub(super) fn same_size(&self, other: &Page) -> bool {
        (self.rows, self.columns, self.kind) == (other.rows, other.columns, other.kind)
    }
}

fn sample_type(bits: u64, format: u64) -> Outcome<SampleType> {
    Ok(match (format, bits) {
        // 4 is "undefined", which libtiff takes for unsigned integers, too.
        (1 | 4, 8) => SampleType::U8,
        (1 | 4, 16) => SampleType::U16,
        (1 | 4, 32) => SampleType::U32,
        (1 | 4, 64) => SampleType::U64,
        (2, 8) => SampleType::I8,
        (2, 16) => SampleType::I16,
        (2, 32) => SampleType::I32,
        (2, 64) => SampleType::I64,
        (3, 16) => SampleType::F16,
        (3, 32) => SampleType::F32,
        (3, 64) => SampleType::F64,
        (5 | 6, _) => {
            return Err(Fault::Damage(
                "its samples are complex; save the real part or modulus".to_owned(),
            ));
        }
        _ => {
            return Err(Fault::Damage(format!(
                "samples of {bits} bits and format {format} are not read; rewrite it with 8, 16, 32 or 64 bits"
            )));
        }
    })
}

/// `SampleFormat` of a type.
pub(super) fn sample_format(kind: SampleType) -> u16 {
    match kind {
        SampleType::U8 | SampleType::U16 | SampleType::U32 | SampleType::U64 => 1,
        SampleType::I8 | SampleType::I16 | SampleType::I32 | SampleType::I64 => 2,
        SampleType::F16 | SampleType::F32 | SampleType::F64 => 3,
    }
}
