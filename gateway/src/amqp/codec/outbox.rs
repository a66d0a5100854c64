//! Frames on their way to the socket, written many at a time.

use std::collections::VecDeque;
use std::io::{self, IoSlice};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::{MethodBody, frame};

/// The most pieces given to one write.
const MAX_PIECES: usize = 64;
/// More than this should rather be written first.
const FULL: usize = 64 << 10;
/// A body up to this size is copied in among the frames; a larger one is shared.
const COPY: usize = 4 << 10;
/// The least memory taken at once.
const MIN_ROOM: usize = 512;

/// Frames to be written, in order. When everything is written it holds no memory.
#[derive(Debug, Default)]
pub struct Outbox {
    /// What is before `tail`.
    pieces: VecDeque<Bytes>,
    tail: BytesMut,
    /// Bytes in `pieces`.
    queued: usize,
    /// How much the last flush wrote: what the next will probably need.
    room: usize,
}

impl Outbox {
    /// How many bytes wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.queued + self.tail.len()
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether more should rather wait for the next flush.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.len() >= FULL || self.pieces.len() >= MAX_PIECES
    }

    /// How much memory it holds.
    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        self.tail.capacity() + self.pieces.capacity() + self.queued
    }

    #[inline]
    fn tail(&mut self) -> &mut BytesMut {
        if self.tail.capacity() == 0 {
            self.tail.reserve(self.room.clamp(MIN_ROOM, FULL));
        }
        &mut self.tail
    }

    /// Bytes as they are: a protocol header.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.tail().extend_from_slice(bytes);
    }

    /// A heartbeat.
    pub fn heartbeat(&mut self) {
        self.raw(&frame::HEARTBEAT_FRAME);
    }

    /// A method without content.
    #[inline]
    pub fn method(&mut self, channel: u16, method: &impl MethodBody) {
        frame::write_method(self.tail(), channel, |out| method.write(out));
    }

    /// A method, the properties that `properties` writes, and a body in frames of at most `frame_max` bytes. The
    /// properties must fit in a frame: [`super::max_properties`].
    #[inline]
    pub fn content(
        &mut self,
        channel: u16,
        method: &impl MethodBody,
        properties: impl FnOnce(&mut BytesMut),
        body: &Bytes,
        frame_max: usize,
    ) {
        let out = self.tail();
        frame::write_method(out, channel, |out| method.write(out));
        frame::write_header(out, channel, body.len() as u64, properties);
        let max = frame::max_payload(frame_max);
        if body.len() <= COPY.min(max) {
            if !body.is_empty() {
                out.extend_from_slice(&frame::body_head(channel, body.len()));
                out.extend_from_slice(body);
                out.put_u8(frame::FRAME_END);
            }
        } else {
            self.share(channel, body.clone(), max);
        }
    }

    /// A large body, shared.
    fn share(&mut self, channel: u16, mut body: Bytes, max: usize) {
        while !body.is_empty() {
            let part = body.split_to(max.min(body.len()));
            self.tail().extend_from_slice(&frame::body_head(channel, part.len()));
            let before = self.tail.split().freeze();
            self.queued += before.len() + part.len();
            self.pieces.extend([before, part]);
            self.tail().put_u8(frame::FRAME_END);
        }
    }

    /// Writes everything; returns how many bytes that were. What was not written when it is dropped, or fails, is still here.
    ///
    /// # Errors
    /// The socket's.
    pub async fn flush(&mut self, socket: &mut (impl AsyncWrite + Unpin)) -> io::Result<usize> {
        let total = self.len();
        while !self.pieces.is_empty() {
            let written = self.write_pieces(socket).await?;
            self.advance(written);
        }
        while !self.tail.is_empty() {
            let written = socket.write(&self.tail).await?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.tail.advance(written);
        }
        *self = Self { room: total, ..Self::default() };
        Ok(total)
    }

    async fn write_pieces(&mut self, socket: &mut (impl AsyncWrite + Unpin)) -> io::Result<usize> {
        let mut slices = [IoSlice::new(&[]); MAX_PIECES];
        let waiting = self.pieces.iter().map(|piece| &piece[..]).chain([&self.tail[..]]);
        let mut count = 0;
        for (slice, piece) in slices.iter_mut().zip(waiting) {
            *slice = IoSlice::new(piece);
            count += 1;
        }
        let written = socket.write_vectored(&slices[..count]).await?;
        if written == 0 { Err(io::ErrorKind::WriteZero.into()) } else { Ok(written) }
    }

    fn advance(&mut self, mut written: usize) {
        while let Some(piece) = self.pieces.front_mut() {
            if written < piece.len() {
                piece.advance(written);
                self.queued -= written;
                return;
            }
            written -= piece.len();
            self.queued -= piece.len();
            self.pieces.pop_front();
        }
        self.tail.advance(written);
    }
}
