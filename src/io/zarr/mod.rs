//! Zarr stores in folders, versions 2 and 3: arrays of all groups by path, with attributes and the names of their axes, which
//! `conventions` reads as it does those of HDF5.
//!
//! Own code over `serde_json` and the decompressors that are here anyway: the crate `zarrs` (0.23) brings some sixty further crates, Zstandard
//! and Blosc only by C or by a crate that has just begun, and holds what a chunk claims against nothing. Shards, virtual references and
//! stores that are no folders are not read.
//!
//! Memory: the array that is asked for, one chunk twice, and the names of the array's chunks. What an array claims is held against the number and the
//! lengths of its chunks, sixteen times over (a store may lack chunks that hold nothing), and 16 MiB.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ndarray::{ArrayD, IxDyn};
use serde_json::Value as Json;

use super::array::{Layout, shape_text};
use super::attributes::{Attributes, Listing, Value};
use super::file::{open, read_error};
use super::samples::{Float, decode};
use crate::error::{Error, Result};
use metadata::{ArrayOf, Stored};

mod blosc;
mod codec;
mod metadata;
mod streams;

/// Longest text of a store that is read.
const LONGEST: u64 = 1 << 26;
/// Groups within groups that are gone into, and how many.
const DEEPEST: usize = 16;
const MOST_GROUPS: usize = 10_000;
/// Bytes that an array may have for each that its chunks hold, and besides.
const SPARSE: u64 = 16;
const SPARE: u64 = 1 << 24;
/// Most bytes for one that is compressed: a Zstandard block of one value.
const EXPANSION: u64 = 32768;

/// A group or an array by its path.
struct Node {
    attributes: Json,
    /// The array, or why it is none that is read.
    array: Option<std::result::Result<ArrayOf, String>>,
}

/// An open store.
pub(crate) struct Zarr {
    root: PathBuf,
    /// By path: `/` is the root.
    nodes: BTreeMap<String, Node>,
}

/// Names of the files that make a folder a node.
const MARKS: [&str; 3] = ["zarr.json", ".zarray", ".zgroup"];

/// Whether a folder is a store, or a group or an array of one.
pub(crate) fn is_store(folder: &Path) -> bool {
    MARKS.iter().any(|name| folder.join(name).is_file())
}

/// The files of a store.
pub(crate) fn files_of(folder: &Path) -> Vec<PathBuf> {
    let stored = files_below(folder, DEEPEST);
    stored.into_iter().map(|file| file.path).collect()
}

