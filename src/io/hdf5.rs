//! HDF5 through the crate `hdf5-reader`, with its limits set by the length of the file: the numeric
//! datasets of all groups, the samples of one of them, attributes and dimensions. Whose rules such a
//! file follows is settled in `named` (MATLAB, datasets by path), `conventions` (netCDF) and `prisma`.
//!
//! Memory: a dataset of more than 1032 times the file's length (no filter in use shrinks more than
//! deflate, or on real data Zstandard) is refused before memory is asked for. Links into other files are not followed.

use std::collections::{BTreeSet, VecDeque};
use std::io::Read;
use std::path::Path;

use hdf5_reader::error::Error::InvalidData as Invalid;
use hdf5_reader::{Attribute, Dataset, Datatype, FilterRegistry, Hdf5File, OpenOptions};
use ndarray::ArrayD;
use ruzstd::decoding::StreamingDecoder;

use super::array::{Layout, shape_text};
use super::attributes::{Attributes, Listing, Value};
use super::file::open;
use super::mat5::DEFLATE_LIMIT;
use super::samples::{ByteOrder, Float, decode};
use crate::cube::SampleType;
use crate::error::{Error, Result};

/// First bytes of the HDF5 part of a file; a user block of 512, 1024, ... bytes may stand before it.
pub(crate) const MAGIC: &[u8] = b"\x89HDF\r\n\x1a\n";

/// Numbers of filters (HDF Group's registry).
const LZF: u16 = 32000;
const ZSTD: u16 = 32015;

/// Groups within groups that are gone into.
const DEEPEST: usize = 16;
/// Groups that are gone into.
const MOST_GROUPS: usize = 10_000;

/// An open HDF5 file.
pub(crate) struct Hdf5 {
    file: Hdf5File,
    limit: u64,
}

fn failed(path: &Path, error: &hdf5_reader::error::Error) -> Error {
    Error::input(format!(
        "{}: damaged or unusual HDF5 file: {}",
        path.display(),
        reason(error)
    ))
}

/// Numbers of filters that are not undone, and their names.
const FILTERS: [(&str, &str); 8] = [
    ("32001", "Blosc"),
    ("32008", "bitshuffle"),
    ("32013", "ZFP"),
    ("32014", "FPZIP"),
    ("32017", "SZ"),
    ("32019", "JPEG"),
    ("32026", "Blosc2"),
    ("307", "bzip2"),
];

/// Why something cannot be read, in one line and in words.
fn reason(error: &hdf5_reader::error::Error) -> String {
    // The crate's messages may have several lines; ours have one.
    let text = error.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
    if text.contains("layout class 3") {
        return "a virtual dataset, whose samples lie in other files, is not read; name another one as FILE:/PATH, or copy it with h5py".to_owned();
    }
    let filter = text.split("filter id ").nth(1);
    let filter = filter.map(|rest| {
        rest.split(|c: char| !c.is_ascii_digit())
            .next()
            .unwrap_or_default()
    });
    match filter {
        Some(id) => {
            let name = FILTERS
                .iter()
                .find(|(known, _)| *known == id)
                .map_or("unknown", |(_, name)| name);
            format!(
                "it is compressed by a filter that is not read ({name}, number {id}); write it with deflate (h5repack -f GZIP=6)"
            )
        }
        None => text,
    }
}

/// Numeric type and byte order of real numbers; `None` for anything else.
fn number(datatype: &Datatype) -> Option<(SampleType, ByteOrder)> {
    let (kind, order) = match datatype {
        Datatype::FixedPoint {
            size,
            signed,
            byte_order,
        } => {
            let kind = match (size, signed) {
                (1, false) => SampleType::U8,
                (1, true) => SampleType::I8,
                (2, false) => SampleType::U16,
                (2, true) => SampleType::I16,
                (4, false) => SampleType::U32,
                (4, true) => SampleType::I32,
                (8, false) => SampleType::U64,
                (8, true) => SampleType::I64,
                _ => return None,
            };
            (kind, byte_order)
        }
        Datatype::FloatingPoint { size, byte_order } => {
            let kind = match size {
                2 => SampleType::F16,
                4 => SampleType::F32,
                8 => SampleType::F64,
                _ => return None,
            };
            (kind, byte_order)
        }
        _ => return None,
    };
    let order = match order {
        hdf5_reader::ByteOrder::LittleEndian => ByteOrder::Little,
        hdf5_reader::ByteOrder::BigEndian => ByteOrder::Big,
    };
    Some((kind, order))
}

