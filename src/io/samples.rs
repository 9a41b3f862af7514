//! Numbers as bytes: the one place where samples of any numeric type and byte order become floats and
//! back. Every format module says which type lies where and leaves the conversion to this file.

use std::io::{self, Read, Write};

use half::f16;

use crate::cube::SampleType;
use crate::cube::exact::Exact;

/// Byte order of multi-byte samples in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ByteOrder {
    /// Least significant byte first.
    Little,
    /// Most significant byte first.
    Big,
}

/// A float that samples are read into: `f32` for images, `f64` for PSF and SRF matrices.
pub(crate) trait Float: Copy + Into<Exact> {
    /// Nearest value of this type. Every sample passes through `f64`, which holds all but the largest
    /// 64-bit integers exactly.
    fn from_f64(value: f64) -> Self;

    /// The same of an integer of 64 bits.
    fn from_integer(value: i128) -> Self {
        Self::from_f64(value as f64)
    }

    /// As images in memory have it: the nearest single.
    fn single(self) -> f32 {
        self.into().value as f32
    }
}

impl Float for Exact {
    fn from_f64(value: f64) -> Self {
        value.into()
    }

    fn from_integer(value: i128) -> Self {
        Exact::integer(value)
    }
}

impl Float for f32 {
    fn from_f64(value: f64) -> Self {
        value as f32
    }
}

impl Float for f64 {
    fn from_f64(value: f64) -> Self {
        value
    }
}

/// All numeric types with their names on the command line, in the order of the help text.
const NAMES: [(SampleType, &str); 11] = [
    (SampleType::U8, "u8"),
    (SampleType::I8, "i8"),
    (SampleType::U16, "u16"),
    (SampleType::I16, "i16"),
    (SampleType::U32, "u32"),
    (SampleType::I32, "i32"),
    (SampleType::U64, "u64"),
    (SampleType::I64, "i64"),
    (SampleType::F16, "f16"),
    (SampleType::F32, "f32"),
    (SampleType::F64, "f64"),
];

/// Short name of a numeric type: `u8`, `i16`, `f32`, ...
pub fn sample_type_name(kind: SampleType) -> &'static str {
    match kind {
        SampleType::U8 => "u8",
        SampleType::I8 => "i8",
        SampleType::U16 => "u16",
        SampleType::I16 => "i16",
        SampleType::U32 => "u32",
        SampleType::I32 => "i32",
        SampleType::U64 => "u64",
        SampleType::I64 => "i64",
        SampleType::F16 => "f16",
        SampleType::F32 => "f32",
        SampleType::F64 => "f64",
    }
}

/// The numeric type with a short name such as `u16`.
///
/// # Errors
/// A sentence that lists the names there are; made for clap's `value_parser`.
pub fn parse_sample_type(name: &str) -> std::result::Result<SampleType, String> {
    NAMES
        .iter()
        .find(|(_, n)| n.eq_ignore_ascii_case(name))
        .map(|(kind, _)| *kind)
        .ok_or_else(|| {
            let all: Vec<&str> = NAMES.iter().map(|(_, n)| *n).collect();
            format!("no such sample type; there are {}", all.join(", "))
        })
}

/// Bytes that one sample takes.
pub(crate) fn width(kind: SampleType) -> usize {
    match kind {
        SampleType::U8 | SampleType::I8 => 1,
        SampleType::U16 | SampleType::I16 | SampleType::F16 => 2,
        SampleType::U32 | SampleType::I32 | SampleType::F32 => 4,
        SampleType::U64 | SampleType::I64 | SampleType::F64 => 8,
    }
}

/// Lowest and highest value that an integer type holds, or `None` for the float types.
pub(crate) fn integer_range(kind: SampleType) -> Option<(f64, f64)> {
    match kind {
        SampleType::U8 => Some((u8::MIN.into(), u8::MAX.into())),
        SampleType::I8 => Some((i8::MIN.into(), i8::MAX.into())),
        SampleType::U16 => Some((u16::MIN.into(), u16::MAX.into())),
        SampleType::I16 => Some((i16::MIN.into(), i16::MAX.into())),
        SampleType::U32 => Some((u32::MIN.into(), u32::MAX.into())),
        SampleType::I32 => Some((i32::MIN.into(), i32::MAX.into())),
        SampleType::U64 => Some((u64::MIN as f64, u64::MAX as f64)),
        SampleType::I64 => Some((i64::MIN as f64, i64::MAX as f64)),
        SampleType::F16 | SampleType::F32 | SampleType::F64 => None,
    }
}

