//! Files in and out. One module a format; this file tells the formats apart and is the only door to
//! them: [`read_cube`], [`write_cube`], [`read_matrix`], [`write_matrix`], and for images that do not fit in memory
//! [`open_cube`], [`open_image`] and [`write_strips`].
//!
//! A format is told by the first bytes of a file, then by its name; what is written goes by name. A new
//! format is a module, a [`Format`], and its line in `detect` and in the functions here.
//!
//! Readers never panic on damaged or hostile files, and hold what a header claims against the length of
//! the file before they ask for memory. Writers replace a file whole or not at all.

use std::io::Read;
use std::path::{Path, PathBuf};

use ndarray::Array2;

use crate::cube::strips::Strips;
use crate::cube::{Cube, Metadata};
use crate::error::{Error, Result};

mod array;
mod band_folder;
mod enmap;
mod envi;
mod envi_header;
mod envi_map;
mod file;
mod hdf5;
mod identity;
mod image;
mod mat;
mod mat5;
mod named;
mod npy;
mod npz;
mod output_set;
mod png_image;
mod prisma;
mod samples;
mod strip_file;
mod text;
mod tiff;
mod writer;

use named::NamedFile;

pub use envi_header::Interleave;
pub use file::{Lock, check_writable, folder_of, replace};
pub use image::{Image, Reading, open_image, open_image_as, read_image, read_mask};
pub use npy::read_array;
pub use output_set::{OutputSet, files_of, same_file};
pub use samples::{parse_sample_type, sample_type_name};
pub use text::ResponseTable;
pub use writer::{CubeWriter, Target, write_strips};

/// The formats that are read. `.npy`, `.npz`, MATLAB 5, ENVI, GeoTIFF and text are written, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// NumPy `.npy`.
    Npy,
    /// MATLAB level 5 (`save -v6`, `-v7`).
    Mat5,
    /// MATLAB 7.3 (HDF5).
    Mat73,
    /// NumPy `.npz`.
    Npz,
    /// HDF5, PRISMA products among it.
    Hdf5,
    /// PNG picture.
    Png,
    /// Folder with a file for each band.
    Folder,
    /// ENVI header and data file.
    Envi,
    /// GeoTIFF and BigTIFF.
    Tiff,
    /// EnMAP product: XML and GeoTIFF.
    Enmap,
    /// Text matrix (`.csv`, `.txt`).
    Text,
}

impl Format {
    /// Its name for people.
    pub fn name(self) -> &'static str {
        match self {
            Format::Npy => "NumPy .npy",
            Format::Mat5 => "MATLAB 5",
            Format::Mat73 => "MATLAB 7.3 (HDF5)",
            Format::Npz => "NumPy .npz",
            Format::Hdf5 => "HDF5",
            Format::Png => "PNG",
            Format::Folder => "folder of bands",
            Format::Envi => "ENVI",
            Format::Tiff => "GeoTIFF",
            Format::Enmap => "EnMAP product",
            Format::Text => "text",
        }
    }
}

/// Endings of files that may hold several arrays, or datasets by path.
const CONTAINERS: [&str; 7] = [".mat", ".npz", ".h5", ".hdf5", ".he5", ".nc", ".nc4"];

/// What a name on the command line means: a file, and perhaps one of the arrays in it (`FILE.mat:NAME`).
#[derive(Debug, Clone, PartialEq, Eq)]
struct Spec {
    path: PathBuf,
    array: Option<String>,
}

impl Spec {
    /// A name that is a file as it stands is that file, colons and all.
    fn parse(text: &str) -> Self {
        let whole = Spec {
            path: text.into(),
            array: None,
        };
        if whole.path.exists() {
            return whole;
        }
        // The first colon that parts a file from the rest: array names may hold colons themselves.
        text.match_indices(':')
            .map(|(at, _)| (&text[..at], &text[at + 1..]))
            .find(|(file, array)| {
                let container = CONTAINERS.iter().any(|e| file.to_lowercase().ends_with(e));
                !array.is_empty() && (Path::new(file).is_file() || container)
            })
            .map_or(whole, |(file, array)| Spec {
                path: file.into(),
                array: Some(array.to_owned()),
            })
    }

    /// For formats that hold one array: refuses the name of one.
    fn whole_file(&self) -> Result<&Path> {
        match &self.array {
            None => Ok(&self.path),
            Some(array) => Err(Error::input(format!(
                "{}: holds one array only; leave out :{array}",
                self.path.display()
            ))),
        }
    }
}

