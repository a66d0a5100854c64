//! One segment file of the commit log on a local file system.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::fs::{Advice, fadvise};
use rustix::io::{Errno, ReadWriteFlags, preadv2};

use super::direct::{Direct, write_all};
use super::{Destination, LogFile, PAGE};

/// After a write of no more than this that is to be synced, the space behind it is written too: with zeros, as it reads
/// anyway. A sync of space that was reserved and never written makes the file system change its own records, which takes half
/// of the sync's time; for larger writes, the zeros cost more than that.
const SMALL_WRITE: usize = 128 << 10;
/// As much is written ahead as the file holds already, within these: a log that grows slowly is not held up by what it may
/// never need, and in one that grows fast the sync behind it, which is dear, is rare.
const LEAST_AHEAD: u64 = 256 << 10;
const MOST_AHEAD: u64 = 4 << 20;
/// Written as often as it takes.
static ZEROS: Zeros = Zeros([0; 64 << 10]);

#[repr(align(4096))]
struct Zeros([u8; 64 << 10]);

/// A segment file.
///
/// While it is written past the page cache it is read past it too: a page that a reader brings into the cache while the disk
/// is given another content for it would be wrong in the cache, or fail the next sync. As soon as anything is written
/// through the cache all that follows is.
#[derive(Debug)]
pub(super) struct LocalFile {
    file: File,
    direct: Option<Direct>,
    /// The same through the page cache with no read-ahead of the kernel's, which would make everything behind a read that found
    /// its bytes cached look cached, too. Made when it is first needed, which for most files is never.
    cached: OnceLock<Option<File>>,
    path: PathBuf,
    /// Whether it is written past the page cache.
    past_cache: AtomicBool,
    reserved: u64,
    /// Nothing below is known to be only reserved.
    written: AtomicU64,
}

impl LocalFile {
    /// A new file with so much space reserved.
    pub(super) fn created(path: PathBuf, file: File, direct: Option<Direct>, reserved: u64) -> Self {
        let past_cache = AtomicBool::new(direct.is_some());
        Self { file, direct, cached: OnceLock::new(), path, past_cache, reserved, written: AtomicU64::new(0) }
    }

    /// A file of that size that was there: readers may have it in the page cache.
    pub(super) fn opened(path: PathBuf, file: File, direct: Option<Direct>, size: u64) -> Self {
        Self { past_cache: AtomicBool::new(false), ..Self::created(path, file, direct, size) }
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
        {
            match direct.append(position, bytes, self.reserved) {
                Ok(false) => {}
                // A file system that wants other pages than ours says so only now.
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => {}
                written => return written.map(|_| ()),
            }
        }
        self.through_cache_from_now_on();
        self.file.write_all_at(bytes, position)
    }

    /// The file to read through the page cache, if that holds a certain page of these bytes, the same one for all who read
    /// about the same.
    ///
    /// To ask for a page makes the kernel fetch it: who comes next finds it, and reads all through the cache. So what is
    /// read once leaves the cache alone, and what is read again soon is read from the disk twice and not each time.
    fn if_cached(&self, position: u64, length: usize) -> Option<&File> {
        let file = self.cached.get_or_init(|| without_read_ahead(&self.path)).as_ref()?;
        let step = 1 << length.max(PAGE).ilog2();
        let probed = position.next_multiple_of(step) / PAGE as u64 * PAGE as u64;
        let mut page = [0; PAGE];
        match preadv2(file, &mut [IoSliceMut::new(&mut page)], probed, ReadWriteFlags::NOWAIT) {
            Err(Errno::AGAIN) => None,
            _ => Some(file),
        }
    }

    /// Writes the space behind what was written, within what is reserved. Nothing depends on it.
    fn write_ahead(&self, from: u64) {
        let length = from.clamp(LEAST_AHEAD, MOST_AHEAD).min(self.reserved.saturating_sub(from));
        let length = usize::try_from(length).unwrap_or(0) / PAGE * PAGE;
        let mut zeros = vec![&ZEROS.0[..]; length / ZEROS.0.len()];
        zeros.push(&ZEROS.0[..length % ZEROS.0.len()]);
        let written = match self.direct() {
            Some(direct) => direct.write_pages(from, &zeros),
            None => write_all(&self.file, from, &zeros),
        };
        if let Err(error) = written {
            tracing::debug!(%error, "the space ahead could not be written");
        }
        self.written.fetch_max(from + length as u64, Ordering::Relaxed);
    }
}

