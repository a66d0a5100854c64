//! The table of topic settings: every name Kafka 4 knows and the gateway's own.

/// How a value is written (`ConfigDef.Type` on the wire since version 3 of DescribeConfigs).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::kafka) enum Type {
    Boolean = 1,
    String = 2,
    Int = 3,
    Long = 5,
    Double = 6,
    List = 7,
}

/// What a setting means here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
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
    /// Any value of its kind, which the store has no use for. Its default is Kafka's.
    Noted(&'static str, Values),
}

/// The values a noted setting may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Values {
    Boolean,
    /// Whole numbers, both ends included.
    Whole(i64, i64),
    /// From 0 to 1.
    Ratio,
    OneOf(&'static [&'static str]),
    List,
}

/// A setting: name, meaning, type, documentation.
pub(super) struct Known {
    pub(super) name: &'static str,
    pub(super) key: Key,
    pub(super) kind: Type,
    pub(super) documentation: &'static str,
}

const fn known(name: &'static str, key: Key, kind: Type, documentation: &'static str) -> Known {
    Known { name, key, kind, documentation }
}

const fn int(name: &'static str, default: &'static str, min: i64, documentation: &'static str) -> Known {
    known(name, Key::Noted(default, Values::Whole(min, i32::MAX as i64)), Type::Int, documentation)
}

const fn long(name: &'static str, default: &'static str, min: i64, documentation: &'static str) -> Known {
    known(name, Key::Noted(default, Values::Whole(min, i64::MAX)), Type::Long, documentation)
}

const fn level(name: &'static str, default: &'static str, min: i64, max: i64) -> Known {
    known(name, Key::Noted(default, Values::Whole(min, max)), Type::Int, RECOMPRESSION)
}

/// The least `message.timestamp.after.max.ms` a topic can have, which is also the default.
pub(in crate::kafka) const LEAST_MAX_AHEAD_MS: i64 = 3_600_000;

const NEVER: &str = "9223372036854775807";
const CODECS: Values = Values::OneOf(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]);

const FILES: &str = "Kept and shown: the store has files of its own, shared by all topics.";
const RECOMPRESSION: &str = "Kept and shown: batches stay as the producer compressed them.";
const REPLICAS: &str = "Kept and shown: durability comes from the store (see tidegate.durability), not from replicas.";
const SYNCS: &str = "Kept and shown: when a write is on stable storage is said by tidegate.durability.";
const TIERS: &str = "There is no second tier.";

/// Every setting, by name; the gateway's own last.
pub(super) const KNOWN: &[Known] = &[
    known(
        "cleanup.policy",
        Key::CleanupPolicy,
        Type::List,
        "delete, compact, both, or nothing: what happens to old records.",
    ),
    level("compression.gzip.level", "-1", -1, 9),
    level("compression.lz4.level", "9", 1, 17),
    known("compression.type", Key::Noted("producer", CODECS), Type::String, RECOMPRESSION),
    level("compression.zstd.level", "3", -131_072, 22),
    known("delete.retention.ms", Key::DeleteRetentionMs, Type::Long, "How long compaction keeps a tombstone."),
    long("file.delete.delay.ms", "60000", 0, FILES),
    long("flush.messages", NEVER, 1, SYNCS),
    long("flush.ms", NEVER, 0, SYNCS),
    known("follower.replication.throttled.replicas", Key::Noted("", Values::List), Type::List, REPLICAS),
    int("index.interval.bytes", "4096", 0, FILES),
    known("leader.replication.throttled.replicas", Key::Noted("", Values::List), Type::List, REPLICAS),
    known("local.retention.bytes", Key::Fixed("-2"), Type::Long, TIERS),
    known("local.retention.ms", Key::Fixed("-2"), Type::Long, TIERS),
    known("max.compaction.lag.ms", Key::Fixed(NEVER), Type::Long, "No record is compacted because of its age alone."),
    known("max.message.bytes", Key::MaxMessageBytes, Type::Int, "The largest record batch accepted."),
    known(
        "message.timestamp.after.max.ms",
        Key::Noted("3600000", Values::Whole(LEAST_MAX_AHEAD_MS, i64::MAX)),
        Type::Long,
        "How far a record's time may lie ahead of the gateway's clock; an hour at least.",
    ),
    known(
        "message.timestamp.before.max.ms",
        Key::Fixed(NEVER),
        Type::Long,
        "A record's time may lie behind the gateway's clock by any amount.",
    ),
    known("message.timestamp.type", Key::MessageTimestampType, Type::String, "CreateTime or LogAppendTime."),
    known(
        "min.cleanable.dirty.ratio",
        Key::Noted("0.5", Values::Ratio),
        Type::Double,
        "Kept and shown: the store decides when compacting is worth it.",
    ),
    known("min.compaction.lag.ms", Key::Fixed("0"), Type::Long, "Any record may be compacted."),
    int("min.insync.replicas", "1", 1, REPLICAS),
    known("preallocate", Key::Noted("false", Values::Boolean), Type::Boolean, FILES),
    known("remote.log.copy.disable", Key::Fixed("false"), Type::Boolean, TIERS),
    known("remote.log.delete.on.disable", Key::Fixed("false"), Type::Boolean, TIERS),
    known("remote.storage.enable", Key::Fixed("false"), Type::Boolean, TIERS),
    known("retention.bytes", Key::RetentionBytes, Type::Long, "The most bytes kept per partition, -1 for no limit."),
    known("retention.ms", Key::RetentionMs, Type::Long, "How long records are kept, -1 for ever."),
    int("segment.bytes", "1073741824", 1_048_576, FILES),
    int("segment.index.bytes", "10485760", 4, FILES),
    long("segment.jitter.ms", "0", 0, FILES),
    long("segment.ms", "604800000", 1, FILES),
    known("unclean.leader.election.enable", Key::Noted("false", Values::Boolean), Type::Boolean, REPLICAS),
    known(
        "tidegate.durability",
        Key::Durability,
        Type::String,
        "fsync, page-cache or memory: when a write counts as done.",
    ),
    known(
        "tidegate.retention",
        Key::Retention,
        Type::String,
        "until-acknowledged removes what every group has acknowledged; keep does not.",
    ),
];