/// The filters besides those that the crate knows.
fn filters(limit: usize) -> FilterRegistry {
    let mut registry = FilterRegistry::new();
    registry.register(
        LZF,
        Box::new(move |filter, data, _| {
            // h5py gives the length of a chunk as the third number.
            let length = filter
                .client_data
                .get(2)
                .map_or(limit, |&n| n as usize)
                .min(limit);
            lzf(data, length).ok_or_else(|| Invalid("a chunk is no LZF stream".to_owned()))
        }),
    );
    registry.register(
        ZSTD,
        Box::new(move |_, data, _| {
            let damaged =
                |what: &dyn std::fmt::Display| Invalid(format!("a chunk is no Zstandard stream ({what})"));
            let stream = StreamingDecoder::new(data).map_err(|e| damaged(&e))?;
            let mut out = Vec::new();
            stream
                .take(limit as u64 + 1)
                .read_to_end(&mut out)
                .map_err(|e| damaged(&e))?;
            if out.len() > limit {
                Err(damaged(&"longer than the file can hold"))
            } else {
                Ok(out)
            }
        }),
    );
    registry
}

/// h5py's LZF (after Marc Lehmann's liblzf): literals of up to 32 bytes, and copies of what stands up to 8192 bytes before.
/// `None` for what is no such stream or longer than `limit`.
fn lzf(mut data: &[u8], limit: usize) -> Option<Vec<u8>> {
    let mut out: Vec<u8> = Vec::new();
    while let Some((&code, rest)) = data.split_first() {
        data = rest;
        let code = usize::from(code);
        if code < 32 {
            let (literal, rest) = data.split_at_checked(code + 1)?;
            out.extend_from_slice(literal);
            data = rest;
        } else {
            let mut length = code >> 5;
            if length == 7 {
                let (&more, rest) = data.split_first()?;
                length += usize::from(more);
                data = rest;
            }
            let (&low, rest) = data.split_first()?;
            data = rest;
            let back = ((code & 31) << 8 | usize::from(low)) + 1;
            let from = out.len().checked_sub(back)?;
            for at in from..from + length + 2 {
                out.push(out[at]);
            }
        }
        if out.len() > limit {
            return None;
        }
    }
    Some(out)
}

/// Shape and type of a dataset of real numbers; `None` for anything else.
fn layout(dataset: &Dataset) -> Option<Layout> {
    let (kind, order) = number(dataset.dtype())?;
    let shape: Option<Vec<usize>> = dataset.shape().iter().map(|&d| usize::try_from(d).ok()).collect();
    Some(Layout {
        shape: shape?,
        kind,
        order,
        first_axis_fastest: false,
    })
}

