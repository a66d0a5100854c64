//! A directory on a local file system.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FallocateFlags, fallocate};

use super::direct::Direct;
use super::file::LocalFile;
use super::{LogFile, Store};
use crate::{Error, Result};

/// Names the file whose lock says that a process owns the directory.
const LOCK: &str = "lock";
/// Ends the name of a file that is being written and does not count yet.
const UNFINISHED: &str = ".tmp";

/// Messages are nobody else's business.
const OWNER_ONLY: u32 = 0o600;

/// A directory on a local file system, locked against a second process until it is dropped.
#[derive(Debug)]
pub struct LocalStore {
    directory: PathBuf,
    direct_io: bool,
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
        let store = Self { directory: directory.to_owned(), direct_io: true, _lock: lock };
        store.remove_unfinished().map_err(|e| failed(&e))?;
        Ok(store)
    }

    /// Whether log files are written and read past the kernel's page cache where that pays and the file system can; by
    /// default they are.
    #[must_use]
    pub fn direct_io(self, direct_io: bool) -> Self {
        Self { direct_io, ..self }
    }

    fn direct(&self, path: &Path) -> Option<Direct> {
        self.direct_io.then(|| Direct::open(path)).flatten()
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
        let direct = self.direct(&path);
        Ok(Arc::new(LocalFile::created(path, file, direct, capacity)))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn LogFile>> {
        let path = self.path(name);
        let file = OpenOptions::new().read(true).write(true).open(&path)?;
        let size = file.metadata()?.len();
        let direct = self.direct(&path);
        Ok(Arc::new(LocalFile::opened(path, file, direct, size)))
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
