//! NumPy's `.npy`, after the format description in NumPy's manual (`numpy.lib.format`), versions 1 to 3.
//!
//! The header is read by hand: it is one line of at most a few hundred bytes, and everything it claims
//! must be held against the length of the file before memory is asked for. Memory while reading: at most
//! 8 bytes a sample (16 for matrices) plus 1 MiB, so at most 16 times the file's size, plus that 1 MiB.
//! Bytes after the last sample are left alone, as NumPy does.

use std::io::{self, Read, Seek, Write};
use std::path::Path;

use ndarray::{Array2, ArrayD};

use super::array::{Arrangement, Layout, Placed};
use super::file::{open, read_error, replace};
use super::samples::{ByteOrder, width, write_samples};
use super::strip_file::{RawLayout, StripFile};
use crate::cube::{Metadata, SampleType};
use crate::error::{Error, Result};

/// First bytes of every `.npy` file.
pub(crate) const MAGIC: &[u8] = b"\x93NUMPY";

/// Longest header text that is read. Plain arrays need some hundred bytes; longer ones describe
/// structured types, which are no images.
const MAX_HEADER: u32 = 65_535;

/// Reads an array of any number of axes.
///
/// # Errors
/// [`Error::Input`] if the file is missing, no `.npy`, truncated, or of a type that is no real number.
pub fn read_array(path: impl AsRef<Path>) -> Result<ArrayD<f64>> {
    let path = path.as_ref();
    let (layout, file, left) = read_header(path)?;
    layout.read_file(path, file, left)
}

/// Opens an image: rows x columns x bands or in the order asked for, or rows x columns for one band, or bands x pixels where the
/// size is given.
///
/// # Errors
/// As [`read_array`], and [`Error::Input`] if the array has another number of axes.
pub(crate) fn open_cube(path: &Path, arrangement: &Arrangement) -> Result<StripFile> {
    let (layout, mut file, left) = read_header(path)?;
    layout.checked_count(path, left)?;
    let Placed {
        shape, places, note, ..
    } = arrangement.place(path, &layout.shape, layout.first_axis_fastest)?;
    let mut axes = [0; 3];
    for (axis, place) in places.into_iter().enumerate() {
        axes[place] = axis;
    }
    if layout.first_axis_fastest {
        axes.reverse();
    }
    let raw = RawLayout {
        dim: places.map(|place| shape[place]),
        axes,
        kind: layout.kind,
        order: layout.order,
        offset: file.stream_position().map_err(|e| read_error(path, &e))?,
    };
    Ok(StripFile::new(path, file, raw, Metadata::default())?.with_notes(note.into_iter().collect()))
}

/// Writes a matrix as a C-order array of doubles.
///
/// # Errors
/// As [`replace`].
pub(crate) fn write_matrix(path: &Path, matrix: &Array2<f64>) -> Result<()> {
    replace(path, |sink| {
        write_header(sink, SampleType::F64, matrix.shape())?;
        write_samples(sink, SampleType::F64, matrix.iter().copied())
    })
}

/// Opens the file and reads its header; the file then stands at the first sample, and the number is
/// that of the bytes left.
fn read_header(path: &Path) -> Result<(Layout, std::fs::File, u64)> {
    let (mut file, length) = open(path)?;
    let (layout, read) = layout_from(path, &mut file)?;
    Ok((layout, file, length.saturating_sub(read)))
}

/// Reads a header from where `source` stands, a file or a member of an `.npz`; the number is that of the bytes taken.
///
/// # Errors
/// [`Error::Input`] if it is no `.npy` header, or one of something else than real numbers.
pub(crate) fn layout_from(path: &Path, source: &mut dyn Read) -> Result<(Layout, u64)> {
    let fail = |e: io::Error| read_error(path, &e);
    let damaged = |what: &str| Error::input(format!("{}: damaged .npy header: {what}", path.display()));

    let mut start = [0_u8; 8];
    source.read_exact(&mut start).map_err(fail)?;
    if !start.starts_with(MAGIC) {
        return Err(Error::input(format!("{}: is not a .npy file", path.display())));
    }
    let (text_length, start_length) = match start[6] {
        1 => {
            let mut raw = [0_u8; 2];
            source.read_exact(&mut raw).map_err(fail)?;
            (u32::from(u16::from_le_bytes(raw)), 10_u64)
        }
        2 | 3 => {
            let mut raw = [0_u8; 4];
            source.read_exact(&mut raw).map_err(fail)?;
            (u32::from_le_bytes(raw), 12)
        }
        version => return Err(damaged(&format!("version {version} is unknown"))),
    };
    if text_length > MAX_HEADER {
        return Err(damaged(&format!(
            "its text is said to be {text_length} bytes long"
        )));
    }
    let mut text = vec![0_u8; text_length as usize];
    source.read_exact(&mut text).map_err(fail)?;
    let text = std::str::from_utf8(&text).map_err(|_| damaged("it is not text"))?;
    let layout = parse_header(text).map_err(|what| damaged(&what))?;
    Ok((layout, start_length + u64::from(text_length)))
}

