//! PNG pictures as images: grey (one band) or RGB (three), 8 or 16 bits, samples as they are stored. Colour profiles and
//! gamma are left alone: a measured band has none.
//!
//! Memory: the picture's bytes and 4 bytes a sample, after its size was held against the file's length (deflate shrinks
//! to a 1032nd at most).

use std::io::BufReader;
use std::path::Path;

use ndarray::Array3;
use png::{BitDepth, ColorType, Decoder, DecodingError, Limits};

use super::array::Layout;
use super::file::{open, read_error};
use super::mat5::DEFLATE_LIMIT;
use super::samples::{ByteOrder, decode};
use crate::cube::{Cube, SampleType};
use crate::error::{Error, Result};

/// First bytes of every PNG file.
pub(crate) const MAGIC: &[u8] = b"\x89PNG\r\n\x1a\n";

/// Reads a picture.
///
/// # Errors
/// [`Error::Input`] if it is missing, damaged, of another kind than grey or RGB, or takes more than `memory` bytes.
pub(crate) fn read_cube(path: &Path, memory: usize) -> Result<Cube> {
    let (file, length) = open(path)?;
    let failed = |e: DecodingError| match e {
        DecodingError::IoError(e) => read_error(path, &e),
        e => {
            let text = e.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
            Error::input(format!("{}: damaged PNG picture: {text}", path.display()))
        }
    };
    let limit = usize::try_from(length.saturating_mul(DEFLATE_LIMIT)).unwrap_or(usize::MAX);
    let limits = Limits {
        bytes: limit.max(1 << 16),
    };
    let mut reader = Decoder::new_with_limits(BufReader::new(file), limits)
        .read_info()
        .map_err(failed)?;
    let info = reader.info();
    let kind = match info.bit_depth {
        BitDepth::Eight => SampleType::U8,
        BitDepth::Sixteen => SampleType::U16,
        other => {
            return Err(Error::input(format!(
                "{}: a PNG picture of {} bits a sample; 8 and 16 are read",
                path.display(),
                other as u8
            )));
        }
    };
    let bands = match info.color_type {
        ColorType::Grayscale => 1,
        ColorType::Rgb => 3,
        other => {
            return Err(Error::input(format!(
                "{}: a PNG picture of kind {other:?}; grey and RGB without transparency are read",
                path.display()
            )));
        }
    };
    let layout = Layout {
        shape: vec![info.height as usize, info.width as usize, bands],
        kind,
        order: ByteOrder::Big,
        first_axis_fastest: false,
    };
    let count = layout.checked_count(path, limit as u64)?;
    if count > memory / size_of::<f32>() {
        return Err(Error::input(format!(
            "{}: a PNG picture is read whole, and {count} samples are more than the setting max-memory allows",
            path.display()
        )));
    }
    let size = reader
        .output_buffer_size()
        .filter(|&n| n <= limit)
        .ok_or_else(|| Error::input(format!("{}: damaged PNG picture: too large", path.display())))?;
    let mut bytes = vec![0; size];
    reader.next_frame(&mut bytes).map_err(failed)?;
    let mut samples = Vec::with_capacity(count);
    decode(kind, ByteOrder::Big, &bytes, &mut samples);
    let dim = (layout.shape[0], layout.shape[1], bands);
    let samples = Array3::from_shape_vec(dim, samples)
        .map_err(|e| Error::input(format!("{}: damaged PNG picture: {e}", path.display())))?;
    let mut cube = Cube::new(samples);
    cube.sample_type = kind;
    Ok(cube)
}
