//! Header and directories of a TIFF file: where the value of each tag lies. Classic and BigTIFF, both byte orders.
//!
//! Nothing is read but what is asked for, and no value is larger than what the file holds behind its offset, so a
//! directory costs no more memory than its own entries and the values fetched.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use crate::cube::SampleType;
use crate::io::samples::{ByteOrder, decode};

/// What is wrong with a file, as the end of a sentence; or an error of reading.
#[derive(Debug)]
pub(super) enum Fault {
    Io(io::Error),
    Damage(String),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Fault::Io(error)
    }
}

impl From<String> for Fault {
    fn from(what: String) -> Self {
        Fault::Damage(what)
    }
}

/// What reading gives.
pub(super) type Outcome<T> = std::result::Result<T, Fault>;

/// An open file with its length and byte order.
pub(super) struct Source<F = File> {
    pub file: F,
    pub length: u64,
    pub order: ByteOrder,
    big: bool,
}

/// Where the values of a tag lie.
#[derive(Debug, Clone, Copy)]
pub(super) struct Values {
    kind: u16,
    pub count: u64,
    at: u64,
}

/// One directory: the tags of one image.
pub(super) struct Directory {
    entries: BTreeMap<u16, Values>,
    /// Offset of the next directory, 0 after the last.
    pub next: u64,
    /// Bytes that it takes in the file.
    pub size: u64,
}

/// Bytes of one value of a type; `None` for types that TIFF does not know.
fn width(kind: u16) -> Option<u64> {
    match kind {
        1 | 2 | 6 | 7 => Some(1),
        3 | 8 => Some(2),
        4 | 9 | 11 | 13 => Some(4),
        5 | 10 | 12 | 16 | 17 | 18 => Some(8),
        _ => None,
    }
}

/// The sample type that has the bytes of a tag type; rationals have none.
fn number_type(kind: u16) -> Option<SampleType> {
    match kind {
        1 | 7 => Some(SampleType::U8),
        3 => Some(SampleType::U16),
        4 | 13 => Some(SampleType::U32),
        6 => Some(SampleType::I8),
        8 => Some(SampleType::I16),
        9 => Some(SampleType::I32),
        11 => Some(SampleType::F32),
        12 => Some(SampleType::F64),
        _ => None,
    }
}

impl<F: Read + Seek> Source<F> {
    /// Reads the header; gives the offset of the first directory.
    pub(super) fn new(mut file: F, length: u64) -> Outcome<(Self, u64)> {
        let mut start = [0; 16];
        file.read_exact(&mut start[..8])?;
        let order = if start[0] == b'M' {
            ByteOrder::Big
        } else {
            ByteOrder::Little
        };
        let mut source = Source {
            file,
            length,
            order,
            big: false,
        };
        let magic = source.number(&start[2..4]);
        if magic == 42 {
            let first = source.number(&start[4..8]);
            return Ok((source, first));
        }
        source.big = true;
        source.file.read_exact(&mut start[8..])?;
        let sizes = (source.number(&start[4..6]), source.number(&start[6..8]));
        if magic != 43 || sizes != (8, 0) {
            return Err(Fault::Damage(
                "its header is neither TIFF's nor BigTIFF's".to_owned(),
            ));
        }
        let first = source.number(&start[8..16]);
        Ok((source, first))
    }

    /// An unsigned number of up to eight bytes in the file's order.
    fn number(&self, bytes: &[u8]) -> u64 {
        let join = |number: u64, &byte: &u8| number << 8 | u64::from(byte);
        match self.order {
            ByteOrder::Big => bytes.iter().fold(0, join),
            ByteOrder::Little => bytes.iter().rev().fold(0, join),
        }
    }

