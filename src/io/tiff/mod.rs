//! GeoTIFF and BigTIFF images, read and written strip by strip.
//!
//! The crates for TIFF that were looked at do not serve here: `tiff` (0.11) drops the further bands of a file that calls
//! its first three red, green and blue, as GDAL writes them, takes whole tables of offsets into memory at 32 bytes an
//! entry, and panics on headers such as a float predictor on bytes; `async-tiff` needs an asynchronous runtime. So tags
//! and predictors are read here, deflate and LZW streams by `flate2` and `weezl`.
//!
//! Only the chunks (strips or tiles) that the rows asked for touch are read, and of those no more than a row is held. A
//! chunk that is not at its end stays open, so that strips of rows that are asked for one after the other do not read it
//! from its start each time.
//!
//! Memory while reading: the rows asked for as `f32`, a few times a row of a chunk, at most 50 KiB for each of the
//! `KEPT` open chunks, and a few times the length of the tags. What a header claims is held against the length of the file,
//! times what the compression can expand (1032 for deflate, 2731 for LZW), before memory is asked for.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use chunk::{ChunkReader, Compression};
use directory::{Fault, Source};
use page::{Page, tags};

use ndarray::Array3;

use super::array::shape_text;
use super::file::{State, open, read_error};
use super::samples::{Float, decode, sample_type_name, width};
use crate::cube::exact::Exact;
use crate::cube::strips::Strips;
use crate::cube::{Cube, Metadata, SampleType, filled};
use crate::error::{Error, Result};

mod chunk;
mod directory;
mod gdal;
mod geo;
mod page;
mod tag;
mod write;

pub(crate) use geo::lost;
pub(crate) use write::{TiffWriter, check};

/// First bytes of TIFF and BigTIFF in both byte orders.
pub(crate) const MAGICS: [&[u8]; 4] = [b"II\x2a\0", b"MM\0\x2a", b"II\x2b\0", b"MM\0\x2b"];

/// Name endings.
pub(crate) const ENDINGS: [&str; 2] = ["tif", "tiff"];

/// Chunks that stay open between strips.
const KEPT: usize = 2048;

/// A TIFF image that is read strip by strip.
pub(crate) struct TiffFile {
    path: PathBuf,
    reading: Mutex<Reading>,
    state: State,
    /// Images whose bands are those of this one, one after the other.
    pages: Vec<Page>,
    dim: (usize, usize, usize),
    kind: SampleType,
    metadata: Metadata,
}

struct Reading {
    source: Source,
    /// By image and number within it.
    open: HashMap<(usize, u64), ChunkReader>,
}

/// An error of reading or of the file's contents as one line.
fn refusal(path: &Path, fault: Fault) -> Error {
    match fault {
        Fault::Io(error) if error.kind() == io::ErrorKind::InvalidData => Error::input(format!(
            "{}: a strip or tile is damaged ({error}); copy or download the file again",
            path.display()
        )),
        Fault::Io(error) => read_error(path, &error),
        Fault::Damage(what) => Error::input(format!("{}: bad TIFF: {what}", path.display())),
    }
}

/// Opens an image. Images of the same size and type that follow in the file are further bands; overviews, masks and
/// images of another size are left out.
///
/// # Errors
/// [`Error::Input`] if the file is missing, damaged, truncated, or in a form that is not read.
pub(crate) fn open_cube(path: &Path) -> Result<TiffFile> {
    let (file, length) = open(path)?;
    let state = State::of(path, &file)?;
    let Contents {
        source,
        pages,
        mut metadata,
        xml,
    } = read_pages(file, length).map_err(|fault| refusal(path, fault))?;
    let first = &pages[0];
    let dim = (first.rows, first.columns, pages.iter().map(|p| p.bands).sum());
    let claim = format!(
        "{}: the header claims {} samples of type {}",
        path.display(),
        shape_text(&[dim.0, dim.1, dim.2]),
        sample_type_name(first.kind)
    );
    let needed = pages.iter().try_fold(0_u64, |sum, page| {
        sum.checked_add(page.bytes()?.div_ceil(page.compression.expansion()))
    });
    // A row of a chunk may be longer than the image is wide, but no longer than what the file can hold.
    let row = |page: &Page| page.row_bytes().map(|n| n as u64 / page.compression.expansion());
    let rows_fit = pages.iter().all(|page| row(page).is_some_and(|n| n <= length));
    if needed.is_none_or(|n| n > length) || !rows_fit {
        return Err(Error::input(format!(
            "{claim}, which a file of {length} bytes cannot hold; it is truncated, damaged or has holes (gdal_translate fills them)"
        )));
    }
    if let Some(xml) = xml {
        gdal::read(&xml, dim.2, &mut metadata);
    }
    Ok(TiffFile {
        path: path.to_owned(),
        state,
        dim,
        kind: first.kind,
        pages,
        metadata,
        reading: Mutex::new(Reading {
            source,
            open: HashMap::new(),
        }),
    })
}

/// What the directories of a file say.
struct Contents {
    source: Source,
    /// At least one.
    pages: Vec<Page>,
    metadata: Metadata,
    /// GDAL's items, which are about all bands.
    xml: Option<String>,
}

