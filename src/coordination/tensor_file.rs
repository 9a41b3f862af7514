//! Named tensors and texts in one safetensors file, versioned and with a checksum: what models and checkpoints are
//! written with.
//!
//! The checksum (CRC-32C, in the metadata) is over all other metadata and all tensors in the order of their names, so
//! that it does not depend on how the file lays them out.

use std::collections::BTreeMap;
use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::error::{Error, Result};
use crate::io;

/// Version of the files' layout.
const VERSION: &str = "3";
/// What the files call themselves.
const FORMAT: &str = "hsr-gpu model";
/// Metadata of the checksum.
const CHECKSUM: &str = "checksum";

struct Tensor {
    kind: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

/// The contents of a file.
#[derive(Default)]
pub struct TensorFile {
    tensors: BTreeMap<String, Tensor>,
    texts: BTreeMap<String, String>,
}

impl TensorFile {
    /// Adds a single-precision tensor.
    pub fn put(&mut self, name: impl Into<String>, shape: &[usize], values: &[f32]) {
        let bytes = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        self.add(name.into(), Dtype::F32, shape, bytes);
    }

    /// Adds a double-precision tensor.
    pub fn put_f64(&mut self, name: impl Into<String>, shape: &[usize], values: &[f64]) {
        let bytes = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        self.add(name.into(), Dtype::F64, shape, bytes);
    }

    fn add(&mut self, name: String, kind: Dtype, shape: &[usize], bytes: Vec<u8>) {
        let shape = shape.to_vec();
        self.tensors.insert(name, Tensor { kind, shape, bytes });
    }

    /// Adds a text.
    pub fn tell(&mut self, key: &str, text: impl ToString) {
        self.texts.insert(key.to_owned(), text.to_string());
    }

    fn checksum(&self) -> u32 {
        let mut sum = 0;
        let mut take = |bytes: &[u8]| {
            sum = crc32c::crc32c_append(sum, &(bytes.len() as u64).to_le_bytes());
            sum = crc32c::crc32c_append(sum, bytes);
        };
        for (key, text) in self.texts.iter().filter(|(key, _)| *key != CHECKSUM) {
            take(key.as_bytes());
            take(text.as_bytes());
        }
        for (name, tensor) in &self.tensors {
            take(format!("{name} {:?} {:?}", tensor.kind, tensor.shape).as_bytes());
            take(&tensor.bytes);
        }
        sum
    }

    /// Writes the file; an existing one is replaced only once the new one is whole.
    ///
    /// # Errors
    /// [`Error::Input`] if the folder cannot take the file, [`Error::Failed`] if writing fails.
    pub fn write(mut self, path: &Path) -> Result<()> {
        let failed = |e: safetensors::SafeTensorError| Error::failed(format!("{}: {e}", path.display()));
        self.tell("format", FORMAT);
        self.tell("version", VERSION);
        self.tell(CHECKSUM, self.checksum());
        let views = self
            .tensors
            .iter()
            .map(|(name, t)| Ok((name, TensorView::new(t.kind, t.shape.clone(), &t.bytes)?)))
            .collect::<std::result::Result<Vec<_>, _>>()
            .map_err(failed)?;
        let texts = self.texts.clone().into_iter().collect();
        let file = safetensors::serialize(views, Some(texts)).map_err(failed)?;
        io::replace(path, |out| out.write_all(&file))
    }
}

/// A file that was read, whole and undamaged.
pub struct ReadTensorFile {
    name: String,
    file: TensorFile,
}

impl ReadTensorFile {
    /// Reads a file.
    ///
    /// # Errors
    /// [`Error::Input`] where it is missing, damaged, or of another version.
    pub fn read(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        let bad = |what: String| Error::input(format!("{name}: {what}"));
        let bytes = std::fs::read(path).map_err(|e| bad(format!("{e}; give a file that `train` wrote")))?;
        let no_file =
            |e: safetensors::SafeTensorError| bad(format!("not a safetensors file or damaged: {e}"));
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(no_file)?;
        let tensors = SafeTensors::deserialize(&bytes).map_err(no_file)?;
        let mut file = TensorFile::default();
        for (name, view) in tensors.iter() {
            file.add(name.to_owned(), view.dtype(), view.shape(), view.data().to_vec());
        }
        file.texts = header
            .metadata()
            .clone()
            .unwrap_or_default()
            .into_iter()
            .collect();
        let file = ReadTensorFile { name, file };
        if file.text("format")? != FORMAT || file.text("version")? != VERSION {
            return Err(file.bad(format!(
                "`{}` of version {}; this program reads `{FORMAT}` of version {VERSION}",
                file.text("format")?,
                file.text("version")?
            )));
        }
        if file.text(CHECKSUM)? != file.file.checksum().to_string() {
            return Err(file.bad("its checksum is wrong; the file is damaged"));
        }
        Ok(file)
    }

