//! Memory for large reads and blocks, used again when its last reader is done: fresh memory costs about as much as the read.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::segment::{LARGE_READ_BYTES, Segment};
use crate::Result;
use crate::store::{PAGE, READ_MARGIN};

/// Smaller ones do not pay for the bookkeeping.
const SMALLEST_BYTES: usize = LARGE_READ_BYTES;
/// A buffer may be larger by such a part than what is put into it: who counts the bytes put in is wrong by no more.
const SLACK: usize = 4;

/// Buffers that wait to be used again: the latest, up to so many bytes.
pub(crate) struct Buffers(Arc<Mutex<Free>>);

struct Free {
    buffers: VecDeque<Vec<u8>>,
    bytes: usize,
    limit: usize,
}

/// A buffer that goes back when the last slice of it is dropped.
struct Lent {
    buffer: Vec<u8>,
    filled: Range<usize>,
    home: Arc<Mutex<Free>>,
}

impl Buffers {
    /// Keeps up to `limit` bytes for later.
    pub(crate) fn new(limit: usize) -> Self {
        Self(Arc::new(Mutex::new(Free { buffers: VecDeque::new(), bytes: 0, limit })))
    }

    /// A buffer with room for `size` bytes more, to be filled and shared. If it is large they lie in memory as they will at
    /// `position` of a file, seen from a page's begin: so they can be written as they are.
    pub(crate) fn empty(&self, size: usize, position: u64) -> Vec<u8> {
        if size < SMALLEST_BYTES {
            return Vec::with_capacity(size);
        }
        let size = size + PAGE;
        let mut buffer = self.take(size, size + size / SLACK);
        buffer.clear();
        let lead = buffer.as_ptr().align_offset(PAGE) + (position % PAGE as u64) as usize;
        buffer.resize(lead % PAGE, 0);
        buffer
    }

    /// A filled buffer, from there on, as bytes that many can hold; it comes back here after the last of them.
    pub(crate) fn share(&self, buffer: Vec<u8>, from: usize) -> Bytes {
        if buffer.capacity() < SMALLEST_BYTES {
            return Bytes::from(buffer).slice(from..);
        }
        let filled = from..buffer.len();
        Bytes::from_owner(Lent { buffer, filled, home: Arc::clone(&self.0) })
    }

    /// Reads exactly `length` bytes of a segment.
    ///
    /// # Errors
    /// As [`Segment::read`].
    pub(crate) fn read(&self, segment: &Segment, position: u64, length: usize) -> Result<Bytes> {
        if length < SMALLEST_BYTES {
            return segment.read(position, length);
        }
        let room = length + READ_MARGIN;
        let mut buffer = self.take(room, usize::MAX);
        if buffer.len() < room {
            buffer.resize(room, 0);
        }
        let mut lent = Lent { buffer, filled: 0..0, home: Arc::clone(&self.0) };
        let start = segment.read_into(position, length, &mut lent.buffer)?;
        lent.filled = start..start + length;
        Ok(Bytes::from_owner(lent))
    }

    /// Bytes that wait to be used again.
    #[cfg(test)]
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.0.lock().bytes
    }

    /// The smallest with room for `least` bytes and no more than for `most`; a new one if there is none.
    fn take(&self, least: usize, most: usize) -> Vec<u8> {
        let mut free = self.0.lock();
        let sizes = free.buffers.iter().map(Vec::capacity).enumerate();
        let best = sizes.filter(|(_, size)| (least..=most).contains(size)).min_by_key(|(_, size)| *size);
        let taken = best.and_then(|(index, _)| free.buffers.remove(index));
        free.bytes -= taken.as_ref().map_or(0, Vec::capacity);
        taken.unwrap_or_else(|| Vec::with_capacity(least))
    }
}

impl Free {
    /// Keeps a buffer; the oldest go where they are too much.
    fn put(&mut self, buffer: Vec<u8>) {
        self.bytes += buffer.capacity();
        self.buffers.push_back(buffer);
        while self.bytes > self.limit {
            let Some(oldest) = self.buffers.pop_front() else { break };
            self.bytes -= oldest.capacity();
        }
    }
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.buffer[self.filled.clone()]
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.home.lock().put(std::mem::take(&mut self.buffer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(buffers: &Buffers, size: usize) -> Bytes {
        let mut buffer = buffers.empty(size, 0);
        let from = buffer.len();
        buffer.resize(from + size, 7);
        buffers.share(buffer, from)
    }

    #[test]
    fn a_buffer_is_used_again_when_nobody_holds_it() {
        let buffers = Buffers::new(1 << 20);
        let first = filled(&buffers, 100_000);
        let (address, held) = (first.as_ptr(), first.slice(10..20));
        drop(first);
        let other = filled(&buffers, 100_000);
        assert_ne!(other.as_ptr(), address, "a slice is held");
        drop(held);
        let again = filled(&buffers, 90_000);
        assert_eq!((again.as_ptr(), again.len()), (address, 90_000));
        drop(again);
        assert_ne!(filled(&buffers, 50_000).as_ptr(), address, "small ones are not kept");
        assert_ne!(filled(&buffers, 70_000).as_ptr(), address, "it is much larger than that");
    }

    #[test]
    fn a_large_buffer_lies_in_memory_as_in_the_file() {
        let buffers = Buffers::new(0);
        for position in [0, 64, 4095, 4096, 1_000_001] {
            let mut buffer = buffers.empty(100_000, position);
            let (from, capacity) = (buffer.len(), buffer.capacity());
            buffer.resize(from + 100_000, 7);
            assert_eq!(buffer.capacity(), capacity, "what was asked for fits");
            let bytes = buffers.share(buffer, from);
            assert_eq!(bytes.as_ptr().align_offset(PAGE) as u64, (PAGE as u64 - position % PAGE as u64) % PAGE as u64);
            assert_eq!(bytes, vec![7; 100_000]);
        }
    }

    #[test]
    fn no_more_is_kept_than_the_limit() {
        let buffers = Buffers::new(320_000);
        let held: Vec<_> = (0..5).map(|_| filled(&buffers, 100_000)).collect();
        drop(held);
        let free = buffers.0.lock();
        assert!(free.buffers.len() == 3 && free.bytes <= 320_000, "{} bytes", free.bytes);
    }
}
