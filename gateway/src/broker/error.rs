//! The broker's error: a kind that each protocol maps to its own code in exactly one place, and words for people.

use std::fmt;

use tidegate_engine as engine;

/// The broker's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What a client can do about it. Each protocol's `error.rs` matches on this without a wildcard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The request is wrong; sent again it will be wrong again.
    Invalid,
    /// A record batch is malformed or fails its checksum.
    BadBatch,
    /// Who are you?
    Unauthenticated,
    /// You may not.
    Forbidden,
    /// There is no such thing.
    NotFound,
    /// There is one already.
    AlreadyExists,
    /// Over a size limit.
    TooLarge,
    /// Over a rate or count limit; later.
    Throttled,
    /// An offset outside the partition.
    OutOfRange,
    /// An idempotent producer's sequence has a gap.
    OutOfSequence,
    /// A newer instance of this producer has taken over.
    Fenced,
    /// It contradicts what is there (an idempotency key with another body, a group of the other mode).
    Conflict,
    /// It belongs to another connection alone.
    Locked,
    /// The lease was settled, expired or returned before.
    LeaseGone,
    /// Known, not served.
    Unsupported,
    /// Not now: disk full, draining, starting. Try again.
    Unavailable,
    /// Stored data fails its check.
    Corrupt,
    /// Our fault.
    Internal,
}

/// A kind and words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// For the protocol.
    pub kind: Kind,
    /// For people: what is wrong and what to do next.
    pub message: String,
}

impl Error {
    /// An error of a kind.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// Whether the same request may succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self.kind, Kind::Throttled | Kind::Unavailable)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl From<engine::Error> for Error {
    fn from(error: engine::Error) -> Self {
        use engine::Error as E;
        let kind = match &error {
            E::InvalidName { .. } | E::Invalid(_) => Kind::Invalid,
            E::BadBatch(_) => Kind::BadBatch,
            E::TooLarge { .. } => Kind::TooLarge,
            E::UnknownTopic(_) | E::UnknownTopicId(_) | E::UnknownPartition | E::UnknownGroup(_) => Kind::NotFound,
            E::TopicExists(_) | E::GroupExists(_) => Kind::AlreadyExists,
            E::GroupMode { .. } | E::IdempotencyMismatch => Kind::Conflict,
            E::LeaseGone => Kind::LeaseGone,
            E::OffsetOutOfRange { .. } => Kind::OutOfRange,
            E::OutOfSequence { .. } => Kind::OutOfSequence,
            E::ProducerFenced { .. } => Kind::Fenced,
            E::LimitReached { .. } => Kind::Throttled,
            E::DiskFull | E::Undecided | E::Poisoned(_) | E::Closed => Kind::Unavailable,
            E::Corrupt { .. } | E::Undecodable { .. } => Kind::Corrupt,
            // `Error` is open for the engine's next version: what is not known here is nobody's fault but ours.
            _ => Kind::Internal,
        };
        Self { kind, message: error.to_string() }
    }
}
