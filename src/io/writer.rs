//! Writing an image strip by strip. Raw formats (`.npy`, ENVI) and TIFF take the rows as they come; a MATLAB file is written
//! whole, because its header holds the length of what follows and its last axis stands first, and so is an `.npz`, whose
//! checksum stands ahead.

use std::io::SeekFrom;
use std::path::{Path, PathBuf};

use ndarray::{Array2, Array3, ArrayView3, CowArray, Ix3, s};

use super::array::shape_text;
use super::envi_header::Interleave;
use super::file::{Partial, check_room, check_writable};
use super::format::{Format, cube_output_format, matrix_output_format, output_format};
use super::samples::{Float, beside, integer_range, loss, sample_type_name, width, write_samples, written};
use super::tiff::{self, TiffOptions, TiffWriter};
use super::{envi, envi_header, mat, npy, npz, text};
use crate::cube::exact::Exact;
use crate::cube::strips::{self, Strips};
use crate::cube::{Cube, Metadata, SampleType};
use crate::error::{Error, Result};

/// What an image file is to be.
#[derive(Debug, Clone)]
pub struct Target<'a> {
    /// Where; the ending says the format.
    pub path: &'a Path,
    /// Numeric type; integers are rounded and clamped to their range.
    pub sample_type: SampleType,
    /// ENVI's interleave, where it is not left to the name.
    pub interleave: Option<Interleave>,
    /// Bytes that a format which cannot be written in strips may hold in memory.
    pub memory: usize,
    /// How a GeoTIFF is laid out.
    pub tiff: TiffOptions,
}

/// An image file that grows by rows and appears under its name when it is whole.
pub struct CubeWriter {
    path: PathBuf,
    dim: (usize, usize, usize),
    kind: SampleType,
    metadata: Metadata,
    next: usize,
    sink: Sink,
}

enum Sink {
    /// Raw samples after `offset` bytes, and the text of an ENVI header.
    Raw {
        file: Partial,
        interleave: Interleave,
        offset: u64,
        header: Option<(PathBuf, String)>,
    },
    Tiff(Box<TiffWriter>),
    /// All samples, for a format that is written whole; the file's own, where there are such.
    Whole(Array3<f32>, Option<Array3<Exact>>),
}

/// Samples as they are handed to a writer.
trait Sample: Copy + Into<Exact> + Sync {
    /// Keeps rows from `first` on for a file that is written whole.
    fn keep(
        first: usize,
        rows: ArrayView3<Self>,
        single: &mut Array3<f32>,
        exact: &mut Option<Array3<Exact>>,
    );
}

impl Sample for f32 {
    fn keep(first: usize, rows: ArrayView3<Self>, single: &mut Array3<f32>, _: &mut Option<Array3<Exact>>) {
        single
            .slice_mut(s![first..first + rows.dim().0, .., ..])
            .assign(&rows);
    }
}

impl Sample for Exact {
    fn keep(
        first: usize,
        rows: ArrayView3<Self>,
        single: &mut Array3<f32>,
        exact: &mut Option<Array3<Exact>>,
    ) {
        let all = exact.get_or_insert_with(|| Array3::from_elem(single.dim(), Exact::from(0.0)));
        all.slice_mut(s![first..first + rows.dim().0, .., ..])
            .assign(&rows);
    }
}

impl Target<'_> {
    /// Checks, before long work, that an image of `dim` rows, columns and bands can be written: the ending is known, the
    /// format can be written in strips or the image is within the memory allowed, and the disk has room.
    ///
    /// # Errors
    /// [`Error::Input`] or, for the disk, [`Error::Failed`] with the reason.
    pub fn check(&self, dim: (usize, usize, usize)) -> Result<()> {
        let path = self.path;
        let format = cube_output_format(path)?;
        let samples = dim.0 as u64 * dim.1 as u64 * dim.2 as u64;
        match format {
            Format::Envi => {
                envi::output_interleave(path, self.interleave)?;
                let (_, data) = envi::output_paths(path)?;
                check_room(
                    &data,
                    samples * width(envi_header::written_kind(self.sample_type)) as u64,
                )
            }
            _ if self.interleave.is_some() => Err(Error::input(format!(
                "{}: only ENVI files have an interleave",
                path.display()
            ))),
            Format::Mat5 | Format::Npz => {
                if format == Format::Mat5 {
                    mat::check_size(path, self.sample_type, &[dim.0, dim.1, dim.2])?;
                }
                if samples <= (self.memory / size_of::<f32>()) as u64 {
                    return Ok(());
                }
                Err(Error::input(format!(
                    "{}: a file of this kind is written whole, and {} samples are more than the setting max-memory allows; write .npy or ENVI",
                    path.display(),
                    shape_text(&[dim.0, dim.1, dim.2])
                )))
            }
            format => {
                if format == Format::Tiff {
                    tiff::check(path, dim, self.sample_type, &self.tiff)?;
                }
                check_room(path, samples * width(self.sample_type) as u64)
            }
        }
    }
}

