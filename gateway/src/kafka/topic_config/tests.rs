#![allow(clippy::unwrap_used)]

use super::*;
use proptest::prelude::*;

fn configs() -> impl Strategy<Value = TopicConfig> {
    let durability = prop_oneof![Just(Durability::Fsync), Just(Durability::PageCache), Just(Durability::Memory)];
    let limits = (prop::option::of(0..i64::MAX as u64), prop::option::of(0..i64::MAX as u64), 0..u64::from(u32::MAX));
    (durability, limits, any::<(bool, bool, bool, u32)>()).prop_map(
        |(durability, (time, bytes, tombstones), (compact, until_acknowledged, log_append_time, max))| TopicConfig {
            durability,
            retention: Retention {
                time: time.map(Duration::from_millis),
                bytes,
                until_acknowledged,
                compact,
                tombstones: Duration::from_millis(tombstones),
            },
            max_message_bytes: max,
            log_append_time,
        },
    )
}

fn settings(store: TopicConfig) -> Settings {
    Settings { store, named: Attributes::new() }
}

proptest! {
    #[test]
    fn what_is_shown_can_be_set_and_is_the_same(config in configs(), start in configs()) {
        let defaults = settings(TopicConfig::default());
        let wanted = settings(config);
        let mut changes = Changes::of(settings(start), &defaults);
        for shown in wanted.show(&defaults) {
            changes.set(shown.name, Some(&shown.value)).unwrap();
        }
        prop_assert_eq!(changes.finish().store, wanted.store);
    }
}

/// The settings after these changes, one request each; a null goes back to the default.
fn after(requests: &[&[(&str, Option<&str>)]]) -> Settings {
    let defaults = settings(TopicConfig::default());
    requests.iter().fold(defaults.clone(), |settings, request| {
        let mut changes = Changes::of(settings, &defaults);
        for (name, value) in *request {
            match value {
                Some(value) => changes.set(name, Some(value)).unwrap(),
                None => changes.reset(name).unwrap(),
            }
        }
        changes.finish()
    })
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    let defaults = settings(TopicConfig::default());
    let mut changes = Changes::of(defaults.clone(), &defaults);
    for (name, value) in [
        ("cleanup.policy", Some("shred")),
        ("retention.ms", Some("-2")),
        ("retention.bytes", Some("many")),
        ("max.message.bytes", Some("-1")),
        ("min.insync.replicas", Some("0")),
        ("compression.type", Some("brotli")),
        ("min.cleanable.dirty.ratio", Some("1.5")),
        ("min.cleanable.dirty.ratio", Some("NaN")),
        ("preallocate", Some("maybe")),
        ("segment.bytes", Some("2147483648")),
        ("segment.ms", Some("0")),
        ("leader.replication.throttled.replicas", Some(&"0:0,".repeat(2000))),
        ("tidegate.durability", Some("maybe")),
        ("retention.ms", None),
        ("message.format.version", Some("3.0")),
        // These would change what is kept or taken, and have one possible value.
        ("min.compaction.lag.ms", Some("1")),
        ("max.compaction.lag.ms", Some("1")),
        ("message.timestamp.after.max.ms", Some("3599999")),
        ("message.timestamp.before.max.ms", Some("3600000")),
        ("remote.storage.enable", Some("true")),
    ] {
        let refusal = changes.set(name, value).unwrap_err();
        assert_eq!(refusal.error, ResponseError::InvalidConfig);
        assert!(refusal.message.contains(name), "{}", refusal.message);
    }
    assert_eq!(changes.finish(), defaults);
}

#[test]
fn what_the_store_has_no_use_for_is_shown_as_it_was_set() {
    let repartition = after(&[&[("segment.bytes", Some("52428800")), ("retention.ms", Some("604800000"))]]);
    assert_eq!(repartition.store, TopicConfig::default());
    assert_eq!(repartition.get("segment.bytes").unwrap(), "52428800");
    let own: Vec<_> = repartition.show(&after(&[])).filter(|shown| shown.is_own).map(|shown| shown.name).collect();
    assert_eq!(
        own,
        ["retention.ms", "segment.bytes"],
        "what was set is the topic's own, even with the default's value"
    );
    let reset = after(&[&[("segment.bytes", Some("52428800"))], &[("segment.bytes", None)]]);
    assert_eq!(reset, after(&[]));
}

#[test]
fn limits_of_a_compacted_topic_wait_until_it_deletes() {
    let compacted = after(&[&[("cleanup.policy", Some("compact"))]]).store.retention;
    assert_eq!((compacted.compact, compacted.time, compacted.bytes), (true, None, None));
    let limited = after(&[&[("cleanup.policy", Some("compact"))], &[("retention.ms", Some("1"))]]);
    assert_eq!(limited.store.retention.time, None, "a compacted topic deletes nothing, whatever its limits");
    assert_eq!(limited.get("retention.ms").unwrap(), "1");
    let own: Vec<_> = limited.show(&after(&[])).filter(|shown| shown.is_own).map(|shown| shown.name).collect();
    assert_eq!(own, ["cleanup.policy", "retention.ms"]);
    let deleting = after(&[
        &[("cleanup.policy", Some("compact")), ("retention.bytes", Some("10"))],
        &[("cleanup.policy", Some("compact,delete"))],
    ]);
    assert_eq!(deleting.store.retention.bytes, Some(10));
    assert_eq!(deleting.store.retention.time, TopicConfig::default().retention.time);
    let kept = after(&[&[("cleanup.policy", Some("")), ("retention.ms", Some("7"))]]);
    assert_eq!((kept.store.retention.compact, kept.store.retention.time), (false, None));
    assert_eq!(kept.get("cleanup.policy").unwrap(), "");
    let for_ever: &[_] = &[("cleanup.policy", Some("compact,delete")), ("retention.ms", Some("-1"))];
    assert_eq!(after(&[for_ever]).get("cleanup.policy").unwrap(), "compact,delete");
    assert_eq!(after(&[for_ever, &[("retention.ms", Some("5"))]]).store.retention.time, Some(Duration::from_millis(5)));
}

#[test]
fn a_limit_changed_elsewhere_is_the_one_that_waits() {
    let defaults = settings(TopicConfig::default());
    let mut topic = after(&[&[("retention.ms", Some("1"))]]);
    topic.store.retention.time = Some(Duration::from_millis(2));
    for policy in ["compact", "delete"] {
        let mut changes = Changes::of(topic, &defaults);
        changes.set("cleanup.policy", Some(policy)).unwrap();
        topic = changes.finish();
        assert_eq!(topic.get("retention.ms").unwrap(), "2", "{policy}");
    }
    assert_eq!(topic.store.retention.time, Some(Duration::from_millis(2)));
}

#[test]
fn the_documentation_names_every_setting() {
    let page = include_str!("../../../../docs/kafka.md");
    let missing: Vec<_> = KNOWN.iter().filter(|known| !page.contains(&format!("`{}`", known.name))).collect();
    assert!(missing.is_empty(), "{:?}", missing.iter().map(|known| known.name).collect::<Vec<_>>());
}