impl Hdf5 {
    /// Opens a file.
    ///
    /// # Errors
    /// [`Error::Input`] if it is missing, truncated or damaged.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let (_, length) = open(path)?;
        let limit = length.saturating_mul(DEFLATE_LIMIT);
        let bytes = usize::try_from(limit).unwrap_or(usize::MAX);
        // Each dataset is read once: nothing would come out of the cache.
        let options = OpenOptions::default()
            .with_chunk_cache_bytes(0)
            .with_filter_registry(filters(bytes))
            .with_max_read_bytes(bytes)
            .with_max_chunk_bytes(bytes)
            .with_max_object_header_bytes(usize::try_from(length).unwrap_or(usize::MAX));
        let file = Hdf5File::open_with_options(path, options).map_err(|e| failed(path, &e))?;
        Ok(Hdf5 { file, limit })
    }

    /// The datasets of all groups that hold real numbers: path and layout. Groups are gone into [`DEEPEST`] deep, each
    /// once, and at most [`MOST_GROUPS`] of them, so that links in circles come to an end. What cannot be read is left out.
    ///
    /// # Errors
    /// [`Error::Input`] if the file is damaged.
    pub(crate) fn all_datasets(&self, path: &Path) -> Result<Listing> {
        let root = self.file.root_group().map_err(|e| failed(path, &e))?;
        let mut seen = BTreeSet::from([root.address()]);
        let mut left = VecDeque::from([(String::new(), root, 0)]);
        let mut found = Listing::default();
        while let Some((place, group, depth)) = left.pop_front() {
            let (mut groups, names) = group.member_names().map_err(|e| failed(path, &e))?;
            // Of several links to one group the first by name counts.
            groups.sort();
            for name in names {
                let path = format!("{place}/{name}");
                match group.dataset(&name) {
                    Ok(dataset) => {
                        if let Some(layout) = layout(&dataset) {
                            found.numeric.push((path, layout));
                        }
                    }
                    Err(error) => found.unreadable.push((path, reason(&error))),
                }
            }
            for name in groups {
                let Ok(group) = group.group(&name) else { continue };
                if depth < DEEPEST && seen.len() < MOST_GROUPS && seen.insert(group.address()) {
                    left.push_back((format!("{place}/{name}"), group, depth + 1));
                }
            }
        }
        found.numeric.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(found)
    }

    /// The datasets of real numbers in the group with this path, by this path.
    pub(crate) fn datasets_in(&self, place: &str) -> Vec<(String, Layout)> {
        let group = match place.trim_matches('/') {
            "" => self.file.root_group(),
            inner => self.file.group(inner),
        };
        let names = group.as_ref().ok().and_then(|group| group.member_names().ok());
        let named = |name: String| {
            let path = format!("{place}/{name}");
            Some((path.clone(), self.layout_of(&path)?))
        };
        names
            .into_iter()
            .flat_map(|(_, datasets)| datasets)
            .filter_map(named)
            .collect()
    }

    /// Whether the group of the root with this name is there.
    pub(crate) fn has_group(&self, name: &str) -> bool {
        self.file.group(name).is_ok()
    }

    /// Attributes of a dataset or a group, by their names in lower case; none where there is no such thing.
    pub(crate) fn attributes(&self, name: &str) -> Attributes {
        let found = match self.file.dataset(name) {
            Ok(dataset) => dataset.attributes(),
            Err(_) => {
                let group = match name.trim_matches('/') {
                    "" => self.file.root_group(),
                    name => self.file.group(name),
                };
                group.and_then(|group| group.attributes()).unwrap_or_default()
            }
        };
        let value = |attribute: &Attribute| match number(&attribute.datatype) {
            Some((kind, order)) => {
                let mut numbers = Vec::new();
                decode(kind, order, &attribute.raw_data, &mut numbers);
                Some(Value::Numbers(numbers))
            }
            None => {
                let texts = attribute
                    .read_strings()
                    .or_else(|_| attribute.read_string().map(|t| vec![t]));
                let text = texts.ok()?.into_iter().next()?;
                Some(Value::Text(text.trim_end_matches('\0').to_owned()))
            }
        };
        let named = |attribute: &Attribute| Some((attribute.name.to_lowercase(), value(attribute)?));
        found.iter().filter_map(named).collect()
    }

    /// Paths of the dimension scales of a dataset, one an axis, as netCDF attaches them; `None` where it has none.
    pub(crate) fn dimensions(&self, name: &str, all: &[(String, Layout)]) -> Option<Vec<String>> {
        let dataset = self.file.dataset(name).ok()?;
        let list = dataset.attribute("DIMENSION_LIST").ok()?;
        let size = dataset.vlen_reference_size();
        let root = self.file.root_group().ok()?;
        let addresses: Option<Vec<u64>> = list
            .raw_data
            .chunks_exact(size.max(1))
            .take(dataset.ndim())
            .map(|reference| {
                let target = root.resolve_vlen_reference_bytes(reference, 8).ok()?;
                Some(u64::from_le_bytes(*target.first_chunk()?))
            })
            .collect();
        let addresses = addresses.filter(|found| found.len() == dataset.ndim())?;
        let at = |address: &u64| {
            let scales = all.iter().filter(|(_, layout)| layout.shape.len() == 1);
            scales
                .map(|(path, _)| path)
                .find(|path| self.file.dataset(path).is_ok_and(|d| d.address() == *address))
                .cloned()
        };
        addresses.iter().map(at).collect()
    }

    /// Layout of the dataset with this path, where there is one of real numbers.
    pub(crate) fn layout_of(&self, name: &str) -> Option<Layout> {
        layout(&self.file.dataset(name).ok()?)
    }

    /// The numbers of an attribute of the root group; `None` where it has none of this name that are numbers.
    pub(crate) fn numbers(&self, name: &str) -> Option<Vec<f64>> {
        let attribute = self.file.root_group().ok()?.attribute(name).ok()?;
        let (kind, order) = number(&attribute.datatype)?;
        let mut values = Vec::new();
        decode(kind, order, &attribute.raw_data, &mut values);
        Some(values)
    }

    /// Reads the samples of the dataset `name`, laid out as `layout` says.
    ///
    /// # Errors
    /// [`Error::Input`] if the dataset is damaged or claims more than the file can hold.
    pub(crate) fn read<T: Float>(&self, path: &Path, name: &str, layout: &Layout) -> Result<ArrayD<T>> {
        let count = layout.checked_count(path, self.limit)?;
        let bytes = self
            .file
            .dataset(name)
            .and_then(|d| d.read_raw_bytes())
            .map_err(|e| failed(path, &e))?;
        let mut samples = Vec::with_capacity(count);
        decode(layout.kind, layout.order, &bytes, &mut samples);
        if samples.len() != count {
            return Err(Error::input(format!(
                "{}: dataset {name} holds {} samples where its shape {} asks for {count}",
                path.display(),
                samples.len(),
                shape_text(&layout.shape)
            )));
        }
        layout.arrange(path, samples)
    }
}
