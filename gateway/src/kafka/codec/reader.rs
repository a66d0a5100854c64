//! Whole requests out of a byte stream: a length, then so many bytes.

use std::io;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::Malformed;

/// What a quiet connection holds; a busy one reads in larger pieces.
const MIN_CHUNK: usize = 4 << 10;
const MAX_CHUNK: usize = 256 << 10;
/// Memory is set aside for a request before it has come only up to the largest that has come before on the connection, at
/// first this much; a larger one earns it by coming.
const FIRST_AHEAD: usize = 16 << 10;
const MAX_AHEAD: usize = 1 << 20;

/// Reads frames of at most `max_bytes`.
#[derive(Debug)]
pub(in crate::kafka) struct FrameReader {
    buffer: BytesMut,
    chunk: usize,
    ahead: usize,
    max_bytes: usize,
}

impl FrameReader {
    pub(in crate::kafka) fn new(max_bytes: usize) -> Self {
        Self { buffer: BytesMut::new(), chunk: MIN_CHUNK, ahead: FIRST_AHEAD, max_bytes }
    }

    /// The next whole frame that has come, without its length.
    pub(in crate::kafka) fn next_frame(&mut self) -> Result<Option<Bytes>, Malformed> {
        let Some(length) = self.frame_length()? else { return Ok(None) };
        if self.buffer.len() < 4 + length {
            return Ok(None);
        }
        self.ahead = self.ahead.max(length.min(MAX_AHEAD));
        self.buffer.advance(4);
        Ok(Some(self.buffer.split_to(length).freeze()))
    }

    /// Whether part of a frame has come.
    pub(in crate::kafka) fn is_partial(&self) -> bool {
        !self.buffer.is_empty()
    }

    /// How many bytes are missing to the frame that has begun, as far as is known.
    fn missing(&self) -> usize {
        match self.frame_length() {
            Ok(Some(length)) => (4 + length).saturating_sub(self.buffer.len()),
            _ => 0,
        }
    }

    fn frame_length(&self) -> Result<Option<usize>, Malformed> {
        let Some(length) = self.buffer.first_chunk::<4>() else { return Ok(None) };
        let length = i32::from_be_bytes(*length);
        match usize::try_from(length) {
            Ok(length) if length <= self.max_bytes => Ok(Some(length)),
            _ => Err(Malformed::FrameLength(length)),
        }
    }

    /// Reads what there is; 0 at the end. May be dropped while it waits: nothing is lost.
    pub(in crate::kafka) async fn fill(&mut self, socket: &mut (impl AsyncRead + Unpin)) -> io::Result<usize> {
        self.reserve();
        let room = self.buffer.capacity() - self.buffer.len();
        let count = socket.read_buf(&mut self.buffer).await?;
        if count == room {
            self.chunk = (self.chunk * 2).min(MAX_CHUNK);
        }
        Ok(count)
    }

    fn reserve(&mut self) {
        let ahead = self.missing().min(self.ahead.max(self.buffer.len()));
        // With little room left a small read would follow; a new piece of memory is cheaper.
        if self.buffer.capacity() - self.buffer.len() < ahead.max(self.chunk / 4).max(512) {
            self.buffer.reserve(ahead.max(self.chunk));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use proptest::prelude::*;

    fn frames_of(stream: &[u8], max: usize) -> (Vec<Bytes>, Option<Malformed>) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut socket = stream;
            let mut reader = FrameReader::new(max);
            let mut frames = Vec::new();
            loop {
                match reader.next_frame() {
                    Ok(Some(frame)) => frames.push(frame),
                    Ok(None) if reader.fill(&mut socket).await.unwrap() == 0 => return (frames, None),
                    Ok(None) => {}
                    Err(error) => return (frames, Some(error)),
                }
            }
        })
    }

    proptest! {
        #[test]
        fn frames_come_out_as_they_went_in(bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20_000), 0..20)) {
            let mut stream = Vec::new();
            for body in &bodies {
                stream.extend(i32::try_from(body.len()).unwrap().to_be_bytes());
                stream.extend(body);
            }
            prop_assert_eq!(frames_of(&stream, 20_000), (bodies.into_iter().map(Bytes::from).collect(), None));
        }
    }

    #[test]
    fn impossible_lengths_are_refused() {
        for length in [-1, i32::MIN, i32::MAX, 101] {
            assert_eq!(frames_of(&length.to_be_bytes(), 100), (vec![], Some(Malformed::FrameLength(length))));
        }
    }

    #[test]
    fn a_length_alone_reserves_little() {
        let mut reader = FrameReader::new(usize::MAX);
        reader.buffer.extend_from_slice(&i32::MAX.to_be_bytes());
        reader.reserve();
        assert!(reader.buffer.capacity() <= 2 * FIRST_AHEAD);
    }
}
