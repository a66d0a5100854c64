//! Reading and writing past the kernel's page cache (`O_DIRECT`), whole pages at a time.
//!
//! A page cache costs the processor more than the disk does: a page to be found, filled, copied out of and given back for each
//! 4 KiB. What is read at the tail is in memory of our own; what is read far behind it is read once.

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use parking_lot::Mutex;
use rustix::fs::OFlags;
use rustix::io::pwritev;

use super::{PAGE, READ_MARGIN};

/// So much is copied and written with one call: large enough for the disk, small enough to stay in the processor's cache.
const PIECE: usize = 64 << 10;

/// A file opened to be read and written past the page cache.
#[derive(Debug)]
pub(super) struct Direct {
    file: File,
    end: Mutex<End>,
}

/// The end of what was written.
#[derive(Debug, Default)]
struct End {
    position: u64,
    /// Begins, where a page does, with the last page as far as it is filled.
    piece: Vec<u8>,
}

/// Bytes that lie in memory as they will in the file, so that all but their first and last page can be written as they are.
struct Congruent<'a> {
    first: &'a [u8],
    whole: &'a [u8],
    last: &'a [u8],
}

impl Direct {
    /// None where the file system cannot.
    pub(super) fn open(path: &Path) -> Option<Self> {
        let flags = i32::try_from(OFlags::DIRECT.bits()).ok()?;
        let file = OpenOptions::new().read(true).write(true).custom_flags(flags).open(path).ok()?;
        Some(Self { file, end: Mutex::default() })
    }

    /// Writes behind what was written last, within the `reserved` bytes of the file. False, and nothing was done, if `position`
    /// is not there or whole pages do not fit.
    ///
    /// # Errors
    /// What the storage said. Nothing more can be appended.
    pub(super) fn append(&self, position: u64, bytes: &[u8], reserved: u64) -> io::Result<bool> {
        let mut end = self.end.lock();
        let after = position + bytes.len() as u64;
        if position != end.position || after.next_multiple_of(PAGE as u64) > reserved {
            return Ok(false);
        }
        end.position = u64::MAX;
        end.write(&self.file, position, bytes)?;
        end.position = after;
        Ok(true)
    }

    /// Writes whole pages that begin and end at a multiple of [`PAGE`], in memory too.
    ///
    /// # Errors
    /// What the storage said.
    pub(super) fn write_pages(&self, position: u64, pages: &[&[u8]]) -> io::Result<()> {
        write_all(&self.file, position, pages)
    }

    /// Nothing more will be appended.
    pub(super) fn finish(&self) {
        *self.end.lock() = End { position: u64::MAX, ..End::default() };
    }

    /// Fills `buffer` from `position`.
    ///
    /// # Errors
    /// As [`Direct::read`].
    pub(super) fn read_at(&self, position: u64, buffer: &mut [u8]) -> io::Result<()> {
        let mut pages = vec![0; buffer.len() + READ_MARGIN];
        let start = self.read(position, buffer.len(), &mut pages)?;
        buffer.copy_from_slice(&pages[start..start + buffer.len()]);
        Ok(())
    }

    /// Reads the pages in which `length` bytes at `position` lie into a buffer that has [`READ_MARGIN`] more, and says where in
    /// it those bytes begin.
    ///
    /// # Errors
    /// `UnexpectedEof` when the file ends before them, or what the storage said.
    pub(super) fn read(&self, position: u64, length: usize, buffer: &mut [u8]) -> io::Result<usize> {
        let lead = page_part(position);
        let wanted = lead + length;
        let start = buffer.as_ptr().align_offset(PAGE);
        let pages = &mut buffer[start..start + wanted.next_multiple_of(PAGE)];
        let mut filled = 0;
        while filled < wanted {
            match self.file.read_at(&mut pages[filled..], position - lead as u64 + filled as u64)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => filled += read,
            }
        }
        Ok(start + lead)
    }
}

impl End {
    /// Made with the first write, for most files are only read.
    fn piece(&mut self) -> &mut [u8] {
        self.piece.resize(PIECE + PAGE, 0);
        aligned(&mut self.piece)
    }

    fn write(&mut self, file: &File, position: u64, bytes: &[u8]) -> io::Result<()> {
        match Congruent::split(position, bytes) {
            Some(congruent) => self.write_in_place(file, position, &congruent),
            None => self.write_copied(file, position, bytes),
        }
    }

    /// Writes whole pages from where they are, and those at both ends from a copy.
    fn write_in_place(&mut self, file: &File, position: u64, bytes: &Congruent<'_>) -> io::Result<()> {
        let filled = page_part(position);
        let piece = self.piece();
        let (first, last) = piece.split_at_mut(PAGE);
        let last = &mut last[..bytes.last.len().next_multiple_of(PAGE)];
        first[filled..filled + bytes.first.len()].copy_from_slice(bytes.first);
        last[..bytes.last.len()].copy_from_slice(bytes.last);
        last[bytes.last.len()..].fill(0);
        let first = &first[..if bytes.first.is_empty() { 0 } else { PAGE }];
        write_all(file, position - filled as u64, &[first, bytes.whole, last])?;
        let length = bytes.last.len();
        piece.copy_within(PAGE..PAGE + length, 0);
        Ok(())
    }

    fn write_copied(&mut self, file: &File, position: u64, mut bytes: &[u8]) -> io::Result<()> {
        let mut filled = page_part(position);
        let mut page = position - filled as u64;
        let piece = self.piece();
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(PIECE - filled));
            piece[filled..filled + now.len()].copy_from_slice(now);
            filled += now.len();
            let whole = filled.next_multiple_of(PAGE);
            piece[filled..whole].fill(0);
            file.write_all_at(&piece[..whole], page)?;
            let full = filled - filled % PAGE;
            piece.copy_within(full..filled, 0);
            page += full as u64;
            filled -= full;
            bytes = later;
        }
        Ok(())
    }
}

impl<'a> Congruent<'a> {
    /// None if they do not lie so, or if it is not worth while.
    fn split(position: u64, bytes: &'a [u8]) -> Option<Self> {
        let lead = (PAGE - page_part(position)) % PAGE;
        if bytes.len() < PIECE || bytes.as_ptr().align_offset(PAGE) != lead {
            return None;
        }
        let (first, rest) = bytes.split_at(lead);
        let (whole, last) = rest.split_at(rest.len() - rest.len() % PAGE);
        Some(Self { first, whole, last })
    }
}

/// Writes all of it, with one call if the disk takes it so.
pub(super) fn write_all(file: &File, mut position: u64, parts: &[&[u8]]) -> io::Result<()> {
    let length = parts.iter().map(|part| part.len()).sum::<usize>();
    let slices = parts.iter().map(|part| IoSlice::new(part)).collect::<Vec<_>>();
    let mut written = pwritev(file, &slices, position)?;
    if written == length {
        return Ok(());
    }
    for part in parts {
        let done = written.min(part.len());
        file.write_all_at(&part[done..], position + done as u64)?;
        written -= done;
        position += part.len() as u64;
    }
    Ok(())
}

/// The part of a buffer that begins at a multiple of a page, in memory.
fn aligned(buffer: &mut [u8]) -> &mut [u8] {
    let start = buffer.as_ptr().align_offset(PAGE);
    &mut buffer[start..]
}

/// How far into its page a position is.
fn page_part(position: u64) -> usize {
    (position % PAGE as u64) as usize
}