/// Reads the dictionary literal in the header.
fn parse_header(text: &str) -> std::result::Result<Layout, String> {
    let mut rest = Literal(text.trim());
    let mut kind = None;
    let mut first_axis_fastest = None;
    let mut shape = None;
    rest.expect('{')?;
    while !rest.take('}') {
        let key = rest.string()?;
        rest.expect(':')?;
        match key {
            "descr" => {
                kind = Some(parse_type(
                    rest.string()
                        .map_err(|_| "its samples are records, not numbers".to_owned())?,
                )?)
            }
            "fortran_order" => first_axis_fastest = Some(rest.boolean()?),
            "shape" => shape = Some(rest.integers()?),
            other => return Err(format!("unknown key {other:?}")),
        }
        if !rest.take(',') {
            rest.expect('}')?;
            break;
        }
    }
    let (kind, order) = kind.ok_or("the key 'descr' is missing")?;
    Ok(Layout {
        shape: shape.ok_or("the key 'shape' is missing")?,
        kind,
        order,
        first_axis_fastest: first_axis_fastest.ok_or("the key 'fortran_order' is missing")?,
    })
}

/// Reads an array-interface type string such as `<f4`. Booleans are read as 0 and 1.
pub(crate) fn parse_type(text: &str) -> std::result::Result<(SampleType, ByteOrder), String> {
    let unusable = || format!("samples of type {text:?} are not real numbers");
    let order = match text.chars().next() {
        Some('<') => ByteOrder::Little,
        Some('>') => ByteOrder::Big,
        Some('|') => ByteOrder::Little,
        Some('=') => return Err(format!("type {text:?} does not say its byte order")),
        _ => return Err(unusable()),
    };
    let kind = match &text[1..] {
        "b1" | "u1" => SampleType::U8,
        "i1" => SampleType::I8,
        "u2" => SampleType::U16,
        "i2" => SampleType::I16,
        "u4" => SampleType::U32,
        "i4" => SampleType::I32,
        "u8" => SampleType::U64,
        "i8" => SampleType::I64,
        "f2" => SampleType::F16,
        "f4" => SampleType::F32,
        "f8" => SampleType::F64,
        other if other.starts_with('c') => {
            return Err(format!(
                "samples of type {text:?} are complex; save their real part or modulus"
            ));
        }
        _ => return Err(unusable()),
    };
    if text.starts_with('|') && width(kind) > 1 {
        return Err(format!("type {text:?} does not say its byte order"));
    }
    Ok((kind, order))
}

/// What is left of a Python literal; each method takes one piece off its front.
struct Literal<'a>(&'a str);

