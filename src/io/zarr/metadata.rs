//! What the JSON of a Zarr array says: `.zarray` of version 2 and `zarr.json` of version 3, as the specifications of these names lay them
//! down (zarr-specs.readthedocs.io).

use std::path::PathBuf;

use serde_json::Value;

use super::codec::Codec;
use crate::cube::SampleType;
use crate::io::array::Layout;
use crate::io::npy;
use crate::io::samples::{ByteOrder, width};

/// Most axes of an array.
const MOST_AXES: usize = 16;

/// An array of a store.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ArrayOf {
    pub layout: Layout,
    /// Lengths of a chunk.
    pub chunk: Vec<usize>,
    /// What was done to a chunk's bytes, in the order in which it is undone.
    pub codecs: Vec<Codec>,
    /// The axes of a chunk in the order in which they are stored.
    pub stored_axes: Vec<usize>,
    /// What chunks that are not there hold.
    pub fill: f64,
    /// What is put before the numbers of a chunk, and between them.
    pub prefix: &'static str,
    pub separator: char,
    /// Names of the axes.
    pub dimensions: Option<Vec<String>>,
    /// Whether `fill` stands for no data, as xarray and GDAL have it in version 2.
    pub fill_is_none: bool,
}

type Parsed<T> = std::result::Result<T, String>;

fn lengths(value: &Value, name: &str) -> Parsed<Vec<usize>> {
    let numbers = value.as_array().map(|list| {
        let each = list
            .iter()
            .map(|n| n.as_u64().and_then(|n| usize::try_from(n).ok()));
        each.collect::<Option<Vec<_>>>()
    });
    match numbers.flatten() {
        Some(list) if list.len() <= MOST_AXES => Ok(list),
        _ => Err(format!("its {name} is no list of at most {MOST_AXES} lengths")),
    }
}

fn texts(value: &Value) -> Option<Vec<String>> {
    let list = value.as_array()?;
    list.iter().map(|text| text.as_str().map(str::to_owned)).collect()
}

/// The number that stands for chunks that are not there; 0 where none is named.
fn fill(value: &Value) -> Parsed<f64> {
    match value {
        Value::Null => Ok(0.0),
        Value::Bool(yes) => Ok(f64::from(u8::from(*yes))),
        Value::Number(number) => number
            .as_f64()
            .ok_or_else(|| "its fill_value is no number".to_owned()),
        Value::String(text) => match text.as_str() {
            "NaN" => Ok(f64::NAN),
            "Infinity" => Ok(f64::INFINITY),
            "-Infinity" => Ok(f64::NEG_INFINITY),
            // Bits of a float; none but those of NaN are written so.
            _ if text.starts_with("0x") => Ok(f64::NAN),
            _ => Err(format!("its fill_value {text:?} is no number")),
        },
        _ => Err("its fill_value is no number".to_owned()),
    }
}

fn kind_of(name: &str) -> Option<SampleType> {
    Some(match name {
        "bool" | "uint8" => SampleType::U8,
        "int8" => SampleType::I8,
        "uint16" => SampleType::U16,
        "int16" => SampleType::I16,
        "uint32" => SampleType::U32,
        "int32" => SampleType::I32,
        "uint64" => SampleType::U64,
        "int64" => SampleType::I64,
        "float16" => SampleType::F16,
        "float32" => SampleType::F32,
        "float64" => SampleType::F64,
        _ => return None,
    })
}

/// The axes as `order` has them, which must name each once.
fn permutation(order: &Value, count: usize) -> Parsed<Vec<usize>> {
    let axes = lengths(order, "order")?;
    let mut sorted = axes.clone();
    sorted.sort_unstable();
    if sorted.into_iter().eq(0..count) {
        Ok(axes)
    } else {
        Err("its codec transpose does not name every axis once".to_owned())
    }
}

