#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use super::*;

fn read(store: &FaultyStore, name: &str, length: usize) -> Vec<u8> {
    let mut buffer = vec![0; length];
    store.open(name).unwrap().read_at(0, &mut buffer).unwrap();
    buffer
}

/// What one sector of a two-sector file reads as after `end`, over many seeds.
fn outcomes(end: End, act: impl Fn(&FaultyStore, &dyn LogFile)) -> BTreeSet<(u8, u8)> {
    (0..200)
        .map(|seed| {
            let store = FaultyStore::new(seed);
            let file = store.create("log-1", 1024).unwrap();
            file.write_at(0, &[1; 1024], Destination::Disk).unwrap();
            file.sync().unwrap();
            act(&store, &*file);
            let bytes = read(&store.restart(end), "log-1", 1024);
            (bytes[0], bytes[1023])
        })
        .collect()
}

#[test]
fn synced_bytes_survive_a_power_cut() {
    let seen = outcomes(End::Power, |_, file| {
        file.write_at(0, &[2; 1024], Destination::Disk).unwrap();
        file.sync().unwrap();
    });
    assert_eq!(seen, BTreeSet::from([(2, 2)]));
}

#[test]
fn unsynced_sectors_are_torn_and_reordered_by_a_power_cut() {
    let seen = outcomes(End::Power, |_, file| {
        file.write_at(0, &[2; 512], Destination::Disk).unwrap();
        file.write_at(512, &[3; 512], Destination::Disk).unwrap();
    });
    assert_eq!(seen, BTreeSet::from([(1, 1), (2, 1), (1, 3), (2, 3)]));
}

#[test]
fn a_sector_written_twice_may_keep_any_version() {
    let seen = outcomes(End::Power, |_, file| {
        file.write_at(0, &[2; 10], Destination::Disk).unwrap();
        file.write_at(0, &[3; 10], Destination::Disk).unwrap();
    });
    assert_eq!(seen, BTreeSet::from([(1, 1), (2, 1), (3, 1)]));
}

#[test]
fn a_killed_process_leaves_what_it_wrote() {
    let seen = outcomes(End::Process, |_, file| file.write_at(0, &[2; 1024], Destination::Disk).unwrap());
    assert_eq!(seen, BTreeSet::from([(2, 2)]));
}

#[test]
fn after_a_failed_sync_a_second_one_proves_nothing() {
    let act = |store: &FaultyStore, file: &dyn LogFile| {
        file.write_at(0, &[2; 1024], Destination::Disk).unwrap();
        store.inject(0, Fault::Device);
        file.sync().unwrap_err();
        file.sync().unwrap();
    };
    assert_eq!(outcomes(End::Power, act), BTreeSet::from([(1, 1), (2, 1), (1, 2), (2, 2)]));
    assert!(outcomes(End::Process, act).contains(&(1, 1)), "the pages may be gone from memory too");
}

#[test]
fn rewriting_after_a_failed_sync_makes_the_bytes_durable() {
    let seen = outcomes(End::Power, |store, file| {
        file.write_at(0, &[2; 1024], Destination::Disk).unwrap();
        store.inject(0, Fault::Device);
        file.sync().unwrap_err();
        file.write_at(0, &[2; 1024], Destination::Disk).unwrap();
        file.sync().unwrap();
    });
    assert_eq!(seen, BTreeSet::from([(2, 2)]));
}

#[test]
fn a_crash_in_a_write_leaves_a_prefix_and_a_dead_process() {
    let mut lengths = BTreeSet::new();
    for seed in 0..50 {
        let store = FaultyStore::new(seed);
        let file = store.create("log-1", 100).unwrap();
        file.write_at(0, &[0; 100], Destination::Disk).unwrap();
        store.inject(0, Fault::Crash);
        file.write_at(0, &[7; 100], Destination::Disk).unwrap_err();
        assert!(store.crashed());
        file.sync().unwrap_err();
        store.list().unwrap_err();
        let next = store.restart(End::Process);
        store.list().unwrap_err();
        let bytes = read(&next, "log-1", 100);
        let length = bytes.iter().take_while(|byte| **byte == 7).count();
        assert!(bytes[length..].iter().all(|byte| *byte == 0));
        lengths.insert(length);
    }
    assert!(lengths.len() > 10, "{lengths:?}");
}

#[test]
fn objects_are_old_or_new_and_never_half() {
    let mut seen = BTreeSet::new();
    for seed in 0..50 {
        let store = FaultyStore::new(seed);
        store.put("state", b"old").unwrap();
        store.inject(0, Fault::Crash);
        store.swap("state", Some(b"old"), b"newer").unwrap_err();
        seen.insert(store.restart(End::Power).get("state").unwrap());
    }
    assert_eq!(seen, BTreeSet::from([b"old".to_vec(), b"newer".to_vec()]));
}

