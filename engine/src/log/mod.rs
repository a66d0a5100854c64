//! The commit log: one sequence of blocks in segment files, group commit, index, snapshots, recovery, reclaim.

mod block;
mod buffers;
mod index;
mod manifest;
mod recovery;
mod segment;
mod sorted;
mod tail;
mod writer;

pub(crate) use block::Entry;
pub(crate) use buffers::Buffers;
pub(crate) use index::{Chunk, Entries, IndexEntry, add_index_entries, decode_chunk, max_index_bytes};
pub(crate) use manifest::{Manifest, Skipped, StoredManifest, seal_object};
pub(crate) use recovery::{SNAPSHOT_MAGIC, rebuild_footer, recover};
pub(crate) use segment::{Found, SEGMENT_HEADER_BYTES, Segment, SegmentId, SegmentKind};
pub(crate) use sorted::{Sorted, SortedWriter};
pub(crate) use tail::TailCache;
pub(crate) use writer::Writer;
