//! ENVI images: a text header (`.hdr`) and a file of raw samples beside it.
//!
//! Memory while reading: 4 bytes a sample of the rows that are read plus 2 MiB and a few times the header's length;
//! the length of the data file is held against the header first.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::array::{Layout, shape_text};
use super::envi_header::{Header, Interleave};
use super::file::{Prepared, appended, check_writable, open, prepare, read_error};
use super::identity::resolved;
use super::path::ending;
use super::samples::width;
use super::strip_file::{RawLayout, StripFile};
use crate::error::{Error, Result};

/// Name endings of data files, without the dot. A data file may also have none.
pub(crate) const DATA_ENDINGS: [&str; 6] = ["img", "dat", "raw", "bsq", "bil", "bip"];

/// What stands in the place of a header while its data are replaced. Without it a data file of another name could take the
/// header that they share for its own.
const UNFINISHED: &str = "ENVI\n; the data file beside this header was being replaced\n";

/// Longest header that is read.
const MAX_HEADER: u64 = 1 << 24;

/// Endings of headers.
const HEADER_ENDINGS: [&str; 2] = ["hdr", "HDR"];

/// The header that a data file has for itself: its whole name with `.hdr` after it.
fn own_header(data: &Path) -> Option<PathBuf> {
    let names = HEADER_ENDINGS.iter().map(|e| appended(data, e));
    names.into_iter().find(|p| p.is_file())
}

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

/// The data files that could belong to a header: its name without `.hdr`, or with another ending. Those that have a header for
/// themselves do not.
fn data_candidates(header: &Path) -> Vec<PathBuf> {
    let stem = header.with_extension("");
    let mut found = vec![stem.clone()];
    for e in DATA_ENDINGS {
        found.push(appended(&stem, e));
        found.push(appended(&stem, &e.to_uppercase()));
    }
    found.retain(|p| p.is_file() && own_header(p).is_none_or(|own| own == header));
    // Where names do not tell cases apart, x.img and x.IMG are one file.
    let mut seen: Vec<PathBuf> = Vec::new();
    found.retain(|p| {
        let real = p.canonicalize().unwrap_or_else(|_| p.clone());
        let new = !seen.contains(&real);
        seen.push(real);
        new
    });
    found
}

/// The files of the image that either of its files names.
pub(super) fn files_of(path: &Path) -> Vec<PathBuf> {
    let more = match ending(path) == "hdr" {
        true => data_candidates(path),
        false => header_of(path).into_iter().collect(),
    };
    [vec![path.to_owned()], more].concat()
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

/// Opens an image, given the name of either of its files. The ignore value masks pixels.
///
/// # Errors
/// [`Error::Input`] if a file is missing, the header is not understood, or the length of the data file
/// does not agree with it.
pub(crate) fn open_cube(path: &Path) -> Result<StripFile> {
    let given_header = ending(path) == "hdr";
    let header_path = match given_header {
        true => path.to_owned(),
        false => header_of(path)
            .ok_or_else(|| Error::input(format!("{}: no ENVI header (.hdr) beside it", path.display())))?,
    };
    let header = read_header(&header_path)?;
    let layout = Layout {
        shape: header.dim.to_vec(),
        kind: header.kind,
        order: header.order,
        first_axis_fastest: false,
    };
    let count = layout.checked_count(&header_path, u64::MAX)? as u64;
    let needed = (count * width(header.kind) as u64).checked_add(header.offset);

    let data = match given_header {
        false => path.to_owned(),
        true => {
            let candidates = data_candidates(path);
            // Beside several files of fitting name, the one of fitting length is meant.
            let fits = |p: &&PathBuf| p.metadata().is_ok_and(|m| Some(m.len()) == needed);
            let fitting: Vec<&PathBuf> = candidates.iter().filter(fits).collect();
            match (candidates.as_slice(), fitting.as_slice()) {
                ([], _) => {
                    return Err(Error::input(format!(
                        "{}: no data file beside it (same name, without ending or with .{})",
                        path.display(),
                        DATA_ENDINGS.join(", .")
                    )));
                }
                ([only], _) => only.clone(),
                (_, [only]) => (*only).clone(),
                (several, _) => {
                    let names: Vec<String> = several.iter().map(|p| p.display().to_string()).collect();
                    return Err(Error::input(format!(
                        "{}: several files could hold its data: {}; name the data file instead",
                        path.display(),
                        names.join(", ")
                    )));
                }
            }
        }
    };

    let (file, length) = open(&data)?;
    if Some(length) != needed {
        return Err(Error::input(format!(
            "{}: is {length} bytes long, but its header {} asks for {} ({} x {} bytes after {}); {}",
            data.display(),
            header_path.display(),
            needed.map_or("more than there can be".to_owned(), |n| n.to_string()),
            shape_text(&layout.shape),
            width(layout.kind),
            header.offset,
            if needed.is_none_or(|n| length < n) {
                "the file is truncated or the header wrong"
            } else {
                "the header does not describe this file"
            }
        )));
    }
    let mut notes = header.notes;
    let interleave = header.interleave.unwrap_or_else(|| {
        let named = Interleave::from_name(&ending(&data));
        let taken = named.unwrap_or(Interleave::Bsq);
        if header.dim[2] > 1 {
            let why = named.map_or("", |_| " as its data file is named");
            notes.push(format!("no interleave, taken to be {}{why}", taken.name()));
        }
        taken
    });
    let raw = RawLayout {
        dim: header.dim,
        axes: interleave.axes(),
        kind: header.kind,
        order: header.order,
        offset: header.offset,
    };
    let notes = match notes.is_empty() {
        true => notes,
        false => vec![format!(
            "{}: the header has {}",
            header_path.display(),
            notes.join("; ")
        )],
    };
    Ok(StripFile::new(&data, file, raw, header.metadata)?.with_notes(notes))
}

/// Header and data file to write for a name with either ending. Where another data file has the header that the name
/// suggests, `e.hdr` for `e.bip`, the new one gets a header of its own, `e.bip.hdr`.
///
/// # Errors
/// [`Error::Input`] where the header that is named describes another data file than the one that would be written.
pub(crate) fn output_paths(path: &Path) -> Result<(PathBuf, PathBuf)> {
    let others = |header: &Path, data: &Path| {
        let one = |p: &PathBuf| resolved(p) != resolved(data);
        data_candidates(header).into_iter().find(one)
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