/// The files below a folder, sorted by path.
fn files_below(folder: &Path, deepest: usize) -> Vec<Stored> {
    let mut found = Vec::new();
    let mut left = vec![(folder.to_owned(), String::new(), 0)];
    while let Some((folder, below, depth)) = left.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            let path = entry.path();
            let Ok(facts) = std::fs::metadata(&path) else {
                continue;
            };
            let below = format!("{below}{name}");
            if facts.is_file() {
                found.push(Stored {
                    path,
                    length: facts.len(),
                    below,
                });
            } else if facts.is_dir() && depth < deepest {
                left.push((path, format!("{below}/"), depth + 1));
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

/// The JSON of a file; nothing where it is not there.
fn json(path: &Path) -> Result<Option<Json>> {
    if !path.is_file() {
        return Ok(None);
    }
    let (file, length) = open(path)?;
    let damaged = |what: &dyn std::fmt::Display| Error::input(format!("{}: damaged: {what}", path.display()));
    if length > LONGEST {
        return Err(damaged(&format!("{length} bytes of JSON")));
    }
    let mut text = String::new();
    let mut source = std::io::Read::take(file, LONGEST);
    std::io::Read::read_to_string(&mut source, &mut text).map_err(|e| read_error(path, &e))?;
    // Python writes numbers that JSON has not.
    serde_json::from_str(&text)
        .or_else(|first| serde_json::from_str(&text.replace("NaN,", "null,")).map_err(|_| first))
        .map(Some)
        .map_err(|e| damaged(&e))
}

impl Node {
    /// What lies in a folder; nothing where it is no node.
    fn read(folder: &Path) -> Result<Option<Node>> {
        if let Some(mut told) = json(&folder.join(MARKS[0]))? {
            let is_array = told["node_type"] == "array";
            return Ok(Some(Node {
                array: is_array.then(|| ArrayOf::version3(&told)),
                attributes: told["attributes"].take(),
            }));
        }
        let attributes = || Ok(json(&folder.join(".zattrs"))?.unwrap_or_default());
        if let Some(told) = json(&folder.join(MARKS[1]))? {
            let attributes = attributes()?;
            return Ok(Some(Node {
                array: Some(ArrayOf::version2(&told, &attributes)),
                attributes,
            }));
        }
        let is_group = folder.join(MARKS[2]).is_file();
        is_group
            .then(|| {
                Ok(Node {
                    attributes: attributes()?,
                    array: None,
                })
            })
            .transpose()
    }
}

/// The path of a node as a key.
fn key(name: &str) -> String {
    format!("/{}", name.trim_matches('/'))
}

impl Zarr {
    /// Opens a store; with the path of the array in it where the folder is that of an array.
    ///
    /// # Errors
    /// [`Error::Input`] if it is damaged.
    pub(crate) fn open(folder: &Path) -> Result<(Self, Option<String>)> {
        let name = folder.file_name().and_then(|name| name.to_str());
        let (root, wanted) = match (Node::read(folder)?, name, folder.parent()) {
            // The neighbours of an array say what its axes are.
            (Some(Node { array: Some(_), .. }), Some(name), Some(parent)) => (parent, Some(key(name))),
            _ => (folder, None),
        };
        let mut nodes = BTreeMap::new();
        let mut left = VecDeque::from([(root.to_owned(), String::new(), 0)]);
        while let Some((folder, path, depth)) = left.pop_front() {
            let Some(node) = Node::read(&folder)?.or_else(|| {
                // A folder around an array need be no group.
                (depth == 0).then_some(Node {
                    attributes: Json::Null,
                    array: None,
                })
            }) else {
                continue;
            };
            if node.array.is_none() && depth < DEEPEST {
                let entries = std::fs::read_dir(&folder).map_err(|e| read_error(&folder, &e))?;
                let mut below: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
                below.retain(|path| is_store(path));
                below.sort();
                for inner in below {
                    let name = inner.file_name().and_then(|name| name.to_str());
                    if let Some(name) = name.filter(|_| nodes.len() + left.len() < MOST_GROUPS) {
                        left.push_back((inner.clone(), format!("{path}/{name}"), depth + 1));
                    }
                }
            }
            nodes.insert(key(&path), node);
        }
        let store = Zarr {
            root: root.to_owned(),
            nodes,
        };
        Ok((store, wanted))
    }

    fn array(&self, name: &str) -> Option<&ArrayOf> {
        self.nodes.get(&key(name))?.array.as_ref()?.as_ref().ok()
    }

    /// The arrays of real numbers, and those that are not read.
    pub(crate) fn all_datasets(&self) -> Listing {
        let mut listing = Listing::default();
        for (name, node) in &self.nodes {
            match &node.array {
                Some(Ok(array)) => listing.numeric.push((name.clone(), array.layout.clone())),
                Some(Err(why)) => listing.unreadable.push((name.clone(), why.clone())),
                None => {}
            }
        }
        listing
    }

    /// Layout of the array with this path.
    pub(crate) fn layout_of(&self, name: &str) -> Option<Layout> {
        Some(self.array(name)?.layout.clone())
    }

    /// Whether there is a group of this path.
    pub(crate) fn has_group(&self, name: &str) -> bool {
        self.nodes
            .get(&key(name))
            .is_some_and(|node| node.array.is_none())
    }

    /// Attributes of an array or a group.
    pub(crate) fn attributes(&self, name: &str) -> Attributes {
        let node = self.nodes.get(&key(name));
        let told = node.and_then(|node| node.attributes.as_object());
        let array = self.array(name);
        let own = told.into_iter().flatten();
        let mut attributes: Attributes = own
            .filter_map(|(name, value)| Some((name.to_lowercase(), value_of(name, value)?)))
            .collect();
        if let Some(array) = array.filter(|array| array.fill_is_none && !attributes.has("_fillvalue")) {
            attributes.extend([("_fillvalue".to_owned(), Value::Numbers(vec![array.fill]))]);
        }
        attributes
    }

    /// Paths of the arrays that the axes of an array are named after, whether they are there or not.
    pub(crate) fn dimensions(&self, name: &str) -> Option<Vec<String>> {
        let group = name.rsplit_once('/').map_or("", |(group, _)| group);
        let names = self.array(name)?.dimensions.as_ref()?;
        Some(names.iter().map(|name| format!("{group}/{name}")).collect())
    }

    /// Reads an array.
    ///
    /// # Errors
    /// [`Error::Input`] if a chunk is damaged, or the array claims more than its chunks can hold.
    pub(crate) fn read<T: Float>(&self, name: &str, layout: &Layout) -> Result<ArrayD<T>> {
        let folder = self.root.join(name.trim_matches('/'));
        let missing = || Error::input(format!("{}: no array {name}", self.root.display()));
        let array = self.array(name).ok_or_else(missing)?;
        let bytes = array.chunk_bytes().ok_or_else(missing)?;
        let files = files_below(&folder, array.chunk.len() + 1);
        let chunks: Vec<(Vec<usize>, Stored)> = files
            .into_iter()
            .filter_map(|file| Some((array.chunk_of(&file.below)?, file)))
            .collect();
        let holds = |file: &Stored| (bytes as u64).min(file.length.saturating_mul(EXPANSION));
        let held: u64 = chunks
            .iter()
            .map(|(_, file)| holds(file))
            .fold(0, u64::saturating_add);
        let most = held.saturating_mul(SPARSE).saturating_add(SPARE);
        layout.checked_count(&folder, most)?;
        let mut samples = ArrayD::from_elem(IxDyn(&layout.shape), T::from_f64(array.fill));
        for (place, file) in chunks {
            let raw = chunk(array, &file, bytes)?;
            let mut numbers: Vec<T> = Vec::with_capacity(raw.len() / super::samples::width(layout.kind));
            decode(layout.kind, layout.order, &raw, &mut numbers);
            put(array, &place, numbers, &mut samples)
                .ok_or_else(|| damaged(&file.path, "has another size"))?;
        }
        Ok(samples)
    }
}

fn damaged(path: &Path, what: &str) -> Error {
    Error::input(format!("{}: this chunk {what}", path.display()))
}

/// The bytes of a chunk.
fn chunk(array: &ArrayOf, file: &Stored, bytes: usize) -> Result<Vec<u8>> {
    // What stands for a chunk is not longer than it by more than a header or a block that would not shrink.
    let longest = (bytes as u64)
        .saturating_add(bytes as u64 / 8)
        .saturating_add(1 << 16);
    if file.length > longest {
        return Err(damaged(
            &file.path,
            &format!("is {} bytes long, too long for one", file.length),
        ));
    }
    let mut raw = Vec::new();
    let (source, _) = open(&file.path)?;
    let mut source = std::io::Read::take(source, longest);
    std::io::Read::read_to_end(&mut source, &mut raw).map_err(|e| read_error(&file.path, &e))?;
    for codec in &array.codecs {
        // Checksums stand behind what they are of.
        raw = codec
            .undone(raw, bytes + 16)
            .map_err(|what| damaged(&file.path, &what))?;
    }
    if raw.len() != bytes {
        return Err(damaged(
            &file.path,
            &format!(
                "holds {} bytes where {bytes} are a chunk of {}",
                raw.len(),
                shape_text(&array.chunk)
            ),
        ));
    }
    Ok(raw)
}

/// Puts a chunk's samples where they belong; `None` where they do not fit.
fn put<T: Copy>(array: &ArrayOf, place: &[usize], numbers: Vec<T>, to: &mut ArrayD<T>) -> Option<()> {
    let stored: Vec<usize> = array.stored_axes.iter().map(|&axis| array.chunk[axis]).collect();
    let mut back = vec![0; stored.len()];
    for (at, &axis) in array.stored_axes.iter().enumerate() {
        back[axis] = at;
    }
    let chunk = ArrayD::from_shape_vec(IxDyn(&stored), numbers).ok()?;
    let chunk = chunk.permuted_axes(IxDyn(&back));
    let mut to = to.view_mut();
    let mut from = chunk.view();
    for (axis, &at) in place.iter().enumerate() {
        let begin = at * array.chunk[axis];
        let end = to.len_of(ndarray::Axis(axis)).min(begin + array.chunk[axis]);
        to.slice_axis_inplace(ndarray::Axis(axis), (begin..end).into());
        from.slice_axis_inplace(ndarray::Axis(axis), (0..end - begin).into());
    }
    to.assign(&from);
    Some(())
}

/// An attribute as readers know them.
fn value_of(name: &str, value: &Json) -> Option<Value> {
    let number = |value: &Json| match value {
        Json::Number(number) => number.as_f64(),
        Json::String(text) if text == "NaN" => Some(f64::NAN),
        _ => None,
    };
    match value {
        // xarray writes the bits of a float in version 3.
        Json::String(text) if name == "_FillValue" => match number(value) {
            Some(number) => Some(Value::Numbers(vec![number])),
            None => Some(bits(text).map_or_else(|| Value::Text(text.clone()), |x| Value::Numbers(vec![x]))),
        },
        Json::String(text) => Some(Value::Text(text.clone())),
        Json::Number(_) => Some(Value::Numbers(vec![number(value)?])),
        Json::Bool(yes) => Some(Value::Numbers(vec![f64::from(u8::from(*yes))])),
        Json::Array(list) => list.iter().map(number).collect::<Option<_>>().map(Value::Numbers),
        // GDAL's description of a coordinate system.
        Json::Object(fields) => fields.get("wkt")?.as_str().map(|wkt| Value::Text(wkt.to_owned())),
        Json::Null => None,
    }
}

/// The double whose eight bytes a text in base 64 is, least significant first.
fn bits(text: &str) -> Option<f64> {
    let bytes = STANDARD.decode(text).ok()?;
    Some(f64::from_le_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_of_fill_values() {
        assert!(bits("AAAAAAAA+H8=").unwrap().is_nan());
        assert_eq!(bits("AAAAAICHw8A="), Some(-9999.0));
        assert_eq!(bits("no"), None);
        assert_eq!(bits("AAAAAAAA*H8="), None);
    }
}
