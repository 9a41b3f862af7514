//! MATLAB level 5 MAT-files: what `save -v6` and `save -v7` (zlib) write; after MathWorks' "MAT-File
//! Format" description.
//!
//! Written by hand because the crates that read this format parse every variable of a file at once,
//! inflate without bound, and take the product of the axis lengths unchecked. Here the headers of the
//! variables, also of those in cells and structures, are listed first, then the one that is wanted is read as a stream. Memory: at most 16 bytes
//! a sample, and a header may claim no more samples than the file's bytes can hold; deflate shrinks
//! nothing by more than 1032:1, so for a compressed variable that is 1032 times its length in the file.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::Path;

use flate2::read::ZlibDecoder;
use ndarray::ArrayD;

use super::array::Layout;
use super::file::{open, read_error};
use super::samples::{ByteOrder, Float, width, write_samples};
use crate::cube::SampleType;
use crate::cube::exact::Exact;
use crate::error::{Error, Result};

/// Length of the file header.
const HEADER: u64 = 128;
/// Largest ratio by which deflate can shrink data: 258 bytes from two bits, 1032:1.
pub(crate) const DEFLATE_LIMIT: u64 = 1032;
/// Longest variable name that is read; MATLAB allows 63 bytes.
const MAX_NAME: usize = 4096;
/// Most axes that an array may have; NumPy allows 64, MATLAB's own arrays rarely have five.
const MAX_AXES: usize = 64;

const MI_INT8: u32 = 1;
const MI_INT32: u32 = 5;
const MI_UINT32: u32 = 6;
const MI_MATRIX: u32 = 14;
const MI_COMPRESSED: u32 = 15;
/// Classes of arrays that hold others.
const CELL: u32 = 1;
const STRUCTURE: u32 = 2;
/// Cells and structures within others that are gone into.
const DEEPEST: usize = 8;
/// Most parts of one of them, and most variables of a file.
const MOST_INSIDE: usize = 10_000;
/// Bit of the array flags that marks complex arrays.
const COMPLEX: u32 = 0x0800;

/// A numeric variable of the file.
#[derive(Debug, Clone)]
pub(crate) struct Variable {
    /// Its name.
    pub name: String,
    /// Shape and class. The byte order is that of the file.
    pub layout: Layout,
    /// `true` if it has an imaginary part.
    pub complex: bool,
    place: Place,
}

/// Where a variable stands.
#[derive(Debug, Clone)]
struct Place {
    /// The outermost one that it is in, or it is itself.
    offset: u64,
    length: u64,
    compressed: bool,
    /// Which part of that one, which part of that, ...
    within: Vec<usize>,
    /// Its name, where it is inside another one.
    name: String,
}

/// An open level 5 MAT-file with the numeric variables that it holds.
pub(crate) struct Mat5 {
    file: File,
    order: ByteOrder,
    /// The numeric variables in file order.
    pub variables: Vec<Variable>,
}

/// Class number of a MATLAB array and the numeric type that it means.
const CLASSES: [(u32, SampleType); 10] = [
    (6, SampleType::F64),
    (7, SampleType::F32),
    (8, SampleType::I8),
    (9, SampleType::U8),
    (10, SampleType::I16),
    (11, SampleType::U16),
    (12, SampleType::I32),
    (13, SampleType::U32),
    (14, SampleType::I64),
    (15, SampleType::U64),
];

/// Number of a storage type and the numeric type that it means. MATLAB stores samples in the smallest
/// type that holds them all, whatever the class of the array.
const STORAGE: [(u32, SampleType); 10] = [
    (1, SampleType::I8),
    (2, SampleType::U8),
    (3, SampleType::I16),
    (4, SampleType::U16),
    (5, SampleType::I32),
    (6, SampleType::U32),
    (7, SampleType::F32),
    (9, SampleType::F64),
    (12, SampleType::I64),
    (13, SampleType::U64),
];

fn kind_of(table: &[(u32, SampleType)], code: u32) -> Option<SampleType> {
    table.iter().find(|(c, _)| *c == code).map(|(_, kind)| *kind)
}

