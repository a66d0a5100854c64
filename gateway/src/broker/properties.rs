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
    pub use tidegate_engine::header_names::{
        DEAD_LETTER_ATTEMPTS, DEAD_LETTER_GROUP, DEAD_LETTER_OFFSET, DEAD_LETTER_PARTITION, DEAD_LETTER_REASON,
        DEAD_LETTER_TOPIC, TTL_MS,
    };
}
