//! The manifest: which segments and which snapshot make up the log. Replaced whole, by compare-and-swap.

use std::io;

use serde::{Deserialize, Serialize};

use super::segment::{FORMAT_VERSION, SegmentId, SegmentKind};
use crate::batch::checksum;
use crate::store::Store;
use crate::{Error, Result};

const NAME: &str = "manifest";
const MAGIC: &[u8; 8] = b"TGMANIFE";

/// A range of a segment that an operator has given up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Skipped {
    pub segment: SegmentId,
    pub position: u64,
    pub length: u64,
}

/// What the log consists of.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Manifest {
    /// Name of the newest snapshot, and the first block it does not contain.
    pub snapshot: Option<(String, u64)>,
    /// Segments in order of creation.
    pub segments: Vec<(SegmentId, SegmentKind)>,
    /// The next segment's number.
    pub next_segment: u64,
    /// What an operator has given up.
    pub skipped: Vec<Skipped>,
}

/// The manifest as it lies in the store: what a swap expects to find.
#[derive(Debug, Default)]
pub(crate) struct StoredManifest {
    pub manifest: Manifest,
    stored: Option<Vec<u8>>,
    /// Written last without an answer: it may be what the store holds now.
    attempted: Option<Vec<u8>>,
}

impl StoredManifest {
    /// Reads the manifest; an empty store has an empty one.
    pub(crate) fn load(store: &dyn Store) -> Result<Self> {
        let stored = match store.get(NAME) {
            Ok(stored) => stored,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Self::absent(store),
            Err(error) => return Err(Error::io("reading the manifest", &error)),
        };
        let (_, body) = open_object(NAME, MAGIC, FORMAT_VERSION, &stored)?;
        let manifest = postcard::from_bytes(body).map_err(|_| undecodable(NAME))?;
        Ok(Self { manifest, stored: Some(stored), attempted: None })
    }

    /// No manifest is fine where there is nothing else either.
    fn absent(store: &dyn Store) -> Result<Self> {
        let names = store.list().map_err(|e| Error::io("listing the data directory", &e))?;
        if let Some(name) =
            names.iter().find(|name| name.ends_with(".seg") && !name.starts_with("log-0000000000000000."))
        {
            let reason = format!("it is missing although {name} is there");
            return Err(Error::Corrupt { file: NAME.to_owned(), position: 0, reason });
        }
        Ok(Self::default())
    }

    /// The manifest as the store has it, whatever became of the last change.
    pub(crate) fn current(&mut self, store: &dyn Store) -> Result<&Manifest> {
        if let Some(attempted) = &self.attempted {
            let found = Self::load(store)?;
            if found.stored != self.stored && found.stored.as_ref() != Some(attempted) {
                return Err(Error::Locked);
            }
            *self = found;
        }
        Ok(&self.manifest)
    }

    /// Changes the manifest; durable when it returns.
    ///
    /// # Errors
    /// [`Error::DiskFull`]: nothing happened. After any other it may have been changed.
    pub(crate) fn change(&mut self, store: &dyn Store, change: impl FnOnce(&mut Manifest)) -> Result<()> {
        let mut next = self.current(store)?.clone();
        change(&mut next);
        let contents = seal_object(MAGIC, FORMAT_VERSION, &next)?;
        match store.swap(NAME, self.stored.as_deref(), &contents) {
            Ok(()) => {
                *self = Self { manifest: next, stored: Some(contents), attempted: None };
                Ok(())
            }
            Err(error) => match error.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Err(Error::DiskFull),
                io::ErrorKind::AlreadyExists => Err(Error::Locked),
                _ => {
                    self.attempted = Some(contents);
                    Err(Error::io("writing the manifest", &error))
                }
            },
        }
    }
}

/// Encodes a small object with its magic, format version and checksum.
pub(crate) fn seal_object<T: Serialize>(magic: &[u8; 8], version: u32, value: &T) -> Result<Vec<u8>> {
    let mut contents = magic.to_vec();
    contents.extend_from_slice(&version.to_le_bytes());
    contents.extend_from_slice(&[0; 4]);
    let mut contents = postcard::to_extend(value, contents).map_err(|e| Error::Invalid(e.to_string()))?;
    let crc = checksum(&contents[16..]);
    contents[12..16].copy_from_slice(&crc.to_le_bytes());
    Ok(contents)
}

/// Checks what [`seal_object`] made, in any version up to `newest`: the version, and what is to be decoded.
pub(crate) fn open_object<'a>(name: &str, magic: &[u8; 8], newest: u32, contents: &'a [u8]) -> Result<(u32, &'a [u8])> {
    let corrupt =
        |position, reason: &str| Error::Corrupt { file: name.to_owned(), position, reason: reason.to_owned() };
    let (head, body) = contents.split_at_checked(16).ok_or_else(|| corrupt(0, "it is cut short"))?;
    let word = |at: usize| head[at..at + 4].try_into().map_or(0, u32::from_le_bytes);
    if head[..8] != *magic {
        return Err(corrupt(0, "it does not begin as it should"));
    }
    if checksum(body) != word(12) {
        return Err(corrupt(12, "its checksum does not match"));
    }
    if !(1..=newest).contains(&word(8)) {
        return Err(Error::Format { file: name.to_owned(), found: word(8), supported: newest });
    }
    Ok((word(8), body))
}

/// The checksum is right, and still it cannot be read.
pub(crate) fn undecodable(name: &str) -> Error {
    Error::Corrupt { file: name.to_owned(), position: 16, reason: "it does not decode".to_owned() }
}