impl ArrayOf {
    /// Of the text of `.zarray`; `attributes` are those of `.zattrs`.
    ///
    /// # Errors
    /// Why it is not read, as the end of a sentence.
    pub(super) fn version2(told: &Value, attributes: &Value) -> Parsed<Self> {
        let shape = lengths(&told["shape"], "shape")?;
        let name = told["dtype"]
            .as_str()
            .ok_or("its samples are records, not numbers")?;
        let (kind, order) = npy::parse_type(name)?;
        let mut codecs = Vec::new();
        if !told["compressor"].is_null() {
            codecs.push(Codec::version2(&told["compressor"])?);
        }
        if let Some(filters) = told["filters"].as_array() {
            for filter in filters.iter().rev() {
                codecs.push(Codec::version2(filter)?);
            }
        }
        let axes = 0..shape.len();
        let stored_axes = match told["order"].as_str() {
            Some("F") => axes.rev().collect(),
            _ => axes.collect(),
        };
        let separator = match told["dimension_separator"].as_str() {
            Some("/") => '/',
            _ => '.',
        };
        let dimensions = texts(&attributes["_ARRAY_DIMENSIONS"]);
        ArrayOf {
            layout: layout(shape, kind, order),
            chunk: lengths(&told["chunks"], "chunks")?,
            codecs,
            stored_axes,
            fill: fill(&told["fill_value"])?,
            prefix: "",
            separator,
            fill_is_none: dimensions.is_some() && !told["fill_value"].is_null(),
            dimensions,
        }
        .checked()
    }

    /// Of the text of `zarr.json`.
    ///
    /// # Errors
    /// As [`ArrayOf::version2`].
    pub(super) fn version3(told: &Value) -> Parsed<Self> {
        let shape = lengths(&told["shape"], "shape")?;
        let name = told["data_type"].as_str().unwrap_or("of an extension");
        let kind = kind_of(name).ok_or_else(|| format!("samples of type {name} are not real numbers"))?;
        let grid = &told["chunk_grid"];
        if grid["name"] != "regular" {
            return Err("its chunks are not of one size".to_owned());
        }
        let keys = &told["chunk_key_encoding"];
        let separator = keys["configuration"]["separator"].as_str();
        let (prefix, default) = match keys["name"].as_str() {
            Some("default") => ("c", "/"),
            Some("v2") => ("", "."),
            _ => return Err("the names of its chunks are not known".to_owned()),
        };
        let separator = match separator.unwrap_or(default) {
            "." => '.',
            _ => '/',
        };
        let mut order = ByteOrder::Little;
        let mut stored_axes: Vec<usize> = (0..shape.len()).collect();
        let mut codecs = Vec::new();
        for codec in told["codecs"].as_array().into_iter().flatten() {
            match codec["name"].as_str() {
                Some("bytes") => {
                    if codec["configuration"]["endian"] == "big" {
                        order = ByteOrder::Big;
                    }
                }
                Some("transpose") => {
                    let axes = permutation(&codec["configuration"]["order"], shape.len())?;
                    stored_axes = axes.iter().map(|&axis| stored_axes[axis]).collect();
                }
                _ => codecs.push(Codec::version3(codec)?),
            }
        }
        codecs.reverse();
        if told["storage_transformers"]
            .as_array()
            .is_some_and(|list| !list.is_empty())
        {
            return Err("it has storage transformers".to_owned());
        }
        ArrayOf {
            layout: layout(shape, kind, order),
            chunk: lengths(&grid["configuration"]["chunk_shape"], "chunk_shape")?,
            codecs,
            stored_axes,
            fill: fill(&told["fill_value"])?,
            prefix,
            separator,
            dimensions: texts(&told["dimension_names"]),
            fill_is_none: false,
        }
        .checked()
    }

    fn checked(self) -> Parsed<Self> {
        if self.chunk.len() != self.layout.shape.len() || self.chunk.contains(&0) {
            return Err("its chunks have other axes than it".to_owned());
        }
        self.chunk_bytes()
            .ok_or("its chunks are larger than can be addressed")?;
        Ok(self)
    }

