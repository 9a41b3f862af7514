//! The formats: how a file is told, and which one a name to be written asks for.
//!
//! A format is told by the first bytes of a file, then by its name; what is written goes by name.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::path::ending;
use super::{dlr, envi, envi_header, envi_map, file, hdf5, jp2, npy, npz, png_image, safe, tiff, vrt, zarr};
use crate::cube::Metadata;
use crate::error::{Error, Result};

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
    /// DESIS product: XML and GeoTIFF.
    Desis,
    /// Virtual image of GDAL's.
    Vrt,
    /// JPEG 2000.
    Jp2,
    /// Sentinel-2 product: XML and JPEG 2000.
    Safe,
    /// Zarr store in a folder.
    Zarr,
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
            Format::Desis => "DESIS product",
            Format::Vrt => "VRT",
            Format::Jp2 => "JPEG 2000",
            Format::Safe => "Sentinel-2 product",
            Format::Zarr => "Zarr",
            Format::Text => "text",
        }
    }
}

/// Endings of files that may hold several arrays, or datasets by path.
const CONTAINERS: [&str; 8] = [".mat", ".npz", ".h5", ".hdf5", ".he5", ".nc", ".nc4", ".zarr"];

/// What a name on the command line means: a file, and perhaps one of the arrays in it (`FILE.mat:NAME`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Spec {
    pub path: PathBuf,
    pub array: Option<String>,
}

impl Spec {
    /// A name that is a file as it stands is that file, colons and all.
    pub fn parse(text: &str) -> Self {
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
                let path = Path::new(file);
                !array.is_empty()
                    && (path.is_file() || container || safe::is_product(path) || zarr::is_store(path))
            })
            .map_or(whole, |(file, array)| Spec {
                path: file.into(),
                array: Some(array.to_owned()),
            })
    }

    /// For formats that hold one array: refuses the name of one.
    pub fn whole_file(&self) -> Result<&Path> {
        match &self.array {
            None => Ok(&self.path),
            Some(array) => Err(Error::input(format!(
                "{}: holds one array only; leave out :{array}",
                self.path.display()
            ))),
        }
    }
}

/// Tells the format of an existing file: by its first bytes, else by its name.
pub(super) fn detect(path: &Path) -> Result<Format> {
    if let Some(xml) = dlr::metadata_file(path)? {
        return Ok(if dlr::is_desis(&xml) {
            Format::Desis
        } else {
            Format::Enmap
        });
    }
    if safe::is_product(path) {
        return Ok(Format::Safe);
    }
    if zarr::is_store(path) {
        return Ok(Format::Zarr);
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
    if vrt::begins(&start) {
        return Ok(Format::Vrt);
    }
    if jp2::MAGICS.iter().any(|magic| start.starts_with(magic)) {
        return Ok(Format::Jp2);
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
        known if jp2::ENDINGS.contains(&known) => Err(Error::input(format!(
            "{}: is called JPEG 2000 and does not begin like it; copy or download it again",
            path.display()
        ))),
        "csv" | "txt" => Ok(Format::Text),
        _ if envi::header_of(path).is_some() => Ok(Format::Envi),
        known if envi::DATA_ENDINGS.contains(&known) => Err(Error::input(format!(
            "{}: no ENVI header (.hdr) beside it, so its layout is unknown",
            path.display()
        ))),
        _ => Err(Error::input(format!(
            "{}: unknown format; .npy, .npz, .mat, HDF5, ENVI (.hdr), GeoTIFF, JPEG 2000, PNG, products and folders of bands are read",
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

/// The format that a file name to be written asks for.
pub(super) fn output_format(path: &Path) -> Option<Format> {
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
pub(super) fn cube_output_format(path: &Path) -> Result<Format> {
    output_format(path).filter(|f| *f != Format::Text).ok_or_else(|| {
        Error::input(format!(
            "{}: no image format has this ending; use .npy, .npz, .mat, .tif, or for ENVI .hdr, .img, .bsq, .bil, .bip",
            path.display()
        ))
    })
}

pub(super) fn matrix_output_format(path: &Path) -> Result<Format> {
    output_format(path)
        .filter(|f| !matches!(f, Format::Envi | Format::Tiff | Format::Npz))
        .ok_or_else(|| {
            Error::input(format!(
                "{}: no matrix format has this ending; use .npy, .mat, .csv or .txt",
                path.display()
            ))
        })
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