fn code_of(table: &[(u32, SampleType)], kind: SampleType) -> Option<u32> {
    table.iter().find(|(_, k)| *k == kind).map(|(code, _)| *code)
}

fn damaged(what: impl Into<String>) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("damaged MATLAB file: {}", what.into()),
    )
}

/// The elements of a variable as a stream in the byte order of the file.
struct Elements<'a> {
    source: Box<dyn Read + 'a>,
    order: ByteOrder,
}

/// Type and length of an element; `inline` holds the data of the short form (up to 4 bytes).
struct Tag {
    kind: u32,
    length: usize,
    inline: Option<[u8; 4]>,
}

impl Elements<'_> {
    fn number(&self, raw: [u8; 4]) -> u32 {
        match self.order {
            ByteOrder::Little => u32::from_le_bytes(raw),
            ByteOrder::Big => u32::from_be_bytes(raw),
        }
    }

    fn word(&mut self) -> io::Result<[u8; 4]> {
        let mut raw = [0_u8; 4];
        self.source.read_exact(&mut raw)?;
        Ok(raw)
    }

    fn tag(&mut self) -> io::Result<Tag> {
        let first = self.word()?;
        let first = self.number(first);
        let second = self.word()?;
        // The short form packs the length into the upper half of the first word.
        if first >> 16 != 0 {
            return Ok(Tag {
                kind: first & 0xffff,
                length: (first >> 16) as usize,
                inline: Some(second),
            });
        }
        Ok(Tag {
            kind: first,
            length: self.number(second) as usize,
            inline: None,
        })
    }

    /// Data of a small element of type `kind`, at most `limit` bytes of it.
    fn small(&mut self, kind: u32, limit: usize, what: &str) -> io::Result<Vec<u8>> {
        let tag = self.tag()?;
        if tag.kind != kind || tag.length > limit {
            return Err(damaged(format!("no valid {what} in a variable")));
        }
        if let Some(inline) = tag.inline {
            return inline
                .get(..tag.length)
                .map(<[u8]>::to_vec)
                .ok_or_else(|| damaged(format!("no valid {what} in a variable")));
        }
        let mut data = vec![0_u8; tag.length];
        self.source.read_exact(&mut data)?;
        let padding = tag.length.next_multiple_of(8) - tag.length;
        self.source.read_exact(&mut [0_u8; 8][..padding])?;
        Ok(data)
    }

    /// What stands before the data of a variable.
    fn header(&mut self) -> io::Result<Header> {
        let flags = self.small(MI_UINT32, 8, "flags")?;
        let flags: [u8; 4] = match flags.first_chunk() {
            Some(first) if flags.len() == 8 => *first,
            _ => return Err(damaged("no valid flags in a variable")),
        };
        let flags = self.number(flags);
        let mut shape = Vec::new();
        for raw in self.small(MI_INT32, 4 * MAX_AXES, "axis lengths")?.chunks(4) {
            let raw: [u8; 4] = raw
                .try_into()
                .map_err(|_| damaged("no valid axis lengths in a variable"))?;
            let length = i32::from_ne_bytes(self.number(raw).to_ne_bytes());
            shape.push(usize::try_from(length).map_err(|_| damaged("an axis has a negative length"))?);
        }
        let name = self.small(MI_INT8, MAX_NAME, "name")?;
        Ok(Header {
            class: flags & 0xff,
            complex: flags & COMPLEX != 0,
            name: String::from_utf8_lossy(&name).into_owned(),
            shape,
        })
    }

    /// Names of the variables inside a cell array (`NAME{1}`, ...) or a structure (`NAME.field`, of one of several
    /// `NAME(2).field`) whose header has been read; none inside others.
    fn inside(&mut self, header: &Header, name: &str) -> io::Result<Vec<String>> {
        let count = header.shape.iter().try_fold(1_usize, |n, &d| n.checked_mul(d));
        let count = count.unwrap_or(usize::MAX);
        let most = |n: usize| {
            if n <= MOST_INSIDE {
                Ok(n)
            } else {
                Err(damaged(format!("{name} has more than {MOST_INSIDE} parts")))
            }
        };
        match header.class {
            CELL => Ok((1..=most(count)?).map(|k| format!("{name}{{{k}}}")).collect()),
            STRUCTURE => {
                let length = self.small(MI_INT32, 4, "length of field names")?;
                let length: [u8; 4] = length
                    .try_into()
                    .map_err(|_| damaged("no valid length of field names"))?;
                let length = (self.number(length) as usize).max(1);
                let names = self.small(MI_INT8, MOST_INSIDE * 64, "field names")?;
                let fields: Vec<String> = names
                    .chunks(length)
                    .map(|name| String::from_utf8_lossy(name).trim_end_matches('\0').to_owned())
                    .collect();
                most(count.saturating_mul(fields.len()))?;
                let of = |element: usize| match count {
                    1 => name.to_owned(),
                    _ => format!("{name}({element})"),
                };
                Ok((1..=count)
                    .flat_map(|element| fields.iter().map(move |field| (element, field)))
                    .map(|(element, field)| format!("{}.{field}", of(element)))
                    .collect())
            }
            _ => Ok(Vec::new()),
        }
    }

    /// The next variable inside another one; what is left of it when it is dropped is [`Elements::rest`] of the other.
    fn part(&mut self) -> io::Result<Elements<'_>> {
        let tag = self.tag()?;
        if tag.kind != MI_MATRIX || tag.inline.is_some() {
            return Err(damaged("a part of a structure is no variable"));
        }
        Ok(Elements {
            order: self.order,
            source: Box::new((&mut self.source).take(tag.length as u64)),
        })
    }

    /// Reads what is left.
    fn rest(&mut self) -> io::Result<()> {
        io::copy(&mut self.source, &mut io::sink()).map(drop)
    }

    /// Adds this variable and those inside it that are numeric, `place` being where it stands.
    fn list(&mut self, place: &Place, depth: usize, found: &mut Vec<Variable>) -> io::Result<()> {
        let header = self.header()?;
        let name = if place.within.is_empty() {
            header.name.clone()
        } else {
            place.name.clone()
        };
        if let Some(kind) = kind_of(&CLASSES, header.class) {
            found.push(Variable {
                name,
                layout: Layout {
                    shape: header.shape,
                    kind,
                    order: self.order,
                    first_axis_fastest: true,
                },
                complex: header.complex,
                place: place.clone(),
            });
        } else if depth < DEEPEST {
            for (number, name) in self.inside(&header, &name)?.into_iter().enumerate() {
                if found.len() >= MOST_INSIDE {
                    return Err(damaged(format!(
                        "{name} is one of more than {MOST_INSIDE} variables"
                    )));
                }
                let mut inside = place.clone();
                inside.within.push(number);
                inside.name = name;
                let mut part = self.part()?;
                part.list(&inside, depth + 1, found)?;
                part.rest()?;
            }
        }
        Ok(())
    }

    /// Goes to the data of the variable that stands `within` this one, and calls `then` on what follows its header.
    fn descend<T>(
        &mut self,
        within: &[usize],
        then: &mut dyn FnMut(&mut Elements) -> Result<T>,
        fail: &dyn Fn(io::Error) -> Error,
    ) -> Result<T> {
        let header = self.header().map_err(fail)?;
        let Some((&number, within)) = within.split_first() else {
            return then(self);
        };
        self.inside(&header, "").map_err(fail)?;
        for _ in 0..number {
            self.part().and_then(|mut part| part.rest()).map_err(fail)?;
        }
        self.part().map_err(fail)?.descend(within, then, fail)
    }
}

