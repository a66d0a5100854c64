//! Messages between AMQP and records.
//!
//! A publish: [`Incoming::new`] looks at what decides where and when the message goes, [`Incoming::append`] writes the
//! record. A delivery: [`Outgoing::new`] sorts a record's headers, [`Outgoing::write_properties`] writes them.
//!
//! The rule: nothing a publisher set is dropped, and from AMQP to AMQP a message comes out exactly as it went in:
//! properties, and a header table with its types, its order and its duplicates.
//!
//! | AMQP | record |
//! |---|---|
//! | body | value; null if the header `x-tombstone` is true and the body empty |
//! | header `x-key` (long string or bytes) | key |
//! | header `x-timestamp-ms`, else the property timestamp, else now | timestamp. With an expiration it is the arrival unless `x-timestamp-ms` says otherwise, because lifetimes count from it; a timestamp of this second keeps the arrival's milliseconds |
//! | short strings and priority among the properties | headers of their own, named in [`property`](crate::broker::property); expiration is `ttl-ms` |
//! | exchange and routing key | headers `amqp-exchange` and `amqp-routing-key`; none for the default exchange, where the routing key is the topic |
//! | `x-deliver-at` (ms) | header `deliver-at`; `x-delay` and other forms of `x-deliver-at` stay and make one |
//! | any other header | a header of the name: text as it is, the rest as text with a type ([`HeaderType`](crate::broker::HeaderType)) |
//! | what the record does not tell: delivery mode, which properties there were | header `amqp`, see `Mark` |
//!
//! A record that has the header `amqp` came over AMQP, and its consumers get what was published and no header more, unless
//! it was tried before (`x-delivery-count`), dead-lettered (`x-death`) or the consumer asked for offsets
//! (`x-stream-offset`). A record of another protocol also gets its key as `x-key`, its offset, its time as the property and,
//! where seconds cannot tell it, as `x-timestamp-ms`.
//!
//! What AMQP cannot carry is delivered all the same: a header whose name is over 255 bytes is an element (name, value) of the
//! array `x-long-headers`; headers that do not fit in a frame are left out and counted in `x-omitted-headers`; what has a
//! property's name but cannot be one is a header.

mod death;
mod entry;
mod incoming;
mod mark;
mod outgoing;
mod slot;
#[cfg(test)]
mod tests;
mod value;

pub use incoming::{Incoming, Refusal};
pub use outgoing::{Extra, Outgoing};

/// Headers that stand for what a record has besides headers.
mod header {
    pub(super) const KEY: &[u8] = b"x-key";
    pub(super) const TOMBSTONE: &[u8] = b"x-tombstone";
    pub(super) const TIMESTAMP_MS: &[u8] = b"x-timestamp-ms";
    pub(super) const DELAY: &[u8] = b"x-delay";
    pub(super) const DELIVER_AT: &[u8] = b"x-deliver-at";
    pub(super) const DELIVERY_COUNT: &[u8] = b"x-delivery-count";
    pub(super) const STREAM_OFFSET: &[u8] = b"x-stream-offset";
    pub(super) const DEATH: &[u8] = b"x-death";
    pub(super) const LONG_HEADERS: &[u8] = b"x-long-headers";
    pub(super) const OMITTED: &[u8] = b"x-omitted-headers";
}
