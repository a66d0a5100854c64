//! The storage engine in this process: what it can do without any protocol around it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use clap::{Args, ValueEnum};
use tidegate_engine::batch::{Batch, Record};
use tidegate_engine::store::Environment;
use tidegate_engine::{
    Durability, Engine, EngineConfig, Error as EngineError, PartitionId, TopicConfig, TopicName, Write,
};

use super::load::{Measured, Run};
use super::{Amount, load, report};
use crate::cli::Error;

/// Load the engine.
#[derive(Debug, Args)]
pub struct Options {
    /// How much.
    #[command(flatten)]
    amount: Amount,
    /// Messages in one batch, which is one append
    #[arg(long, value_name = "N", default_value_t = 100)]
    batch: usize,
    /// Partitions; task n writes to partition n modulo this
    #[arg(long, value_name = "N", default_value_t = 1)]
    partitions: u32,
    /// When an append counts as done
    #[arg(long, value_enum, default_value = "fsync")]
    durability: Promise,
    /// Directory of the log, made for this run and left behind
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
}

/// As [`Durability`].
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Promise {
    Fsync,
    PageCache,
    Memory,
}

impl From<Promise> for Durability {
    fn from(promise: Promise) -> Self {
        match promise {
            Promise::Fsync => Self::Fsync,
            Promise::PageCache => Self::PageCache,
            Promise::Memory => Self::Memory,
        }
    }
}

pub async fn run(options: Options) -> Result<(), Error> {
    let (engine, partitions) = open(&options).await.map_err(|error| Error::failed(error.to_string()))?;
    let batch = options.batch.max(1);
    let worker = |index: usize, run: Arc<Run>| append(engine.clone(), partitions[index % partitions.len()], batch, run);
    let (measured, took) = load::run(&options.amount, worker).await?;
    engine.close().await.map_err(|error| Error::failed(error.to_string()))?;
    report::print(options.amount.output, &[("engine append", measured, took)])
}

async fn open(options: &Options) -> Result<(Engine, Vec<PartitionId>), EngineError> {
    let environment = Environment::local(&options.data_dir)?;
    let (engine, _) = Engine::open(EngineConfig::default(), environment)?;
    let name = TopicName::new("default", "bench")?;
    let config = TopicConfig { durability: options.durability.into(), ..TopicConfig::default() };
    let topic = match engine.topic(name.namespace(), name.name()) {
        Some(topic) => topic,
        None => {
            let (topic, commit) = engine.create_topic(name, options.partitions.max(1), config)?;
            commit.wait().await?;
            topic
        }
    };
    Ok((engine, topic.partitions.clone()))
}

async fn append(engine: Engine, partition: PartitionId, most: usize, run: Arc<Run>) -> Result<Measured, Error> {
    let mut measured = Measured::new()?;
    let value = Bytes::from(vec![b'x'; run.size()]);
    while let Some(messages) = run.claim(most as u64) {
        let record = Record { timestamp_ms: now_ms(), value: Some(value.clone()), ..Record::default() };
        let batch = Batch::pack(&vec![record; messages as usize]);
        let batch = batch.map_err(|error| Error::failed(error.to_string()))?;
        let sent = Instant::now();
        match append_one(&engine, Write::new(partition, batch)).await {
            Ok(()) => run.record(&mut measured, sent, messages, messages * run.size() as u64),
            Err(error) => measured.fail(error.to_string()),
        }
    }
    Ok(measured)
}

async fn append_one(engine: &Engine, write: Write) -> Result<(), EngineError> {
    let appends = engine.append(vec![write]).await;
    appends.results.into_iter().collect::<Result<Vec<_>, _>>()?;
    appends.commit.wait().await
}

fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}
