//! ENVI images: a text header (`.hdr`) and a file of raw samples, or a TIFF, beside it.
//!
//! Memory while reading: 4 bytes a sample of the rows that are read plus 2 MiB and a few times the header's length;
//! the length of the data file is held against the header first. That of a TIFF is `tiff`'s.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::array::{Layout, shape_text};
use super::envi_header::{Header, Interleave};
use super::file::{Prepared, appended, check_writable, open, prepare, read_error};
use super::identity::resolved;
use super::path::{ending, folder_of};
use super::samples::width;
use super::strip_file::{RawLayout, StripFile};
use super::tiff::{self, TiffFile};
use crate::cube::Metadata;
use crate::cube::strips::Strips;
use crate::error::{Error, Result};

/// Name endings of data files, without the dot. A data file may also have none.
pub(crate) const DATA_ENDINGS: [&str; 6] = ["img", "dat", "raw", "bsq", "bil", "bip"];

/// What stands in the place of a header while its data are replaced. Without it a data file of another name could take the
/// header that they share for its own.
const UNFINISHED: &str = "ENVI\n; the data file beside this header was being replaced\n";

/// Longest header that is read.
const MAX_HEADER: u64 = 1 << 24;

/// Endings of headers.
const HEADER_ENDINGS: [&str; 3] = ["hdr", "HDR", "Hdr"];

/// The header that a data file has for itself: its whole name with `.hdr` after it.
fn own_header(data: &Path) -> Option<PathBuf> {
    let names = HEADER_ENDINGS.iter().map(|e| appended(data, e));
    names.into_iter().find(|p| p.is_file())
}

/// Endings of files that are surely no raw samples, whatever their length.
const OTHER_ENDINGS: [&str; 20] = [
    "hdr", "txt", "csv", "xml", "json", "md", "pdf", "jpg", "jpeg", "png", "tif", "tiff", "npy", "npz",
    "mat", "h5", "nc", "zip", "enp", "sta",
];

/// The header that belongs to a data file, looked for as GDAL does: its whole name with `.hdr` after it, else `.hdr` in place
/// of its ending.
pub(crate) fn header_of(data: &Path) -> Option<PathBuf> {
    let shared = || {
        HEADER_ENDINGS
            .iter()
            .map(|e| data.with_extension(e))
            .find(|p| p.is_file())
    };
    own_header(data).or_else(shared)
}

/// The data files that could belong to a header: its name without `.hdr`, or with another ending, a known one or, where the
/// length is right, any. A file that has a header of its own is none.
fn data_candidates(header: &Path, length: Option<u64>) -> Vec<PathBuf> {
    let whole = header.with_extension("");
    if whole.is_file() && whole.extension().is_some() {
        return vec![whole];
    }
    let stem = whole.file_name();
    let mut found: Vec<PathBuf> = std::fs::read_dir(folder_of(header))
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            let other_ending = path.file_stem() == stem && !OTHER_ENDINGS.contains(&ending(path).as_str());
            let known = || DATA_ENDINGS.contains(&ending(path).as_str());
            let long = || path.metadata().is_ok_and(|m| Some(m.len()) == length);
            (path.file_name() == stem || other_ending && (known() || long()))
                && path.is_file()
                && own_header(path).is_none_or(|own| own == header)
        })
        .collect();
    found.sort();
    found
}

/// The files of the image that either of its files names.
pub(super) fn files_of(path: &Path) -> Vec<PathBuf> {
    if ending(path) != "hdr" {
        return std::iter::once(path.to_owned()).chain(header_of(path)).collect();
    }
    let mut files = vec![path.to_owned()];
    match read_header(path) {
        Ok(header) if header.tiff => files.extend(tiff_of(path)),
        Ok(header) => files.append(&mut data_candidates(path, needed(&header))),
        Err(_) => {}
    }
    files
}

