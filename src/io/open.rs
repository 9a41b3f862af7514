//! Opening what a name means: an image to be read in strips, a matrix, a response.

use std::cell::OnceCell;
use std::ops::Range;
use std::path::Path;

use ndarray::{Array2, Array3, s};

use super::array::{Arrangement, ImageOf};
use super::format::{Format, Spec, detect};
use super::named::{Asked, NamedFile};
use super::text::ResponseTable;
use super::tree::Tree;
use super::zarr::Zarr;
use super::{
    array, band_folder, dlr, envi, hdf5, jp2, npy, png_image, prisma, safe, text, vrt, wavelength_file,
};
use crate::cube::exact::Exact;
use crate::cube::strips::{self, Strips};
use crate::cube::{Cube, Metadata, SampleType};
use crate::error::{Error, Result};

/// An image whose file's no-data value masks pixels.
struct Masked(Box<dyn Strips>);

impl Strips for Masked {
    fn dim(&self) -> (usize, usize, usize) {
        self.0.dim()
    }

    fn metadata(&self) -> &Metadata {
        self.0.metadata()
    }

    fn sample_type(&self) -> SampleType {
        self.0.sample_type()
    }

    fn rows(&self, rows: Range<usize>) -> Result<Cube> {
        let mut strip = self.0.rows(rows)?;
        if let Some(value) = self.metadata().nodata {
            strip.mask_value(value);
        }
        Ok(strip)
    }

    fn notes(&self) -> &[String] {
        self.0.notes()
    }
}

/// An image that was read whole, with notes for whoever reads it.
struct Whole {
    cube: Cube,
    notes: Vec<String>,
    /// Reads it again, with the samples as the file has them.
    again: Box<dyn Fn() -> Result<Array3<Exact>>>,
    exact: OnceCell<Array3<Exact>>,
}

impl Whole {
    /// What was read, and how it is read again.
    fn boxed(
        (image, notes): (ImageOf<f32>, Vec<String>),
        again: impl Fn() -> Result<(ImageOf<Exact>, Vec<String>)> + 'static,
    ) -> Box<dyn Strips> {
        Box::new(Whole {
            cube: image.into(),
            notes,
            again: Box::new(move || again().map(|(image, _)| image.samples)),
            exact: OnceCell::new(),
        })
    }

    fn of_named(file: NamedFile, asked: Asked) -> Result<Box<dyn Strips>> {
        let image = file.image(&asked)?;
        Ok(Whole::boxed(image, move || file.image(&asked)))
    }
}

impl Strips for Whole {
    fn dim(&self) -> (usize, usize, usize) {
        self.cube.dim()
    }

    fn metadata(&self) -> &Metadata {
        &self.cube.metadata
    }

    fn sample_type(&self) -> SampleType {
        self.cube.sample_type
    }

    fn rows(&self, rows: Range<usize>) -> Result<Cube> {
        Strips::rows(&self.cube, rows)
    }

    fn exact(&self, rows: Range<usize>) -> Result<Option<Array3<Exact>>> {
        if self.cube.sample_type.fits_single() {
            return Ok(None);
        }
        let samples = match self.exact.get() {
            Some(samples) => samples,
            None => {
                let samples = (self.again)()?;
                self.exact.get_or_init(|| samples)
            }
        };
        Ok(Some(samples.slice(s![rows, .., ..]).to_owned()))
    }

    fn notes(&self) -> &[String] {
        &self.notes
    }
}

/// Opens the image that a name means, `FILE`, `FOLDER`, or `FILE.mat:NAME`, `FILE.npz:NAME`, `FILE.h5:/PATH` or
/// `STORE.zarr:/PATH` for one of several arrays, to be read in strips: all its bands, as the file has them.
///
/// Arrays are rows x columns x bands as they are stored (MATLAB's as MATLAB shows them), or rows x columns for one band. Pixels that hold
/// the file's ignore value in any band are masked. Samples may be NaN: [`Cube::check`] is where that is refused. A
/// format that can only be read whole (MATLAB, `.npz`, HDF5, Zarr, PNG) is, if it takes no more than `memory` bytes.
///
/// # Errors
/// [`Error::Input`] with one line that names the file, what was found and what to do.
pub fn open_cube(spec: &str, memory: usize) -> Result<Box<dyn Strips>> {
    open_cube_as(spec, &Arrangement::default(), memory)
}

