//! Strips and tiles as bytes: uncompressed, deflate, LZW, PackBits and Zstandard, read row by row so that nothing but a row is
//! held (and a Zstandard frame's window), and the predictors that stand before the compression, in both directions.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};

use flate2::{Decompress, FlushDecompress, Status};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use crate::io::samples::ByteOrder;

/// How a chunk (a strip or a tile) is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    None,
    Lzw,
    Deflate,
    PackBits,
    Zstd,
    /// JPEG or LERC: a chunk is decoded at once.
    Whole,
}

impl Compression {
    /// By the value of tag 259.
    pub(super) fn from_code(code: u64) -> Option<Self> {
        match code {
            1 => Some(Compression::None),
            5 => Some(Compression::Lzw),
            // 8 is Adobe's number, 32946 the older one of libtiff; both are zlib streams.
            8 | 32946 => Some(Compression::Deflate),
            32773 => Some(Compression::PackBits),
            50000 => Some(Compression::Zstd),
            _ => None,
        }
    }

    /// Most bytes that one compressed byte can stand for: a deflate match of 258 bytes in two bits; an LZW code of
    /// twelve bits for a string of at most 4096 bytes; a PackBits run of 128 in two bytes; a Zstandard block of 128 KiB of one
    /// value in four bytes; of JPEG and LERC there is no such number.
    pub(super) fn expansion(self) -> u64 {
        match self {
            Compression::None => 1,
            Compression::Lzw => 2731,
            Compression::Deflate => 1032,
            Compression::PackBits => 64,
            Compression::Zstd => 32768,
            // No rule, but images whose every tile holds one value take no less.
            Compression::Whole => 32768,
        }
    }
}

/// What was done to samples before compression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Predictor {
    None,
    /// Differences to the sample before, as integers of the sample's width.
    Horizontal,
    /// Bytes of a row's floats apart by significance, as differences (Adobe Photoshop TIFF Technical Note 3).
    FloatingPoint,
}

impl Predictor {
    /// By the value of tag 317.
    pub(super) fn from_code(code: u64) -> Option<Self> {
        match code {
            1 => Some(Predictor::None),
            2 => Some(Predictor::Horizontal),
            3 => Some(Predictor::FloatingPoint),
            _ => None,
        }
    }

    /// The value of tag 317.
    pub(super) fn code(self) -> u16 {
        match self {
            Predictor::None => 1,
            Predictor::Horizontal => 2,
            Predictor::FloatingPoint => 3,
        }
    }

    /// Undoes it for a row whose pixels have `stride` samples of `width` bytes; gives the byte order of what is left.
    pub(super) fn undo(
        self,
        row: &mut [u8],
        scratch: &mut Vec<u8>,
        (width, stride): (usize, usize),
        order: ByteOrder,
    ) -> ByteOrder {
        match self {
            Predictor::None => order,
            Predictor::Horizontal => {
                differences(row, width, stride, order, false);
                order
            }
            Predictor::FloatingPoint => {
                for at in stride..row.len() {
                    row[at] = row[at].wrapping_add(row[at - stride]);
                }
                scratch.clear();
                scratch.extend_from_slice(row);
                let count = row.len() / width;
                for (sample, bytes) in row.chunks_exact_mut(width).enumerate() {
                    for (plane, byte) in bytes.iter_mut().enumerate() {
                        *byte = scratch[plane * count + sample];
                    }
                }
                ByteOrder::Big
            }
        }
    }

    /// Does it to a row of a single band in little-endian order.
    pub(super) fn apply(self, row: &mut [u8], scratch: &mut Vec<u8>, width: usize) {
        match self {
            Predictor::None => (),
            Predictor::Horizontal => differences(row, width, 1, ByteOrder::Little, true),
            Predictor::FloatingPoint => {
                scratch.clear();
                scratch.extend_from_slice(row);
                let count = row.len() / width;
                for (sample, bytes) in scratch.chunks_exact(width).enumerate() {
                    for (plane, &byte) in bytes.iter().rev().enumerate() {
                        row[plane * count + sample] = byte;
                    }
                }
                for at in (1..row.len()).rev() {
                    row[at] = row[at].wrapping_sub(row[at - 1]);
                }
            }
        }
    }
}

