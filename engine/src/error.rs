//! What can go wrong, in words that say what the caller can do.

use std::io;

use uuid::Uuid;

use crate::{GroupName, TopicName};

/// The engine's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Every way an engine call fails. Clonable, because one failed commit fails everybody who waited for it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A name cannot be used. Choose another.
    #[error("the {noun} name '{name}' cannot be used: {reason}")]
    InvalidName {
        /// `topic` or `group`.
        noun: &'static str,
        /// The name, cut to 64 characters.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A setting or an argument is out of range. Correct it.
    #[error("{0}")]
    Invalid(String),
    /// A record batch is malformed, fails its checksum or claims more than it carries. Send a correct one.
    #[error("bad record batch: {0}")]
    BadBatch(String),
    /// A stored batch cannot be decoded. If it decompresses to too much, raise `max_decompressed_bytes`; otherwise move the
    /// group past it.
    #[error(
        "the batch at offsets {from}..{to} of partition {partition} of topic '{topic}' cannot be decoded: {reason}; \
         raise max_decompressed_bytes if that is why, or move the group past it"
    )]
    Undecodable {
        /// The topic.
        topic: TopicName,
        /// Partition index within the topic.
        partition: u32,
        /// The batch's first offset.
        from: u64,
        /// The offset after its last.
        to: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// The batch is larger than the topic accepts. Send less at a time or raise `max_message_bytes`.
    #[error("a batch of {bytes} bytes is over the topic's limit of {limit} bytes (max_message_bytes)")]
    TooLarge {
        /// The batch's size.
        bytes: usize,
        /// The topic's limit.
        limit: usize,
    },
    /// No such topic.
    #[error("topic '{0}' does not exist")]
    UnknownTopic(TopicName),
    /// No topic has that id.
    #[error("no topic has the id {0}")]
    UnknownTopicId(Uuid),
    /// The partition does not exist (its topic was deleted, or never had so many).
    #[error("the partition does not exist")]
    UnknownPartition,
    /// No such group.
    #[error("group '{0}' does not exist")]
    UnknownGroup(GroupName),
    /// The topic exists already.
    #[error("topic '{0}' exists already")]
    TopicExists(TopicName),
    /// The group exists already.
    #[error("group '{0}' exists already")]
    GroupExists(GroupName),
    /// The group has members or leases of the other kind. Stop those consumers first.
    #[error("group '{group}' is {mode} at the moment; stop its {mode} consumers first")]
    GroupMode {
        /// The group.
        group: GroupName,
        /// `assigned` or `shared`.
        mode: &'static str,
    },
    /// A lease is unknown, expired or another consumer's. The record will be, or was, delivered again.
    #[error("the lease is gone: it was settled, expired or returned")]
    LeaseGone,
    /// The offset is below the log start or above the end.
    #[error("offset {offset} is outside the partition's {log_start}..={end}")]
    OffsetOutOfRange {
        /// What was asked for.
        offset: u64,
        /// The first offset kept.
        log_start: u64,
        /// The next offset to be written.
        end: u64,
    },
    /// An idempotent producer skipped a sequence number.
    #[error("producer {producer_id} sent sequence {got} where {expected} was next")]
    OutOfSequence {
        /// The producer.
        producer_id: i64,
        /// The sequence the batch carries.
        got: i32,
        /// The sequence that was next.
        expected: i32,
    },
    /// A newer instance of the producer has taken over.
    #[error("producer {producer_id} with epoch {epoch} was fenced by a newer epoch")]
    ProducerFenced {
        /// The producer.
        producer_id: i64,
        /// The old epoch.
        epoch: i16,
    },
    /// The idempotency key was used with another body.
    #[error("the idempotency key was used before with another body")]
    IdempotencyMismatch,
    /// A limit of the engine is reached.
    #[error("limit reached: {setting} is {limit}")]
    LimitReached {
        /// The setting's name in [`crate::EngineConfig`] or the group's.
        setting: &'static str,
        /// Its value.
        limit: usize,
    },
    /// The disk is full. Publishing works again as soon as there is space; consuming goes on.
    #[error("the disk is full: free space or enlarge the volume, publishing then works again by itself")]
    DiskFull,
    /// The disk became full after this was accepted. It stays queued and is written as soon as there is space, unless the
    /// process ends before: the outcome is unknown. Sent again it may be there twice, but from an idempotent producer or with
    /// an idempotency key it is recognised.
    #[error(
        "the disk is full: this was accepted and is written when there is space, unless the gateway stops before that"
    )]
    Undecided,
    /// A write or sync of the log failed. Nothing can be promised until the process has been restarted.
    #[error("the log failed and takes no more writes until a restart: {0}")]
    Poisoned(String),
    /// The engine is shutting down.
    #[error("the engine is shutting down")]
    Closed,
    /// Stored bytes fail their check. They are not served; `tidegate log inspect` shows, `tidegate log skip` gives them up.
    #[error("corrupt data in {file} at byte {position}: {reason}")]
    Corrupt {
        /// The file within the data directory.
        file: String,
        /// Byte position in the file.
        position: u64,
        /// What did not check.
        reason: String,
    },
    /// Another process owns the data directory.
    #[error("the data directory is in use by another process")]
    Locked,
    /// The data directory was written by a format this version does not read.
    #[error("{file} has format version {found} (at byte 8); this version reads up to {supported}")]
    Format {
        /// The file.
        file: String,
        /// The version found.
        found: u32,
        /// The newest version supported.
        supported: u32,
    },
    /// Any other failure of the storage.
    #[error("{doing}: {error}")]
    Io {
        /// What was being done, with the file's name.
        doing: String,
        /// What the operating system said.
        error: String,
    },
}

impl Error {
    pub(crate) fn io(doing: impl Into<String>, error: &io::Error) -> Self {
        Self::Io { doing: doing.into(), error: error.to_string() }
    }

    /// Whether the same call may succeed later without anybody changing it.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(
            self,
            Self::DiskFull
                | Self::Undecided
                | Self::Closed
                | Self::Poisoned(_)
                | Self::LimitReached { .. }
                | Self::GroupMode { .. }
        )
    }
}
