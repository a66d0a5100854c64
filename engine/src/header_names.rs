//! The record headers the engine itself reads or writes.

/// Time to live from the record's timestamp, decimal milliseconds.
pub const TTL_MS: &str = "ttl-ms";
/// Why a record was dead-lettered: `rejected`, `delivery-limit` or `expired`, or what the consumer said.
pub const DEAD_LETTER_REASON: &str = "dead-letter-reason";
/// The topic it came from.
pub const DEAD_LETTER_TOPIC: &str = "dead-letter-topic";
/// The partition index it came from.
pub const DEAD_LETTER_PARTITION: &str = "dead-letter-partition";
/// The offset it had there.
pub const DEAD_LETTER_OFFSET: &str = "dead-letter-offset";
/// How often it was tried.
pub const DEAD_LETTER_ATTEMPTS: &str = "dead-letter-attempts";
/// The group that gave it up.
pub const DEAD_LETTER_GROUP: &str = "dead-letter-group";