impl CubeWriter {
    /// Begins a file for an image of `dim` rows, columns and bands.
    ///
    /// # Errors
    /// As [`Target::check`], and [`Error::Input`] if the folder cannot take the file.
    pub fn create(target: &Target, dim: (usize, usize, usize), metadata: &Metadata) -> Result<CubeWriter> {
        target.check(dim)?;
        let path = target.path;
        let mut kind = target.sample_type;
        let sink = match cube_output_format(path)? {
            Format::Envi => {
                let interleave = envi::output_interleave(path, target.interleave)?;
                let (header_path, data_path) = envi::output_paths(path)?;
                kind = envi_header::written_kind(kind);
                Sink::Raw {
                    file: Partial::create(&data_path)?,
                    interleave,
                    offset: 0,
                    header: Some((header_path, envi_header::write(dim, kind, metadata, interleave))),
                }
            }
            Format::Mat5 | Format::Npz => Sink::Whole(Array3::zeros(dim), None),
            Format::Tiff => Sink::Tiff(Box::new(TiffWriter::create(
                path,
                dim,
                kind,
                metadata,
                &target.tiff,
            )?)),
            _ => {
                let mut start = Vec::new();
                // Writing to a Vec cannot fail.
                let _ = npy::write_header(&mut start, kind, &[dim.0, dim.1, dim.2]);
                let mut file = Partial::create(path)?;
                file.write(|sink| sink.write_all(&start))?;
                Sink::Raw {
                    file,
                    interleave: Interleave::Bip,
                    offset: start.len() as u64,
                    header: None,
                }
            }
        };
        Ok(CubeWriter {
            path: path.to_owned(),
            dim,
            kind,
            metadata: metadata.clone(),
            next: 0,
            sink,
        })
    }

    /// Adds the next rows. Masked pixels get the no-data value where there is one.
    ///
    /// # Errors
    /// [`Error::Failed`] if they do not fit or writing fails, [`Error::Input`] if the type cannot hold the no-data value.
    pub fn append(&mut self, strip: &Cube) -> Result<()> {
        let kind = self.kind;
        let single = |value: f64| value.is_nan() || f64::from(value as f32) == value;
        if !kind.fits_single() && !self.metadata.nodata.is_none_or(single) {
            // The file's type holds the no-data value and single precision does not.
            return self
                .append_exact(strip, strip.samples.mapv(Exact::from).view())
                .map(drop);
        }
        let first = self.advance(strip)?;
        let samples = self.marked(strip, strip.samples.view(), |x| written(kind, x.into()) as f32)?;
        self.put(first, samples.view())
    }

    /// [`CubeWriter::append`] of the samples that the strip's file has; gives the largest difference between one of them
    /// and what is written of it.
    ///
    /// # Errors
    /// As [`CubeWriter::append`].
    pub fn append_exact(&mut self, strip: &Cube, samples: ArrayView3<Exact>) -> Result<f64> {
        let first = self.advance(strip)?;
        let kind = self.kind;
        let mut largest: f64 = 0.0;
        for ((r, c, _), &x) in samples.indexed_iter() {
            if strip.is_valid(r, c) {
                largest = largest.max(loss(kind, x));
            }
        }
        let samples = self.marked(strip, samples, |x| written(kind, x.value) as f32)?;
        self.put(first, samples.view())?;
        Ok(largest)
    }

    /// The row that a strip begins at.
    fn advance(&mut self, strip: &Cube) -> Result<usize> {
        let (rows, columns, bands) = self.dim;
        let first = self.next;
        if (strip.columns(), strip.bands()) != (columns, bands) || first + strip.rows() > rows {
            return Err(Error::failed(format!(
                "{}: rows of another shape than the image's",
                self.path.display()
            )));
        }
        self.next += strip.rows();
        Ok(first)
    }

