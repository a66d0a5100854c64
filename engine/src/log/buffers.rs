//! Memory for reads from segments, used again when its last reader is done: fresh memory costs about as much as the read.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::segment::Segment;
use crate::Result;

/// So many buffers are kept for the next reads; more are freed.
const KEPT_BUFFERS: usize = 4;
/// Smaller reads do not pay for the bookkeeping.
const SMALLEST_BYTES: usize = 64 << 10;

type Free = Arc<Mutex<Vec<Vec<u8>>>>;

/// Buffers waiting for a read.
#[derive(Default)]
pub(crate) struct ReadBuffers {
    free: Free,
}

/// A buffer that goes back when the last slice of it is dropped.
struct Lent {
    buffer: Vec<u8>,
    length: usize,
    home: Free,
}

impl ReadBuffers {
    /// Reads exactly `length` bytes of a segment.
    ///
    /// # Errors
    /// As [`Segment::read`].
    pub(crate) fn read(&self, segment: &Segment, position: u64, length: usize) -> Result<Bytes> {
        if length < SMALLEST_BYTES {
            return segment.read(position, length);
        }
        let mut buffer = self.free.lock().pop().unwrap_or_default();
        if buffer.len() < length {
            buffer.resize(length, 0);
        }
        let mut lent = Lent { buffer, length, home: Arc::clone(&self.free) };
        segment.fill(position, &mut lent.buffer[..length])?;
        Ok(Bytes::from_owner(lent))
    }
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.buffer[..self.length]
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let mut free = self.home.lock();
        if free.len() < KEPT_BUFFERS {
            free.push(std::mem::take(&mut self.buffer));
        }
    }
}
