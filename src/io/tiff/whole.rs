//! Chunks that can only be decoded whole: JPEG by `jpeg-decoder`, LERC by `lerc-reader`.

use std::io::{Cursor, Read};

use flate2::read::ZlibDecoder;
use jpeg_decoder::{ColorTransform, Decoder};
use lerc_core::PixelData;
use ruzstd::decoding::StreamingDecoder;

use super::directory::{Directory, Fault, Outcome, Source};
use crate::cube::SampleType;
use crate::io::samples::width;

/// Tags that speak of them.
const PHOTOMETRIC: u16 = 262;
const JPEG_TABLES: u16 = 347;
const LERC_PARAMETERS: u16 = 50674;

/// Most bytes of such a chunk: it is held.
pub(super) const MOST: usize = 1 << 28;
/// Beyond what samples take, a LERC stream has headers and a mask.
const SLACK: usize = 1 << 16;

/// What decoding such chunks takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Codec {
    /// With tables for all chunks, and whether colours are to be made of luminance and two differences.
    Jpeg {
        tables: Vec<u8>,
        ycbcr: bool,
    },
    Lerc(Outer),
}

/// How a LERC stream is compressed once more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outer {
    None,
    Deflate,
    Zstd,
}

/// Size of a chunk, and what its samples are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub rows: usize,
    pub columns: usize,
    pub bands: usize,
    pub kind: SampleType,
}

impl Shape {
    fn bytes(self) -> usize {
        self.rows * self.columns * self.bands * width(self.kind)
    }
}

fn damaged(what: impl ToString) -> Fault {
    Fault::Io(std::io::Error::new(
        std::io::ErrorKind::InvalidData,
        what.to_string(),
    ))
}

impl Codec {
    /// That of the compression with this number; `None` for one that is read row by row.
    pub(super) fn read(
        source: &mut Source,
        directory: &Directory,
        compression: u64,
    ) -> Outcome<Option<Codec>> {
        let numbers = |source: &mut Source, tag: u16| source.numbers(directory, tag);
        Ok(match compression {
            7 => Some(Codec::Jpeg {
                tables: numbers(source, JPEG_TABLES)?
                    .into_iter()
                    .map(|x| x as u8)
                    .collect(),
                ycbcr: source.one(directory, PHOTOMETRIC)? == Some(6),
            }),
            34887 => {
                let parameters = numbers(source, LERC_PARAMETERS)?;
                Some(Codec::Lerc(match parameters.get(1).map(|&x| x as u32) {
                    None | Some(0) => Outer::None,
                    Some(1) => Outer::Deflate,
                    Some(2) => Outer::Zstd,
                    Some(other) => {
                        return Err(Fault::Damage(format!(
                            "its LERC data are compressed by number {other}, which is not read"
                        )));
                    }
                }))
            }
            _ => None,
        })
    }

    /// The samples of a chunk, row by row, with bytes as in a file of little-endian order. libtiff brings those of another order into its
    /// own before LERC sees them, so they are out of it in what LERC gives.
    pub(super) fn decode(&self, bytes: &[u8], shape: Shape) -> Outcome<Vec<u8>> {
        if shape.bytes() > MOST {
            return Err(Fault::Damage(
                "its strips or tiles of JPEG or LERC are larger than 256 MiB; rewrite it with gdal_translate -co TILED=YES".to_owned(),
            ));
        }
        match self {
            Codec::Jpeg { tables, ycbcr } => jpeg(bytes, tables, *ycbcr, shape),
            Codec::Lerc(outer) => lerc(bytes, *outer, shape),
        }
    }
}