/// The ending of a file name in lower case, or nothing.
fn ending(path: &Path) -> String {
    path.extension()
        .map(|e| e.to_string_lossy().to_lowercase())
        .unwrap_or_default()
}

/// Tells the format of an existing file: by its first bytes, else by its name.
fn detect(path: &Path) -> Result<Format> {
    if enmap::metadata_file(path)?.is_some() {
        return Ok(Format::Enmap);
    }
    if path.is_dir() {
        return Ok(Format::Folder);
    }
    // MATLAB's marks stand in the first 128 bytes, HDF5's at 0 or after a user block of 512.
    let (source, _) = file::open(path)?;
    let mut start = Vec::new();
    source
        .take(520)
        .read_to_end(&mut start)
        .map_err(|e| file::read_error(path, &e))?;
    let ending = ending(path);
    let hdf5_at = |offset: usize| start.get(offset..).is_some_and(|s| s.starts_with(hdf5::MAGIC));
    if start.starts_with(npy::MAGIC) {
        return Ok(Format::Npy);
    }
    if hdf5_at(512) && start.starts_with(b"MATLAB") || hdf5_at(0) && ending == "mat" {
        return Ok(Format::Mat73);
    }
    if hdf5_at(0) || hdf5_at(512) {
        return Ok(Format::Hdf5);
    }
    if start.starts_with(png_image::MAGIC) {
        return Ok(Format::Png);
    }
    if start.starts_with(npz::MAGIC) {
        return Ok(Format::Npz);
    }
    if matches!(start.get(124..128), Some([0, 1, b'I', b'M'] | [1, 0, b'M', b'I'])) {
        return Ok(Format::Mat5);
    }
    if tiff::MAGICS.iter().any(|magic| start.starts_with(magic)) {
        return Ok(Format::Tiff);
    }
    if start.starts_with(envi_header::MAGIC) && ending == "hdr" {
        return Ok(Format::Envi);
    }
    match ending.as_str() {
        "npy" => Ok(Format::Npy),
        "mat" => Ok(Format::Mat5),
        "npz" => Ok(Format::Npz),
        "h5" | "hdf5" | "he5" => Ok(Format::Hdf5),
        "png" => Ok(Format::Png),
        "hdr" => Ok(Format::Envi),
        known if tiff::ENDINGS.contains(&known) => Err(Error::input(format!(
            "{}: is called TIFF and does not begin like one; copy or download it again",
            path.display()
        ))),
        "csv" | "txt" => Ok(Format::Text),
        _ if envi::header_of(path).is_some() => Ok(Format::Envi),
        known if envi::DATA_ENDINGS.contains(&known) => Err(Error::input(format!(
            "{}: no ENVI header (.hdr) beside it, so its layout is unknown",
            path.display()
        ))),
        _ => Err(Error::input(format!(
            "{}: unknown format; .npy, .npz, .mat, HDF5, ENVI (.hdr), GeoTIFF, PNG and folders of bands are read",
            path.display()
        ))),
    }
}

/// Tells the format of the file that a name means, without reading its samples.
///
/// # Errors
/// [`Error::Input`] if it is missing or of an unknown format.
pub fn format_of(spec: &str) -> Result<Format> {
    detect(&Spec::parse(spec).path)
}

/// Opens the image that a name means, `FILE`, `FOLDER`, or `FILE.mat:NAME`, `FILE.npz:NAME`, `FILE.h5:/PATH` for one of several
/// arrays, to be read in strips: all its bands, as the file has them.
///
/// Arrays are rows x columns x bands as they are stored (MATLAB's as MATLAB shows them), or rows x columns for one band. Pixels that hold
/// the file's ignore value in any band are masked. Samples may be NaN: [`Cube::check`] is where that is refused. A
/// format that can only be read whole (MATLAB, `.npz`, HDF5, PNG) is, if it takes no more than `memory` bytes.
///
/// # Errors
/// [`Error::Input`] with one line that names the file, what was found and what to do.
pub fn open_cube(spec: &str, memory: usize) -> Result<Box<dyn Strips>> {
    Ok(Box::new(image::Masked(open_samples(spec, memory)?)))
}