#[test]
fn swap_refuses_what_it_did_not_expect() {
    let store = FaultyStore::new(1);
    store.swap("state", None, b"a").unwrap();
    assert_eq!(store.swap("state", None, b"b").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    assert_eq!(store.swap("state", Some(b"b"), b"c").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    store.swap("state", Some(b"a"), b"b").unwrap();
    assert_eq!(store.get("state").unwrap(), b"b");
}

#[test]
fn a_deletion_is_durable_after_the_next_object() {
    let back = |then_put: bool| {
        (0..50).any(|seed| {
            let store = FaultyStore::new(seed);
            store.create("log-1", 10).unwrap();
            store.delete("log-1").unwrap();
            assert!(store.open("log-1").is_err());
            if then_put {
                store.put("state", b"x").unwrap();
            }
            store.restart(End::Power).open("log-1").is_ok()
        })
    };
    assert!(back(false));
    assert!(!back(true));
}

#[test]
fn new_space_may_hold_an_earlier_file_of_another_name() {
    let found = |name: &str| {
        (0..100).any(|seed| {
            let store = FaultyStore::new(seed);
            store.create("log-1", 100).unwrap().write_at(0, b"remnant", Destination::Disk).unwrap();
            store.delete("log-1").unwrap();
            store.create(name, 100).unwrap();
            read(&store, name, 7) == b"remnant"
        })
    };
    assert!(found("log-2"));
    assert!(!found("log-1"));
}

#[test]
fn a_full_disk_refuses_until_it_is_enlarged() {
    let store = FaultyStore::new(1);
    store.set_capacity(1000);
    store.create("log-1", 900).unwrap().write_at(0, &[1; 900], Destination::Disk).unwrap();
    assert_eq!(store.create("log-2", 200).err().unwrap().kind(), io::ErrorKind::StorageFull);
    assert_eq!(store.put("state", &[0; 101]).unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert_eq!(store.list().unwrap(), ["log-1"]);
    store.set_capacity(2000);
    store.create("log-2", 200).unwrap();
    assert_eq!(store.used(), 1100);
}

#[test]
fn no_space_changes_no_object_and_creates_nothing() {
    for seed in 0..20 {
        let store = FaultyStore::new(seed);
        store.put("state", b"old").unwrap();
        store.inject(0, Fault::Full);
        assert_eq!(store.put("state", b"new").unwrap_err().kind(), io::ErrorKind::StorageFull);
        store.inject(0, Fault::Full);
        assert!(store.create("log-1", 10).is_err());
        assert_eq!(store.get("state").unwrap(), b"old");
        assert_eq!(store.list().unwrap(), ["state"]);
    }
}

#[test]
fn fault_points_name_the_method_the_call_and_the_kind_of_file() {
    let store = FaultyStore::new(1);
    store.inject(1, Fault::Device);
    let file = store.create("segment-00000000000a01f3.log", 10).unwrap();
    file.write_at(0, b"x", Destination::Disk).unwrap_err();
    assert_eq!(
        store.injected(),
        [FaultPoint { method: Method::WriteAt, kind: "segment-#.log".into(), call: 1, fault: Fault::Device }]
    );
    assert_eq!((kind("manifest"), kind("decade-7.bed")), ("manifest".into(), "decade-#.bed".into()));
}

#[test]
fn a_copy_goes_its_own_way() {
    let store = FaultyStore::new(1);
    store.put("state", b"old").unwrap();
    let copy = store.copy();
    copy.put("state", b"new").unwrap();
    assert_eq!((store.get("state").unwrap(), copy.get("state").unwrap()), (b"old".to_vec(), b"new".to_vec()));
}

#[test]
fn a_flipped_bit_is_read_back_without_a_word() {
    let store = FaultyStore::new(1);
    store.create("log-1", 1).unwrap().write_at(0, &[0], Destination::Disk).unwrap();
    store.put("state", &[0]).unwrap();
    store.flip("log-1", 0, 3);
    store.flip("state", 0, 0);
    store.flip("state", 9, 0);
    assert_eq!((read(&store, "log-1", 1), store.get("state").unwrap()), (vec![8], vec![1]));
}

#[test]
fn the_same_seed_fails_the_same_way() {
    let run = |seed| {
        let store = FaultyStore::new(seed);
        let file = store.create("log-1", 4096).unwrap();
        for i in 0..8 {
            file.write_at(i * 500, &[i as u8; 600], Destination::Disk).unwrap();
        }
        store.restart(End::Power).contents()
    };
    assert_eq!(run(5), run(5));
    assert!((0..5).any(|seed| run(seed) != run(seed + 1)));
}
