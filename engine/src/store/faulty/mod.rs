//! A store in memory that fails on purpose: the same seed and the same calls give the same failures.
//!
//! It keeps apart what a process sees and what is on stable storage. Un-synced sectors are lost, torn and reordered by a
//! power cut; a failed sync leaves them in any state and no later sync brings them back; deletions that were not made
//! durable may be undone; the space of a new file may hold an old one's bytes. Any call, found by its number, can fail or
//! be the last thing the process does.

mod clock;
mod disk;
mod random;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

pub use clock::SimulatedClock;
pub use random::Random;

use super::{Destination, LogFile, Store};
use disk::{Disk, Stored};

/// How a call is made to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Fault {
    /// The device reports an error (EIO). What the call should have changed is changed, not changed, or half so.
    Device,
    /// No space. A call that needs none reports [`Fault::Device`] instead.
    Full,
    /// The process dies in the middle of the call: half of it may have happened, and every later call fails until
    /// [`FaultyStore::restart`].
    Crash,
}

/// The ways into a store. Each call of one is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "named after the methods of Store and LogFile")]
pub enum Method {
    List,
    Create,
    Open,
    Put,
    Get,
    Swap,
    Delete,
    WriteAt,
    Sync,
    ReadAt,
    Size,
    Seal,
}

/// Where a fault was injected.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FaultPoint {
    /// The failing method.
    pub method: Method,
    /// What it was called on: the name with every number replaced by `#`, so files of one kind look alike.
    pub kind: String,
    /// Calls the process had made before this one.
    pub call: u64,
    /// What was injected.
    pub fault: Fault,
}

/// How the process before a [`FaultyStore::restart`] ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum End {
    /// It was killed (or it stopped): what it wrote is seen by the next one, on stable storage or not.
    Process,
    /// The machine lost power: what was not synced is lost, torn, reordered, or there.
    Power,
}

#[derive(Debug, Clone)]
struct State {
    disk: Disk,
    /// Counts restarts; handles of an earlier process are dead.
    process: u64,
    crashed: bool,
    calls: u64,
    plan: BTreeMap<u64, Fault>,
    injected: Vec<FaultPoint>,
}

/// One process's view of the simulated disk. Clones are the same process; [`FaultyStore::restart`] makes the next one.
#[derive(Debug, Clone)]
pub struct FaultyStore {
    state: Arc<Mutex<State>>,
    process: u64,
}

