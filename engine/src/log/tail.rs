//! The newest blocks, kept in memory for readers at the tail.

use std::collections::VecDeque;

use bytes::Bytes;

use super::segment::SegmentId;

/// Recently written blocks, oldest first, bounded in bytes.
#[derive(Debug)]
pub(crate) struct TailCache {
    blocks: VecDeque<(SegmentId, u64, Bytes)>,
    bytes: usize,
    limit: usize,
}

impl TailCache {
    pub(crate) fn new(limit: usize) -> Self {
        Self { blocks: VecDeque::new(), bytes: 0, limit }
    }

    /// Adds the block just written at `position`, and lets the oldest go.
    pub(crate) fn push(&mut self, segment: SegmentId, position: u64, block: Bytes) {
        self.bytes += block.len();
        self.blocks.push_back((segment, position, block));
        while self.bytes > self.limit {
            let Some((_, _, oldest)) = self.blocks.pop_front() else { break };
            self.bytes -= oldest.len();
        }
    }

    /// The bytes at a position, if their block is still here.
    pub(crate) fn get(&self, segment: SegmentId, position: u64, length: usize) -> Option<Bytes> {
        let after = self.blocks.partition_point(|(s, p, _)| (*s, *p) <= (segment, position));
        let (found, start, block) = self.blocks.get(after.checked_sub(1)?)?;
        let from = usize::try_from(position - start).ok()?;
        (*found == segment && from + length <= block.len()).then(|| block.slice(from..from + length))
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_it_holds_and_lets_the_oldest_go() {
        let mut cache = TailCache::new(10);
        cache.push(SegmentId(1), 64, Bytes::from_static(b"abcdef"));
        assert_eq!(cache.get(SegmentId(1), 66, 2), Some(Bytes::from_static(b"cd")));
        assert_eq!(cache.get(SegmentId(1), 66, 9), None);
        assert_eq!(cache.get(SegmentId(1), 10, 1), None);
        cache.push(SegmentId(1), 70, Bytes::from_static(b"ghijkl"));
        assert_eq!(cache.get(SegmentId(1), 66, 2), None);
        assert_eq!(cache.get(SegmentId(1), 70, 6), Some(Bytes::from_static(b"ghijkl")));
        assert_eq!(cache.bytes(), 6);
    }
}
