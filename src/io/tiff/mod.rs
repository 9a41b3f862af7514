//! GeoTIFF and BigTIFF images, read and written strip by strip.
//!
//! The crates for TIFF that were looked at do not serve here: `tiff` (0.11) drops the further bands of a file that calls
//! its first three red, green and blue, as GDAL writes them, takes whole tables of offsets into memory at 32 bytes an
//! entry, and panics on headers such as a float predictor on bytes; `async-tiff` needs an asynchronous runtime. So tags
//! and predictors are read here, deflate, LZW and Zstandard streams by `flate2`, `weezl` and `ruzstd`.
//!
//! Only the chunks (strips or tiles) that the rows asked for touch are read, and of those no more than a row is held. A
//! chunk that is not at its end stays open, so that strips of rows that are asked for one after the other do not read it
//! from its start each time.
//!
//! Memory while reading: the rows asked for as `f32`, a few times a row of a chunk, at most 50 KiB for each of the
//! `KEPT` open chunks (a Zstandard frame's window besides), and a few times the length of the tags. What a header claims is held
//! against the length of the file, times what the compression can expand, before memory is asked for.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use ndarray::{Array3, Axis, s};

use directory::{Fault, Source};
use page::{Page, tags};
use read::{Buffers, Reading, Target, read_page};

use super::array::shape_text;
use super::file::{State, open, read_error};
use super::samples::{Float, sample_type_name};
use super::wavelength;
use crate::cube::exact::Exact;
use crate::cube::strips::Strips;
use crate::cube::{Cube, Metadata, SampleType};
use crate::error::{Error, Result};

mod chunk;
mod creation;
mod directory;
mod gdal;
mod geo;
mod level;
mod overview;
mod page;
mod pam;
mod read;
mod tag;
mod whole;
mod write;

pub use creation::TiffOptions;
pub(crate) use geo::{grid_of, lost};
pub(crate) use pam::read as describe;
pub(crate) use write::{TiffWriter, check};

/// First bytes of TIFF and BigTIFF in both byte orders.
pub(crate) const MAGICS: [&[u8]; 4] = [b"II\x2a\0", b"MM\0\x2a", b"II\x2b\0", b"MM\0\x2b"];

/// Name endings.
pub(crate) const ENDINGS: [&str; 2] = ["tif", "tiff"];

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
    /// Which pixels are usable, in every of its bands.
    mask: Option<Box<TiffFile>>,
    /// The band that says the same.
    alpha: Option<usize>,
    /// Images of one band are rows, their columns bands.
    pages_are_rows: bool,
    notes: Vec<String>,
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

/// Which images of a file are wanted.
#[derive(Clone, Copy)]
enum Part {
    /// The first one, with further bands.
    Image,
    /// A mask of so many rows and columns: one that is marked as a mask, or any.
    Mask { size: (usize, usize), marked: bool },
}

/// Opens an image. Images of the same size and type that follow in the file are further bands; overviews and
/// images of another size are left out.
///
/// Pixels are masked where a mask of the file, one beside it (`.msk`, as GDAL names it) or a band of transparency is 0. GDAL's items are
/// also read from `.aux.xml`.
///
/// # Errors
/// [`Error::Input`] if the file is missing, damaged, truncated, or in a form that is not read.
pub(crate) fn open_cube(path: &Path) -> Result<TiffFile> {
    let (mut image, items) = open_part(path, Part::Image)?;
    let size = (image.pages[0].rows, image.pages[0].columns);
    let beside = beside(path, "msk");
    let mask = match (items.mask, beside.is_file()) {
        (true, _) => Some((path, Part::Mask { size, marked: true })),
        (false, true) => Some((beside.as_path(), Part::Mask { size, marked: false })),
        (false, false) => None,
    };
    if let Some((path, part)) = mask {
        image.mask = Some(Box::new(open_part(path, part)?.0));
    }
    gdal::read(items.xml.as_deref(), image.dim.2, &mut image.metadata);
    if let Some(xml) = pam::text(&self::beside(path, "aux.xml")) {
        pam::read(&xml, image.dim.2, &mut image.metadata);
    }
    image.set_order(items.description.as_deref());
    image.set_alpha()?;
    image.set_wavelengths();
    Ok(image)
}

/// The file beside another that GDAL names after it.
fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    name.into()
}

fn open_part(path: &Path, part: Part) -> Result<(TiffFile, Items)> {
    let (file, length) = open(path)?;
    let state = State::of(path, &file)?;
    let Contents {
        source,
        pages,
        metadata,
        items,
    } = read_pages(file, length, part).map_err(|fault| refusal(path, fault))?;
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
    let image = TiffFile {
        path: path.to_owned(),
        state,
        dim,
        kind: first.kind,
        pages,
        metadata,
        mask: None,
        alpha: None,
        pages_are_rows: false,
        notes: Vec::new(),
        reading: Mutex::new(Reading {
            source,
            open: HashMap::new(),
        }),
    };
    Ok((image, items))
}

