//! The disk under the simulation: what a process sees of it, and what a power cut leaves.

use std::collections::BTreeMap;
use std::io;

use super::Random;

/// The unit a disk writes whole.
pub(super) const SECTOR: usize = 512;
/// Freed contents remembered, to be found again in the space of a new file.
const REMNANTS: usize = 4;

/// How much of what was not synced a power cut lets through.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Nothing,
    Everything,
    Some,
}

/// A file of the commit log: what reads return, what is on stable storage, and every version in between.
#[derive(Debug, Clone, Default)]
pub(super) struct Sectors {
    seen: Vec<u8>,
    stable: Vec<u8>,
    dirty: BTreeMap<usize, Vec<Vec<u8>>>,
    sync_failed: bool,
}

impl Sectors {
    fn reserved(contents: Vec<u8>) -> Self {
        Self { seen: contents.clone(), stable: contents, ..Self::default() }
    }

    pub fn size(&self) -> u64 {
        self.seen.len() as u64
    }

    pub fn read(&self, position: u64, buffer: &mut [u8]) -> io::Result<()> {
        let start = usize::try_from(position).unwrap_or(usize::MAX);
        let end = start.checked_add(buffer.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(self.seen.get(start..end).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    pub fn write(&mut self, position: usize, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let end = position + bytes.len();
        if self.seen.len() < end {
            self.seen.resize(end, 0);
        }
        self.seen[position..end].copy_from_slice(bytes);
        for sector in position / SECTOR..=(end - 1) / SECTOR {
            let from = sector * SECTOR;
            let version = self.seen[from..self.seen.len().min(from + SECTOR)].to_vec();
            self.dirty.entry(sector).or_default().push(version);
        }
    }

    pub fn sync(&mut self) {
        for (sector, versions) in std::mem::take(&mut self.dirty) {
            if let Some(last) = versions.last() {
                self.persist(sector, last);
            }
        }
    }

    /// The kernel reports the failure once and calls the pages clean: what did not reach the disk never will.
    pub fn fail_sync(&mut self, random: &mut Random) {
        self.settle(random);
        self.sync_failed = true;
    }

    pub fn seal(&mut self, size: usize) {
        self.sync();
        self.seen.truncate(size);
        self.stable.truncate(size);
    }

    /// After a power cut only stable bytes are left.
    pub fn power_cut(&mut self, random: &mut Random) {
        self.settle(random);
        self.seen.clone_from(&self.stable);
        self.sync_failed = false;
    }

    /// After a failed sync the pages may have been dropped from memory by the time the next process reads them.
    pub fn process_end(&mut self, random: &mut Random) {
        if !std::mem::take(&mut self.sync_failed) || random.chance(50) {
            return;
        }
        for sector in 0..self.stable.len().min(self.seen.len()).div_ceil(SECTOR) {
            if !self.dirty.contains_key(&sector) && random.chance(50) {
                let range = sector * SECTOR..self.stable.len().min(self.seen.len()).min((sector + 1) * SECTOR);
                self.seen[range.clone()].copy_from_slice(&self.stable[range]);
            }
        }
    }

    pub fn flip(&mut self, position: usize, bit: u8) {
        for bytes in [&mut self.seen, &mut self.stable] {
            if let Some(byte) = bytes.get_mut(position) {
                *byte ^= 1 << bit;
            }
        }
    }

    pub fn contents(&self) -> &[u8] {
        &self.seen
    }

    /// Decides for every dirty sector which of its versions, the old one included, is on the disk.
    fn settle(&mut self, random: &mut Random) {
        let fate = *random.pick(&[Fate::Nothing, Fate::Everything, Fate::Some, Fate::Some]).unwrap_or(&Fate::Some);
        for (sector, versions) in std::mem::take(&mut self.dirty) {
            let chosen = match fate {
                Fate::Nothing => 0,
                Fate::Everything => versions.len(),
                Fate::Some => random.index(versions.len() + 1),
            };
            if let Some(version) = chosen.checked_sub(1).and_then(|index| versions.get(index)) {
                self.persist(sector, version);
            }
        }
    }

    fn persist(&mut self, sector: usize, version: &[u8]) {
        let from = sector * SECTOR;
        let to = from + version.len();
        if self.stable.len() < to {
            self.stable.resize(to, 0);
        }
        self.stable[from..to].copy_from_slice(version);
    }
}

/// What a name stands for.
#[derive(Debug, Clone)]
pub(super) enum Stored {
    Log(Sectors),
    Object(Vec<u8>),
}

impl Stored {
    pub fn contents(&self) -> &[u8] {
        match self {
            Self::Log(sectors) => sectors.contents(),
            Self::Object(bytes) => bytes,
        }
    }
}

/// Names, their contents, and how much fits.
#[derive(Debug, Clone)]
pub(super) struct Disk {
    pub files: BTreeMap<String, Stored>,
    pub capacity: u64,
    pub random: Random,
    /// Deleted, but the directory was not synced since: may be back after a power cut.
    undead: Vec<(String, Stored)>,
    /// What freed space still holds.
    remnants: Vec<(String, Vec<u8>)>,
}

impl Disk {
    pub fn new(random: Random) -> Self {
        Self { files: BTreeMap::new(), capacity: u64::MAX, random, undead: Vec::new(), remnants: Vec::new() }
    }

    pub fn used(&self) -> u64 {
        self.files.values().map(|stored| stored.contents().len() as u64).sum()
    }

    pub fn reserve(&self, bytes: u64) -> io::Result<()> {
        if self.used().saturating_add(bytes) > self.capacity {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    pub fn log(&mut self, name: &str) -> io::Result<&mut Sectors> {
        match self.files.get_mut(name) {
            Some(Stored::Log(sectors)) => Ok(sectors),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    pub fn object(&self, name: &str) -> io::Result<&[u8]> {
        match self.files.get(name) {
            Some(Stored::Object(bytes)) => Ok(bytes),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    pub fn create(&mut self, name: &str, size: usize) {
        self.remove(name);
        let contents = self.reserved_space(name, size);
        self.files.insert(name.into(), Stored::Log(Sectors::reserved(contents)));
        self.sync_names();
    }

    pub fn put(&mut self, name: &str, contents: &[u8]) {
        self.files.insert(name.into(), Stored::Object(contents.to_vec()));
        self.sync_names();
    }

    pub fn delete(&mut self, name: &str) {
        if let Some(stored) = self.files.get(name).cloned() {
            self.remove(name);
            self.undead.push((name.into(), stored));
        }
    }

    pub fn power_cut(&mut self) {
        for (name, stored) in std::mem::take(&mut self.undead) {
            if self.random.chance(50) {
                self.files.entry(name).or_insert(stored);
            }
        }
        for stored in self.files.values_mut() {
            if let Stored::Log(sectors) = stored {
                sectors.power_cut(&mut self.random);
            }
        }
    }

    pub fn process_end(&mut self) {
        for stored in self.files.values_mut() {
            if let Stored::Log(sectors) = stored {
                sectors.process_end(&mut self.random);
            }
        }
    }

    /// The directory is one: syncing it for one name makes every earlier deletion durable too.
    fn sync_names(&mut self) {
        self.undead.clear();
    }

    fn remove(&mut self, name: &str) {
        if let Some(Stored::Log(sectors)) = self.files.remove(name) {
            self.remnants.push((name.into(), sectors.seen));
            if self.remnants.len() > REMNANTS {
                self.remnants.remove(0);
            }
        }
    }

    /// Zeros, noise, or what an earlier file (of another name) left in that space.
    fn reserved_space(&mut self, name: &str, size: usize) -> Vec<u8> {
        let others: Vec<&Vec<u8>> = self.remnants.iter().filter(|(of, _)| of != name).map(|(_, bytes)| bytes).collect();
        let mut contents = match self.random.below(4) {
            0 => (0..size).map(|_| self.random.bits() as u8).collect(),
            1 | 2 => self.random.pick(&others).map(|bytes| bytes.to_vec()).unwrap_or_default(),
            _ => Vec::new(),
        };
        contents.resize(size, 0);
        contents
    }
}
