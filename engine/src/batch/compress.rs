//! The codecs of record batches. Output is bounded before it is produced: a bomb is an error, not memory.

use std::io::{self, Read, Write};

use super::bad;
use crate::{Error, Result};

/// How the records of a batch are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    /// Not at all.
    None,
    /// RFC 1952, members may be concatenated.
    Gzip,
    /// Snappy: a raw block, or the framing of snappy-java that Java clients write.
    Snappy,
    /// An LZ4 frame.
    Lz4,
    /// A Zstandard frame (RFC 8878).
    Zstd,
}

/// What snappy-java puts before its chunks: magic, version 1, oldest compatible version 1.
const XERIAL_HEADER: &[u8; 16] = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01";
/// The part of it that is the same in every version.
const XERIAL_MAGIC: &[u8] = b"\x82SNAPPY\0";
/// Uncompressed bytes per chunk, as snappy-java writes.
const XERIAL_CHUNK: usize = 32 * 1024;

impl Codec {
    pub(super) fn from_attributes(attributes: u16) -> Option<Self> {
        Some(match attributes & 7 {
            0 => Self::None,
            1 => Self::Gzip,
            2 => Self::Snappy,
            3 => Self::Lz4,
            4 => Self::Zstd,
            _ => return None,
        })
    }

    /// Decompresses to at most `limit` bytes. Beside the output, lz4 needs up to 16 MiB for its blocks
    /// and zstd a window of up to 128 MiB of which only what was output is ever touched.
    pub(super) fn decompress(self, from: &[u8], limit: usize) -> Result<Vec<u8>> {
        match self {
            Self::None => Ok(from.to_vec()),
            Self::Gzip => read_bounded(flate2::read::MultiGzDecoder::new(from), from.len(), limit),
            Self::Snappy => decompress_snappy(from, limit),
            Self::Lz4 => read_bounded(lz4_flex::frame::FrameDecoder::new(from), from.len(), limit),
            Self::Zstd => {
                let decoder = zstd::stream::read::Decoder::with_buffer(from).map_err(|error| bad_io(&error))?;
                read_bounded(decoder, from.len(), limit)
            }
        }
    }

    /// Compresses at the codec's default level, as Kafka's own clients would.
    pub(super) fn compress(self, from: &[u8]) -> Result<Vec<u8>> {
        match self {
            Self::None => Ok(from.to_vec()),
            Self::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
                encoder.write_all(from).map_err(|error| bad_io(&error))?;
                encoder.finish().map_err(|error| bad_io(&error))
            }
            Self::Snappy => compress_snappy(from),
            Self::Lz4 => {
                let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
                encoder.write_all(from).map_err(|error| bad_io(&error))?;
                encoder.finish().map_err(|error| bad(format!("compression failed: {error}")))
            }
            Self::Zstd => zstd::stream::encode_all(from, zstd::DEFAULT_COMPRESSION_LEVEL).map_err(|e| bad_io(&e)),
        }
    }
}

fn read_bounded(decoder: impl Read, compressed: usize, limit: usize) -> Result<Vec<u8>> {
    let mut output = Vec::with_capacity(compressed.saturating_mul(4).min(limit));
    let one_more = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    decoder.take(one_more).read_to_end(&mut output).map_err(|error| bad_io(&error))?;
    if output.len() > limit { Err(over(limit)) } else { Ok(output) }
}

fn decompress_snappy(from: &[u8], limit: usize) -> Result<Vec<u8>> {
    let mut output = Vec::new();
    if !from.starts_with(XERIAL_MAGIC) {
        append_snappy_block(from, &mut output, limit)?;
        return Ok(output);
    }
    let mut rest = from.get(XERIAL_HEADER.len()..).ok_or_else(|| bad("the snappy header is cut"))?;
    while !rest.is_empty() {
        let (length, body) = rest.split_first_chunk::<4>().ok_or_else(|| bad("a snappy chunk length is cut"))?;
        let length = u32::from_be_bytes(*length) as usize;
        let (chunk, after) = body.split_at_checked(length).ok_or_else(|| bad("a snappy chunk is cut"))?;
        append_snappy_block(chunk, &mut output, limit)?;
        rest = after;
    }
    Ok(output)
}

fn append_snappy_block(block: &[u8], output: &mut Vec<u8>, limit: usize) -> Result<()> {
    let length = snap::raw::decompress_len(block).map_err(|error| bad_snappy(&error))?;
    let start = output.len();
    // Snappy expands at most 64 bytes from 3, so a length that the block cannot fill is refused before it is reserved.
    if length > limit - start || length / 32 > block.len() {
        return Err(over(limit));
    }
    output.resize(start + length, 0);
    let written = snap::raw::Decoder::new().decompress(block, &mut output[start..]).map_err(|e| bad_snappy(&e))?;
    output.truncate(start + written);
    Ok(())
}

fn compress_snappy(from: &[u8]) -> Result<Vec<u8>> {
    let mut output = XERIAL_HEADER.to_vec();
    let mut encoder = snap::raw::Encoder::new();
    for chunk in from.chunks(XERIAL_CHUNK) {
        let block = encoder.compress_vec(chunk).map_err(|error| bad_snappy(&error))?;
        output.extend_from_slice(&(block.len() as u32).to_be_bytes());
        output.extend_from_slice(&block);
    }
    Ok(output)
}

fn over(limit: usize) -> Error {
    bad(format!("the records are over the limit of {limit} bytes when decompressed"))
}

fn bad_io(error: &io::Error) -> Error {
    bad(format!("the compressed records are broken: {error}"))
}

fn bad_snappy(error: &snap::Error) -> Error {
    bad(format!("the compressed records are broken: {error}"))
}