/// Bytes that a header asks for; `None` if that is beyond counting.
fn needed(header: &Header) -> Option<u64> {
    let [rows, columns, bands] = header.dim.map(|n| n as u64);
    let samples = rows.checked_mul(columns)?.checked_mul(bands)?;
    samples
        .checked_mul(width(header.kind) as u64)?
        .checked_add(header.offset)
}

/// The TIFF that a header belongs to.
fn tiff_of(header: &Path) -> Option<PathBuf> {
    let stem = header.with_extension("");
    let names = ["tif", "tiff", "TIF", "TIFF"].iter().map(|e| appended(&stem, e));
    std::iter::once(stem.clone()).chain(names).find(|p| p.is_file())
}

fn read_header(path: &Path) -> Result<Header> {
    let (file, length) = open(path)?;
    if length > MAX_HEADER {
        return Err(Error::input(format!(
            "{}: is {length} bytes long, too long for an ENVI header",
            path.display()
        )));
    }
    let mut bytes = Vec::new();
    file.take(MAX_HEADER)
        .read_to_end(&mut bytes)
        .map_err(|e| read_error(path, &e))?;
    // Older headers are in Latin-1, whose bytes are the first 256 code points.
    let text =
        String::from_utf8(bytes).unwrap_or_else(|e| e.as_bytes().iter().map(|&b| char::from(b)).collect());
    Header::parse(&text).map_err(|what| Error::input(format!("{}: bad ENVI header: {what}", path.display())))
}

/// A header file with what it says.
struct HeaderFile {
    path: PathBuf,
    header: Header,
}

impl HeaderFile {
    fn read(path: PathBuf) -> Result<Self> {
        Ok(HeaderFile {
            header: read_header(&path)?,
            path,
        })
    }

    /// Its notes as one, with its name, `more` among them.
    fn notes(&self, more: Option<String>) -> Vec<String> {
        let notes: Vec<String> = self.header.notes.iter().cloned().chain(more).collect();
        if notes.is_empty() {
            notes
        } else {
            vec![format!(
                "{}: the header has {}",
                self.path.display(),
                notes.join("; ")
            )]
        }
    }

    /// The data file beside it.
    fn data(&self, length: Option<u64>) -> Result<PathBuf> {
        let path = &self.path;
        let candidates = data_candidates(path, length);
        // Beside several files of fitting name, the one of fitting length is meant.
        let fits = |p: &&PathBuf| p.metadata().is_ok_and(|m| Some(m.len()) == length);
        let fitting: Vec<&PathBuf> = candidates.iter().filter(fits).collect();
        match (candidates.as_slice(), fitting.as_slice()) {
            ([], _) => Err(Error::input(format!(
                "{}: no data file beside it (same name, without ending or with .{}, or another of the length that it asks for)",
                path.display(),
                DATA_ENDINGS.join(", .")
            ))),
            ([only], _) => Ok(only.clone()),
            (_, [only]) => Ok((*only).clone()),
            (several, _) => {
                let names: Vec<String> = several.iter().map(|p| p.display().to_string()).collect();
                Err(Error::input(format!(
                    "{}: several files could hold its data: {}; name the data file instead",
                    path.display(),
                    names.join(", ")
                )))
            }
        }
    }
}

/// Opens an image, given the name of either of its files. The ignore value masks pixels. The header of a TIFF
/// (`file type = TIFF`) says what there is to say besides the samples.
///
/// # Errors
/// [`Error::Input`] if a file is missing, the header is not understood, or the data file is shorter than it says.
pub(crate) fn open_cube(path: &Path) -> Result<Box<dyn Strips>> {
    let given_header = ending(path) == "hdr";
    let header_path = if given_header {
        path.to_owned()
    } else {
        header_of(path)
            .ok_or_else(|| Error::input(format!("{}: no ENVI header (.hdr) beside it", path.display())))?
    };
    let file = HeaderFile::read(header_path)?;
    if !file.header.tiff {
        return Ok(Box::new(open_raw(path, file)?));
    }
    let data = tiff_of(&file.path).ok_or_else(|| {
        Error::input(format!(
            "{}: is the header of a TIFF, and there is none beside it (same name with .tif)",
            file.path.display()
        ))
    })?;
    let image = tiff::open_cube(&data)?;
    let [rows, columns, bands] = file.header.dim;
    if image.dim() != (rows, columns, bands) {
        let (r, c, b) = image.dim();
        return Err(Error::input(format!(
            "{}: says {} and {} holds {}; open the TIFF without this header",
            file.path.display(),
            shape_text(&[rows, columns, bands]),
            data.display(),
            shape_text(&[r, c, b])
        )));
    }
    Ok(Box::new(described(image, file)))
}