fn read_pages(file: File, length: u64) -> directory::Outcome<Contents> {
    let (mut source, mut at) = Source::new(file, length)?;
    let mut pages: Vec<Page> = Vec::new();
    let mut metadata = Metadata::default();
    let mut xml = None;
    let mut spent = 0;
    while at != 0 {
        let directory = source.directory(at)?;
        spent += directory.size;
        if spent > length {
            return Err(Fault::Damage("its directories overlap or form a loop".to_owned()));
        }
        at = directory.next;
        let Some(first) = pages.first() else {
            pages.push(Page::read(&mut source, &directory)?);
            let nodata = source.text(&directory, gdal::NODATA)?;
            metadata.nodata = nodata.as_deref().and_then(gdal::nodata);
            metadata.grid = geo::read(&mut source, &directory)?;
            xml = source.text(&directory, gdal::XML)?;
            continue;
        };
        // Bit 0: a smaller version; bit 2: a mask.
        if source.one(&directory, tags::SUBFILE_TYPE)?.unwrap_or(0) & 0b101 != 0 {
            continue;
        }
        match Page::read(&mut source, &directory) {
            Ok(page) if page.same_size(first) => pages.push(page),
            Err(Fault::Io(error)) => return Err(error.into()),
            Ok(_) | Err(Fault::Damage(_)) => (),
        }
    }
    match pages.is_empty() {
        true => Err(Fault::Damage("it holds no image".to_owned())),
        false => Ok(Contents {
            source,
            pages,
            metadata,
            xml,
        }),
    }
}

/// Buffers that rows go through.
struct Buffers<T> {
    row: Vec<u8>,
    scratch: Vec<u8>,
    samples: Vec<T>,
}

impl TiffFile {
    /// Reads rows of the image into `out`, rows × columns × bands.
    fn fill<T: Float>(&self, rows: &Range<usize>, out: &mut [T]) -> directory::Outcome<()> {
        let mut reading = self.reading.lock().unwrap_or_else(|e| e.into_inner());
        let mut buffers = Buffers {
            row: Vec::new(),
            scratch: Vec::new(),
            samples: Vec::new(),
        };
        let mut band = 0;
        for (number, page) in self.pages.iter().enumerate() {
            let (down, across) = page.chunks();
            let planes = page.bands / page.stride();
            for row in rows.start / page.chunk.0..rows.end.div_ceil(page.chunk.0) {
                for plane in 0..planes {
                    for column in 0..across {
                        let chunk = ((plane * down + row) * across + column) as u64;
                        let place = ChunkPlace {
                            number: (number, chunk),
                            row,
                            column,
                            band: band + plane * page.stride(),
                        };
                        self.read_chunk(&mut reading, page, &place, rows, &mut buffers, out)?;
                    }
                }
            }
            band += page.bands;
        }
        Ok(())
    }

    /// Reads the part of a chunk that lies in `rows`.
    fn read_chunk<T: Float>(
        &self,
        reading: &mut Reading,
        page: &Page,
        place: &ChunkPlace,
        rows: &Range<usize>,
        buffers: &mut Buffers<T>,
        out: &mut [T],
    ) -> directory::Outcome<()> {
        let (_, columns, bands) = self.dim;
        let top = place.row * page.chunk.0;
        let left = place.column * page.chunk.1;
        let stored = page.stored_rows(place.row);
        let wanted = rows.start.max(top)..rows.end.min(top + stored);
        let (stride, width) = (page.stride(), width(page.kind));
        let in_image = page.chunk.1.min(columns - left) * stride;
        // Held against the file's length when it was opened.
        let size = page.row_bytes().unwrap_or(0);
        let to_of_row = |r: usize| ((r - rows.start) * columns + left) * bands + place.band;

        let open = reading.open.remove(&place.number);
        let mut reader = match open.filter(|reader| reader.rows <= wanted.start - top) {
            Some(reader) => reader,
            None => {
                let (at, length) = page.place(&mut reading.source, place.number.1)?;
                if length == 0 {
                    // Never written: GDAL reads no-data there, or zeros.
                    let value = T::from_f64(self.metadata.nodata.unwrap_or(0.0));
                    for r in wanted {
                        let to = &mut out[to_of_row(r)..];
                        (0..in_image).for_each(|k| to[k / stride * bands + k % stride] = value);
                    }
                    return Ok(());
                }
                ChunkReader::new(page.compression, at, length)
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
            decode(
                page.kind,
                order,
                &buffers.row[..in_image * width],
                &mut buffers.samples,
            );
            let to = &mut out[to_of_row(r)..];
            if stride == bands {
                to[..in_image].copy_from_slice(&buffers.samples);
            } else {
                for (pixel, samples) in buffers.samples.chunks_exact(stride).enumerate() {
                    to[pixel * bands..pixel * bands + stride].copy_from_slice(samples);
                }
            }
        }
        let more = wanted.end < self.dim.0.min(top + stored);
        if more && page.compression != Compression::None && reading.open.len() < KEPT {
            reading.open.insert(place.number, reader);
        }
        Ok(())
    }
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

impl Strips for TiffFile {
    fn dim(&self) -> (usize, usize, usize) {
        self.dim
    }

    fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    fn sample_type(&self) -> SampleType {
        self.kind
    }

    fn rows(&self, rows: Range<usize>) -> Result<Cube> {
        let (_, columns, bands) = self.dim;
        let samples = filled((rows.len(), columns, bands), |out| {
            self.fill(&rows, out).map_err(|fault| refusal(&self.path, fault))
        })?;
        let reading = self.reading.lock().unwrap_or_else(|e| e.into_inner());
        self.state.check(&self.path, &reading.source.file)?;
        drop(reading);
        let mut cube = Cube::new(samples);
        cube.sample_type = self.kind;
        cube.metadata = self.metadata.clone();
        Ok(cube)
    }

    fn exact(&self, rows: Range<usize>) -> Result<Option<Array3<Exact>>> {
        if self.kind.fits_single() {
            return Ok(None);
        }
        let (_, columns, bands) = self.dim;
        let mut samples = Array3::from_elem((rows.len(), columns, bands), Exact::from(0.0));
        if let Some(out) = samples.as_slice_mut() {
            self.fill(&rows, out)
                .map_err(|fault| refusal(&self.path, fault))?;
        }
        Ok(Some(samples))
    }
}