    fn read_at(&mut self, at: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(at))?;
        self.file.read_exact(bytes)
    }

    /// Reads the directory at `at`.
    pub(super) fn directory(&mut self, at: u64) -> Outcome<Directory> {
        let (count_size, entry_size, offset_size) = if self.big { (8, 20, 8) } else { (2, 12, 4) };
        let mut count = [0; 8];
        self.read_at(at, &mut count[..count_size])?;
        let count = self.number(&count[..count_size]);
        let entries_at = at + count_size as u64;
        if count.saturating_mul(entry_size).saturating_add(entries_at) > self.length {
            return Err(Fault::Damage(format!(
                "a directory claims {count} tags, more than the file holds"
            )));
        }
        // No more than the file is long.
        let mut bytes = vec![0; (count * entry_size) as usize + offset_size];
        let found = bytes.len().min((self.length - entries_at) as usize);
        self.read_at(entries_at, &mut bytes[..found])?;
        let mut entries = BTreeMap::new();
        let (all, next) = bytes.split_at(bytes.len() - offset_size);
        for (k, entry) in all.chunks_exact(entry_size as usize).enumerate() {
            let (tag, kind) = (self.number(&entry[..2]) as u16, self.number(&entry[2..4]) as u16);
            let value = entry_size as usize - offset_size;
            let count = self.number(&entry[4..value]);
            let Some(width) = width(kind) else { continue };
            let within = width.checked_mul(count).is_some_and(|n| n <= offset_size as u64);
            let at = if within {
                entries_at + k as u64 * entry_size + value as u64
            } else {
                self.number(&entry[value..])
            };
            entries.entry(tag).or_insert(Values { kind, count, at });
        }
        Ok(Directory {
            entries,
            next: self.number(next),
            size: bytes.len() as u64,
        })
    }

    /// The bytes of `count` values from number `first` on.
    fn bytes(&mut self, values: &Values, first: u64, count: u64) -> Outcome<Vec<u8>> {
        let width = width(values.kind).unwrap_or(1);
        let from = first
            .checked_mul(width)
            .and_then(|skip| skip.checked_add(values.at));
        let end = count
            .checked_mul(width)
            .and_then(|size| size.checked_add(from?))
            .filter(|&end| end <= self.length && first + count <= values.count);
        let (Some(from), Some(_)) = (from, end) else {
            return Err(Fault::Damage(format!(
                "a tag of {} values points outside the file",
                values.count
            )));
        };
        let mut bytes = vec![0; (count * width) as usize];
        self.read_at(from, &mut bytes)?;
        Ok(bytes)
    }

    /// One value of a tag of unsigned integers.
    pub(super) fn unsigned(&mut self, values: &Values, at: u64) -> Outcome<u64> {
        let bytes = self.bytes(values, at, 1)?;
        match values.kind {
            1 | 3 | 4 | 13 | 16 | 18 => Ok(self.number(&bytes)),
            _ => Err(Fault::Damage(
                "a tag that counts is no unsigned number".to_owned(),
            )),
        }
    }

    /// A tag of one unsigned integer.
    pub(super) fn one(&mut self, directory: &Directory, tag: u16) -> Outcome<Option<u64>> {
        match directory.values(tag) {
            Some(values) if values.count > 0 => self.unsigned(&values, 0).map(Some),
            _ => Ok(None),
        }
    }

    /// A tag that holds one unsigned integer several times (`BitsPerSample` of every sample).
    pub(super) fn same(&mut self, directory: &Directory, tag: u16, name: &str) -> Outcome<Option<u64>> {
        let Some(values) = directory.values(tag).filter(|v| v.count > 0) else {
            return Ok(None);
        };
        let size = width(values.kind).unwrap_or(1) as usize;
        let bytes = self.bytes(&values, 0, values.count)?;
        if bytes.chunks(size).any(|value| value != &bytes[..size]) {
            return Err(Fault::Damage(format!(
                "its bands differ in {name}, which is not read"
            )));
        }
        self.unsigned(&values, 0).map(Some)
    }

    /// The numbers of a tag; none where it is missing.
    pub(super) fn numbers(&mut self, directory: &Directory, tag: u16) -> Outcome<Vec<f64>> {
        let mut numbers = Vec::new();
        if let Some(values) = directory.values(tag)
            && let Some(kind) = number_type(values.kind)
        {
            let bytes = self.bytes(&values, 0, values.count)?;
            decode(kind, self.order, &bytes, &mut numbers);
        }
        Ok(numbers)
    }

    /// The text of a tag, without what follows its first zero.
    pub(super) fn text(&mut self, directory: &Directory, tag: u16) -> Outcome<Option<String>> {
        let Some(values) = directory.values(tag) else {
            return Ok(None);
        };
        let mut bytes = self.bytes(&values, 0, values.count)?;
        bytes.truncate(bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len()));
        Ok(Some(match String::from_utf8(bytes) {
            Ok(text) => text,
            // Latin-1, whose bytes are the first 256 code points.
            Err(error) => error.as_bytes().iter().map(|&b| char::from(b)).collect(),
        }))
    }
}

impl Directory {
    /// Where the values of a tag lie.
    pub(super) fn values(&self, tag: u16) -> Option<Values> {
        self.entries.get(&tag).copied()
    }
}