impl<'a> Literal<'a> {
    /// Takes `token`, after white space, if it comes next.
    fn take(&mut self, token: char) -> bool {
        match self.0.trim_start().strip_prefix(token) {
            Some(rest) => {
                self.0 = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, token: char) -> std::result::Result<(), String> {
        if self.take(token) {
            return Ok(());
        }
        let found: String = self.0.trim_start().chars().take(12).collect();
        Err(format!("{token:?} expected before {found:?}"))
    }

    /// A string in either kind of quotes. No key or type holds an escape.
    fn string(&mut self) -> std::result::Result<&'a str, String> {
        let quote = if self.take('\'') {
            '\''
        } else {
            self.expect('"')?;
            '"'
        };
        let end = self.0.find(quote).ok_or("a string has no end")?;
        let (value, rest) = self.0.split_at(end);
        self.0 = &rest[1..];
        Ok(value)
    }

    fn boolean(&mut self) -> std::result::Result<bool, String> {
        let text = self.0.trim_start();
        for (word, value) in [("True", true), ("False", false)] {
            if let Some(rest) = text.strip_prefix(word) {
                self.0 = rest;
                return Ok(value);
            }
        }
        Err("True or False expected".to_owned())
    }

    /// A tuple of integers. Python 2 wrote long integers with an `L` at their end.
    fn integers(&mut self) -> std::result::Result<Vec<usize>, String> {
        let mut values = Vec::new();
        self.expect('(')?;
        while !self.take(')') {
            let text = self.0.trim_start();
            let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
            let (digits, rest) = text.split_at(end);
            values.push(
                digits
                    .parse()
                    .map_err(|_| format!("{digits:?} is no length of an axis"))?,
            );
            self.0 = rest.strip_prefix('L').unwrap_or(rest);
            if !self.take(',') {
                self.expect(')')?;
                break;
            }
        }
        Ok(values)
    }
}

/// Writes a version 1 header for two or more axes, padded so that the samples start at a multiple of 64 bytes.
pub(crate) fn write_header(sink: &mut dyn Write, kind: SampleType, shape: &[usize]) -> io::Result<()> {
    let code = match kind {
        SampleType::U8 => "|u1",
        SampleType::I8 => "|i1",
        SampleType::U16 => "<u2",
        SampleType::I16 => "<i2",
        SampleType::U32 => "<u4",
        SampleType::I32 => "<i4",
        SampleType::U64 => "<u8",
        SampleType::I64 => "<i8",
        SampleType::F16 => "<f2",
        SampleType::F32 => "<f4",
        SampleType::F64 => "<f8",
    };
    let lengths: Vec<String> = shape.iter().map(usize::to_string).collect();
    let dictionary = format!(
        "{{'descr': '{code}', 'fortran_order': False, 'shape': ({}), }}",
        lengths.join(", ")
    );
    let before_text = MAGIC.len() + 4;
    let total = (before_text + dictionary.len() + 1).next_multiple_of(64);
    // Two or three axes fit far below the 65535 bytes of version 1.
    let text_length = (total - before_text) as u16;
    sink.write_all(MAGIC)?;
    sink.write_all(&[1, 0])?;
    sink.write_all(&text_length.to_le_bytes())?;
    writeln!(sink, "{dictionary:<width$}", width = usize::from(text_length) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_as_numpy_writes_them() {
        let layout =
            parse_header("{'descr': '>u2', 'fortran_order': True, 'shape': (512, 512L, 31), }   \n").unwrap();
        assert_eq!(
            layout,
            Layout {
                shape: vec![512, 512, 31],
                kind: SampleType::U16,
                order: ByteOrder::Big,
                first_axis_fastest: true,
            }
        );
        let scalar = parse_header("{\"shape\":(),\"descr\":\"|b1\",\"fortran_order\":False}").unwrap();
        assert_eq!((scalar.shape.len(), scalar.kind), (0, SampleType::U8));
    }

    #[test]
    fn unusable_headers_say_why() {
        let header = |descr: &str, shape: &str| {
            parse_header(&format!(
                "{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}"
            ))
            .unwrap_err()
        };
        assert!(header("'<c8'", "(1, 2)").contains("complex"));
        assert!(header("'|O'", "(1, 2)").contains("not real numbers"));
        assert!(header("[('a', '<f4')]", "(1, 2)").contains("records"));
        assert!(header("'<f4'", "(-1, 2)").contains("length of an axis"));
        assert!(header("'<f4'", "(99999999999999999999999, 2)").contains("length of an axis"));
        assert!(header("'|f4'", "(1, 2)").contains("byte order"));
        assert!(header("''", "(1, 2)").contains("not real numbers"));
        assert!(header("'é4'", "(1, 2)").contains("not real numbers"));
        assert!(parse_header("{'descr': '<f4', 'shape': (1,)}").is_err());
        assert!(parse_header("").is_err());
    }

    #[test]
    fn samples_start_at_a_multiple_of_64_bytes() {
        let mut bytes = Vec::new();
        write_header(&mut bytes, SampleType::F32, &[512, 512, 31]).unwrap();
        assert_eq!(bytes.len() % 64, 0);
        assert_eq!(bytes.last(), Some(&b'\n'));
    }
}
