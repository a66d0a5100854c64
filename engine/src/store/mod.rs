//! The one seam to the outside: storage and time. Everything above is written against these traits, so that crashes,
//! torn writes, full disks and slow clocks are simulated with a seed as well as met for real.

mod direct;
pub mod faulty;
mod file;
mod local;

use std::io;
use std::sync::Arc;
use std::time::Duration;

pub use local::LocalStore;

/// Where the log, its snapshots and its manifest are kept: a directory, an object store, or a simulation.
///
/// Names are plain (`[a-z0-9.-]`), chosen by the engine. Every method blocks.
pub trait Store: Send + Sync + 'static {
    /// Every name in the store, in no order.
    ///
    /// # Errors
    /// What the storage said.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Creates a log file with `capacity` bytes reserved and reading as anything but an earlier file of that name.
    /// When it returns, file and name are durable.
    ///
    /// # Errors
    /// `StorageFull` when the space cannot be reserved: nothing was created.
    fn create(&self, name: &str, capacity: u64) -> io::Result<Arc<dyn LogFile>>;

    /// Opens an existing log file.
    ///
    /// # Errors
    /// `NotFound`, or what the storage said.
    fn open(&self, name: &str) -> io::Result<Arc<dyn LogFile>>;

    /// Writes a whole object. After a crash it is there whole or not at all (or as it was before); when `put` has
    /// returned it is durable.
    ///
    /// # Errors
    /// `StorageFull`: the object is as it was. After any other error it may be the new one.
    fn put(&self, name: &str, contents: &[u8]) -> io::Result<()>;

    /// Reads a whole object.
    ///
    /// # Errors
    /// `NotFound`, or what the storage said.
    fn get(&self, name: &str) -> io::Result<Vec<u8>>;

    /// Replaces an object only if it still is what the caller last saw (`None`: only if absent). Durable when it returns.
    ///
    /// # Errors
    /// `AlreadyExists` when it has changed: somebody else owns the store. Otherwise as [`Store::put`].
    fn swap(&self, name: &str, expected: Option<&[u8]>, contents: &[u8]) -> io::Result<()>;

    /// Removes a file or object; removing what is not there is fine. After a power cut it may be back, until the next
    /// `create`, `put` or `swap` has returned.
    ///
    /// # Errors
    /// What the storage said.
    fn delete(&self, name: &str) -> io::Result<()>;
}

/// The disk is written and read by pages of so many bytes. Bytes that lie in memory as far from a page's begin as they will in
/// the file can be written past the page cache without being copied.
pub const PAGE: usize = 4 << 10;

/// Where written bytes are wanted first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination {
    /// With the operating system: somebody waits for no more than that.
    PageCache,
    /// On the disk: a sync follows.
    Disk,
}

/// So much more room than bytes [`LogFile::read_large`] needs: to begin, and to read whole pages, where memory and file have one.
pub const READ_MARGIN: usize = 3 * PAGE;

/// One file of the commit log: written from the front by one writer, read anywhere by many.
pub trait LogFile: Send + Sync {
    /// Writes all of `bytes` at `position`. Nothing is promised until [`LogFile::sync`], whatever the destination.
    ///
    /// # Errors
    /// `StorageFull` may be retried with the same bytes; after any other error the file's tail is unknown.
    fn write_at(&self, position: u64, bytes: &[u8], to: Destination) -> io::Result<()>;

    /// Makes everything written so far durable.
    ///
    /// # Errors
    /// After an error nothing written since the last successful sync may be trusted, and a retry proves nothing.
    fn sync(&self) -> io::Result<()>;

    /// Fills `buffer` from `position`.
    ///
    /// # Errors
    /// `UnexpectedEof` when the file ends before the buffer is full.
    fn read_at(&self, position: u64, buffer: &mut [u8]) -> io::Result<()>;

    /// Reads `length` bytes at `position` into a buffer that has [`READ_MARGIN`] more, and says where in it they begin: so
    /// they may come from the disk without being copied.
    ///
    /// # Errors
    /// As [`LogFile::read_at`].
    fn read_large(&self, position: u64, length: usize, buffer: &mut [u8]) -> io::Result<usize> {
        self.read_at(position, &mut buffer[..length]).map(|()| 0)
    }

    /// The file's size in bytes, reserved space included.
    ///
    /// # Errors
    /// What the storage said.
    fn size(&self) -> io::Result<u64>;

    /// Cuts the file to `size` and makes that durable: the file is complete and will not be written again.
    ///
    /// # Errors
    /// What the storage said.
    fn seal(&self, size: u64) -> io::Result<()>;
}

/// Where time comes from.
pub trait Clock: Send + Sync + 'static {
    /// Wall-clock milliseconds since the Unix epoch; may jump.
    fn now_ms(&self) -> i64;
    /// Time since some fixed moment; never goes back. Deadlines of leases are counted on it.
    fn monotonic(&self) -> Duration;
}

/// The operating system's clock.
#[derive(Debug)]
pub struct SystemClock {
    start: std::time::Instant,
}

impl Default for SystemClock {
    fn default() -> Self {
        Self { start: std::time::Instant::now() }
    }
}

impl Clock for SystemClock {
    fn now_ms(&self) -> i64 {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }
}

/// Storage and time together: what [`crate::Engine::open`] needs of the world.
#[derive(Clone)]
pub struct Environment {
    /// Where data is kept.
    pub store: Arc<dyn Store>,
    /// Where time comes from.
    pub clock: Arc<dyn Clock>,
}

impl Environment {
    /// A directory on this machine and its clock; the directory is created, and locked until the last clone is gone.
    ///
    /// # Errors
    /// [`crate::Error::Locked`] when another process has it; [`crate::Error::Io`] when it cannot be made or written.
    pub fn local(directory: &std::path::Path) -> crate::Result<Self> {
        LocalStore::open(directory).map(Self::of)
    }

    /// A store and this machine's clock.
    #[must_use]
    pub fn of(store: LocalStore) -> Self {
        Self { store: Arc::new(store), clock: Arc::new(SystemClock::default()) }
    }
}
