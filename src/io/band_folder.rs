//! A folder with a file for each band, as the CAVE scenes come (`balloons_ms_01.png`, `balloons_ms_02.png`, ...): files of
//! one name but for the last number in it are the bands, by that number and not by the alphabet. Whatever else lies there (a
//! colour picture, a thumbnail) is left out, with a note.
//!
//! Any format that a single file of one band may have will do. Memory: the image and one band.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use ndarray::{Array3, Axis, s};

use super::array::ImageOf;
use super::file::read_error;
use super::path::ending;
use super::samples::Float;
use crate::cube::strips::Strips;
use crate::cube::{Metadata, SampleType};
use crate::error::{Error, Result};

/// Endings of files that may be bands.
const ENDINGS: [&str; 3] = ["png", "tif", "tiff"];

/// What the names of bands share: before the number, behind it, with the ending.
type Shared = (String, String);

/// The last number in a file's name, and what stands around it.
fn numbered(path: &Path) -> Option<(Shared, u64)> {
    let name = path.file_name()?.to_str()?;
    let stem = path.file_stem()?.to_str()?;
    let end = stem.rfind(|c: char| c.is_ascii_digit())? + 1;
    let first = stem[..end].rfind(|c: char| !c.is_ascii_digit());
    let begin = first.map_or(0, |at| at + stem[at..].chars().next().map_or(1, char::len_utf8));
    let number = stem[begin..end].parse().ok()?;
    Some(((name[..begin].to_owned(), name[end..].to_owned()), number))
}

/// Whether a file of this name in a folder of bands could be one.
pub(super) fn may_be_band(path: &Path) -> bool {
    ENDINGS.contains(&ending(path).as_str())
}

/// The files of a folder that could be bands, sorted.
pub(super) fn files_of(path: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|p| may_be_band(p))
        .collect();
    files.sort();
    files
}

/// The bands of a folder, by their numbers, and the number of files that are none.
fn bands_of(path: &Path) -> Result<(Vec<PathBuf>, usize)> {
    let mut groups: BTreeMap<Shared, Vec<(u64, PathBuf)>> = BTreeMap::new();
    let mut files = 0;
    for entry in std::fs::read_dir(path).map_err(|e| read_error(path, &e))? {
        let file = entry.map_err(|e| read_error(path, &e))?.path();
        if !file.is_file() {
            continue;
        }
        files += 1;
        if let Some((shared, number)) = numbered(&file).filter(|_| may_be_band(&file)) {
            groups.entry(shared).or_default().push((number, file));
        }
    }
    let most = groups.values().map(Vec::len).max().unwrap_or(0);
    let mut largest = groups.into_values().filter(|group| group.len() == most);
    let wrong = |what: &str| Error::input(format!("{}: is a folder {what}", path.display()));
    let Some(mut bands) = largest.next() else {
        return Err(wrong(
            "without bands; name a file in it, or number its pictures as in x_01.png, x_02.png",
        ));
    };
    if let Some(other) = largest.next() {
        return Err(wrong(&format!(
            "with two rows of {most} numbered pictures each, such as {} and {}; put one of them elsewhere",
            bands[0].1.display(),
            other[0].1.display()
        )));
    }
    bands.sort();
    if let Some(pair) = bands.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        return Err(wrong(&format!(
            "with two bands of one number: {} and {}",
            pair[0].1.display(),
            pair[1].1.display()
        )));
    }
    let others = files - bands.len();
    Ok((bands.into_iter().map(|band| band.1).collect(), others))
}

/// Puts one no-data value in the place of those that the bands have each of its own, because an image has one; returns it.
///
/// # Errors
/// [`Error::Input`] where that is a sample of a band whose own value is another.
fn unite_nodata<T: Float>(
    samples: &mut Array3<T>,
    own: &[Option<f64>],
    files: &[PathBuf],
) -> Result<Option<f64>> {
    let is = |x: f32, value: f64| x == value as f32 || (x.is_nan() && value.is_nan());
    let mut named = own.iter().zip(files);
    let Some((common, first)) = named.find_map(|(own, file)| own.map(|own| (own, file))) else {
        return Ok(None);
    };
    for ((mut band, own), file) in samples.axis_iter_mut(Axis(2)).zip(own).zip(files) {
        let Some(own) = own.filter(|&own| !is(common as f32, own)) else {
            continue;
        };
        if band.iter().any(|x| is(x.single(), common)) {
            return Err(Error::input(format!(
                "{}: has samples of {common}, which is no data in {}, and {own} for no data; convert the bands to one value",
                file.display(),
                first.display()
            )));
        }
        band.mapv_inplace(|x| {
            if is(x.single(), own) {
                T::from_f64(common)
            } else {
                x
            }
        });
    }
    Ok(Some(common))
}

