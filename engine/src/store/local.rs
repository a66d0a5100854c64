//! A directory on a local file system.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::{LogFile, Store};
use crate::Result;

/// A directory on a local file system, locked against a second process.
pub struct LocalStore {}

impl LocalStore {
    /// Opens (and creates) the directory.
    ///
    /// # Errors
    /// [`crate::Error::Locked`], [`crate::Error::Io`].
    pub fn open(directory: &Path) -> Result<Self> {
        let _ = directory;
        todo!()
    }
}

#[allow(unused_variables)]
impl Store for LocalStore {
    fn list(&self) -> io::Result<Vec<String>> {
        todo!()
    }
    fn create(&self, name: &str, capacity: u64) -> io::Result<Arc<dyn LogFile>> {
        todo!()
    }
    fn open(&self, name: &str) -> io::Result<Arc<dyn LogFile>> {
        todo!()
    }
    fn put(&self, name: &str, contents: &[u8]) -> io::Result<()> {
        todo!()
    }
    fn get(&self, name: &str) -> io::Result<Vec<u8>> {
        todo!()
    }
    fn swap(&self, name: &str, expected: Option<&[u8]>, contents: &[u8]) -> io::Result<()> {
        todo!()
    }
    fn delete(&self, name: &str) -> io::Result<()> {
        todo!()
    }
}
