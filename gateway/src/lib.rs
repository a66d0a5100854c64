//! The gateway: listeners in front of one broker in front of one engine.
//!
//! A listener (`kafka`, `http`) speaks a wire protocol and nothing else; it asks the [`broker`], in no protocol's words,
//! to publish, read, consume and manage; the broker checks the principal and asks the engine.

pub mod broker;
pub mod listener;
pub mod units;
