//! `tidegate bench`: load from several connections, a progress bar meanwhile, a table at the end.

mod amqp;
mod amqp_client;
mod engine;
mod grpc;
mod grpc_client;
mod http;
mod kafka;
mod kafka_client;
mod load;
mod report;

use std::time::Duration;

use clap::{Args, Subcommand};

use super::Error;
use super::arguments::Output;
use crate::units;

/// What to load.
#[derive(Debug, Subcommand)]
pub enum Bench {
    /// A Kafka listener (of any Kafka)
    Kafka(kafka::Options),
    /// An AMQP listener (of any broker): a queue published to and consumed from
    Amqp(amqp::Options),
    /// The HTTP API: one durable message a request
    Http(http::Options),
    /// The gRPC listener: frames of durable messages, or a group consumed
    Grpc(grpc::Options),
    /// The storage engine in this process, without any protocol
    Engine(engine::Options),
}

/// How much, how long, how many at once.
#[derive(Debug, Clone, Args)]
pub struct Amount {
    /// Connections (tasks, for the engine), each with its own requests
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub connections: usize,
    /// Messages in all; without it --duration counts
    #[arg(long, value_name = "N")]
    pub messages: Option<u64>,
    /// How long
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = units::parse_duration)]
    pub duration: Duration,
    /// Size of a message's value in bytes
    #[arg(long, value_name = "SIZE", default_value = "100", value_parser = size)]
    pub size: usize,
    /// How the result is shown
    #[arg(long, value_enum, default_value = "table")]
    pub output: Output,
}

fn size(text: &str) -> Result<usize, units::Error> {
    let too_large = || units::Error::Size(text.to_owned());
    units::parse_size(text).and_then(|bytes| usize::try_from(bytes).map_err(|_| too_large()))
}

pub fn bench(bench: Bench) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Error::failed(format!("cannot start: {error}")))?;
    runtime.block_on(async {
        match bench {
            Bench::Kafka(options) => kafka::run(options).await,
            Bench::Amqp(options) => amqp::run(options).await,
            Bench::Http(options) => http::run(options).await,
            Bench::Grpc(options) => grpc::run(options).await,
            Bench::Engine(options) => engine::run(options).await,
        }
    })
}
