//! Buffers of Blosc (version 1 of its format, as c-blosc's README_CHUNK_FORMAT describes it): blocks, each one stream or one a byte of a
//! sample, compressed by LZ4, zlib or Zstandard behind a shuffle of bytes or bits.

use super::streams::{lz4, zlib, zstd};

/// Bytes of the header.
const HEADER: usize = 16;
/// Widest sample whose bytes have streams of their own, and fewest bytes of such a stream.
const MOST_STREAMS: usize = 16;
const SMALLEST_STREAM: usize = 128;

type Outcome<T> = std::result::Result<T, String>;

fn number(bytes: &[u8], at: usize) -> Outcome<usize> {
    let four = bytes.get(at..).and_then(|rest| rest.first_chunk::<4>());
    four.map(|four| u32::from_le_bytes(*four) as usize)
        .ok_or_else(|| "is cut off".to_owned())
}

/// What a buffer holds, which is at most `limit` bytes.
pub(super) fn decompressed(bytes: &[u8], limit: usize) -> Outcome<Vec<u8>> {
    let &[_, _, flags, size, ..] = bytes else {
        return Err("is cut off".to_owned());
    };
    let (length, block) = (number(bytes, 4)?, number(bytes, 8)?);
    if length > limit {
        return Err("holds more than a chunk".to_owned());
    }
    if flags & 2 != 0 {
        let stored = bytes.get(HEADER..HEADER + length);
        return stored.map(<[u8]>::to_vec).ok_or_else(|| "is cut off".to_owned());
    }
    let size = usize::from(size).max(1);
    if length > 0 && block == 0 {
        return Err("is damaged: its blocks are empty".to_owned());
    }
    let mut out = Vec::new();
    for number_of in 0..length.div_ceil(block.max(1)) {
        let here = block.min(length - out.len());
        let at = number(bytes, HEADER + 4 * number_of)?;
        let whole = here == block;
        let split = flags & 0x10 == 0 && whole && size <= MOST_STREAMS && here / size >= SMALLEST_STREAM;
        let streams = if split { size } else { 1 };
        let raw = streams_of(bytes, at, (streams, here), flags >> 5)?;
        out.extend(if flags & 1 != 0 && size > 1 {
            unshuffled(&raw, size)
        } else if flags & 4 != 0 && here >= size {
            bits_unshuffled(raw, size)
        } else {
            raw
        });
    }
    Ok(out)
}

/// The streams of a block of so many bytes, one behind the other.
fn streams_of(bytes: &[u8], mut at: usize, (streams, block): (usize, usize), codec: u8) -> Outcome<Vec<u8>> {
    let mut out = Vec::new();
    let length = block / streams;
    for _ in 0..streams {
        let packed = number(bytes, at)?;
        let stream = bytes.get(at + 4..at + 4 + packed).ok_or("is cut off")?;
        at += 4 + packed;
        if packed == length {
            out.extend(stream);
            continue;
        }
        let raw = match codec {
            1 => lz4(stream, length, length)?,
            3 => zlib(stream, length)?,
            4 => zstd(stream, length)?,
            0 => {
                return Err(
                    "is compressed by Blosc's blosclz, which is not read; write it with lz4 or zstd"
                        .to_owned(),
                );
            }
            _ => {
                return Err(
                    "is compressed by a codec of Blosc's that is not read; write it with lz4 or zstd"
                        .to_owned(),
                );
            }
        };
        if raw.len() != length {
            return Err("is damaged: a stream has another length".to_owned());
        }
        out.extend(raw);
    }
    if out.len() == block {
        Ok(out)
    } else {
        Err("is damaged: its streams do not fill a block".to_owned())
    }
}

/// Samples of `size` bytes whose bytes lie apart by significance; what is no whole sample stays at the end.
pub(super) fn unshuffled(bytes: &[u8], size: usize) -> Vec<u8> {
    let count = bytes.len() / size;
    let samples = (0..count).flat_map(|k| (0..size).map(move |byte| bytes[byte * count + k]));
    samples.chain(bytes[count * size..].iter().copied()).collect()
}

/// The same of bits. Only of samples in eights does Blosc turn the bits.
fn bits_unshuffled(bytes: Vec<u8>, size: usize) -> Vec<u8> {
    let count = bytes.len() / size;
    if !count.is_multiple_of(8) {
        return bytes;
    }
    let mut out = vec![0; bytes.len()];
    for (k, sample) in out[..count * size].chunks_exact_mut(size).enumerate() {
        for (byte, to) in sample.iter_mut().enumerate() {
            for bit in 0..8 {
                let row = (8 * byte + bit) * (count / 8);
                *to |= (bytes[row + k / 8] >> (k % 8) & 1) << bit;
            }
        }
    }
    out[count * size..].copy_from_slice(&bytes[count * size..]);
    out
}
