//! The gateway: listeners in front of one broker in front of one engine.
//!
//! A listener (`kafka`, `amqp`, `http`, `grpc`) speaks a wire protocol and nothing else; it asks the [`broker`], in no
//! protocol's words,
//! to publish, read, consume and manage; the broker checks the principal and asks the engine.

pub mod admin;
pub mod amqp;
pub mod broker;
pub mod cli;
pub mod config;
pub mod grpc;
pub mod http;
pub mod identity;
pub mod kafka;
pub mod listener;
pub mod metrics;
pub mod server;
pub mod telemetry;
pub mod units;
pub mod workers;