/// The value that a file of this type has for `x`.
pub(crate) fn written(kind: SampleType, x: f64) -> f64 {
    match (integer_range(kind), kind) {
        (Some(_), _) if x.is_nan() => 0.0,
        (Some((low, high)), _) => x.round().clamp(low, high),
        (None, SampleType::F16) => f16::from_f64(x).to_f64(),
        (None, SampleType::F32) => f64::from(x as f32),
        (None, _) => x,
    }
}

/// How far a sample is from what a file of this type has for it; 0 for one that is not finite and stays so.
pub(crate) fn loss(kind: SampleType, x: Exact) -> f64 {
    let range = match kind {
        SampleType::U64 => Some((0, u64::MAX.into())),
        SampleType::I64 => Some((i64::MIN.into(), i64::MAX.into())),
        _ => None,
    };
    let whole = x.value.fract() == 0.0 && x.value.abs() < 1e30;
    if let Some((low, high)) = range.filter(|_| whole) {
        return ((x.rounded().clamp(low, high) - x.rounded()) as f64).abs();
    }
    let found = written(kind, x.value);
    if found == x.value || found.is_nan() && x.value.is_nan() {
        f64::from(x.rest).abs()
    } else {
        (found - x.value - f64::from(x.rest)).abs()
    }
}

/// The value next to the no-data value of a file of this type: one step toward 0, and from 0 up.
pub(crate) fn beside(kind: SampleType, nodata: f64) -> f32 {
    match (integer_range(kind), kind) {
        (Some(_), _) if nodata.abs() < (1 << 24) as f64 => {
            (nodata - if nodata > 0.0 { 1.0 } else { -1.0 }) as f32
        }
        (None, SampleType::F16) if nodata == 0.0 => f16::MIN_POSITIVE.to_f32(),
        (None, SampleType::F16) => f16::from_bits(f16::from_f64(nodata).to_bits() - 1).to_f32(),
        _ => crate::cube::beside(nodata as f32),
    }
}

/// Appends the samples in `bytes` (a whole number of them) to `out`.
pub(crate) fn decode<T: Float>(kind: SampleType, order: ByteOrder, bytes: &[u8], out: &mut Vec<T>) {
    macro_rules! each {
        ($number:ty, $convert:expr) => {{
            const WIDTH: usize = size_of::<$number>();
            let samples = bytes.chunks_exact(WIDTH).map(|chunk| {
                let mut raw = [0_u8; WIDTH];
                raw.copy_from_slice(chunk);
                raw
            });
            match order {
                ByteOrder::Little => out.extend(samples.map(|r| $convert(<$number>::from_le_bytes(r)))),
                ByteOrder::Big => out.extend(samples.map(|r| $convert(<$number>::from_be_bytes(r)))),
            }
        }};
    }
    match kind {
        SampleType::U8 => each!(u8, |x| T::from_f64(f64::from(x))),
        SampleType::I8 => each!(i8, |x| T::from_f64(f64::from(x))),
        SampleType::U16 => each!(u16, |x| T::from_f64(f64::from(x))),
        SampleType::I16 => each!(i16, |x| T::from_f64(f64::from(x))),
        SampleType::U32 => each!(u32, |x| T::from_f64(f64::from(x))),
        SampleType::I32 => each!(i32, |x| T::from_f64(f64::from(x))),
        SampleType::U64 => each!(u64, |x| T::from_integer(i128::from(x))),
        SampleType::I64 => each!(i64, |x| T::from_integer(i128::from(x))),
        SampleType::F16 => each!(f16, |x| T::from_f64(f64::from(x))),
        SampleType::F32 => each!(f32, |x| T::from_f64(f64::from(x))),
        SampleType::F64 => each!(f64, T::from_f64),
    }
}

/// Bytes that are read or written in one go. A multiple of every sample width.
pub(crate) const BLOCK: usize = 1 << 20;

/// Reads `count` samples. Memory grows only as bytes arrive, so a source that ends early never costs
/// more than what it held.
///
/// # Errors
/// `UnexpectedEof` if the source ends before the last sample; otherwise what the source reports.
pub(crate) fn read_samples<T: Float>(
    source: &mut dyn Read,
    kind: SampleType,
    order: ByteOrder,
    count: usize,
) -> io::Result<Vec<T>> {
    let per_block = BLOCK / width(kind);
    let mut out = Vec::new();
    let mut block = vec![0_u8; per_block.min(count) * width(kind)];
    let mut left = count;
    while left > 0 {
        let now = left.min(per_block);
        let bytes = &mut block[..now * width(kind)];
        source.read_exact(bytes)?;
        // The first block proves that the file holds something; from then on the growth of `Vec`
        // at most doubles what has arrived.
        decode(kind, order, bytes, &mut out);
        left -= now;
    }
    out.shrink_to_fit();
    Ok(out)
}