impl FaultyStore {
    /// An empty disk of unlimited size.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let state = State {
            disk: Disk::new(Random::new(seed)),
            process: 0,
            crashed: false,
            calls: 0,
            plan: BTreeMap::new(),
            injected: Vec::new(),
        };
        Self { state: Arc::new(Mutex::new(state)), process: 0 }
    }

    /// Ends this process, whose handles fail from now on, and starts the next on what is left. Planned faults are
    /// forgotten and calls are counted from zero.
    #[must_use]
    pub fn restart(&self, end: End) -> Self {
        let mut state = self.state.lock();
        match end {
            End::Process => state.disk.process_end(),
            End::Power => state.disk.power_cut(),
        }
        state.process += 1;
        state.crashed = false;
        state.calls = 0;
        state.plan.clear();
        Self { state: Arc::clone(&self.state), process: state.process }
    }

    /// The same disk once more, for a process of its own: what happens to one does not happen to the other.
    #[must_use]
    pub fn copy(&self) -> Self {
        let state = State { crashed: false, calls: 0, plan: BTreeMap::new(), ..self.state.lock().clone() };
        Self { process: state.process, state: Arc::new(Mutex::new(state)) }
    }

    /// Plans a fault for the call that `calls` others come before (0 is the next one).
    pub fn inject(&self, calls: u64, fault: Fault) {
        let mut state = self.state.lock();
        let at = state.calls + calls;
        state.plan.insert(at, fault);
    }

    /// Forgets planned faults that have not happened.
    pub fn calm(&self) {
        self.state.lock().plan.clear();
    }

    /// Calls made by this process.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.state.lock().calls
    }

    /// Whether a planned crash has happened.
    #[must_use]
    pub fn crashed(&self) -> bool {
        self.state.lock().crashed
    }

    /// Every fault injected so far, over all processes, in order.
    #[must_use]
    pub fn injected(&self) -> Vec<FaultPoint> {
        self.state.lock().injected.clone()
    }

    /// Sets the size of the disk in bytes.
    pub fn set_capacity(&self, bytes: u64) {
        self.state.lock().disk.capacity = bytes;
    }

    /// Bytes in use, reserved ones included.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.state.lock().disk.used()
    }

    /// Every name with its contents as the process sees them.
    #[must_use]
    pub fn contents(&self) -> BTreeMap<String, Vec<u8>> {
        let state = self.state.lock();
        state.disk.files.iter().map(|(name, stored)| (name.clone(), stored.contents().to_vec())).collect()
    }

    /// Flips one bit (0 to 7) of a stored byte, as a decaying disk does: nobody is told. Past the end nothing happens.
    pub fn flip(&self, name: &str, position: usize, bit: u8) {
        match self.state.lock().disk.files.get_mut(name) {
            Some(Stored::Log(sectors)) => sectors.flip(position, bit % 8),
            Some(Stored::Object(bytes)) => {
                if let Some(byte) = bytes.get_mut(position) {
                    *byte ^= 1 << (bit % 8);
                }
            }
            None => {}
        }
    }

    /// Cuts a stored file or object to `size` bytes, as a bad copy or a repaired file system does.
    pub fn cut(&self, name: &str, size: usize) {
        match self.state.lock().disk.files.get_mut(name) {
            Some(Stored::Log(sectors)) => sectors.seal(size),
            Some(Stored::Object(bytes)) => bytes.truncate(size),
            None => {}
        }
    }

    /// Counts a call and runs it: `whole` when nothing was planned for it, else `broken`, whose error is the fault's.
    fn call<T>(
        &self,
        method: Method,
        name: &str,
        whole: impl FnOnce(&mut Disk) -> io::Result<T>,
        broken: impl FnOnce(&mut Disk, Fault),
    ) -> io::Result<T> {
        let mut state = self.state.lock();
        if state.crashed || state.process != self.process {
            return Err(io::Error::other("the simulated process is dead"));
        }
        let call = state.calls;
        state.calls += 1;
        let Some(planned) = state.plan.remove(&call) else {
            return whole(&mut state.disk);
        };
        let fault = if planned == Fault::Full && !method.needs_space() { Fault::Device } else { planned };
        state.injected.push(FaultPoint { method, kind: kind(name), call, fault });
        broken(&mut state.disk, fault);
        state.crashed = fault == Fault::Crash;
        Err(match fault {
            Fault::Full => io::ErrorKind::StorageFull.into(),
            Fault::Device => io::Error::other("simulated input/output error"),
            Fault::Crash => io::Error::other("the simulated process is dead"),
        })
    }

    fn file(&self, name: &str) -> Arc<dyn LogFile> {
        Arc::new(FaultyFile { store: self.clone(), name: name.into() })
    }
}

impl Method {
    fn needs_space(self) -> bool {
        matches!(self, Self::Create | Self::Put | Self::Swap | Self::WriteAt)
    }
}

/// The name with every run of hexadecimal digits that holds a decimal one replaced by `#`.
fn kind(name: &str) -> String {
    let mut kind = String::new();
    for part in name.split_inclusive(['-', '.', '_']) {
        let (word, end) = part.split_at(part.trim_end_matches(['-', '.', '_']).len());
        let number = word.contains(|c: char| c.is_ascii_digit()) && word.chars().all(|c| c.is_ascii_hexdigit());
        kind.push_str(if number { "#" } else { word });
        kind.push_str(end);
    }
    kind
}

fn unchanged(_: &mut Disk, _: Fault) {}

/// A change that is all or nothing: after a device error or a crash it may have happened; after "no space" it has not.
fn perhaps(change: impl FnOnce(&mut Disk)) -> impl FnOnce(&mut Disk, Fault) {
    move |disk, fault| {
        if fault != Fault::Full && disk.random.chance(50) {
            change(disk);
        }
    }
}

impl Store for FaultyStore {
    fn list(&self) -> io::Result<Vec<String>> {
        self.call(Method::List, "", |disk| Ok(disk.files.keys().cloned().collect()), unchanged)
    }

