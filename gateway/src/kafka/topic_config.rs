//! A topic's settings under Kafka's names.
//!
//! Every name here means something to the store. A few more of Kafka's have one possible value in it (there is one replica, bytes
//! are kept as the producer compressed them, ...): they are shown with it, accepted with it and refused with any other.
//! Names not listed here are refused: nothing is accepted and then ignored.

use std::time::Duration;

use kafka_protocol::ResponseError;
use tidegate_engine::{Durability, Retention, TopicConfig};

use super::error::Refusal;

/// How a value is written (`ConfigDef.Type` on the wire since version 3 of DescribeConfigs).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Type {
    Boolean = 1,
    String = 2,
    Int = 3,
    Long = 5,
    List = 7,
}

/// A topic setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    CleanupPolicy,
    DeleteRetentionMs,
    MaxMessageBytes,
    MessageTimestampType,
    RetentionBytes,
    RetentionMs,
    Durability,
    Retention,
    /// One possible value.
    Fixed(&'static str),
}

/// Every setting: name, key, type, documentation.
const KEYS: &[(&str, Key, Type, &str)] = &[
    ("cleanup.policy", Key::CleanupPolicy, Type::List, "delete, compact, or both: what happens to old records."),
    ("compression.type", Key::Fixed("producer"), Type::String, "Batches are kept as the producer compressed them."),
    ("delete.retention.ms", Key::DeleteRetentionMs, Type::Long, "How long compaction keeps a tombstone."),
    ("max.message.bytes", Key::MaxMessageBytes, Type::Int, "The largest record batch accepted."),
    ("message.timestamp.type", Key::MessageTimestampType, Type::String, "CreateTime or LogAppendTime."),
    ("min.insync.replicas", Key::Fixed("1"), Type::Int, "Durability comes from the store, not from replicas."),
    ("preallocate", Key::Fixed("true"), Type::Boolean, "Space for the log is set aside before it is written."),
    ("remote.storage.enable", Key::Fixed("false"), Type::Boolean, "There is no second tier."),
    ("retention.bytes", Key::RetentionBytes, Type::Long, "The most bytes kept per partition, -1 for no limit."),
    ("retention.ms", Key::RetentionMs, Type::Long, "How long records are kept, -1 for ever."),
    ("unclean.leader.election.enable", Key::Fixed("false"), Type::Boolean, "No leader that lacks records is elected."),
    ("tidegate.durability", Key::Durability, Type::String, "fsync, page-cache or memory: when a write counts as done."),
    (
        "tidegate.retention",
        Key::Retention,
        Type::String,
        "until-acknowledged removes what every group has acknowledged; keep does not.",
    ),
];

/// One setting of a topic as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) name: &'static str,
    pub(super) value: String,
    pub(super) kind: Type,
    pub(super) documentation: &'static str,
    /// It cannot be changed.
    pub(super) is_fixed: bool,
}

/// Every setting of a topic.
pub(super) fn show(config: &TopicConfig) -> impl Iterator<Item = Shown> {
    KEYS.iter().map(|(name, key, kind, documentation)| Shown {
        name,
        value: value_of(*key, config),
        kind: *kind,
        documentation,
        is_fixed: matches!(key, Key::Fixed(_)),
    })
}

/// The value of a setting, if there is one of that name.
pub(super) fn get(config: &TopicConfig, name: &str) -> Option<String> {
    find(name).ok().map(|key| value_of(key, config))
}

/// Whether a setting holds a list, to which values can be added.
pub(super) fn is_list(name: &str) -> bool {
    KEYS.iter().any(|(known, _, kind, _)| *known == name && *kind == Type::List)
}

fn value_of(key: Key, config: &TopicConfig) -> String {
    let Retention { time, bytes, until_acknowledged, compact, tombstones } = &config.retention;
    match key {
        Key::CleanupPolicy if !compact => "delete".to_owned(),
        Key::CleanupPolicy if time.is_some() || bytes.is_some() => "compact,delete".to_owned(),
        Key::CleanupPolicy => "compact".to_owned(),
        Key::DeleteRetentionMs => tombstones.as_millis().to_string(),
        Key::MaxMessageBytes => config.max_message_bytes.to_string(),
        Key::MessageTimestampType if config.log_append_time => "LogAppendTime".to_owned(),
        Key::MessageTimestampType => "CreateTime".to_owned(),
        Key::RetentionBytes => bytes.map_or_else(|| "-1".to_owned(), |bytes| bytes.to_string()),
        Key::RetentionMs => time.map_or_else(|| "-1".to_owned(), |time| time.as_millis().to_string()),
        Key::Durability => durability_name(config.durability).to_owned(),
        Key::Retention if *until_acknowledged => "until-acknowledged".to_owned(),
        Key::Retention => "keep".to_owned(),
        Key::Fixed(value) => value.to_owned(),
    }
}

fn durability_name(durability: Durability) -> &'static str {
    match durability {
        Durability::Fsync => "fsync",
        Durability::PageCache => "page-cache",
        Durability::Memory => "memory",
    }
}

/// Settings being changed. The clean-up policy is applied last: without `delete`, Kafka keeps time and size limits unused.
pub(super) struct Changes {
    config: TopicConfig,
    policy: Option<Policy>,
}

#[derive(Debug, Clone, Copy)]
struct Policy {
    delete: bool,
    compact: bool,
}

impl Changes {
    pub(super) fn of(config: TopicConfig) -> Self {
        Self { config, policy: None }
    }

