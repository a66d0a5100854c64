//! Frames out of a byte stream.

use std::future::poll_fn;
use std::io;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::AsyncRead;
use tokio_util::io::poll_read_buf;

use super::{Frame, Limits, Malformed, PROTOCOL_HEADER, frame};

/// What a quiet connection reads at once; a busy one reads in larger pieces.
const MIN_CHUNK: usize = 4 << 10;
const MAX_CHUNK: usize = 64 << 10;
/// After so many reads in a row that needed less than an eighth of it, a smaller piece will do.
const SMALL_READS: u8 = 32;
/// Memory is set aside for a frame before it has come only up to the largest that has come before on the connection, at
/// first this much; a larger one earns it by coming.
const FIRST_AHEAD: usize = 16 << 10;
const MAX_AHEAD: usize = 1 << 20;

/// Reads the frames of a connection. Between frames it holds no memory while it waits.
#[derive(Debug)]
pub struct FrameReader {
    /// What has come and is not yet whole.
    buffer: BytesMut,
    /// Whole frames, one after the other.
    frames: Bytes,
    limits: Limits,
    chunk: usize,
    /// So many reads in a row needed little of it.
    small: u8,
    ahead: usize,
    /// The last read filled all the room there was: there may be more.
    filled: bool,
}

impl FrameReader {
    /// A reader of a connection from its start.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let (buffer, frames) = (BytesMut::new(), Bytes::new());
        Self { buffer, frames, limits, chunk: MIN_CHUNK, small: 0, ahead: FIRST_AHEAD, filled: false }
    }

    /// Other limits from now on, as when the connection has been tuned.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// The limits in effect.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Takes the eight bytes that come before any frame; false if they have not come yet.
    ///
    /// # Errors
    /// [`Malformed::ProtocolHeader`].
    pub fn protocol_header(&mut self) -> Result<bool, Malformed> {
        let come = self.buffer.len().min(PROTOCOL_HEADER.len());
        if self.buffer[..come] != PROTOCOL_HEADER[..come] {
            return Err(Malformed::ProtocolHeader);
        }
        let is_whole = come == PROTOCOL_HEADER.len();
        if is_whole {
            self.buffer.advance(come);
        }
        Ok(is_whole)
    }

    /// The next whole frame that has come.
    ///
    /// # Errors
    /// [`Malformed`]; nothing more can be read then.
    #[inline]
    pub fn next_frame(&mut self) -> Result<Option<Frame>, Malformed> {
        if self.frames.is_empty() && !self.take_frames()? {
            return Ok(None);
        }
        let Some(size) = frame::size(&self.frames, &self.limits)? else { return Ok(None) };
        let frame = frame::read(&self.frames, 0..size, &self.limits)?;
        self.frames.advance(size);
        Ok(Some(frame))
    }

    /// Whole frames that have come, to be looked at where they lie; give back with [`FrameReader::done`] how far they were read.
    ///
    /// # Errors
    /// As [`FrameReader::next_frame`].
    pub fn frames(&mut self) -> Result<Bytes, Malformed> {
        if self.frames.is_empty() {
            self.take_frames()?;
        }
        Ok(mem::take(&mut self.frames))
    }

    /// See [`FrameReader::frames`].
    pub fn done(&mut self, mut frames: Bytes, read: usize) {
        frames.advance(read);
        self.frames = frames;
    }

    /// Moves the frames that are whole out of the buffer; false if there is none.
    fn take_frames(&mut self) -> Result<bool, Malformed> {
        let mut whole = 0;
        let stopped = loop {
            match frame::size(&self.buffer[whole..], &self.limits) {
                Ok(Some(size)) if size <= self.buffer.len() - whole => {
                    self.ahead = self.ahead.max(size.min(MAX_AHEAD));
                    whole += size;
                }
                Ok(_) => break None,
                Err(malformed) => break Some(malformed),
            }
        };
        match (whole, stopped) {
            (0, Some(malformed)) => Err(malformed),
            (0, None) => Ok(false),
            _ => {
                self.frames = self.buffer.split_to(whole).freeze();
                Ok(true)
            }
        }
    }

    /// Whether part of a frame has come.
    #[must_use]
    pub fn is_partial(&self) -> bool {
        !self.buffer.is_empty()
    }

    /// Whether bytes that have come wait for [`FrameReader::next_frame`].
    #[must_use]
    pub fn has_frames(&self) -> bool {
        !self.frames.is_empty()
    }

    /// Whether the last read filled all the room it had, so that there may be more to read at once.
    #[must_use]
    pub fn may_have_more(&self) -> bool {
        self.filled
    }

    /// Reads what there is; 0 at the end. Call it when [`FrameReader::next_frame`] has no more. May be dropped while it
    /// waits: nothing is lost.
    ///
    /// # Errors
    /// The socket's.
    pub async fn fill(&mut self, socket: &mut (impl AsyncRead + Unpin)) -> io::Result<usize> {
        self.frames = Bytes::new();
        poll_fn(|context| self.poll_fill(socket, context)).await
    }

    fn poll_fill(
        &mut self,
        socket: &mut (impl AsyncRead + Unpin),
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        self.reserve();
        let room = self.buffer.capacity() - self.buffer.len();
        let polled = poll_read_buf(Pin::new(socket), context, &mut self.buffer);
        self.filled = false;
        if polled.is_pending() && self.buffer.is_empty() {
            self.buffer = BytesMut::new();
        }
        let count = ready!(polled)?;
        self.filled = count == room;
        self.small = if count < self.chunk / 8 { self.small + 1 } else { 0 };
        if self.filled {
            self.chunk = (self.chunk * 2).min(MAX_CHUNK);
        } else if self.small == SMALL_READS {
            self.small = 0;
            self.chunk = (self.chunk / 2).max(MIN_CHUNK);
        }
        Poll::Ready(Ok(count))
    }

    /// How many bytes are missing to the frame that has begun, as far as is known.
    fn missing(&self) -> usize {
        match frame::size(&self.buffer, &self.limits) {
            Ok(Some(size)) => size.saturating_sub(self.buffer.len()),
            _ => 0,
        }
    }

    /// How much memory it holds.
    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        self.buffer.capacity() + self.frames.len()
    }

    fn reserve(&mut self) {
        let ahead = self.missing().min(self.ahead.max(self.buffer.len()));
        // With little room left a small read would follow; a new piece of memory is cheaper.
        if self.buffer.capacity() - self.buffer.len() < ahead.max(self.chunk / 4).max(512) {
            self.buffer.reserve(ahead.max(self.chunk));
        }
    }
}
