//! For operators: what a data directory holds, what in it does not check, and giving damage up.

use crate::batch::Batch;
use crate::log::{
    Found, IndexEntry, SEGMENT_HEADER_BYTES, Segment, SegmentKind, Skipped, StoredManifest, add_index_entries,
    decode_chunk, rebuild_footer,
};
use crate::store::Store;
use crate::{Error, Result};

/// What a data directory holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    /// The newest snapshot's name.
    pub snapshot: Option<String>,
    /// Every segment, oldest first.
    pub segments: Vec<SegmentInspection>,
}

/// What one segment holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentInspection {
    /// Its file.
    pub file: String,
    /// It has its index and will not be written again.
    pub sealed: bool,
    /// Blocks that check.
    pub blocks: u64,
    /// Record batches in them.
    pub batches: u64,
    /// Bytes of the blocks that check.
    pub bytes: u64,
    /// What does not check.
    pub damage: Vec<Damage>,
}

/// A stretch of a file that does not check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// Where it begins.
    pub position: u64,
    /// Up to the next block that checks, or the end.
    pub length: u64,
    /// Why it does not check.
    pub reason: String,
    /// Nothing that checks follows it in the file: in the newest segment that is an unfinished write, which opening cuts by itself.
    pub at_end: bool,
}

/// Reads everything in a store and checks it. Changes nothing.
///
/// # Errors
/// [`Error::Corrupt`] when the manifest itself does not check, [`Error::Io`].
pub fn inspect(store: &dyn Store) -> Result<Inspection> {
    let manifest = StoredManifest::load(store)?.manifest;
    let mut segments = Vec::new();
    for (id, kind) in &manifest.segments {
        segments.push(match Segment::open(store, *id, *kind) {
            Ok(segment) => inspect_segment(&segment)?,
            Err(error) => unopened(kind.file_name(*id), &error),
        });
    }
    Ok(Inspection { snapshot: manifest.snapshot.map(|(name, _)| name), segments })
}

/// Gives up the damage at `position` of `file`: the engine then opens and serves everything else. The bytes stay where
/// they are. A damaged index is rebuilt from the blocks instead, which loses nothing.
///
/// # Errors
/// [`Error::Invalid`] when nothing at that position is damaged.
pub fn skip(store: &dyn Store, file: &str, position: u64) -> Result<Damage> {
    let mut manifest = StoredManifest::load(store)?;
    let listed = manifest.manifest.segments.iter().find(|(id, kind)| kind.file_name(*id) == file).copied();
    let Some((id, kind)) = listed else { return Err(Error::Invalid(format!("{file} is not a segment of this log"))) };
    let segment = Segment::open(store, id, kind)?;
    let found = inspect_segment(&segment)?
        .damage
        .into_iter()
        .find(|damage| (damage.position..damage.position + damage.length).contains(&position));
    let Some(damage) = found else {
        return Err(Error::Invalid(format!("nothing is damaged at byte {position} of {file}")));
    };
    let Ok(Some(footer)) = segment.footer() else {
        if kind == SegmentKind::Log && damage.at_end {
            rebuild_footer(&segment, damage.position)?;
            return Ok(damage);
        }
        let skipped = Skipped { segment: id, position: damage.position, length: damage.length };
        manifest.change(store, |manifest| manifest.skipped.push(skipped))?;
        return Ok(damage);
    };
    let mut ranges = vec![Skipped { segment: id, position: damage.position, length: damage.length }];
    for (_, chunk) in &footer.chunks {
        let encoded = segment.read(chunk.index_position, chunk.index_length as usize)?;
        let Ok(entries) = decode_chunk(&segment.name, chunk, &encoded) else {
            rebuild_footer(&segment, footer.blocks_end)?;
            return Ok(damage);
        };
        ranges.extend(damaged_batches(&segment, &entries, &damage)?);
    }
    manifest.change(store, |manifest| manifest.skipped.extend(ranges))?;
    Ok(damage)
}

/// The batches within a damaged block that really are damaged: the others stay readable.
fn damaged_batches(segment: &Segment, entries: &[IndexEntry], damage: &Damage) -> Result<Vec<Skipped>> {
    let range = damage.position..damage.position + damage.length;
    let mut skipped = Vec::new();
    for entry in entries.iter().filter(|entry| range.contains(&entry.position)) {
        let mut bytes = segment.read(entry.position, entry.length as usize)?;
        let checks = Batch::split_from(&mut bytes)
            .is_ok_and(|batch| entry.shared || batch.header.base_offset == entry.base_offset);
        if !checks {
            skipped.push(Skipped { segment: segment.id, position: entry.position, length: u64::from(entry.length) });
        }
    }
    Ok(skipped)
}

fn unopened(file: String, error: &Error) -> SegmentInspection {
    let damage = Damage { position: 0, length: SEGMENT_HEADER_BYTES, reason: error.to_string(), at_end: false };
    SegmentInspection { file, sealed: false, blocks: 0, batches: 0, bytes: 0, damage: vec![damage] }
}

fn inspect_segment(segment: &Segment) -> Result<SegmentInspection> {
    let size = segment.file.size().map_err(|e| Error::io(format!("reading {}", segment.name), &e))?;
    let footer = segment.footer();
    let mut report = SegmentInspection {
        file: segment.name.clone(),
        sealed: matches!(footer, Ok(Some(_))),
        blocks: 0,
        batches: 0,
        bytes: 0,
        damage: Vec::new(),
    };
    let end = match &footer {
        Ok(Some(footer)) => footer.blocks_end,
        _ => size,
    };
    let mut position = SEGMENT_HEADER_BYTES;
    while position < end {
        match segment.block_at(position, end)? {
            Found::Block(block) => {
                let mut index = Vec::new();
                block
                    .entries
                    .iter()
                    .for_each(|(payload, entry)| add_index_entries(entry, u64::from(*payload), &mut index));
                report.blocks += 1;
                report.batches += index.len() as u64;
                report.bytes += u64::from(block.header.length);
                position += u64::from(block.header.length);
            }
            Found::End => break,
            Found::Bad(reason) => {
                let next = segment.next_block(position + 1, end)?;
                let length = next.unwrap_or(end) - position;
                report.damage.push(Damage {
                    position,
                    length,
                    reason: reason.to_owned(),
                    at_end: next.is_none() && !report.sealed,
                });
                position += length;
            }
        }
    }
    match footer {
        Ok(Some(footer)) => check_index(segment, &footer.chunks, &mut report)?,
        Ok(None) => {}
        Err(error) => report.damage.push(Damage { position: end, length: 0, reason: error.to_string(), at_end: true }),
    }
    Ok(report)
}

fn check_index(
    segment: &Segment,
    chunks: &[(crate::PartitionId, crate::log::Chunk)],
    report: &mut SegmentInspection,
) -> Result<()> {
    for (_, chunk) in chunks {
        let encoded = segment.read(chunk.index_position, chunk.index_length as usize)?;
        if let Err(error) = decode_chunk(&segment.name, chunk, &encoded) {
            let length = u64::from(chunk.index_length);
            report.damage.push(Damage {
                position: chunk.index_position,
                length,
                reason: error.to_string(),
                at_end: false,
            });
        }
    }
    Ok(())
}
