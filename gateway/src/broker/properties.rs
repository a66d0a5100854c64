//! The names under which a message's properties are stored as record headers, so that every protocol can read them.

/// Header names of message properties. A Kafka client sees them as they are; the other protocols map them to their own fields.
pub mod property {
    /// MIME type of the body.
    pub const CONTENT_TYPE: &str = "content-type";
    /// Encoding of the body, such as `gzip`.
    pub const CONTENT_ENCODING: &str = "content-encoding";
    /// The publisher's id of the message.
    pub const MESSAGE_ID: &str = "message-id";
    /// Ties a reply to its request.
    pub const CORRELATION_ID: &str = "correlation-id";
    /// Where a reply should go.
    pub const REPLY_TO: &str = "reply-to";
    /// Time to live from the record's timestamp, decimal milliseconds.
    pub const TTL_MS: &str = "ttl-ms";
    /// Not delivered before this time, decimal ms since the Unix epoch.
    pub const DELIVER_AT: &str = "deliver-at";
    /// Priority, decimal 0 to 31; up to 255 from AMQP.
    pub const PRIORITY: &str = "priority";
    /// The application's type of the message.
    pub const MESSAGE_TYPE: &str = "message-type";
    /// The publishing application.
    pub const APP_ID: &str = "app-id";
    /// The publishing user.
    pub const USER_ID: &str = "user-id";
    /// The cluster AMQP's publisher named.
    pub const CLUSTER_ID: &str = "cluster-id";
    /// The AMQP exchange a message was published to, if not the default one.
    pub const AMQP_EXCHANGE: &str = "amqp-exchange";
    /// The routing key it was published with, if not the topic's name.
    pub const AMQP_ROUTING_KEY: &str = "amqp-routing-key";
    /// A message came over AMQP, and what the rest of its record does not tell of it: its delivery mode first of all.
    pub const AMQP: &str = "amqp";
    /// Types of other headers that their text does not tell; see [`crate::broker::HeaderType`]. Hidden where types are shown.
    pub const HEADER_TYPES: &str = "tidegate-header-types";
    /// Why a message was dead-lettered.
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
}
