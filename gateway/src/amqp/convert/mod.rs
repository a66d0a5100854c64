//! Messages between AMQP and records.
//!
//! A publish: [`Incoming::new`] looks at what decides where and when the message goes, [`Incoming::append`] writes the
//! record. A delivery: [`Outgoing::new`] sorts a record's headers, [`Outgoing::write_properties`] writes them.

mod incoming;
mod outgoing;

pub use incoming::{Incoming, Refusal};
pub use outgoing::{Extra, Outgoing};
