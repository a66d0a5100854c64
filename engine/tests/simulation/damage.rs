//! Stored bytes decay: every record comes back, or an error names the file and the place. Never silence.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidegate_engine::batch::Batch;
use tidegate_engine::store::Environment;
use tidegate_engine::store::faulty::{End, FaultyStore, SimulatedClock};
use tidegate_engine::{Engine, EngineConfig, Error, PartitionId, Read};

use crate::executor::{Asked, ask};
use crate::world::World;
use crate::{number, peaceful_step};

/// Everything a client could ask for: records by partition, progress by group.
#[derive(Debug, PartialEq, Clone)]
struct Everything {
    records: BTreeMap<PartitionId, Vec<(u64, Vec<u8>)>>,
    progress: BTreeMap<String, Vec<(PartitionId, u64)>>,
}

fn config() -> EngineConfig {
    EngineConfig { segment_bytes: 64 << 10, tail_cache_bytes: 0, ..EngineConfig::default() }
}

/// A small data directory with several segments, closed in order or killed when all was quiet.
fn directory(close: bool) -> FaultyStore {
    let mut world = World::scripted(5, config(), None).unwrap();
    for _ in 0..150 {
        peaceful_step(&mut world).unwrap();
    }
    for _ in 0..4 {
        world.turn().unwrap();
        world.advance(std::time::Duration::from_secs(1));
        world.maintain().unwrap();
    }
    world.turn().unwrap();
    if close {
        let engine = world.engine.clone();
        world.drive(Box::pin(async move { engine.close().await })).unwrap().unwrap().unwrap();
    }
    world.store.restart(End::Power)
}

fn everything(store: &FaultyStore) -> Result<Everything, Error> {
    let clock = Arc::new(SimulatedClock::new(1_700_000_100_000));
    let (engine, _) = Engine::open_manual(config(), Environment { store: Arc::new(store.clone()), clock })?;
    let mut found = Everything { records: BTreeMap::new(), progress: BTreeMap::new() };
    for partition in engine.topics().iter().flat_map(|topic| topic.partitions.clone()) {
        found.records.insert(partition, records(&engine, partition)?);
    }
    for group in engine.groups() {
        let committed = engine.committed(&group.name)?;
        let offsets = committed.iter().map(|committed| (committed.partition, committed.offset)).collect();
        found.progress.insert(group.name.name().to_owned(), offsets);
    }
    Ok(found)
}

fn records(engine: &Engine, partition: PartitionId) -> Result<Vec<(u64, Vec<u8>)>, Error> {
    let info = engine.partition(partition)?;
    let (mut from, mut found) = (info.log_start, Vec::new());
    while from < info.high_watermark {
        let engine = engine.clone();
        let mut read: Asked<_> = Box::pin(async move { engine.read(partition, from, 1 << 20).await });
        let before = from;
        let answer: Result<Read, Error> = ask(&mut read).expect("nothing to wait for");
        for mut bytes in answer?.batches {
            while !bytes.is_empty() {
                let batch = Batch::split_from(&mut bytes)?;
                let records = batch.records(batch.header.base_offset, 1 << 24)?;
                from = batch.header.base_offset + u64::from(batch.header.last_offset_delta) + 1;
                found.extend(
                    records.into_iter().map(|record| (record.offset, record.value.unwrap_or_default().to_vec())),
                );
            }
        }
        if from <= before {
            break;
        }
    }
    Ok(found)
}

/// Whether an error says where the damage is.
fn names(error: &Error, damaged: &str) -> bool {
    matches!(error, Error::Corrupt { file, .. } | Error::Format { file, .. } if file == damaged)
}

#[test]
fn a_flipped_bit_is_named_or_harmless() {
    for close in [true, false] {
        let store = directory(close);
        let whole = everything(&store.copy()).unwrap();
        let stride = if number("TIDEGATE_SEEDS").is_some() { 1 } else { 13 };
        let (mut flips, mut named) = (0, 0);
        for (name, contents) in store.contents() {
            for position in (0..contents.len()).step_by(stride) {
                let damaged = store.copy();
                damaged.flip(&name, position, position as u8);
                flips += 1;
                match everything(&damaged) {
                    Ok(found) => assert_eq!(found, whole, "{name} byte {position}, closed {close}: silent loss"),
                    Err(error) if names(&error, &name) => named += 1,
                    Err(error) => panic!("{name} byte {position}, closed {close}: {error}"),
                }
            }
        }
        println!("{flips} bytes flipped one at a time, closed in order {close}: {named} named, the others harmless");
    }
}

#[test]
fn a_file_cut_short_is_named_or_harmless() {
    let store = directory(true);
    let whole = everything(&store.copy()).unwrap();
    for (name, contents) in store.contents() {
        for missing in [1, 100, 1000, contents.len()] {
            let damaged = store.copy();
            damaged.cut(&name, contents.len().saturating_sub(missing));
            match everything(&damaged) {
                Ok(found) => assert_eq!(found, whole, "{name} less {missing} bytes: silent loss"),
                Err(error) => assert!(names(&error, &name), "{name} less {missing} bytes: {error}"),
            }
        }
    }
}

#[test]
fn a_missing_file_is_named() {
    use tidegate_engine::store::Store;
    let store = directory(true);
    let whole = everything(&store.copy()).unwrap();
    for name in store.contents().into_keys() {
        let damaged = store.copy();
        damaged.delete(&name).unwrap();
        match everything(&damaged) {
            Ok(found) => assert_eq!(found, whole, "without {name}: silent loss"),
            Err(error) => assert!(error.to_string().contains(&name), "without {name}: {error}"),
        }
    }
}