fn without_read_ahead(path: &Path) -> Option<File> {
    let file = File::open(path).ok()?;
    fadvise(&file, 0, None, Advice::Random).ok().map(|()| file)
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

    fn read_large(&self, position: u64, length: usize, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some(direct) = self.direct() {
            return direct.read(position, length, buffer);
        }
        let Some(direct) = &self.direct else {
            return self.file.read_exact_at(&mut buffer[..length], position).map(|()| 0);
        };
        let read = match self.if_cached(position, length) {
            Some(file) => file.read_exact_at(&mut buffer[..length], position).map(|()| 0),
            None => direct.read(position, length, buffer),
        };
        // Whatever keeps the disk from reading whole pages does not keep the page cache from it.
        read.or_else(|_| self.file.read_exact_at(&mut buffer[..length], position).map(|()| 0))
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

    use super::super::{LocalStore, READ_MARGIN, Store};
    use super::*;

    /// Writes pieces of these lengths one behind the other, some through the page cache, and compares the whole file each time.
    fn write(direct_io: bool, lengths: &[(usize, Destination)]) {
        let directory = tempfile::tempdir().unwrap();
        let store = LocalStore::open(directory.path()).unwrap().direct_io(direct_io);
        let capacity = 8 * LEAST_AHEAD + 1000;
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

    /// Reads the same through every way there is, with nothing of the file in the page cache and with some of it.
    #[test]
    fn large_reads_bring_what_small_ones_bring() {
        let directory = tempfile::tempdir().unwrap();
        let bytes: Vec<u8> = (0..700_001_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let store = LocalStore::open(directory.path()).unwrap();
        let file = store.create("log", 1 << 20).unwrap();
        file.write_at(0, &bytes, Destination::Disk).unwrap();
        let compare = |file: &dyn LogFile, position: usize, length: usize| {
            let mut buffer = vec![0; length + READ_MARGIN];
            let start = file.read_large(position as u64, length, &mut buffer).unwrap();
            assert!(buffer[start..start + length] == bytes[position..position + length], "{length} at {position}");
        };
        let everywhere = |file: &dyn LogFile| {
            for (position, length) in [(0, 1 << 19), (PAGE, 1 << 17), (1, 65_536), (4095, 2), (200_001, 500_000)] {
                compare(file, position, length);
            }
        };
        everywhere(&*file);
        file.seal(bytes.len() as u64).unwrap();
        drop(file);
        let plain = File::open(directory.path().join("log")).unwrap();
        let forget = || rustix::fs::fadvise(&plain, 0, None, rustix::fs::Advice::DontNeed).unwrap();
        for direct_io in [true, false] {
            let direct = direct_io.then(|| Direct::open(&directory.path().join("log"))).flatten();
            let path = directory.path().join("log");
            let file = LocalFile::opened(path, plain.try_clone().unwrap(), direct, bytes.len() as u64);
            forget();
            everywhere(&file);
            everywhere(&file);
            plain.read_exact_at(&mut [0; 10_000], 300_000).unwrap();
            everywhere(&file);
            forget();
            let past_the_end = file.read_large(400_000, 300_002, &mut vec![0; 300_002 + READ_MARGIN]);
            assert_eq!(past_the_end.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        }
    }

    #[test]
    fn what_is_read_again_soon_is_looked_for_in_the_page_cache_and_what_lies_behind_it_is_not() {
        const READ: usize = 1 << 19;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        std::fs::write(&path, vec![7; 32 * READ]).unwrap();
        let plain = File::open(&path).unwrap();
        plain.sync_all().unwrap();
        let direct = Direct::open(&path);
        let file = LocalFile::opened(path, plain.try_clone().unwrap(), direct, 32 * READ as u64);
        assert!(file.if_cached(5000, READ).is_some(), "just written");
        let is_cached =
            |position| preadv2(&plain, &mut [IoSliceMut::new(&mut [0])], position, ReadWriteFlags::NOWAIT).is_ok();
        fadvise(&plain, 0, None, Advice::DontNeed).unwrap();
        if is_cached(31 * READ as u64) {
            eprintln!("skipped: this file system is its own cache");
            return;
        }
        // To ask brings it there.
        while file.if_cached(5000, READ).is_none() {
            std::thread::yield_now();
        }
        let mut buffer = vec![0; READ + READ_MARGIN];
        let before_wanted = (0..8).filter(|nth| {
            let position = nth * READ as u64;
            let is_there = is_cached(position + READ as u64 / 4);
            file.read_large(position, READ, &mut buffer).unwrap();
            is_there
        });
        // To look is to ask, too: on a busy machine what is asked for may come in time to be seen. Read ahead, all would be there.
        let before_wanted = before_wanted.count();
        assert!(before_wanted < 4, "{before_wanted} of 8 were read before anybody wanted them");
    }
}