/// Replaces every sample by its difference to the one `stride` before it (`take`), or by the sum.
fn differences(row: &mut [u8], width: usize, stride: usize, order: ByteOrder, take: bool) {
    macro_rules! each {
        ($number:ty) => {{
            const WIDTH: usize = size_of::<$number>();
            let count = row.len() / WIDTH;
            let mut step = |at: usize| {
                let get = |at: usize| {
                    let mut raw = [0; WIDTH];
                    raw.copy_from_slice(&row[at * WIDTH..(at + 1) * WIDTH]);
                    match order {
                        ByteOrder::Little => <$number>::from_le_bytes(raw),
                        ByteOrder::Big => <$number>::from_be_bytes(raw),
                    }
                };
                let (here, before) = (get(at), get(at - stride));
                let new = match take {
                    true => here.wrapping_sub(before),
                    false => here.wrapping_add(before),
                };
                let raw = match order {
                    ByteOrder::Little => new.to_le_bytes(),
                    ByteOrder::Big => new.to_be_bytes(),
                };
                row[at * WIDTH..(at + 1) * WIDTH].copy_from_slice(&raw);
            };
            match take {
                true => (stride..count).rev().for_each(&mut step),
                false => (stride..count).for_each(&mut step),
            }
        }};
    }
    match width {
        1 => each!(u8),
        2 => each!(u16),
        4 => each!(u32),
        _ => each!(u64),
    }
}

/// Compressed bytes that are read at once.
const INPUT: usize = 1 << 14;
/// Largest window of a Zstandard frame that is read; GDAL's chunks are far smaller.
const ZSTD_WINDOW: u64 = 1 << 26;

/// A chunk that is being read from its first row on.
pub(super) struct ChunkReader {
    codec: Codec,
    input: Input,
    /// Rows that have been read.
    pub rows: usize,
}

/// The compressed bytes of a chunk.
struct Input {
    /// Where the next byte that has not been fetched lies, and how many there are.
    at: u64,
    left: u64,
    fetched: Vec<u8>,
    used: usize,
}

/// They as a stream.
struct Stream<'a> {
    input: &'a mut Input,
    file: &'a mut File,
}

enum Codec {
    Stored,
    /// A chunk that was decoded at once.
    Held(Vec<u8>),
    Deflate(Box<Decompress>),
    Lzw(Box<weezl::decode::Decoder>),
    PackBits(PackBits),
    /// With whether its frame has begun.
    Zstd(Box<FrameDecoder>, bool),
}

/// Where a PackBits stream stands.
#[derive(Default)]
struct PackBits {
    /// Bytes of the run that are still to come.
    left: usize,
    /// They are one value; else they stand for themselves.
    repeats: bool,
}

impl Input {
    /// Bytes that have been fetched and not used, none at the chunk's end.
    fn bytes(&mut self, file: &mut File) -> io::Result<&[u8]> {
        if self.used == self.fetched.len() && self.left > 0 {
            let now = (INPUT as u64).min(self.left) as usize;
            self.fetched.resize(now, 0);
            file.seek(SeekFrom::Start(self.at))?;
            file.read_exact(&mut self.fetched)?;
            (self.at, self.left, self.used) = (self.at + now as u64, self.left - now as u64, 0);
        }
        Ok(&self.fetched[self.used..])
    }
}

impl Read for Stream<'_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let bytes = self.input.bytes(self.file)?;
        let count = bytes.len().min(to.len());
        to[..count].copy_from_slice(&bytes[..count]);
        self.input.used += count;
        Ok(count)
    }
}

fn damaged(what: impl ToString) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what.to_string())
}

impl ChunkReader {
    /// The compressed bytes of a chunk that is decoded at once.
    pub(super) fn compressed(file: &mut File, at: u64, length: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(at))?;
        file.take(length).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Of a chunk that was.
    pub(super) fn held(bytes: Vec<u8>) -> Self {
        ChunkReader {
            codec: Codec::Held(bytes),
            ..ChunkReader::new(Compression::None, 0, 0)
        }
    }