/// What stands before the data of a variable.
struct Header {
    class: u32,
    complex: bool,
    name: String,
    shape: Vec<usize>,
}

impl Mat5 {
    /// Opens a file and lists its numeric variables.
    ///
    /// # Errors
    /// [`Error::Input`] if the file is missing, truncated or damaged.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let (file, length) = open(path)?;
        let fail = |e: io::Error| read_error(path, &e);
        let mut header = [0_u8; HEADER as usize];
        (&file).read_exact(&mut header).map_err(fail)?;
        let order = match &header[126..] {
            b"IM" => ByteOrder::Little,
            b"MI" => ByteOrder::Big,
            _ => {
                return Err(Error::input(format!(
                    "{}: is not a MATLAB file of version 5 to 7.3; save it with -v7 or -v7.3",
                    path.display()
                )));
            }
        };
        let mut mat = Mat5 {
            file,
            order,
            variables: Vec::new(),
        };
        let mut offset = HEADER;
        while offset < length {
            mat.file.seek(SeekFrom::Start(offset)).map_err(fail)?;
            let mut top = Elements {
                source: Box::new(&mat.file),
                order,
            };
            let tag = top.tag().map_err(fail)?;
            drop(top);
            let data = offset + 8;
            if tag.length as u64 > length - data {
                return Err(Error::input(format!(
                    "{}: a variable at byte {offset} claims {} bytes, but {} follow; the file is truncated or damaged",
                    path.display(),
                    tag.length,
                    length - data
                )));
            }
            if tag.inline.is_some() || ![MI_MATRIX, MI_COMPRESSED].contains(&tag.kind) {
                return Err(fail(damaged(format!("no variable at byte {offset}"))));
            }
            let place = Place {
                offset: data,
                length: tag.length as u64,
                compressed: tag.kind == MI_COMPRESSED,
                within: Vec::new(),
                name: String::new(),
            };
            let mut found = Vec::new();
            mat.elements(&place)
                .and_then(|mut e| e.list(&place, 0, &mut found))
                .map_err(fail)?;
            mat.variables.append(&mut found);
            offset = data + tag.length as u64;
        }
        Ok(mat)
    }

    /// The elements inside a variable, from its flags on.
    fn elements(&self, place: &Place) -> io::Result<Elements<'_>> {
        (&self.file).seek(SeekFrom::Start(place.offset))?;
        let raw = BufReader::with_capacity(1 << 16, (&self.file).take(place.length));
        if !place.compressed {
            return Ok(Elements {
                source: Box::new(raw),
                order: self.order,
            });
        }
        let mut elements = Elements {
            source: Box::new(BufReader::with_capacity(1 << 16, ZlibDecoder::new(raw))),
            order: self.order,
        };
        let tag = elements.tag()?;
        if tag.kind != MI_MATRIX {
            return Err(damaged("a compressed element holds no variable"));
        }
        Ok(elements)
    }

    /// Reads the samples of a variable of this file.
    ///
    /// # Errors
    /// [`Error::Input`] if the data are truncated, damaged or do not agree with the variable's header.
    pub(crate) fn read<T: Float>(&self, path: &Path, variable: &Variable) -> Result<ArrayD<T>> {
        let fail = |e: io::Error| read_error(path, &e);
        let mut elements = self.elements(&variable.place).map_err(fail)?;
        let mut data = |elements: &mut Elements| self.data(path, variable, elements);
        elements.descend(&variable.place.within, &mut data, &fail)
    }

    /// Reads the samples behind a variable's header.
    fn data<T: Float>(&self, path: &Path, variable: &Variable, elements: &mut Elements) -> Result<ArrayD<T>> {
        let fail = |e: io::Error| read_error(path, &e);
        let tag = elements.tag().map_err(fail)?;
        let kind = kind_of(&STORAGE, tag.kind).ok_or_else(|| {
            fail(damaged(format!(
                "{} has an unknown storage type {}",
                variable.name, tag.kind
            )))
        })?;
        let stored = Layout {
            kind,
            ..variable.layout.clone()
        };
        let available = if variable.place.compressed {
            variable.place.length.saturating_mul(DEFLATE_LIMIT)
        } else {
            variable.place.length
        };
        let count = stored.checked_count(path, available)?;
        if count * width(kind) != tag.length {
            return Err(fail(damaged(format!(
                "{} holds {} bytes of data where its shape asks for {}",
                variable.name,
                tag.length,
                count * width(kind)
            ))));
        }
        match &tag.inline {
            Some(inline) => {
                let data = inline
                    .get(..tag.length)
                    .ok_or_else(|| fail(damaged("a short element is too long")))?;
                stored.read(path, &mut &data[..], count)
            }
            None => stored.read(path, &mut elements.source, count),
        }
    }
}