/// What the directories of a file say.
struct Contents {
    source: Source,
    /// At least one.
    pages: Vec<Page>,
    metadata: Metadata,
    items: Items,
}

/// What a file says about all its bands.
#[derive(Default)]
struct Items {
    /// GDAL's items.
    xml: Option<String>,
    /// `ImageDescription`.
    description: Option<String>,
    /// There is an image that is the first one's mask.
    mask: bool,
}

fn read_pages(file: File, length: u64, part: Part) -> directory::Outcome<Contents> {
    let (mut source, mut at) = Source::new(file, length)?;
    let mut pages: Vec<Page> = Vec::new();
    let mut metadata = Metadata::default();
    let mut items = Items::default();
    let mut spent = 0;
    while at != 0 {
        let directory = source.directory(at)?;
        spent += directory.size;
        if spent > length {
            return Err(Fault::Damage("its directories overlap or form a loop".to_owned()));
        }
        at = directory.next;
        // Bit 0: a smaller version; bit 2: a mask.
        let kind = source.one(&directory, tags::SUBFILE_TYPE)?.unwrap_or(0);
        let size = |page: &Page| (page.rows, page.columns);
        if let Part::Mask { size: of, marked } = part {
            if kind & 1 == 0 && (kind & 4 != 0 || !marked) {
                let page = Page::read(&mut source, &directory, true)?;
                if size(&page) == of {
                    pages.push(page);
                    break;
                }
            }
            continue;
        }
        let Some(first) = pages.first() else {
            pages.push(Page::read(&mut source, &directory, false)?);
            let nodata = source.text(&directory, gdal::NODATA)?;
            metadata.nodata = nodata.as_deref().and_then(gdal::nodata);
            metadata.grid = geo::read(&mut source, &directory)?;
            items.xml = source.text(&directory, gdal::XML)?;
            items.description = source.text(&directory, tags::DESCRIPTION)?;
            continue;
        };
        if kind & 5 == 4 {
            let own = (
                source.one(&directory, tags::ROWS)?,
                source.one(&directory, tags::COLUMNS)?,
            );
            items.mask |= own == (Some(first.rows as u64), Some(first.columns as u64));
        }
        if kind & 5 != 0 {
            continue;
        }
        match Page::read(&mut source, &directory, false) {
            Ok(page) if page.same_size(first) => pages.push(page),
            Err(Fault::Io(error)) => return Err(error.into()),
            Ok(_) | Err(Fault::Damage(_)) => (),
        }
    }
    match (pages.is_empty(), part) {
        (false, _) => Ok(Contents {
            source,
            pages,
            metadata,
            items,
        }),
        (true, Part::Image) => Err(Fault::Damage("it holds no image".to_owned())),
        (true, Part::Mask { size: (r, c), .. }) => {
            Err(Fault::Damage(format!("it holds no mask of {r} x {c} pixels")))
        }
    }
}

/// Bytes of rows that are looked at to tell what a band of transparency is.
const LOOKED_AT: usize = 64 << 20;

impl TiffFile {
    /// Under other metadata, and with more notes for whoever reads it.
    pub(super) fn described(mut self, metadata: Metadata, notes: Vec<String>) -> Self {
        self.metadata = metadata;
        self.notes.extend(notes);
        self
    }

    /// What the file looks like to whoever wrote it as an array (tifffile, scikit-image): a stack of as many images as the array's
    /// first axis is long. The images are rows, not bands, where the array's lengths say so: those of rows and columns are
    /// mostly larger than that of bands, or equal.
    fn set_order(&mut self, description: Option<&str>) {
        #[derive(serde::Deserialize)]
        struct Array {
            shape: Vec<usize>,
        }
        let Some(&[first, second, third]) = description
            .and_then(|text| serde_json::from_str::<Array>(text).ok())
            .as_ref()
            .map(|array| array.shape.as_slice())
        else {
            return;
        };
        let one = &self.pages[0];
        let stack = one.bands == 1 && (self.pages.len(), one.rows, one.columns) == (first, second, third);
        if !stack || second == third && first != second || first < second.min(third) {
            return;
        }
        self.pages_are_rows = true;
        self.dim = (first, second, third);
        self.notes.push(format!(
            "{}: an array of {} is taken for rows x columns x bands, as tifffile shows it",
            self.path.display(),
            shape_text(&[first, second, third])
        ));
    }