/// Opens a TIFF, with the ENVI header beside it where there is one of its size that says it is a TIFF's.
///
/// # Errors
/// As [`tiff::open_cube`].
pub(crate) fn open_tiff(path: &Path) -> Result<TiffFile> {
    let image = tiff::open_cube(path)?;
    // A header that cannot be read may belong to something else.
    let beside = header_of(path).and_then(|header| HeaderFile::read(header).ok());
    Ok(match beside.filter(|file| file.header.tiff) {
        Some(file) if image.dim() == file.header.dim.into() => described(image, file),
        _ => image,
    })
}

/// A TIFF under the words of its header; what that does not say, the TIFF does.
fn described(image: TiffFile, file: HeaderFile) -> TiffFile {
    let notes = file.notes(None);
    let said = file.header.metadata;
    let own = image.metadata().clone();
    let mut extra = own.extra;
    extra.extend(said.extra);
    let metadata = Metadata {
        wavelengths: said.wavelengths.or(own.wavelengths),
        fwhm: said.fwhm.or(own.fwhm),
        band_names: said.band_names.or(own.band_names),
        bad_bands: said.bad_bands.or(own.bad_bands),
        nodata: said.nodata.or(own.nodata),
        // The words of a TIFF are those that GDAL goes by.
        grid: own.grid.or(said.grid),
        extra,
    };
    image.described(metadata, notes)
}

/// Opens a file of raw samples.
fn open_raw(path: &Path, file: HeaderFile) -> Result<StripFile> {
    let header = &file.header;
    let layout = Layout {
        shape: header.dim.to_vec(),
        kind: header.kind,
        order: header.order,
        first_axis_fastest: false,
    };
    layout.checked_count(&file.path, u64::MAX)?;
    let needed = needed(header);
    let data = if ending(path) == "hdr" {
        file.data(needed)?
    } else {
        path.to_owned()
    };
    let (opened, length) = open(&data)?;
    let named = Interleave::from_name(&ending(&data));
    let taken = header.interleave.or(named).unwrap_or(Interleave::Bsq);
    let guess = (header.interleave.is_none() && header.dim[2] > 1).then(|| {
        let why = named.map_or("", |_| " as its data file is named");
        format!("no interleave, taken to be {}{why}", taken.name())
    });
    let mut notes = file.notes(guess);
    match needed {
        Some(needed) if length > needed => notes.push(format!(
            "{}: {} bytes behind the last sample that its header asks for are left alone",
            data.display(),
            length - needed
        )),
        Some(needed) if length == needed => {}
        _ => {
            return Err(Error::input(format!(
                "{}: is {length} bytes long, but its header {} asks for {} ({} x {} bytes after {}); the file is truncated or the header wrong",
                data.display(),
                file.path.display(),
                needed.map_or("more than there can be".to_owned(), |n| n.to_string()),
                shape_text(&layout.shape),
                width(layout.kind),
                header.offset,
            )));
        }
    }
    let raw = RawLayout {
        dim: header.dim,
        axes: taken.axes(),
        kind: header.kind,
        order: header.order,
        offset: header.offset,
    };
    Ok(StripFile::new(&data, opened, raw, file.header.metadata)?.with_notes(notes))
}