    /// Of a chunk that takes `length` bytes from `at` on.
    pub(super) fn new(compression: Compression, at: u64, length: u64) -> Self {
        ChunkReader {
            codec: match compression {
                Compression::None | Compression::Whole => Codec::Stored,
                Compression::Deflate => Codec::Deflate(Box::new(Decompress::new(true))),
                Compression::Lzw => Codec::Lzw(Box::new(
                    weezl::decode::Configuration::with_tiff_size_switch(weezl::BitOrder::Msb, 8)
                        .with_yield_on_full_buffer(true)
                        .build(),
                )),
                Compression::PackBits => Codec::PackBits(PackBits::default()),
                Compression::Zstd => {
                    let mut frame = FrameDecoder::new();
                    frame.set_max_window_size(ZSTD_WINDOW);
                    Codec::Zstd(Box::new(frame), false)
                }
            },
            input: Input {
                at,
                left: length,
                fetched: Vec::new(),
                used: 0,
            },
            rows: 0,
        }
    }

    /// Goes on to row `to` of rows of `size` bytes; `scratch` takes what is skipped.
    pub(super) fn skip(
        &mut self,
        file: &mut File,
        to: usize,
        size: usize,
        scratch: &mut Vec<u8>,
    ) -> io::Result<()> {
        if matches!(self.codec, Codec::Stored) {
            let bytes = ((to - self.rows) as u64).saturating_mul(size as u64);
            self.input.at = self.input.at.saturating_add(bytes);
            self.input.left = self.input.left.saturating_sub(bytes);
            self.rows = to;
        }
        if matches!(self.codec, Codec::Held(_)) {
            self.rows = to;
        }
        scratch.resize(size, 0);
        while self.rows < to {
            self.row(file, scratch)?;
        }
        Ok(())
    }