    /// A band that is marked as transparency becomes a mask if it is one: near infrared is marked so by mistake, and is known
    /// by values between the two that a mask has.
    fn set_alpha(&mut self) -> Result<()> {
        let [page] = self.pages.as_slice() else {
            return Ok(());
        };
        let Some(alpha) = page.alpha.filter(|&band| page.bands > 1 && band < page.bands) else {
            return Ok(());
        };
        let rows = page.rows;
        let wanted = LOOKED_AT / page.row_bytes().unwrap_or(LOOKED_AT).max(1);
        let step = rows.div_ceil(wanted.clamp(1, rows));
        let full = match self.kind {
            SampleType::U8 => 255.0,
            SampleType::U16 => 65535.0,
            _ => 1.0,
        };
        let (mut all, mut between) = (0_usize, 0_usize);
        for row in (0..rows).step_by(step) {
            let strip = self.stored::<f32>(row..row + 1)?;
            let band = strip.slice(s![.., .., alpha]);
            all += band.len();
            between += band.iter().filter(|&&x| x != 0.0 && x != full).count();
        }
        let name = self.path.display();
        // The edges of a warped mosaic are half transparent.
        if between * 10 > all {
            self.notes.push(format!(
                "{name}: band {alpha} is marked as transparency and is none (near infrared?); it is taken for a band like the others"
            ));
            return Ok(());
        }
        self.notes.push(format!(
            "{name}: band {alpha} is transparency; it is a mask and no band"
        ));
        self.alpha = Some(alpha);
        let kept: Vec<usize> = (0..page.bands).filter(|&band| band != alpha).collect();
        self.metadata = self.metadata.of_bands(&kept, page.bands);
        self.dim.2 -= 1;
        Ok(())
    }

    /// Wavelengths that stand in the bands' names alone.
    fn set_wavelengths(&mut self) {
        let metadata = &mut self.metadata;
        if metadata.wavelengths.is_none() {
            metadata.wavelengths = metadata.band_names.as_deref().and_then(wavelength::from_names);
        }
    }

    /// Rows as they are stored, transparency among the bands.
    fn stored<T: Float>(&self, rows: Range<usize>) -> Result<Array3<T>> {
        let bands = self.dim.2 + usize::from(self.alpha.is_some());
        let mut samples = Array3::from_elem((rows.len(), self.dim.1, bands), T::from_f64(0.0));
        if let Some(out) = samples.as_slice_mut() {
            self.fill(&rows, bands, out)
                .map_err(|fault| refusal(&self.path, fault))?;
        }
        let reading = self.reading.lock().unwrap_or_else(|e| e.into_inner());
        self.state.check(&self.path, &reading.source.file)?;
        Ok(samples)
    }

    /// Reads rows of the image into `out`, rows × columns × bands.
    fn fill<T: Float>(&self, rows: &Range<usize>, bands: usize, out: &mut [T]) -> directory::Outcome<()> {
        let mut reading = self.reading.lock().unwrap_or_else(|e| e.into_inner());
        let mut buffers = Buffers {
            row: Vec::new(),
            scratch: Vec::new(),
            samples: Vec::new(),
        };
        // Where GDAL reads no-data, or zeros.
        let empty = T::from_f64(self.metadata.nodata.unwrap_or(0.0));
        if self.pages_are_rows {
            let size = self.dim.1 * bands;
            for (number, out) in rows.clone().zip(out.chunks_exact_mut(size.max(1))) {
                let page = &self.pages[number];
                let mut to = Target {
                    rows: 0..page.rows,
                    columns: page.columns,
                    bands: 1,
                    empty,
                    out,
                };
                read_page(&mut reading, (number, page), 0, &mut buffers, &mut to)?;
            }
            return Ok(());
        }
        let mut to = Target {
            rows: rows.clone(),
            columns: self.dim.1,
            bands,
            empty,
            out,
        };
        let mut band = 0;
        for (number, page) in self.pages.iter().enumerate() {
            read_page(&mut reading, (number, page), band, &mut buffers, &mut to)?;
            band += page.bands;
        }
        Ok(())
    }
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
        let mut cube = Cube::new(self.stored(rows.clone())?);
        if let Some(alpha) = self.alpha {
            let usable = cube.samples.slice(s![.., .., alpha]).mapv(|x| x != 0.0);
            let kept: Vec<usize> = (0..cube.bands()).filter(|&band| band != alpha).collect();
            cube = cube.of_bands(&kept);
            cube.mask_pixels(usable.view());
        }
        if let Some(mask) = &self.mask {
            let usable = mask
                .stored::<f32>(rows)?
                .map_axis(Axis(2), |bands| bands.iter().all(|&x| x != 0.0));
            cube.mask_pixels(usable.view());
        }
        cube.sample_type = self.kind;
        cube.metadata = self.metadata.clone();
        Ok(cube)
    }

    fn exact(&self, rows: Range<usize>) -> Result<Option<Array3<Exact>>> {
        if self.kind.fits_single() {
            return Ok(None);
        }
        let mut samples = self.stored(rows)?;
        if let Some(alpha) = self.alpha {
            let kept: Vec<usize> = (0..=self.dim.2).filter(|&band| band != alpha).collect();
            samples = samples.select(Axis(2), &kept);
        }
        Ok(Some(samples))
    }

    fn notes(&self) -> &[String] {
        &self.notes
    }
}
