//! What the tests in `tests/` stand on: the real binary as a process ([`Gateway`]), other people's clients as
//! processes ([`client`]), what they did and saw ([`history`]), and bytes that no client would send ([`wire`]).
//!
//! Everything here panics when something is not as it should be: a test is the only caller.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::missing_panics_doc)]

mod amqp_peer;
pub mod amqp_wire;
pub mod client;
mod gateway;
pub mod history;
pub mod http;
pub mod load;
pub mod place;
pub mod wire;

pub use amqp_peer::AmqpPeer;
pub use gateway::{Gateway, Setup, copy_directory, signal};