/// An array to be written: name, class, axis lengths, and its samples with the first axis fastest.
pub(crate) struct Output<'a> {
    /// Name of the variable; at most 63 bytes for MATLAB.
    pub name: &'a str,
    /// Numeric type; half precision, which MATLAB does not have, is written as single.
    pub kind: SampleType,
    /// Lengths of the axes, at least two.
    pub shape: Vec<usize>,
    /// The samples, first axis fastest.
    pub values: Box<dyn Iterator<Item = Exact> + 'a>,
}

/// Class that a type is written as.
fn class_kind(kind: SampleType) -> SampleType {
    match kind {
        SampleType::F16 => SampleType::F32,
        other => other,
    }
}

/// Bytes of data that an array of this type and shape takes, if a level 5 file can hold it: MATLAB
/// limits a variable to 2^31 bytes.
pub(crate) fn data_length(kind: SampleType, shape: &[usize]) -> Option<usize> {
    shape
        .iter()
        .try_fold(width(class_kind(kind)), |n, &d| n.checked_mul(d))
        .filter(|&n| n < (1 << 31) - 1024)
}

/// Writes a file of the given arrays, uncompressed, in little-endian order.
///
/// # Errors
/// `InvalidInput` if an array is too large for the format ([`data_length`]); otherwise what the sink says.
pub(crate) fn write(sink: &mut dyn Write, arrays: Vec<Output>) -> io::Result<()> {
    let mut text = [b' '; 116];
    let words = b"MATLAB 5.0 MAT-file, written by hsr-gpu";
    text[..words.len()].copy_from_slice(words);
    sink.write_all(&text)?;
    // No subsystem data; version 1.0; the order mark reads "IM" in little-endian files.
    sink.write_all(&[0; 8])?;
    sink.write_all(&[0x00, 0x01, b'I', b'M'])?;
    for array in arrays {
        write_array(sink, array)?;
    }
    Ok(())
}