/// Reads a folder, each of whose files `open` opens and whose samples `rows` hands out, as one image, and what is to be said
/// about it.
///
/// # Errors
/// [`Error::Input`] if the folder has no bands or two rows of them, a file cannot be read or has several bands, sizes or
/// types differ, or the image takes more than `memory` bytes.
pub(crate) fn read_image<T: Float>(
    path: &Path,
    memory: usize,
    open: impl Fn(&str, usize) -> Result<Box<dyn Strips>>,
    read: impl Fn(&dyn Strips, Range<usize>) -> Result<Array3<T>>,
) -> Result<(ImageOf<T>, Vec<String>)> {
    let (bands, others) = bands_of(path)?;
    let mut all: Option<(Array3<T>, SampleType, Metadata)> = None;
    let mut nodata = Vec::new();
    for (number, file) in bands.iter().enumerate() {
        let name = file.display().to_string();
        let band = open(&name, memory)?;
        let (rows, columns, count) = band.dim();
        if count != 1 {
            return Err(Error::input(format!(
                "{name}: has {count} bands; in a folder of bands each file has one"
            )));
        }
        let needed = rows.checked_mul(columns).and_then(|n| n.checked_mul(bands.len()));
        if needed.is_none_or(|n| n > memory / size_of::<f32>()) {
            return Err(Error::input(format!(
                "{}: a folder of bands is read whole, and {rows} x {columns} x {} samples are more than the setting max-memory allows; give more, or convert it to ENVI",
                path.display(),
                bands.len()
            )));
        }
        let plane = read(band.as_ref(), 0..rows)?;
        nodata.push(band.metadata().nodata);
        let (samples, kind, _) = all.get_or_insert_with(|| {
            let samples = Array3::from_elem((rows, columns, bands.len()), T::from_f64(0.0));
            (samples, band.sample_type(), band.metadata().clone())
        });
        let (rows1, columns1, _) = samples.dim();
        if (rows1, columns1, *kind) != (rows, columns, band.sample_type()) {
            return Err(Error::input(format!(
                "{name}: is {rows} x {columns} pixels of another size or type than {} with {rows1} x {columns1}; the bands of one image are alike",
                bands[0].display()
            )));
        }
        samples
            .slice_mut(s![.., .., number])
            .assign(&plane.slice(s![.., .., 0]));
    }
    let Some((mut samples, kind, first)) = all else {
        return Err(Error::input(format!("{}: is an empty folder", path.display())));
    };
    let nodata = unite_nodata(&mut samples, &nodata, &bands)?;
    let stem = |file: &PathBuf| {
        file.file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    };
    let metadata = Metadata {
        band_names: Some(bands.iter().map(stem).collect()),
        nodata,
        grid: first.grid,
        ..Metadata::default()
    };
    let notes = match others {
        0 => Vec::new(),
        n => vec![format!(
            "{}: {} bands; {n} other files in it are left out",
            path.display(),
            bands.len()
        )],
    };
    let image = ImageOf {
        samples,
        sample_type: kind,
        metadata,
    };
    Ok((image, notes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_number_of_a_name_counts() {
        let of = |name: &str| numbered(Path::new(name)).map(|((a, b), n)| (a, n, b));
        let expected = |a: &str, n, b: &str| Some((a.to_owned(), n, b.to_owned()));
        assert_eq!(of("d/balloons_ms_07.png"), expected("balloons_ms_", 7, ".png"));
        assert_eq!(of("s2_b10_x.tif"), expected("s2_b", 10, "_x.tif"));
        assert_eq!(of("12.png"), expected("", 12, ".png"));
        assert_eq!(of("é5.png"), expected("é", 5, ".png"));
        assert_eq!(of("scene_RGB.png"), None);
        assert_eq!(of("9999999999999999999999.png"), None);
    }
}