/// [`open_cube`] without a mask: which bands are looked at for no-data is not known yet.
fn open_samples(spec: &str, memory: usize) -> Result<Box<dyn Strips>> {
    let spec = Spec::parse(spec);
    let array = spec.array.as_deref();
    Ok(match detect(&spec.path)? {
        Format::Npy => Box::new(npy::open_cube(spec.whole_file()?)?),
        Format::Envi => Box::new(envi::open_cube(spec.whole_file()?)?),
        Format::Tiff => Box::new(tiff::open_cube(spec.whole_file()?)?),
        Format::Enmap => {
            let path = spec.whole_file()?;
            let xml = enmap::metadata_file(path)?;
            Box::new(enmap::open_cube(xml.as_deref().unwrap_or(path))?)
        }
        Format::Mat5 => Box::new(NamedFile::open_level5(&spec.path)?.cube(array, memory)?),
        Format::Mat73 => Box::new(NamedFile::open_version73(&spec.path)?.cube(array, memory)?),
        Format::Npz => Box::new(NamedFile::open_npz(&spec.path)?.cube(array, memory)?),
        Format::Hdf5 => {
            let path = &spec.path;
            let file = hdf5::Hdf5::open(path)?;
            let product = match array {
                None => prisma::Product::recognise(path, &file)?,
                Some(_) => None,
            };
            match product {
                Some(product) => Box::new(product.read(memory)?),
                None => Box::new(NamedFile::of_hdf5(path, file, array)?.cube(array, memory)?),
            }
        }
        Format::Png => Box::new(png_image::read_cube(spec.whole_file()?, memory)?),
        Format::Folder => {
            let (cube, notes) = band_folder::read_cube(spec.whole_file()?, memory)?;
            Box::new(image::Noted { cube, notes })
        }
        Format::Text => {
            return Err(Error::input(format!(
                "{}: is text; an image is read from .npy, .npz, .mat, HDF5, ENVI (.hdr), GeoTIFF or PNG",
                spec.path.display()
            )));
        }
    })
}

/// Reads the image that a name means; see [`open_cube`].
///
/// # Errors
/// As [`open_cube`].
pub fn read_cube(spec: &str) -> Result<Cube> {
    let image = open_cube(spec, usize::MAX)?;
    image.rows(0..image.dim().0)
}

/// Reads the matrix (PSF, SRF) that a name means: `FILE.npy`, `.csv`, `.txt`, or `FILE.mat[:NAME]`.
/// A vector is a matrix of one row.
///
/// # Errors
/// [`Error::Input`] with one line that names the file, what was found and what to do.
pub fn read_matrix(spec: &str) -> Result<Array2<f64>> {
    let spec = Spec::parse(spec);
    match detect(&spec.path)? {
        Format::Npy => {
            let path = spec.whole_file()?;
            array::matrix_from(path, npy::read_array(path)?)
        }
        Format::Mat5 => NamedFile::open_level5(&spec.path)?.matrix(spec.array.as_deref()),
        Format::Mat73 => NamedFile::open_version73(&spec.path)?.matrix(spec.array.as_deref()),
        Format::Npz => NamedFile::open_npz(&spec.path)?.matrix(spec.array.as_deref()),
        Format::Hdf5 => {
            let file = hdf5::Hdf5::open(&spec.path)?;
            NamedFile::of_hdf5(&spec.path, file, spec.array.as_deref())?.matrix(spec.array.as_deref())
        }
        Format::Text => text::read_matrix(spec.whole_file()?),
        Format::Envi | Format::Tiff | Format::Enmap | Format::Png | Format::Folder => {
            Err(Error::input(format!(
                "{}: is an image; a matrix is read from .npy, .npz, .mat, HDF5, .csv or .txt",
                spec.path.display()
            )))
        }
    }
}

/// Reads a spectral response: a text table with a first column `wavelength` as curves, anything else as [`read_matrix`]
/// reads it.
///
/// # Errors
/// As [`read_matrix`], and [`Error::Input`] for a table over wavelength that cannot be a response.
pub fn read_response(spec: &str) -> Result<ResponseTable> {
    match detect(&Spec::parse(spec).path)? {
        Format::Text => text::read_response(Spec::parse(spec).whole_file()?),
        _ => read_matrix(spec).map(ResponseTable::Matrix),
    }
}

/// The format that a file name to be written asks for.
fn output_format(path: &Path) -> Option<Format> {
    match ending(path).as_str() {
        "npy" => Some(Format::Npy),
        "npz" => Some(Format::Npz),
        "mat" => Some(Format::Mat5),
        "csv" | "txt" => Some(Format::Text),
        known if tiff::ENDINGS.contains(&known) => Some(Format::Tiff),
        known if known == "hdr" || envi::DATA_ENDINGS.contains(&known) => Some(Format::Envi),
        _ => None,
    }
}

/// The format of an image to be written, or the error that names those there are.
fn cube_output_format(path: &Path) -> Result<Format> {
    output_format(path).filter(|f| *f != Format::Text).ok_or_else(|| {
        Error::input(format!(
            "{}: no image format has this ending; use .npy, .npz, .mat, .tif, or for ENVI .hdr, .img, .bsq, .bil, .bip",
            path.display()
        ))
    })
}