/// [`open_cube`] of an array whose axes or wavelengths the user gives.
///
/// # Errors
/// As [`open_cube`], and [`Error::Input`] where that does not fit the array.
pub fn open_cube_as(spec: &str, arrangement: &Arrangement, memory: usize) -> Result<Box<dyn Strips>> {
    Ok(Box::new(Masked(open_samples(spec, arrangement, memory)?)))
}

/// [`open_cube_as`] without a mask: which bands are looked at for no-data is not known yet.
pub(super) fn open_samples(spec: &str, arrangement: &Arrangement, memory: usize) -> Result<Box<dyn Strips>> {
    let image = open_stored(&Spec::parse(spec), arrangement, memory)?;
    wavelength_file::described(spec, image, arrangement.wavelengths.as_deref(), read_matrix)
}

fn open_stored(spec: &Spec, arrangement: &Arrangement, memory: usize) -> Result<Box<dyn Strips>> {
    let format = detect(&spec.path)?;
    let named = [
        Format::Npy,
        Format::Mat5,
        Format::Mat73,
        Format::Npz,
        Format::Hdf5,
        Format::Zarr,
    ];
    if (arrangement.axes.is_some() || arrangement.size.is_some()) && !named.contains(&format) {
        return Err(Error::input(format!(
            "{}: {} says itself which axis is which; leave the setting axes and the setting shape out",
            spec.path.display(),
            format.name()
        )));
    }
    let products = [Format::Enmap, Format::Desis, Format::Safe];
    if arrangement.clouds.is_some() && !products.contains(&format) {
        return Err(Error::input(format!(
            "{}: {} does not say which pixels are cloud; leave the setting clouds out",
            spec.path.display(),
            format.name()
        )));
    }
    let clouds = arrangement.clouds.unwrap_or_default();
    let array = spec.array.as_deref();
    let asked = Asked {
        array: spec.array.clone(),
        arrangement: arrangement.clone(),
        memory,
    };
    Ok(match format {
        Format::Npy => Box::new(npy::open_cube(spec.whole_file()?, arrangement)?),
        Format::Envi => envi::open_cube(spec.whole_file()?)?,
        Format::Tiff => Box::new(envi::open_tiff(spec.whole_file()?)?),
        Format::Enmap | Format::Desis => {
            let path = spec.whole_file()?;
            let xml = dlr::metadata_file(path)?;
            Box::new(dlr::open_cube(xml.as_deref().unwrap_or(path), clouds)?)
        }
        Format::Mat5 => Whole::of_named(NamedFile::open_level5(&spec.path)?, asked)?,
        Format::Mat73 => Whole::of_named(NamedFile::open_version73(&spec.path)?, asked)?,
        Format::Npz => Whole::of_named(NamedFile::open_npz(&spec.path)?, asked)?,
        Format::Hdf5 => {
            let path = &spec.path;
            let file = hdf5::Hdf5::open(path)?;
            if let Some(pan) = prisma::read_pan(path, &file, array, memory)? {
                return Ok(Box::new(pan));
            }
            let product = match array {
                None => prisma::Product::recognise(path, &file)?,
                Some(_) => None,
            };
            match product {
                Some(product) => Box::new(product.read(memory)?),
                None => Whole::of_named(NamedFile::of_tree(path, Tree::Hdf5(file), array)?, asked)?,
            }
        }
        Format::Zarr => {
            let (file, array) = open_zarr(spec)?;
            Whole::of_named(file, Asked { array, ..asked })?
        }
        Format::Png => Box::new(png_image::read_cube(spec.whole_file()?, memory)?),
        Format::Vrt => {
            let path = spec.whole_file()?;
            let open = move |file: &Path| match detect(file)? {
                Format::Vrt => Err(Error::input(format!(
                    "{}: is a VRT in another; write one of them as GeoTIFF with gdal_translate",
                    file.display()
                ))),
                _ => open_samples(&file.to_string_lossy(), &Arrangement::default(), memory),
            };
            Box::new(vrt::open_cube(path, Box::new(open))?)
        }
        Format::Jp2 => Box::new(jp2::read_cube(spec.whole_file()?, memory)?),
        Format::Safe => Box::new(safe::open_cube(&spec.path, array, clouds, memory)?),
        Format::Folder => {
            let open = |name: &str, memory| open_samples(name, &Arrangement::default(), memory);
            let path = spec.whole_file()?.to_owned();
            let read = |band: &dyn Strips, rows| band.rows(rows).map(|strip| strip.samples);
            let image = band_folder::read_image(&path, memory, open, read)?;
            Whole::boxed(image, move || {
                band_folder::read_image(&path, memory, open, strips::exactly)
            })
        }
        Format::Text => {
            return Err(Error::input(format!(
                "{}: is text; an image is read from .npy, .npz, .mat, HDF5, ENVI (.hdr), GeoTIFF, JPEG 2000 or PNG",
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

/// A Zarr store, and the array that is asked for: the one named, or the one whose folder the name is.
fn open_zarr(spec: &Spec) -> Result<(NamedFile, Option<String>)> {
    let (store, own) = Zarr::open(&spec.path)?;
    let array = own.or_else(|| spec.array.clone());
    let file = NamedFile::of_tree(&spec.path, Tree::Zarr(store), array.as_deref())?;
    Ok((file, array))
}

fn check_matrix_length(path: &Path) -> Result<()> {
    match std::fs::metadata(path) {
        Ok(file) if file.is_file() => array::check_matrix_bytes(path, file.len()),
        _ => Ok(()),
    }
}

/// Whether a name, as [`read_matrix`] takes it (`FILE` or `FILE:ARRAY`), is of a file that is there.
pub fn is_there(spec: &str) -> bool {
    Spec::parse(spec).path.exists()
}

/// Reads the matrix (PSF, SRF) that a name means: `FILE.npy`, `.csv`, `.txt`, or `FILE.mat[:NAME]`.
/// A vector is a matrix of one row.
///
/// # Errors
/// [`Error::Input`] with one line that names the file, what was found and what to do.
pub fn read_matrix(spec: &str) -> Result<Array2<f64>> {
    let spec = Spec::parse(spec);
    check_matrix_length(&spec.path)?;
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
            NamedFile::of_tree(&spec.path, Tree::Hdf5(file), spec.array.as_deref())?
                .matrix(spec.array.as_deref())
        }
        Format::Zarr => {
            let (file, array) = open_zarr(&spec)?;
            file.matrix(array.as_deref())
        }
        Format::Text => text::read_matrix(spec.whole_file()?),
        Format::Envi
        | Format::Tiff
        | Format::Enmap
        | Format::Desis
        | Format::Png
        | Format::Vrt
        | Format::Jp2
        | Format::Safe
        | Format::Folder => Err(Error::input(format!(
            "{}: is an image; a matrix is read from .npy, .npz, .mat, HDF5, .csv or .txt",
            spec.path.display()
        ))),
    }
}

/// Reads a spectral response: a text table with a first column `wavelength` as curves, anything else as [`read_matrix`]
/// reads it.
///
/// # Errors
/// As [`read_matrix`], and [`Error::Input`] for a table over wavelength that cannot be a response.
pub fn read_response(spec: &str) -> Result<ResponseTable> {
    match detect(&Spec::parse(spec).path)? {
        Format::Text => {
            let spec = Spec::parse(spec);
            check_matrix_length(&spec.path)?;
            text::read_response(spec.whole_file()?)
        }
        _ => read_matrix(spec).map(ResponseTable::Matrix),
    }
}
