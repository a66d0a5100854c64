//! Bytes to frames and frames to bytes: AMQP 0-9-1 with RabbitMQ's extensions.
//!
//! What comes in: [`FrameReader`] gives [`Frame`]s; a [`Method`] is decoded whole, a content's [`Properties`] and their
//! table are only checked and then read where they lie; a [`Publish`] that came whole is not taken apart at all. What goes out is written into an [`Outbox`].

mod field;
mod frame;
mod malformed;
mod method;
mod outbox;
mod properties;
mod publish;
mod raw_table;
mod reader;
mod table;
#[cfg(test)]
pub(super) mod tests;
mod text;

pub use frame::{ContentHeader, FRAME_OVERHEAD, Frame, Payload, max_properties};
pub use malformed::{Malformed, Syntax};
pub use method::{Basic, Channel, Confirm, Connection, Delivery, Exchange, Method, MethodBody, Queue, Tx};
pub use outbox::Outbox;
pub use properties::{Properties, PropertiesWriter};
pub use publish::Publish;
pub use raw_table::{RawArray, RawTable, RawValue};
pub use reader::FrameReader;
pub(super) use table::with_length;
pub use table::{Table, Value};
pub use text::Text;

/// The eight bytes a connection begins with.
pub const PROTOCOL_HEADER: [u8; 8] = *b"AMQP\x00\x00\x09\x01";

/// The smallest `frame_max` there may be, and the largest frame there is before a connection is tuned.
pub const MIN_FRAME_MAX: usize = 4096;

/// What a client may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The largest frame, its eight bytes of framing included.
    pub max_frame_bytes: usize,
    /// How deep tables and arrays may lie in one another. At most [`HeaderType::MAX_DEPTH`]: a record does not keep the types
    /// of what lies deeper.
    ///
    /// [`HeaderType::MAX_DEPTH`]: crate::broker::HeaderType::MAX_DEPTH
    pub max_table_depth: usize,
    /// How many fields and elements a table may have, those of the tables and arrays in it included.
    pub max_table_fields: usize,
}

impl Limits {
    /// The default of [`Limits::max_table_depth`].
    pub const TABLE_DEPTH: usize = 32;
    /// The default of [`Limits::max_table_fields`].
    pub const TABLE_FIELDS: usize = 4096;
}

impl Default for Limits {
    /// As before a connection is tuned.
    fn default() -> Self {
        Self {
            max_frame_bytes: MIN_FRAME_MAX,
            max_table_depth: Self::TABLE_DEPTH,
            max_table_fields: Self::TABLE_FIELDS,
        }
    }
}