/// Checks, before long work, that [`write_cube`] will accept this name: a known ending, an existing folder
/// that lets files be created. Touches nothing.
///
/// # Errors
/// [`Error::Input`] with the reason.
pub fn check_cube_writable(path: impl AsRef<Path>) -> Result<()> {
    let path = path.as_ref();
    match cube_output_format(path)? {
        Format::Envi => envi::check_both_writable(path),
        _ => check_writable(path),
    }
}

/// Writes an image in its [`Cube::sample_type`]; integers are rounded and clamped to their range. The
/// ending of the name says the format: `.npy`, `.npz`, `.mat` (level 5), `.tif`, or for ENVI `.hdr`, `.img`, `.bsq`, `.bil`,
/// `.bip`, `.dat`, `.raw`. Masked pixels get the no-data value where there is one.
///
/// # Errors
/// [`Error::Input`] if the ending is unknown, the folder cannot take the file, or the type cannot hold the
/// no-data value; [`Error::Failed`] if writing fails. An existing file then is as it was.
pub fn write_cube(path: impl AsRef<Path>, cube: &Cube) -> Result<()> {
    write_cube_as(path, cube, None)
}

/// [`write_cube`] with a choice of ENVI's interleave.
///
/// # Errors
/// As [`write_cube`], and [`Error::Input`] if the format has no interleave or the name says another one.
pub fn write_cube_as(path: impl AsRef<Path>, cube: &Cube, interleave: Option<Interleave>) -> Result<()> {
    let target = Target {
        path: path.as_ref(),
        sample_type: cube.sample_type,
        interleave,
        memory: usize::MAX,
    };
    write_strips(&target, cube, &mut |_, _| ()).map(drop)
}

/// Checks, before long work, that [`write_matrix`] will accept this name.
///
/// # Errors
/// [`Error::Input`] with the reason.
pub fn check_matrix_writable(path: impl AsRef<Path>) -> Result<()> {
    matrix_output_format(path.as_ref())?;
    check_writable(path)
}

fn matrix_output_format(path: &Path) -> Result<Format> {
    output_format(path)
        .filter(|f| !matches!(f, Format::Envi | Format::Tiff | Format::Npz))
        .ok_or_else(|| {
            Error::input(format!(
                "{}: no matrix format has this ending; use .npy, .mat, .csv or .txt",
                path.display()
            ))
        })
}

/// Writes a matrix as doubles; the ending of the name says the format: `.npy`, `.mat`, `.csv`, `.txt`.
///
/// # Errors
/// [`Error::Input`] if the ending is unknown or the folder cannot take the file, [`Error::Failed`] if
/// writing fails. An existing file then is as it was.
pub fn write_matrix(path: impl AsRef<Path>, matrix: &Array2<f64>) -> Result<()> {
    let path = path.as_ref();
    match matrix_output_format(path)? {
        Format::Mat5 => mat::write_matrix(path, matrix),
        Format::Text => text::write_matrix(path, matrix),
        _ => npy::write_matrix(path, matrix),
    }
}

/// Which of an image's metadata would be lost by writing it under this name, for a word to the user.
pub fn metadata_lost(path: impl AsRef<Path>, m: &Metadata) -> Vec<&'static str> {
    let format = output_format(path.as_ref());
    let mut lost = Vec::new();
    let mut check = |there: bool, kept_by: &[Format], name| {
        if there && !format.is_some_and(|f| kept_by.contains(&f)) {
            lost.push(name);
        }
    };
    let spectral = [Format::Envi, Format::Mat5, Format::Npz, Format::Tiff];
    let headed = [Format::Envi, Format::Tiff];
    check(m.wavelengths.is_some(), &spectral, "wavelengths");
    check(m.fwhm.is_some(), &spectral, "FWHM");
    check(m.nodata.is_some(), &spectral, "no-data value");
    check(m.band_names.is_some(), &headed, "band names");
    check(
        m.bad_bands.as_ref().is_some_and(|bad| bad.contains(&true)),
        &headed,
        "marks of bad bands",
    );
    check(m.grid.is_some(), &headed, "georeference");
    check(!m.extra.is_empty(), &headed, "other header fields");
    lost.extend(m.grid.as_ref().and_then(|grid| match format {
        Some(Format::Envi) => envi_map::lost(grid),
        Some(Format::Tiff) => tiff::lost(grid),
        _ => None,
    }));
    lost
}