    /// An error that names the file.
    pub fn bad(&self, what: impl std::fmt::Display) -> Error {
        Error::input(format!("{}: {what}", self.name))
    }

    /// Bytes of all tensors.
    pub fn bytes(&self) -> usize {
        self.file.tensors.values().map(|t| t.bytes.len()).sum()
    }

    /// A text.
    ///
    /// # Errors
    /// [`Error::Input`] if the file has none of this name.
    pub fn text(&self, key: &str) -> Result<&str> {
        self.optional_text(key)
            .ok_or_else(|| self.bad(format!("no model of hsr-gpu: metadata `{key}` is missing")))
    }

    /// A text, if the file has it.
    pub fn optional_text(&self, key: &str) -> Option<&str> {
        self.file.texts.get(key).map(String::as_str)
    }

    /// A text that is a number.
    ///
    /// # Errors
    /// [`Error::Input`] if the file has none of this name or it is no number.
    pub fn number(&self, key: &str) -> Result<usize> {
        let number = self.text(key)?.parse();
        number.map_err(|_| self.bad(format!("metadata `{key}` is not a number; the file is damaged")))
    }

    /// A text that is JSON.
    ///
    /// # Errors
    /// [`Error::Input`] if the file has none of this name or it does not parse.
    pub fn json<T: serde::de::DeserializeOwned>(&self, key: &str) -> Result<T> {
        serde_json::from_str(self.text(key)?)
            .map_err(|e| self.bad(format!("metadata `{key}`: {e}; the file is damaged")))
    }

    /// Bytes of a tensor of `length` values of this type.
    fn data(&self, name: &str, kind: Dtype, length: Option<usize>) -> Result<&Tensor> {
        let bad = |what: String| self.bad(format!("tensor {name}: {what}"));
        let found = self.file.tensors.get(name);
        let tensor = found.ok_or_else(|| bad("is missing".to_owned()))?;
        let values: usize = tensor.shape.iter().product();
        if tensor.kind != kind || length.is_some_and(|length| values != length) {
            return Err(bad(format!(
                "found {:?} {:?}, expected {} of {kind:?}",
                tensor.kind,
                tensor.shape,
                length.unwrap_or(values)
            )));
        }
        Ok(tensor)
    }

    /// A tensor of `length` finite single-precision values.
    ///
    /// # Errors
    /// [`Error::Input`] if there is none.
    pub fn tensor(&self, name: &str, length: usize) -> Result<Vec<f32>> {
        let tensor = self.data(name, Dtype::F32, Some(length))?;
        let number = |b: &[u8]| f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
        let values: Vec<f32> = tensor.bytes.chunks_exact(4).map(number).collect();
        if values.iter().any(|x| !x.is_finite()) {
            return Err(self.bad(format!(
                "tensor {name}: holds a value that is not finite; the file is damaged"
            )));
        }
        Ok(values)
    }

    /// [`ReadTensorFile::tensor`] where the file has one of this name.
    ///
    /// # Errors
    /// As [`ReadTensorFile::tensor`].
    pub fn optional(&self, name: &str, length: usize) -> Result<Option<Vec<f32>>> {
        if self.file.tensors.contains_key(name) {
            self.tensor(name, length).map(Some)
        } else {
            Ok(None)
        }
    }

    /// A double-precision matrix of any number of rows of `columns` values.
    ///
    /// # Errors
    /// [`Error::Input`] if there is none.
    pub fn matrix(&self, name: &str, columns: usize) -> Result<Vec<Vec<f64>>> {
        let tensor = self.data(name, Dtype::F64, None)?;
        if tensor.shape.len() != 2 || tensor.shape[1] != columns {
            return Err(self.bad(format!(
                "tensor {name}: found {:?}, expected rows of {columns}",
                tensor.shape
            )));
        }
        let mut values = [0; 8];
        let mut number = |b: &[u8]| {
            values.copy_from_slice(b);
            f64::from_le_bytes(values)
        };
        let rows = tensor.bytes.chunks_exact(8 * columns);
        Ok(rows
            .map(|row| row.chunks_exact(8).map(&mut number).collect())
            .collect())
    }
}