/// Header and data file to write for a name with either ending. Where another data file has the header that the name
/// suggests, `e.hdr` for `e.bip`, the new one gets a header of its own, `e.bip.hdr`.
///
/// # Errors
/// [`Error::Input`] where the header that is named describes another data file than the one that would be written.
pub(crate) fn output_paths(path: &Path) -> Result<(PathBuf, PathBuf)> {
    let others = |header: &Path, data: &Path| {
        let one = |p: &PathBuf| resolved(p) != resolved(data);
        let length = read_header(header).ok().and_then(|header| needed(&header));
        data_candidates(header, length).into_iter().find(one)
    };
    if ending(path) == "hdr" {
        let data = path.with_extension("img");
        let taken = match own_header(&data) {
            Some(own) if own != path => Some(format!(
                "{} has its own header, {}",
                data.display(),
                own.display()
            )),
            _ => others(path, &data).map(|other| format!("it is the header of {}", other.display())),
        };
        return match taken {
            None => Ok((path.to_owned(), data)),
            Some(taken) => Err(Error::input(format!(
                "{}: would describe {}, but {taken}; give the result another name",
                path.display(),
                data.display()
            ))),
        };
    }
    let shared = path.with_extension("hdr");
    let header = match own_header(path) {
        Some(own) => own,
        None if others(&shared, path).is_some() => appended(path, "hdr"),
        None => shared,
    };
    Ok((header, path.to_owned()))
}

/// The interleave to write: the one asked for, else the one that the name says, else BSQ.
///
/// # Errors
/// [`Error::Input`] if the two contradict each other.
pub(crate) fn output_interleave(path: &Path, asked: Option<Interleave>) -> Result<Interleave> {
    let named = Interleave::from_name(&ending(path));
    match (asked, named) {
        (Some(asked), Some(named)) if asked != named => Err(Error::input(format!(
            "{}: the name says {}, but {} was asked for; end the name in .img",
            path.display(),
            named.name(),
            asked.name()
        ))),
        (asked, named) => Ok(asked.or(named).unwrap_or(Interleave::Bsq)),
    }
}

/// Checks that both files can be written; see [`check_writable`].
///
/// # Errors
/// [`Error::Input`] with the reason.
pub(crate) fn check_both_writable(path: &Path) -> Result<()> {
    let (header, data) = output_paths(path)?;
    check_writable(header)?;
    check_writable(data)
}

/// Puts a finished data file and its header under their names. Between the two renames no header describes the data, so that
/// a run that is killed there leaves an image that cannot be opened, never new samples under an old header.
///
/// # Errors
/// [`Error::Input`] and [`Error::Failed`] as for other files.
pub(super) fn publish(data: Prepared, header: (PathBuf, String)) -> Result<()> {
    let (path, text) = header;
    let none = prepare(&path, |sink| sink.write_all(UNFINISHED.as_bytes()))?;
    let header = prepare(&path, |sink| sink.write_all(text.as_bytes()))?;
    none.publish()?;
    data.publish_image()?;
    header.publish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cube::Cube;
    use crate::io::{read_cube, write_cube};

    #[test]
    fn a_pair_that_was_stopped_half_way_is_never_read() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let image = |rows: usize| Cube::new(ndarray::Array3::zeros((rows, 12 / rows, 2)));
        write_cube(at("e.img"), &image(3)).unwrap();
        let open = |name: &str| read_cube(&at(name).to_string_lossy());
        // Of the same length as the first, and with its name: without a header of its own it would be read by that one.
        write_cube(at("e.bip"), &image(4)).unwrap();
        for data in ["e.img", "e.bip"] {
            assert!(open(data).is_ok());
            let (header, path) = output_paths(&at(data)).unwrap();
            let none = prepare(&path, |sink| sink.write_all(&[0; 96])).unwrap();
            // The new data are gone before they can be renamed: as if the process had ended there.
            std::fs::remove_file(none.temporary()).unwrap();
            assert!(publish(none, (header, "ENVI\n".to_owned())).is_err());
            let error = open(data).map(drop).unwrap_err().to_string();
            assert!(error.contains("bad ENVI header"), "{error}");
        }
        write_cube(at("e.img"), &image(2)).unwrap();
        assert_eq!(open("e.img").unwrap().rows(), 2);
    }
}