fn write_array(sink: &mut dyn Write, array: Output) -> io::Result<()> {
    let kind = class_kind(array.kind);
    let unfit = || {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            "the array is too large for a MATLAB 5 file",
        )
    };
    let length = data_length(kind, &array.shape).ok_or_else(unfit)?;
    let class = code_of(&CLASSES, kind).ok_or_else(unfit)?;
    let storage = code_of(&STORAGE, kind).ok_or_else(unfit)?;
    let name = array.name.as_bytes();
    let padded = |n: usize| n.next_multiple_of(8);
    let total = 16 + 8 + padded(4 * array.shape.len()) + 8 + padded(name.len()) + 8 + padded(length);
    let mut word = |x: usize| -> io::Result<()> {
        sink.write_all(&u32::try_from(x).map_err(|_| unfit())?.to_le_bytes())
    };
    word(MI_MATRIX as usize)?;
    word(total)?;
    word(MI_UINT32 as usize)?;
    word(8)?;
    word(class as usize)?;
    word(0)?;
    word(MI_INT32 as usize)?;
    word(4 * array.shape.len())?;
    for &axis in &array.shape {
        word(axis)?;
    }
    if array.shape.len() % 2 == 1 {
        word(0)?;
    }
    word(MI_INT8 as usize)?;
    word(name.len())?;
    sink.write_all(name)?;
    sink.write_all(&[0; 8][..padded(name.len()) - name.len()])?;
    sink.write_all(&storage.to_le_bytes())?;
    sink.write_all(&(length as u32).to_le_bytes())?;
    write_samples(sink, kind, array.values)?;
    sink.write_all(&[0; 8][..padded(length) - length])
}