    /// The samples of a strip with the no-data value in masked pixels and nowhere else; `single` says how a reader compares.
    fn marked<'a, T: Float>(
        &self,
        strip: &Cube,
        samples: ArrayView3<'a, T>,
        single: impl Fn(T) -> f32,
    ) -> Result<CowArray<'a, T, Ix3>> {
        // Without a mask nothing says which samples are meant for data.
        let (Some(nodata), true) = (self.metadata.nodata, strip.valid.is_some()) else {
            return Ok(samples.into());
        };
        let is_nodata = |x: T| single(x) == nodata as f32;
        if strip.masked_pixels() == 0 && !samples.iter().any(|&x| is_nodata(x)) {
            return Ok(samples.into());
        }
        let mut samples = samples.to_owned();
        for (r, c) in (0..strip.rows()).flat_map(|r| (0..self.dim.1).map(move |c| (r, c))) {
            let mut pixel = samples.slice_mut(s![r, c, ..]);
            if strip.is_valid(r, c) {
                // What is no data in the file would be read as such.
                pixel.mapv_inplace(|x| {
                    if is_nodata(x) {
                        T::from_f64(beside(self.kind, nodata).into())
                    } else {
                        x
                    }
                })
            } else {
                pixel.fill(T::from_f64(self.nodata_value()?))
            }
        }
        Ok(samples.into())
    }

    fn nodata_value(&self) -> Result<f64> {
        let value = self.metadata.nodata.unwrap_or(f64::NAN);
        let fits = integer_range(self.kind)
            .is_none_or(|(low, high)| (low..=high).contains(&value) && value.fract() == 0.0);
        if fits {
            return Ok(value);
        }
        Err(Error::input(format!(
            "{}: samples of type {} cannot hold the no-data value {value}; choose another type or the setting nodata",
            self.path.display(),
            sample_type_name(self.kind)
        )))
    }

    fn put<T: Sample>(&mut self, first: usize, samples: ArrayView3<T>) -> Result<()> {
        let (rows, columns, _) = self.dim;
        let kind = self.kind;
        let (file, interleave, offset) = match &mut self.sink {
            Sink::Whole(single, exact) => {
                T::keep(first, samples, single, exact);
                return Ok(());
            }
            Sink::Tiff(file) => return file.append(samples),
            Sink::Raw {
                file,
                interleave,
                offset,
                ..
            } => (file, *interleave, *offset),
        };
        let in_file_order = samples.permuted_axes(interleave.axes());
        if interleave != Interleave::Bsq {
            return file.write(|sink| write_samples(sink, kind, in_file_order.iter().copied()));
        }
        for (band, plane) in in_file_order.outer_iter().enumerate() {
            let at = (band * rows + first) as u64 * (columns * width(kind)) as u64;
            file.write(|sink| {
                sink.seek(SeekFrom::Start(offset + at))?;
                write_samples(sink, kind, plane.iter().copied())
            })?;
        }
        Ok(())
    }

    /// Puts the file under its name; an ENVI header after its data.
    ///
    /// # Errors
    /// [`Error::Failed`] if rows are missing or writing fails; an existing file then is as it was.
    pub fn finish(self) -> Result<()> {
        if self.next != self.dim.0 {
            return Err(Error::failed(format!(
                "{}: {} of {} rows were made",
                self.path.display(),
                self.next,
                self.dim.0
            )));
        }
        match self.sink {
            Sink::Whole(single, exact) => {
                let (path, kind, metadata) = (&self.path, self.kind, &self.metadata);
                let npz = output_format(path) == Some(Format::Npz);
                match (exact, npz) {
                    (Some(samples), true) => npz::write_cube(path, samples.view(), kind, metadata),
                    (Some(samples), false) => mat::write_cube(path, samples.view(), kind, metadata),
                    (None, true) => npz::write_cube(path, single.view(), kind, metadata),
                    (None, false) => mat::write_cube(path, single.view(), kind, metadata),
                }
            }
            Sink::Tiff(file) => file.finish()?.publish_image(),
            Sink::Raw { file, header, .. } => {
                let data = file.finish()?;
                match header {
                    Some(header) => envi::publish(data, header),
                    None => data.publish(),
                }
            }
        }
    }
}

/// Writes an image strip by strip and gives the number of its masked pixels; `progress` is told rows done and rows in
/// all.
///
/// # Errors
/// Those of the image, of [`CubeWriter::create`] and [`CubeWriter::append`]. An existing file then is as it was.
pub fn write_strips(
    target: &Target,
    image: &dyn Strips,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<usize> {
    let mut masked = 0;
    let mut writer = CubeWriter::create(target, image.dim(), image.metadata())?;
    strips::for_each(image, |first, strip| {
        writer.append(&strip)?;
        masked += strip.masked_pixels();
        progress(first + strip.rows(), image.dim().0);
        Ok(())
    })?;
    writer.finish()?;
    Ok(masked)
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
        tiff: TiffOptions::default(),
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

/// [`write_strips`] of the samples as the image's file has them; gives the number of masked pixels and the largest difference
/// between a sample and what is written of it.
///
/// # Errors
/// As [`write_strips`].
pub fn write_exactly(target: &Target, image: &dyn Strips) -> Result<(usize, f64)> {
    let (mut masked, mut largest) = (0, 0.0_f64);
    let mut writer = CubeWriter::create(target, image.dim(), image.metadata())?;
    strips::for_each(image, |first, strip| {
        let samples = image.exact(first..first + strip.rows())?;
        let samples = samples.unwrap_or_else(|| strip.samples.mapv(Exact::from));
        largest = largest.max(writer.append_exact(&strip, samples.view())?);
        masked += strip.masked_pixels();
        Ok(())
    })?;
    writer.finish()?;
    Ok((masked, largest))
}
