//! One segment file of the commit log on a local file system.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::direct::Direct;
use super::{Destination, LogFile, PAGE};

/// After a write of no more than this that is to be synced, the space behind it is written too: with zeros, as it reads
/// anyway. A sync of space that was reserved and never written makes the file system change its own records, which takes half
/// of the sync's time; for larger writes, the zeros cost more than that.
const SMALL_WRITE: usize = 128 << 10;
/// Zeros to write ahead, so many at a time.
static AHEAD: Ahead = Ahead([0; 512 << 10]);

#[repr(align(4096))]
struct Ahead([u8; 512 << 10]);

/// A segment file.
///
/// While it is written past the page cache it is read past it too: a page that a reader brings into the cache while the disk
/// is given another content for it would be wrong in the cache, or fail the next sync. As soon as anything is written
/// through the cache all that follows is.
#[derive(Debug)]
pub(super) struct LocalFile {
    file: File,
    direct: Option<Direct>,
    /// Whether it is written past the page cache.
    past_cache: AtomicBool,
    reserved: u64,
    /// Nothing below is known to be only reserved.
    written: AtomicU64,
}

impl LocalFile {
    /// A new file with so much space reserved.
    pub(super) fn created(file: File, direct: Option<Direct>, reserved: u64) -> Self {
        let past_cache = AtomicBool::new(direct.is_some());
        Self { file, direct, past_cache, reserved, written: AtomicU64::new(0) }
    }

    /// A file of that size that was there: readers may have it in the page cache.
    pub(super) fn opened(file: File, direct: Option<Direct>, size: u64) -> Self {
        Self { past_cache: AtomicBool::new(false), ..Self::created(file, direct, size) }
    }

    /// The way past the page cache, while that is how the file is written.
    fn direct(&self) -> Option<&Direct> {
        self.direct.as_ref().filter(|_| self.past_cache.load(Ordering::Acquire))
    }

    fn through_cache_from_now_on(&self) {
        if let Some(direct) = self.direct() {
            self.past_cache.store(false, Ordering::Release);
            direct.finish();
        }
    }

    fn write(&self, position: u64, bytes: &[u8], to: Destination) -> io::Result<()> {
        if to == Destination::Disk
            && let Some(direct) = self.direct()
            && direct.append(position, bytes, self.reserved)?
        {
            return Ok(());
        }
        self.through_cache_from_now_on();
        self.file.write_all_at(bytes, position)
    }

    /// Writes the space behind what was written, within what is reserved. Nothing depends on it.
    fn write_ahead(&self, from: u64) {
        let left = usize::try_from(self.reserved.saturating_sub(from)).unwrap_or(usize::MAX);
        let zeros = &AHEAD.0[..AHEAD.0.len().min(left) / PAGE * PAGE];
        let written = match self.direct() {
            Some(direct) => direct.write_pages(from, zeros),
            None => self.file.write_all_at(zeros, from),
        };
        if let Err(error) = written {
            tracing::debug!(%error, "the space ahead could not be written");
        }
        self.written.fetch_max(from + zeros.len() as u64, Ordering::Relaxed);
    }
}

impl LogFile for LocalFile {
    fn write_at(&self, position: u64, bytes: &[u8], to: Destination) -> io::Result<()> {
        self.write(position, bytes, to)?;
        let end = (position + bytes.len() as u64).next_multiple_of(PAGE as u64);
        let is_new = end > self.written.fetch_max(end, Ordering::Relaxed);
        if is_new && to == Destination::Disk && bytes.len() <= SMALL_WRITE {
            self.write_ahead(end);
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn read_at(&self, position: u64, buffer: &mut [u8]) -> io::Result<()> {
        match self.direct() {
            Some(direct) => direct.read_at(position, buffer),
            None => self.file.read_exact_at(buffer, position),
        }
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn seal(&self, size: u64) -> io::Result<()> {
        self.through_cache_from_now_on();
        self.file.set_len(size)?;
        self.file.sync_all()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::{LocalStore, Store};
    use super::*;

    /// Writes pieces of these lengths one behind the other, some through the page cache, and compares the whole file each time.
    fn write(direct_io: bool, lengths: &[(usize, Destination)]) {
        let directory = tempfile::tempdir().unwrap();
        let store = LocalStore::open(directory.path()).unwrap().direct_io(direct_io);
        let capacity = 4 * AHEAD.0.len() as u64 + 1000;
        let file = store.create("log", capacity).unwrap();
        let mut expected = vec![0; capacity as usize];
        let mut position = 0;
        for (count, (length, to)) in lengths.iter().enumerate() {
            let bytes = vec![count as u8 + 1; *length + PAGE];
            // Every second one lies in memory as in the file.
            let lies = bytes.as_ptr().align_offset(PAGE) + (position % PAGE as u64) as usize + count % 2 * 100;
            let bytes = &bytes[lies % PAGE..][..*length];
            file.write_at(position, bytes, *to).unwrap();
            expected[position as usize..][..*length].copy_from_slice(bytes);
            position += *length as u64;
            let mut found = vec![1; expected.len()];
            file.read_at(0, &mut found).unwrap();
            assert!(found == expected, "after write {count}, of {length} bytes");
            assert_eq!(file.size().unwrap(), capacity);
        }
        file.seal(position).unwrap();
        let mut found = vec![1; position as usize];
        store.open("log").unwrap().read_at(0, &mut found).unwrap();
        assert!(found == expected[..position as usize], "sealed");
    }

    #[test]
    fn what_is_written_reads_as_it_should_and_what_is_written_ahead_stays_within_the_file() {
        let lengths = [64, 100, SMALL_WRITE, SMALL_WRITE + 1, 300_000, 5000, 4096, 16_384 - 5, 200_000, 1, 2000, 1200];
        let all = |to| lengths.map(|length| (length, to));
        write(true, &all(Destination::Disk));
        write(false, &all(Destination::Disk));
        write(true, &all(Destination::PageCache));
        let mut mixed = all(Destination::Disk);
        mixed[4].1 = Destination::PageCache;
        write(true, &mixed);
    }

    #[test]
    fn the_last_bytes_before_the_end_of_the_file_can_be_written() {
        let directory = tempfile::tempdir().unwrap();
        let file = LocalStore::open(directory.path()).unwrap().create("log", 10_000).unwrap();
        file.write_at(0, &[1; 9000], Destination::Disk).unwrap();
        file.write_at(9000, &[2; 1000], Destination::Disk).unwrap();
        let mut found = [0; 2];
        file.read_at(8999, &mut found).unwrap();
        assert_eq!((found, file.size().unwrap()), ([1, 2], 10_000));
    }
}