/// Writes samples in little-endian order. For integer types values are rounded to the nearest integer
/// and clamped to the range of the type; NaN, which no integer stands for, becomes 0.
///
/// # Errors
/// What the sink reports.
pub(crate) fn write_samples(
    sink: &mut dyn Write,
    kind: SampleType,
    values: impl Iterator<Item = impl Into<Exact>>,
) -> io::Result<()> {
    let mut block = Vec::with_capacity(BLOCK);
    for exact in values {
        let exact: Exact = exact.into();
        let x = exact.value;
        // `as` from float to integer saturates at the ends of the range and sends NaN to 0.
        match kind {
            SampleType::U8 => block.extend((x.round() as u8).to_le_bytes()),
            SampleType::I8 => block.extend((x.round() as i8).to_le_bytes()),
            SampleType::U16 => block.extend((x.round() as u16).to_le_bytes()),
            SampleType::I16 => block.extend((x.round() as i16).to_le_bytes()),
            SampleType::U32 => block.extend((x.round() as u32).to_le_bytes()),
            SampleType::I32 => block.extend((x.round() as i32).to_le_bytes()),
            SampleType::U64 => {
                let x = exact.rounded().clamp(0, u64::MAX.into());
                block.extend((x as u64).to_le_bytes());
            }
            SampleType::I64 => {
                let x = exact.rounded().clamp(i64::MIN.into(), i64::MAX.into());
                block.extend((x as i64).to_le_bytes());
            }
            SampleType::F16 => block.extend(f16::from_f64(x).to_le_bytes()),
            SampleType::F32 => block.extend((x as f32).to_le_bytes()),
            SampleType::F64 => block.extend(x.to_le_bytes()),
        }
        if block.len() + size_of::<f64>() > BLOCK {
            sink.write_all(&block)?;
            block.clear();
        }
    }
    sink.write_all(&block)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_complete_and_read_back() {
        for (kind, name) in NAMES {
            assert_eq!(sample_type_name(kind), name);
            assert_eq!(parse_sample_type(name), Ok(kind));
        }
        assert!(parse_sample_type("u12").is_err());
    }

    #[test]
    fn integers_are_rounded_and_clamped() {
        let mut bytes = Vec::new();
        let values = [-1.0, 0.4, 0.6, 254.5, 300.0, f64::NAN];
        write_samples(&mut bytes, SampleType::U8, values.into_iter()).unwrap();
        assert_eq!(bytes, [0, 0, 1, 255, 255, 0]);
        bytes.clear();
        write_samples(&mut bytes, SampleType::I16, [-40000.0, -1.5].into_iter()).unwrap();
        let mut back: Vec<f64> = Vec::new();
        decode(SampleType::I16, ByteOrder::Little, &bytes, &mut back);
        assert_eq!(back, [-32768.0, -2.0]);
    }

    #[test]
    fn both_byte_orders_decode_to_the_same_number() {
        let mut out: Vec<f32> = Vec::new();
        decode(SampleType::U16, ByteOrder::Little, &[0x34, 0x12], &mut out);
        decode(SampleType::U16, ByteOrder::Big, &[0x12, 0x34], &mut out);
        decode(SampleType::F32, ByteOrder::Big, &1.5_f32.to_be_bytes(), &mut out);
        decode(
            SampleType::F16,
            ByteOrder::Big,
            &f16::from_f32(-0.25).to_be_bytes(),
            &mut out,
        );
        assert_eq!(out, [4660.0, 4660.0, 1.5, -0.25]);
    }

    #[test]
    fn more_samples_than_one_block_survive() {
        let count = BLOCK / 2 + 3;
        let mut bytes = Vec::new();
        write_samples(
            &mut bytes,
            SampleType::U16,
            (0..count).map(|i| (i % 65536) as f64),
        )
        .unwrap();
        let back: Vec<f32> =
            read_samples(&mut bytes.as_slice(), SampleType::U16, ByteOrder::Little, count).unwrap();
        assert!(back.iter().enumerate().all(|(i, &x)| x == (i % 65536) as f32));
        assert_eq!(back.len(), count);
    }

    #[test]
    fn an_early_end_is_reported_and_costs_nothing() {
        let short = [0_u8; 7];
        let error =
            read_samples::<f32>(&mut &short[..], SampleType::F32, ByteOrder::Little, 1 << 40).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
