//! What is done to the bytes of a Zarr chunk, undone: gzip and zlib by `flate2`, Zstandard by `ruzstd`, LZ4 by `lz4_flex`, Blosc around
//! these.

use flate2::read::GzDecoder;
use serde_json::Value;

use super::blosc;
use super::streams::{lz4, stream, zlib, zstd};

/// A step.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Codec {
    Gzip,
    Zlib,
    Zstd,
    /// A block behind its length, as numcodecs writes it.
    Lz4,
    Blosc,
    /// Bytes apart by significance, of so many a sample.
    Shuffle(usize),
    /// Four bytes of checksum behind the others.
    Crc32c,
}

/// What helps where a codec is not read.
const ADVICE: &str = "write it with zstd, gzip or Blosc's lz4, without shards";

impl Codec {
    fn named(name: &str, settings: &Value) -> std::result::Result<Self, String> {
        // Version 3 calls those of version 2 by this prefix.
        match name.strip_prefix("numcodecs.").unwrap_or(name) {
            "gzip" => Ok(Codec::Gzip),
            "zlib" => Ok(Codec::Zlib),
            "zstd" => Ok(Codec::Zstd),
            "lz4" => Ok(Codec::Lz4),
            "blosc" => Ok(Codec::Blosc),
            "crc32c" => Ok(Codec::Crc32c),
            "shuffle" => match settings["elementsize"].as_u64().unwrap_or(4) {
                size @ 1..=64 => Ok(Codec::Shuffle(size as usize)),
                _ => Err("its filter shuffle has no size of samples".to_owned()),
            },
            other => Err(format!(
                "it is stored with {other:?}, which is not read; {ADVICE}"
            )),
        }
    }

    /// Of an entry of version 2.
    pub(super) fn version2(told: &Value) -> std::result::Result<Self, String> {
        Codec::named(told["id"].as_str().unwrap_or("a codec without a name"), told)
    }

    /// Of an entry of version 3.
    pub(super) fn version3(told: &Value) -> std::result::Result<Self, String> {
        let name = told["name"].as_str().or_else(|| told.as_str());
        Codec::named(name.unwrap_or("a codec without a name"), &told["configuration"])
    }

    /// The bytes before this step, of which there are at most `limit`.
    pub(super) fn undone(&self, bytes: Vec<u8>, limit: usize) -> std::result::Result<Vec<u8>, String> {
        match self {
            Codec::Gzip => stream(GzDecoder::new(bytes.as_slice()), limit),
            Codec::Zlib => zlib(&bytes, limit),
            Codec::Zstd => zstd(&bytes, limit),
            Codec::Lz4 => {
                let (length, block) = bytes.split_at_checked(4).ok_or("is cut off")?;
                let length = length.iter().rev().fold(0, |n, &byte| n << 8 | usize::from(byte));
                lz4(block, length, limit)
            }
            Codec::Blosc => blosc::decompressed(&bytes, limit),
            Codec::Shuffle(size) => Ok(blosc::unshuffled(&bytes, *size)),
            Codec::Crc32c => {
                let (data, sum) = bytes.split_last_chunk::<4>().ok_or("is cut off")?;
                if crc32c::crc32c(data) != u32::from_le_bytes(*sum) {
                    return Err("does not agree with its checksum".to_owned());
                }
                Ok(data.to_vec())
            }
        }
    }
}
