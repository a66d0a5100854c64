//! A directory on a local file system.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{FallocateFlags, fallocate};

use super::{LogFile, Store};
use crate::{Error, Result};

/// Names the file whose lock says that a process owns the directory.
const LOCK: &str = "lock";
/// Ends the name of a file that is being written and does not count yet.
const UNFINISHED: &str = ".tmp";

/// After a write of no more than this, the space behind it is written too: with zeros, as it reads anyway. A sync of space that
/// was reserved and never written makes the file system change its own records, which takes a third of the sync's time; for
/// larger writes, the zeros cost more than that.
const SMALL_WRITE: usize = 16 << 10;
/// So much at a time.
static AHEAD: [u8; 256 << 10] = [0; 256 << 10];

/// Messages are nobody else's business.
const OWNER_ONLY: u32 = 0o600;

/// A directory on a local file system, locked against a second process until it is dropped.
#[derive(Debug)]
pub struct LocalStore {
    directory: PathBuf,
    _lock: File,
}

impl LocalStore {
    /// Opens (and creates) the directory.
    ///
    /// # Errors
    /// [`Error::Locked`] when another process has it, [`Error::Io`] when it cannot be made, written or listed.
    pub fn open(directory: &Path) -> Result<Self> {
        let failed =
            |error: &io::Error| Error::io(format!("opening the data directory {}", directory.display()), error);
        DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(|e| failed(&e))?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(OWNER_ONLY)
            .open(directory.join(LOCK))
            .map_err(|e| failed(&e))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Error::Locked),
            Err(TryLockError::Error(e)) => return Err(failed(&e)),
        }
        let store = Self { directory: directory.to_owned(), _lock: lock };
        store.remove_unfinished().map_err(|e| failed(&e))?;
        Ok(store)
    }

    fn remove_unfinished(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.directory)? {
            let path = entry?.path();
            if path.to_string_lossy().ends_with(UNFINISHED) {
                fs::remove_file(path)?;
            }
        }
        self.sync_directory()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Makes names created, renamed or removed in the directory durable.
    fn sync_directory(&self) -> io::Result<()> {
        File::open(&self.directory)?.sync_all()
    }

    fn write_unfinished(path: &Path, contents: &[u8]) -> io::Result<()> {
        let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(OWNER_ONLY).open(path)?;
        file.write_all(contents)?;
        file.sync_all()
    }
}

impl Store for LocalStore {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            if let Ok(name) = entry.file_name().into_string()
                && name != LOCK
                && entry.file_type()?.is_file()
            {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn create(&self, name: &str, capacity: u64) -> io::Result<Arc<dyn LogFile>> {
        let path = self.path(name);
        let file =
            OpenOptions::new().create(true).truncate(true).read(true).write(true).mode(OWNER_ONLY).open(&path)?;
        if let Err(error) = reserve(&file, capacity).and_then(|()| file.sync_all()).and_then(|()| self.sync_directory())
        {
            drop(file);
            let _ = fs::remove_file(&path);
            return Err(error);
        }
        Ok(Arc::new(LocalFile::new(file, capacity)))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn LogFile>> {
        let file = OpenOptions::new().read(true).write(true).open(self.path(name))?;
        let size = file.metadata()?.len();
        Ok(Arc::new(LocalFile::new(file, size)))
    }

    fn put(&self, name: &str, contents: &[u8]) -> io::Result<()> {
        let unfinished = self.path(&format!("{name}{UNFINISHED}"));
        let written =
            Self::write_unfinished(&unfinished, contents).and_then(|()| fs::rename(&unfinished, self.path(name)));
        if let Err(error) = written {
            let _ = fs::remove_file(&unfinished);
            return Err(error);
        }
        self.sync_directory()
    }

    fn get(&self, name: &str) -> io::Result<Vec<u8>> {
        let mut contents = Vec::new();
        File::open(self.path(name))?.read_to_end(&mut contents)?;
        Ok(contents)
    }

    /// The directory's lock already keeps others out, so comparing and then replacing is enough here.
    fn swap(&self, name: &str, expected: Option<&[u8]>, contents: &[u8]) -> io::Result<()> {
        let current = match self.get(name) {
            Ok(current) => Some(current),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        if current.as_deref() != expected {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("{name} was changed by somebody else")));
        }
        self.put(name, contents)
    }

    fn delete(&self, name: &str) -> io::Result<()> {
        match fs::remove_file(self.path(name)) {
            Ok(()) => self.sync_directory(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Reserves real space, so that writing inside it later cannot find the disk full.
fn reserve(file: &File, capacity: u64) -> io::Result<()> {
    match fallocate(file, FallocateFlags::empty(), 0, capacity) {
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => fill_with_zeros(file, capacity),
        result => result.map_err(Into::into),
    }
}

fn fill_with_zeros(file: &File, capacity: u64) -> io::Result<()> {
    let zeros = vec![0; 1 << 20];
    let mut position = 0;
    while position < capacity {
        let length = zeros.len().min(usize::try_from(capacity - position).unwrap_or(usize::MAX));
        file.write_all_at(&zeros[..length], position)?;
        position += length as u64;
    }
    Ok(())
}

/// One segment file.
#[derive(Debug)]
struct LocalFile {
    file: File,
    reserved: u64,
    /// Nothing below is known to be only reserved.
    written: AtomicU64,
}

impl LocalFile {
    fn new(file: File, reserved: u64) -> Self {
        Self { file, reserved, written: AtomicU64::new(0) }
    }

    /// Writes the space behind a small write, within what is reserved. Nothing depends on it.
    fn write_ahead(&self, end: u64) {
        let length = AHEAD.len().min(usize::try_from(self.reserved.saturating_sub(end)).unwrap_or(AHEAD.len()));
        if let Err(error) = self.file.write_all_at(&AHEAD[..length], end) {
            tracing::debug!(%error, "the space ahead could not be written");
        }
        self.written.fetch_max(end + length as u64, Ordering::Relaxed);
    }
}

impl LogFile for LocalFile {
    fn write_at(&self, position: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, position)?;
        let end = position + bytes.len() as u64;
        if end > self.written.fetch_max(end, Ordering::Relaxed) && bytes.len() <= SMALL_WRITE {
            self.write_ahead(end);
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn read_at(&self, position: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buffer, position)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn seal(&self, size: u64) -> io::Result<()> {
        self.file.set_len(size)?;
        self.file.sync_all()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_is_written_ahead_reads_as_before_and_stays_within_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let store = LocalStore::open(directory.path()).unwrap();
        let capacity = 3 * AHEAD.len() as u64 + 1000;
        let file = store.create("log", capacity).unwrap();
        let mut expected = vec![0; capacity as usize];
        let mut position = 0;
        for length in [100, SMALL_WRITE, SMALL_WRITE + 1, 300_000, 5000, 200_000, 1, 2000] {
            file.write_at(position, &vec![7; length]).unwrap();
            expected[position as usize..][..length].fill(7);
            position += length as u64;
            let mut found = vec![1; expected.len()];
            file.read_at(0, &mut found).unwrap();
            assert!(found == expected, "after a write of {length} bytes");
            assert_eq!(file.size().unwrap(), capacity);
        }
    }
}
