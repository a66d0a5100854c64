//! The gRPC listener: publish, consume and administer with the services of `proto/tidegate/v1`, whose comments are the
//! documentation of the API.
//!
//! `serve` runs it; `publisher`, `consumer` and `admin` are the services, with one file for each family of methods and
//! `consume/` for the sessions; `convert` maps messages, `error` maps errors.

mod admin;
mod config;
mod consume;
mod consumer;
mod convert;
mod driven;
mod entries;
mod error;
mod fetch;
mod groups;
mod health;
mod lag;
mod metrics;
mod page;
mod publish;
mod publish_stream;
mod publisher;
mod pull;
mod seek;
mod serve;
mod services;
mod settle;
mod state;
#[cfg(test)]
mod tests;
mod time;
mod topics;

pub use config::Config;
pub use metrics::{Metrics, Requests};
pub use serve::{serve, start};
pub use services::routes;
pub use state::Grpc;
