//! HDF5 through the crate `hdf5-reader`, with its limits set by the length of the file: the numeric
//! datasets of the root group or of all groups, the samples of one of them, and numbers in attributes. Whose rules such a
//! file follows is settled in `named` (MATLAB, datasets by path) and `prisma`.
//!
//! Memory: a dataset of more than 1032 times the file's length (no filter in use shrinks more than
//! deflate) is refused before memory is asked for. Links into other files are not followed.

use std::collections::{BTreeSet, VecDeque};
use std::path::Path;

use hdf5_reader::{Dataset, Datatype, Hdf5File, OpenOptions};
use ndarray::ArrayD;

use super::array::{Layout, shape_text};
use super::file::open;
use super::mat5::DEFLATE_LIMIT;
use super::samples::{ByteOrder, Float, decode};
use crate::cube::SampleType;
use crate::error::{Error, Result};

/// First bytes of the HDF5 part of a file; a user block of 512, 1024, ... bytes may stand before it.
pub(crate) const MAGIC: &[u8] = b"\x89HDF\r\n\x1a\n";

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
    // The crate's messages may have several lines; ours have one.
    let text = error.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
    Error::input(format!(
        "{}: damaged or unusual HDF5 file: {text}",
        path.display()
    ))
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
            .with_max_read_bytes(bytes)
            .with_max_chunk_bytes(bytes)
            .with_max_object_header_bytes(usize::try_from(length).unwrap_or(usize::MAX));
        let file = Hdf5File::open_with_options(path, options).map_err(|e| failed(path, &e))?;
        Ok(Hdf5 { file, limit })
    }

    /// The datasets of the root group that hold real numbers: name, layout (axes as in the file, last
    /// axis fastest), and the value of the text attribute `attribute` where there is one.
    ///
    /// # Errors
    /// [`Error::Input`] if the file is damaged.
    pub(crate) fn numeric_datasets(
        &self,
        path: &Path,
        attribute: &str,
    ) -> Result<Vec<(String, Layout, Option<String>)>> {
        let root = self.file.root_group().map_err(|e| failed(path, &e))?;
        let datasets = root.datasets().map_err(|e| failed(path, &e))?;
        Ok(datasets
            .iter()
            .filter_map(|dataset| {
                let note = dataset
                    .attribute(attribute)
                    .ok()
                    .and_then(|a| a.read_string().ok());
                layout(dataset).map(|found| (dataset.name().to_owned(), found, note))
            })
            .collect())
    }

    /// The datasets of all groups that hold real numbers: path and layout. Groups are gone into [`DEEPEST`] deep, each
    /// once, and at most [`MOST_GROUPS`] of them, so that links in circles come to an end.
    ///
    /// # Errors
    /// [`Error::Input`] if the file is damaged.
    pub(crate) fn all_datasets(&self, path: &Path) -> Result<Vec<(String, Layout)>> {
        let root = self.file.root_group().map_err(|e| failed(path, &e))?;
        let mut seen = BTreeSet::from([root.address()]);
        let mut left = VecDeque::from([(String::new(), root, 0)]);
        let mut found = Vec::new();
        while let Some((place, group, depth)) = left.pop_front() {
            let (mut groups, datasets) = group.members().map_err(|e| failed(path, &e))?;
            // Of several links to one group the first by name counts.
            groups.sort_by(|a, b| a.name().cmp(b.name()));
            for dataset in &datasets {
                if let Some(layout) = layout(dataset) {
                    found.push((format!("{place}/{}", dataset.name()), layout));
                }
            }
            for group in groups {
                if depth < DEEPEST && seen.len() < MOST_GROUPS && seen.insert(group.address()) {
                    left.push_back((format!("{place}/{}", group.name()), group, depth + 1));
                }
            }
        }
        found.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(found)
    }

    /// The datasets in the group of the one with this path, path and layout, if it is there: links make several paths to
    /// one dataset, of which [`Hdf5::all_datasets`] knows one.
    pub(crate) fn datasets_beside(&self, wanted: &str) -> Option<Vec<(String, Layout)>> {
        let wanted = wanted.trim_matches('/');
        let (place, leaf) = wanted.rsplit_once('/').unwrap_or(("", wanted));
        let group = match place {
            "" => self.file.root_group().ok()?,
            place => self.file.group(place).ok()?,
        };
        let (_, datasets) = group.members().ok()?;
        let found = datasets
            .iter()
            .filter_map(|d| Some((d.name().to_owned(), layout(d)?)));
        let found: Vec<(String, Layout)> = found.collect();
        found.iter().any(|(name, _)| name == leaf).then(|| {
            let named = |(name, layout): (String, Layout)| match place {
                "" => (format!("/{name}"), layout),
                place => (format!("/{place}/{name}"), layout),
            };
            found.into_iter().map(named).collect()
        })
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
