//! Compressed bytes that may hold no more than a limit.

use std::io::Read;

use flate2::read::ZlibDecoder;
use ruzstd::decoding::StreamingDecoder;

/// All that a decoder gives.
pub(super) fn stream(source: impl Read, limit: usize) -> std::result::Result<Vec<u8>, String> {
    let mut out = Vec::new();
    let read = source.take(limit as u64 + 1).read_to_end(&mut out);
    read.map_err(|e| format!("is damaged: {e}"))?;
    if out.len() > limit {
        return Err("holds more than a chunk".to_owned());
    }
    Ok(out)
}

pub(super) fn zstd(bytes: &[u8], limit: usize) -> std::result::Result<Vec<u8>, String> {
    let decoder = StreamingDecoder::new(bytes).map_err(|e| format!("is damaged: {e}"))?;
    stream(decoder, limit)
}

pub(super) fn zlib(bytes: &[u8], limit: usize) -> std::result::Result<Vec<u8>, String> {
    stream(ZlibDecoder::new(bytes), limit)
}

/// A block of LZ4 that holds `length` bytes.
pub(super) fn lz4(block: &[u8], length: usize, limit: usize) -> std::result::Result<Vec<u8>, String> {
    // A byte of the format stands for at most 255.
    if length > limit || length / 255 > block.len() {
        return Err("holds more than a chunk".to_owned());
    }
    lz4_flex::block::decompress(block, length).map_err(|e| format!("is damaged: {e}"))
}