    fn create(&self, name: &str, capacity: u64) -> io::Result<Arc<dyn LogFile>> {
        let size = usize::try_from(capacity).map_err(|_| io::ErrorKind::StorageFull)?;
        let whole = |disk: &mut Disk| {
            disk.reserve(capacity)?;
            disk.create(name, size);
            Ok(())
        };
        // Not all of the space may have been reserved when it broke off.
        let broken = perhaps(|disk: &mut Disk| {
            let part = if disk.random.chance(50) { size } else { disk.random.index(size + 1) };
            disk.create(name, part);
        });
        self.call(Method::Create, name, whole, broken)?;
        Ok(self.file(name))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn LogFile>> {
        self.call(Method::Open, name, |disk| disk.log(name).map(|_| ()), unchanged)?;
        Ok(self.file(name))
    }

    fn put(&self, name: &str, contents: &[u8]) -> io::Result<()> {
        let whole = |disk: &mut Disk| {
            // Written beside the old one and renamed over it: for a moment there are both.
            disk.reserve(contents.len() as u64)?;
            disk.put(name, contents);
            Ok(())
        };
        self.call(Method::Put, name, whole, perhaps(|disk| disk.put(name, contents)))
    }

    fn get(&self, name: &str) -> io::Result<Vec<u8>> {
        self.call(Method::Get, name, |disk| disk.object(name).map(<[u8]>::to_vec), unchanged)
    }

    fn swap(&self, name: &str, expected: Option<&[u8]>, contents: &[u8]) -> io::Result<()> {
        let whole = |disk: &mut Disk| {
            if disk.object(name).ok() != expected {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            disk.reserve(contents.len() as u64)?;
            disk.put(name, contents);
            Ok(())
        };
        let broken = perhaps(|disk: &mut Disk| {
            if disk.object(name).ok() == expected {
                disk.put(name, contents);
            }
        });
        self.call(Method::Swap, name, whole, broken)
    }

    fn delete(&self, name: &str) -> io::Result<()> {
        let whole = |disk: &mut Disk| {
            disk.delete(name);
            Ok(())
        };
        self.call(Method::Delete, name, whole, perhaps(|disk| disk.delete(name)))
    }
}

struct FaultyFile {
    store: FaultyStore,
    name: String,
}

impl LogFile for FaultyFile {
    fn write_at(&self, position: u64, bytes: &[u8], _: Destination) -> io::Result<()> {
        let start = usize::try_from(position).map_err(|_| io::ErrorKind::InvalidInput)?;
        let whole = |disk: &mut Disk| {
            let size = disk.log(&self.name)?.size();
            disk.reserve((position + bytes.len() as u64).saturating_sub(size))?;
            disk.log(&self.name)?.write(start, bytes);
            Ok(())
        };
        // Some of it, from the front, within the file: space is what may be missing.
        let broken = |disk: &mut Disk, _: Fault| {
            let part = disk.random.index(bytes.len() + 1);
            if let Ok(log) = disk.log(&self.name) {
                let room = usize::try_from(log.size()).unwrap_or(usize::MAX).saturating_sub(start);
                log.write(start, &bytes[..part.min(room)]);
            }
        };
        self.store.call(Method::WriteAt, &self.name, whole, broken)
    }

    fn sync(&self) -> io::Result<()> {
        let whole = |disk: &mut Disk| disk.log(&self.name).map(disk::Sectors::sync);
        let broken = |disk: &mut Disk, fault: Fault| {
            let mut random = disk.random.fork();
            match (disk.log(&self.name), fault) {
                (Ok(log), Fault::Crash) if random.chance(50) => log.sync(),
                (Ok(log), Fault::Device) => log.fail_sync(&mut random),
                _ => {}
            }
        };
        self.store.call(Method::Sync, &self.name, whole, broken)
    }

    fn read_at(&self, position: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.store.call(Method::ReadAt, &self.name, |disk| disk.log(&self.name)?.read(position, buffer), unchanged)
    }

    fn size(&self) -> io::Result<u64> {
        self.store.call(Method::Size, &self.name, |disk| disk.log(&self.name).map(|log| log.size()), unchanged)
    }

    fn seal(&self, size: u64) -> io::Result<()> {
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        let whole = |disk: &mut Disk| disk.log(&self.name).map(|log| log.seal(size));
        let broken = |disk: &mut Disk, fault: Fault| {
            let mut random = disk.random.fork();
            match (disk.log(&self.name), fault, random.below(3)) {
                (Ok(log), _, 0) => log.seal(size),
                (Ok(log), _, 1) => log.sync(),
                (Ok(log), Fault::Device, _) => log.fail_sync(&mut random),
                _ => {}
            }
        };
        self.store.call(Method::Seal, &self.name, whole, broken)
    }
}

#[cfg(test)]
mod tests;