    /// Reads the next row.
    ///
    /// # Errors
    /// `UnexpectedEof` where the chunk ends before, `InvalidData` where it is no stream of its kind.
    pub(super) fn row(&mut self, file: &mut File, row: &mut [u8]) -> io::Result<()> {
        self.rows += 1;
        if let Codec::Held(bytes) = &self.codec {
            let own = bytes.chunks_exact(row.len().max(1)).nth(self.rows - 1);
            row.copy_from_slice(own.ok_or(ErrorKind::UnexpectedEof)?);
            return Ok(());
        }
        let input = &mut self.input;
        if matches!(self.codec, Codec::Stored) {
            if input.left < row.len() as u64 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            file.seek(SeekFrom::Start(input.at))?;
            file.read_exact(row)?;
            input.at += row.len() as u64;
            input.left -= row.len() as u64;
            return Ok(());
        }
        if let Codec::Zstd(frame, begun) = &mut self.codec {
            return zstd_row(frame, begun, &mut Stream { input, file }, row);
        }
        let mut filled = 0;
        while filled < row.len() {
            let bytes = input.bytes(file)?;
            let (consumed, produced, ended) = self.codec.step(bytes, &mut row[filled..])?;
            input.used += consumed;
            filled += produced;
            if filled < row.len() && (ended || consumed == 0 && produced == 0 && input.left == 0) {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(())
    }
}

/// Reads a row block by block: no more is held than the frame's window and a block.
fn zstd_row(
    frame: &mut FrameDecoder,
    begun: &mut bool,
    source: &mut Stream,
    row: &mut [u8],
) -> io::Result<()> {
    if !*begun {
        frame.init(&mut *source).map_err(damaged)?;
        *begun = true;
    }
    let mut filled = 0;
    loop {
        filled += frame.read(&mut row[filled..])?;
        if filled == row.len() {
            return Ok(());
        }
        if frame.is_finished() {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        frame
            .decode_blocks(&mut *source, BlockDecodingStrategy::UptoBlocks(1))
            .map_err(damaged)?;
    }
}

impl PackBits {
    /// Bytes consumed and produced.
    fn step(&mut self, input: &[u8], output: &mut [u8]) -> (usize, usize) {
        let (mut consumed, mut produced) = (0, 0);
        while produced < output.len() && consumed < input.len() {
            if self.left == 0 {
                let code = input[consumed];
                consumed += 1;
                (self.left, self.repeats) = match code {
                    0..128 => (usize::from(code) + 1, false),
                    128 => (0, false),
                    129.. => (257 - usize::from(code), true),
                };
                continue;
            }
            let room = &mut output[produced..];
            if self.repeats {
                let count = self.left.min(room.len());
                room[..count].fill(input[consumed]);
                (self.left, produced) = (self.left - count, produced + count);
                consumed += usize::from(self.left == 0);
            } else {
                let count = self.left.min(room.len()).min(input.len() - consumed);
                room[..count].copy_from_slice(&input[consumed..consumed + count]);
                (self.left, produced, consumed) = (self.left - count, produced + count, consumed + count);
            }
        }
        (consumed, produced)
    }
}

impl Codec {
    /// Bytes consumed and produced, and whether the stream has ended.
    fn step(&mut self, input: &[u8], output: &mut [u8]) -> io::Result<(usize, usize, bool)> {
        match self {
            Codec::Stored | Codec::Held(_) | Codec::Zstd(..) => Ok((0, 0, true)),
            Codec::Deflate(stream) => {
                let before = (stream.total_in(), stream.total_out());
                let status = stream
                    .decompress(input, output, FlushDecompress::None)
                    .map_err(damaged)?;
                let consumed = (stream.total_in() - before.0) as usize;
                let produced = (stream.total_out() - before.1) as usize;
                Ok((consumed, produced, status == Status::StreamEnd))
            }
            Codec::Lzw(stream) => {
                let result = stream.decode_bytes(input, output);
                let status = result.status.map_err(damaged)?;
                let ended = matches!(status, weezl::LzwStatus::Done);
                Ok((result.consumed_in, result.consumed_out, ended))
            }
            Codec::PackBits(run) => {
                let (consumed, produced) = run.step(input, output);
                Ok((consumed, produced, false))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn predictors_are_undone() {
        let bytes: Vec<u8> = (0..96_u32).map(|k| (k * k * 37 % 251) as u8).collect();
        let mut scratch = Vec::new();
        for width in [1, 2, 4, 8] {
            for predictor in [Predictor::None, Predictor::Horizontal, Predictor::FloatingPoint] {
                let mut row = bytes.clone();
                predictor.apply(&mut row, &mut scratch, width);
                let changed = row != bytes;
                assert_eq!(changed, predictor != Predictor::None);
                if predictor.undo(&mut row, &mut scratch, (width, 1), ByteOrder::Little) == ByteOrder::Big {
                    row.chunks_exact_mut(width).for_each(<[u8]>::reverse);
                }
                assert_eq!(row, bytes, "{width} {predictor:?}");
            }
        }
    }

    #[test]
    fn runs_of_packbits_whatever_the_pieces() {
        // The example of Apple's technical note 1023.
        let packed = [
            0xfe, 0xaa, 0x02, 0x80, 0x00, 0x2a, 0xfd, 0xaa, 0x03, 0x80, 0x00, 0x2a, 0x22, 0xf7, 0xaa,
        ];
        let mut plain = vec![
            0xaa, 0xaa, 0xaa, 0x80, 0x00, 0x2a, 0xaa, 0xaa, 0xaa, 0xaa, 0x80, 0x00, 0x2a, 0x22,
        ];
        plain.extend([0xaa; 10]);
        for (of_input, of_output) in [(1, 1), (2, 3), (100, 5), (3, 100)] {
            let (mut run, mut at, mut found) = (PackBits::default(), 0, Vec::<u8>::new());
            while found.len() < plain.len() {
                let mut piece = vec![0; of_output.min(plain.len() - found.len())];
                let end = (at + of_input).min(packed.len());
                let (consumed, produced) = run.step(&packed[at..end], &mut piece);
                at += consumed;
                found.extend(&piece[..produced]);
            }
            assert_eq!(found, plain);
        }
    }

    #[test]
    fn differences_go_over_the_samples_of_a_pixel_and_in_the_order_of_the_file() {
        let mut row = [1, 0, 2, 0, 255, 0, 1, 1];
        differences(&mut row, 1, 2, ByteOrder::Little, false);
        assert_eq!(row, [1, 0, 3, 0, 2, 0, 3, 1]);
        let mut row = [0, 255, 0, 1, 255, 255];
        differences(&mut row, 2, 1, ByteOrder::Big, false);
        assert_eq!(row, [0, 255, 1, 0, 0, 255]);
    }
}