fn jpeg(bytes: &[u8], tables: &[u8], ycbcr: bool, shape: Shape) -> Outcome<Vec<u8>> {
    // Tables are a stream of their own: what is between its marks goes before the chunk's own.
    let own = bytes.get(2..).ok_or_else(|| damaged("no JPEG"))?;
    let tables = tables
        .get(2..)
        .and_then(|all| all.strip_suffix(&[0xff, 0xd9]))
        .unwrap_or_default();
    let mut decoder = Decoder::new(Cursor::new([&[0xff, 0xd8], tables, own].concat()));
    decoder.set_max_decoding_buffer_size(2 * shape.bytes() + SLACK);
    decoder.set_color_transform(match (ycbcr, shape.bands) {
        (true, _) => ColorTransform::YCbCr,
        (false, 3) => ColorTransform::RGB,
        // Of four bands a line has one after the other.
        (false, _) => ColorTransform::None,
    });
    decoder.read_info().map_err(damaged)?;
    let info = decoder.info().ok_or_else(|| damaged("no JPEG"))?;
    let found = (
        usize::from(info.width),
        usize::from(info.height),
        info.pixel_format.pixel_bytes(),
    );
    if found != (shape.columns, shape.rows, shape.bands) || width(shape.kind) != 1 {
        return Err(damaged(format!(
            "its JPEG is {} x {} pixels of {} bytes",
            found.0, found.1, found.2
        )));
    }
    let samples = decoder.decode().map_err(damaged)?;
    if shape.bands != 4 {
        return Ok(samples);
    }
    let lines = samples.chunks_exact(4 * shape.columns);
    Ok(lines
        .flat_map(|line| (0..4 * shape.columns).map(move |k| line[k % 4 * shape.columns + k / 4]))
        .collect())
}

fn lerc(bytes: &[u8], outer: Outer, shape: Shape) -> Outcome<Vec<u8>> {
    let most = (shape.bytes() + SLACK) as u64;
    let mut inner = Vec::new();
    match outer {
        Outer::None => inner.extend_from_slice(bytes),
        Outer::Deflate => _ = ZlibDecoder::new(bytes).take(most).read_to_end(&mut inner)?,
        Outer::Zstd => {
            let stream = StreamingDecoder::new(bytes).map_err(damaged)?;
            stream.take(most).read_to_end(&mut inner)?;
        }
    }
    let info = lerc_reader::inspect_first_with_options(
        &inner,
        lerc_reader::InspectOptions::new().with_compute_value_range(false),
    );
    let info = info.map_err(damaged)?;
    let found = [info.height, info.width, info.depth].map(|n| n as usize);
    if found != [shape.rows, shape.columns, shape.bands] {
        return Err(damaged(format!(
            "its LERC is {} x {} pixels of {} bands",
            found[0], found[1], found[2]
        )));
    }
    let decoded = lerc_reader::decode_first(&inner).map_err(damaged)?;
    let mask = decoded.mask.unwrap_or_default();
    let mut out = Vec::with_capacity(shape.bytes());
    macro_rules! samples {
        ($samples:expr, $kind:ident, $hole:expr) => {{
            if shape.kind != SampleType::$kind {
                return Err(damaged(format!(
                    "its LERC has samples of another type than {:?}",
                    shape.kind
                )));
            }
            // A float that LERC masks was none.
            for (k, x) in $samples.iter().enumerate() {
                let hole = mask.get(k / shape.bands) == Some(&0);
                out.extend_from_slice(&if hole { $hole } else { *x }.to_le_bytes());
            }
        }};
    }
    match decoded.pixels {
        PixelData::I8(x) => samples!(x, I8, 0),
        PixelData::U8(x) => samples!(x, U8, 0),
        PixelData::I16(x) => samples!(x, I16, 0),
        PixelData::U16(x) => samples!(x, U16, 0),
        PixelData::I32(x) => samples!(x, I32, 0),
        PixelData::U32(x) => samples!(x, U32, 0),
        PixelData::F32(x) => samples!(x, F32, f32::NAN),
        PixelData::F64(x) => samples!(x, F64, f64::NAN),
        #[allow(unreachable_patterns)]
        _ => return Err(damaged("its LERC has samples of an unknown type")),
    }
    Ok(out)
}
