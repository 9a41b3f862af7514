//! NumPy's `.npz`: a ZIP archive with a `.npy` file for each array (`savez`, `savez_compressed`), through the crate `zip`.
//! Members are read by number and never unpacked to disk, so that a name in an archive is a name and no path.
//!
//! Memory: a member may claim at most 1032 times the archive's length (deflate shrinks no more), which is held against its
//! `.npy` header before memory is asked for; what it inflates to beyond its claim is not read. So at most 8 bytes a
//! sample, and some hundred bytes for each of at most [`MOST_MEMBERS`] members.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Mutex;

use ndarray::{ArrayD, ArrayView3};
use zip::result::ZipError;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use super::array::Layout;
use super::file::{Partial, Place, open};
use super::mat5::DEFLATE_LIMIT;
use super::npy;
use super::samples::{Float, write_samples};
use crate::cube::exact::Exact;
use crate::cube::{Metadata, SampleType};
use crate::error::{Error, Result};

/// First bytes of a ZIP archive that is not empty.
pub(crate) const MAGIC: &[u8] = b"PK\x03\x04";

/// Most members of an archive.
const MOST_MEMBERS: usize = 10_000;
/// Samples from which on a member is written with lengths of 64 bits.
const LARGE_BYTES: u64 = u32::MAX as u64;

/// An array of an archive.
pub(crate) struct Member {
    /// Its name without `.npy`.
    pub name: String,
    /// What its header says.
    pub layout: Layout,
    index: usize,
    /// Bytes of its header, and of header and samples as the archive claims.
    header: u64,
    size: u64,
}

/// An open archive.
pub(crate) struct Npz {
    archive: Mutex<ZipArchive<File>>,
    /// Arrays of real numbers.
    pub arrays: Vec<Member>,
}

fn failed(path: &Path, error: &ZipError) -> Error {
    let text = error.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
    Error::input(format!(
        "{}: damaged or unusual .npz archive: {text}",
        path.display()
    ))
}

impl Npz {
    /// Opens an archive and reads the headers of its arrays; members that are no arrays of real numbers are passed over.
    ///
    /// # Errors
    /// [`Error::Input`] if it is missing, truncated, damaged, or claims more than it can hold.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let (file, length) = open(path)?;
        let limit = length.saturating_mul(DEFLATE_LIMIT);
        let mut archive = ZipArchive::new(file).map_err(|e| failed(path, &e))?;
        if archive.len() > MOST_MEMBERS {
            return Err(Error::input(format!(
                "{}: has {} members, more than the {MOST_MEMBERS} that are read",
                path.display(),
                archive.len()
            )));
        }
        let mut arrays = Vec::new();
        for index in 0..archive.len() {
            let mut member = archive.by_index(index).map_err(|e| failed(path, &e))?;
            let size = member.size();
            let name = member.name().map_err(|e| failed(path, &e))?;
            let Some(name) = name.strip_suffix(".npy").map(str::to_owned) else {
                continue;
            };
            if size > limit {
                return Err(Error::input(format!(
                    "{}: its member {name:?} claims {size} bytes, more than an archive of {length} bytes can hold; it is damaged",
                    path.display()
                )));
            }
            if let Ok((layout, header)) = npy::layout_from(path, &mut member) {
                arrays.push(Member {
                    name,
                    layout,
                    index,
                    header,
                    size,
                });
            }
        }
        Ok(Npz {
            archive: Mutex::new(archive),
            arrays,
        })
    }

    /// Reads the array with this number.
    ///
    /// # Errors
    /// [`Error::Input`] if it is damaged or claims more than it holds.
    pub(crate) fn read<T: Float>(&self, path: &Path, number: usize) -> Result<ArrayD<T>> {
        let found = &self.arrays[number];
        let count = found
            .layout
            .checked_count(path, found.size.saturating_sub(found.header))?;
        let mut archive = self.archive.lock().unwrap_or_else(|e| e.into_inner());
        let mut member = archive.by_index(found.index).map_err(|e| failed(path, &e))?;
        let damaged = |e: io::Error| {
            Error::input(format!(
                "{}: its array {} is damaged: {e}",
                path.display(),
                found.name
            ))
        };
        io::copy(&mut (&mut member).take(found.header), &mut io::sink()).map_err(damaged)?;
        let samples = found.layout.read(path, &mut member, count)?;
        // The checksum is looked at where a member ends: what follows the samples is read, as far as is claimed.
        let left = found.size.saturating_sub(found.header) + 1;
        io::copy(&mut member.take(left), &mut io::sink()).map_err(damaged)?;
        Ok(samples)
    }
}

/// Writes an image as the array `cube`, with its wavelengths beside it, stored without compression.
///
/// # Errors
/// As [`Partial::create`] and [`Partial::write`].
pub(crate) fn write_cube<T: Copy + Into<Exact>>(
    path: &Path,
    samples: ArrayView3<T>,
    kind: SampleType,
    metadata: &Metadata,
) -> Result<()> {
    let nodata = metadata.nodata.map(|value| vec![value]);
    let vectors = [
        ("wavelengths", &metadata.wavelengths),
        ("fwhm", &metadata.fwhm),
        ("nodata", &nodata),
    ];
    let mut file = Partial::create(path)?;
    file.write(|sink| {
        let mut archive = ZipWriter::new(sink);
        let bytes = samples.len() as u64 * size_of::<f64>() as u64;
        begin(&mut archive, "cube", bytes)?;
        npy::write_header(&mut archive, kind, samples.shape())?;
        write_samples(&mut archive, kind, samples.iter().copied())?;
        for (name, vector) in vectors {
            if let Some(values) = vector {
                begin(&mut archive, name, 0)?;
                npy::write_header(&mut archive, SampleType::F64, &[1, values.len()])?;
                write_samples(&mut archive, SampleType::F64, values.iter().copied())?;
            }
        }
        archive.finish().map_err(io::Error::from)?.flush()
    })?;
    file.finish()?.publish()
}

/// Begins the array `name` of at most so many bytes.
fn begin(archive: &mut ZipWriter<&mut dyn Place>, name: &str, bytes: u64) -> io::Result<()> {
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Stored)
        .large_file(bytes >= LARGE_BYTES);
    archive
        .start_file(format!("{name}.npy"), options)
        .map_err(io::Error::from)
}