    /// Sets a setting by name; a null is refused.
    pub(super) fn set(&mut self, name: &str, value: Option<&str>) -> Result<(), Refusal> {
        let key = find(name)?;
        let value = value.ok_or_else(|| invalid(name, "null", "a value"))?.trim();
        let retention = &mut self.config.retention;
        match key {
            Key::CleanupPolicy => self.policy = Some(policy(name, value)?),
            Key::DeleteRetentionMs => retention.tombstones = Duration::from_millis(number(name, value)?),
            Key::MaxMessageBytes => self.config.max_message_bytes = number(name, value)?,
            Key::MessageTimestampType => {
                self.config.log_append_time = one_of(name, value, &[("CreateTime", false), ("LogAppendTime", true)])?;
            }
            Key::RetentionBytes => retention.bytes = limit(name, value)?,
            Key::RetentionMs => retention.time = limit(name, value)?.map(Duration::from_millis),
            Key::Durability => {
                let known = [Durability::Fsync, Durability::PageCache, Durability::Memory];
                self.config.durability = one_of(name, value, &known.map(|known| (durability_name(known), known)))?;
            }
            Key::Retention => {
                retention.until_acknowledged = one_of(name, value, &[("keep", false), ("until-acknowledged", true)])?;
            }
            Key::Fixed(fixed) => one_of(name, value, &[(fixed, ())])?,
        }
        Ok(())
    }

    /// Sets a setting to its value in `defaults`.
    pub(super) fn reset(&mut self, name: &str, defaults: &TopicConfig) -> Result<(), Refusal> {
        let value = value_of(find(name)?, defaults);
        self.set(name, Some(&value))
    }

    /// The settings after the changes.
    pub(super) fn finish(self) -> TopicConfig {
        let mut config = self.config;
        if let Some(policy) = self.policy {
            config.retention.compact = policy.compact;
            if !policy.delete {
                config.retention.time = None;
                config.retention.bytes = None;
            }
        }
        config
    }
}

fn find(name: &str) -> Result<Key, Refusal> {
    let known = KEYS.iter().find(|(known, ..)| *known == name).map(|(_, key, ..)| *key);
    known.ok_or_else(|| {
        let shown: String = name.chars().take(64).collect();
        Refusal::new(
            ResponseError::InvalidConfig,
            format!("topic setting '{}' does not exist here", shown.escape_debug()),
        )
    })
}

fn policy(name: &str, value: &str) -> Result<Policy, Refusal> {
    let mut policy = Policy { delete: false, compact: false };
    for part in value.split(',').map(str::trim) {
        match part {
            "delete" => policy.delete = true,
            "compact" => policy.compact = true,
            _ => return Err(invalid(name, value, "delete, compact or compact,delete")),
        }
    }
    Ok(policy)
}

fn number<N: std::str::FromStr>(name: &str, value: &str) -> Result<N, Refusal> {
    value.parse().map_err(|_| invalid(name, value, "a whole number from 0"))
}

/// A number, or -1 for none.
fn limit(name: &str, value: &str) -> Result<Option<u64>, Refusal> {
    match value.parse::<i64>() {
        Ok(-1) => Ok(None),
        Ok(limit) => u64::try_from(limit).map(Some).map_err(|_| invalid(name, value, "a whole number from -1")),
        Err(_) => Err(invalid(name, value, "a whole number from -1")),
    }
}

fn one_of<T: Copy>(name: &str, value: &str, known: &[(&str, T)]) -> Result<T, Refusal> {
    let found = known.iter().find(|(text, _)| *text == value).map(|(_, value)| *value);
    found.ok_or_else(|| {
        let texts: Vec<&str> = known.iter().map(|(text, _)| *text).collect();
        invalid(name, value, &texts.join(" or "))
    })
}

fn invalid(name: &str, value: &str, expected: &str) -> Refusal {
    let shown: String = value.chars().take(64).collect();
    Refusal::new(
        ResponseError::InvalidConfig,
        format!("{name} cannot be '{}': it takes {expected}", shown.escape_debug()),
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use proptest::prelude::*;

    fn configs() -> impl Strategy<Value = TopicConfig> {
        let durability = prop_oneof![Just(Durability::Fsync), Just(Durability::PageCache), Just(Durability::Memory)];
        let limits =
            (prop::option::of(0..i64::MAX as u64), prop::option::of(0..i64::MAX as u64), 0..u64::from(u32::MAX));
        (durability, limits, any::<(bool, bool, bool, u32)>()).prop_map(
            |(durability, (time, bytes, tombstones), (compact, until_acknowledged, log_append_time, max))| {
                TopicConfig {
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
                }
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_shown_can_be_set_and_is_the_same(config in configs(), start in configs()) {
            let mut changes = Changes::of(start);
            for shown in show(&config) {
                changes.set(shown.name, Some(&shown.value)).unwrap();
            }
            prop_assert_eq!(changes.finish(), config);
        }
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        let mut changes = Changes::of(TopicConfig::default());
        for (name, value) in [
            ("cleanup.policy", Some("shred")),
            ("retention.ms", Some("-2")),
            ("retention.bytes", Some("many")),
            ("max.message.bytes", Some("-1")),
            ("min.insync.replicas", Some("2")),
            ("tidegate.durability", Some("maybe")),
            ("segment.bytes", Some("1000000")),
            ("retention.ms", None),
        ] {
            let refusal = changes.set(name, value).unwrap_err();
            assert_eq!(refusal.error, ResponseError::InvalidConfig);
            assert!(refusal.message.contains(name), "{}", refusal.message);
        }
        assert_eq!(changes.finish(), TopicConfig::default());
    }
}