    /// Bytes of a chunk; `None` beyond what can be addressed.
    pub(super) fn chunk_bytes(&self) -> Option<usize> {
        let bytes = width(self.layout.kind);
        let product = self.chunk.iter().try_fold(bytes, |n, &d| n.checked_mul(d));
        product.filter(|&n| n <= isize::MAX as usize / 16)
    }

    /// The chunk that a file below the array's folder holds: its place along every axis.
    pub(super) fn chunk_of(&self, below: &str) -> Option<Vec<usize>> {
        let rest = match self.prefix {
            "" => below,
            prefix => {
                let rest = below.strip_prefix(prefix)?;
                match rest.strip_prefix(self.separator) {
                    Some(rest) => rest,
                    // An array without axes has one chunk.
                    None if rest.is_empty() => return self.chunk.is_empty().then(Vec::new),
                    None => return None,
                }
            }
        };
        if self.chunk.is_empty() {
            return (rest == "0").then(Vec::new);
        }
        let numbers: Option<Vec<usize>> = rest.split(self.separator).map(|n| n.parse().ok()).collect();
        let lengths = self.layout.shape.iter().zip(&self.chunk);
        let within = |places: &Vec<usize>| {
            places.len() == self.chunk.len()
                && places
                    .iter()
                    .zip(lengths)
                    .all(|(&at, (&length, &chunk))| at < length.div_ceil(chunk))
        };
        numbers.filter(within)
    }
}

fn layout(shape: Vec<usize>, kind: SampleType, order: ByteOrder) -> Layout {
    Layout {
        shape,
        kind,
        order,
        first_axis_fastest: false,
    }
}

/// A file of a store and its length.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    pub path: PathBuf,
    pub length: u64,
    /// Its name below the array's folder, with `/` between folders.
    pub below: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Parsed<ArrayOf> {
        let told: Value = serde_json::from_str(text).unwrap();
        ArrayOf::version3(&told)
    }

    const PLAIN: &str = r#"{"shape": [5, 4], "data_type": "float32", "chunk_grid": {"name": "regular",
        "configuration": {"chunk_shape": [2, 4]}}, "chunk_key_encoding": {"name": "default"}, "fill_value": "NaN",
        "codecs": [{"name": "transpose", "configuration": {"order": [1, 0]}}, {"name": "bytes"},
        {"name": "gzip", "configuration": {"level": 5}}]}"#;

    #[test]
    fn names_of_chunks() {
        let array = read(PLAIN).unwrap();
        assert_eq!(array.stored_axes, [1, 0]);
        assert!(array.fill.is_nan());
        assert_eq!(array.chunk_of("c/2/0"), Some(vec![2, 0]));
        for other in [
            "c/3/0",
            "c/2",
            "c/2/0/0",
            "2/0",
            "c.2.0",
            "c",
            "zarr.json",
            "c/-1/0",
        ] {
            assert_eq!(array.chunk_of(other), None, "{other}");
        }
    }

    #[test]
    fn what_is_not_read_is_said() {
        for (from, to, word) in [
            ("float32", "complex64", "complex64"),
            ("regular", "rectangular", "one size"),
            ("gzip", "sharding_indexed", "sharding_indexed"),
            ("[1, 0]", "[0, 0]", "transpose"),
            ("[2, 4]", "[0, 4]", "axes"),
            ("[2, 4]", "[2]", "axes"),
            ("\"NaN\"", "\"x\"", "fill_value"),
        ] {
            let said = read(&PLAIN.replace(from, to)).unwrap_err();
            assert!(said.contains(word), "{said}");
        }
        let huge = PLAIN.replace("[2, 4]", "[4611686018427387904, 4]");
        assert!(read(&huge).unwrap_err().contains("addressed"));
    }
}
