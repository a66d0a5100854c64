//! What types cannot say: ranges, and what does not go together.

use std::collections::BTreeMap;
use std::time::Duration;

use tracing_subscriber::EnvFilter;

use super::Config;
use super::listeners::ABSENT;
use crate::broker::HeaderType;

/// More threads than any machine has cores for.
const MAX_THREADS: usize = 1024;

/// A setting's path and what is wrong with it.
pub type Complaint = (String, String);

/// Everything wrong with a configuration that could be read.
pub fn check(config: &Config, insecure: bool) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    listeners(config, insecure, &mut complaints);
    ranges(config, &mut complaints);
    if let Err(error) = EnvFilter::builder().parse(&config.log.level) {
        complaints.push(("log.level".into(), format!("{error}: write error, warn, info, debug, trace or off")));
    }
    complaints
}

fn listeners(config: &Config, insecure: bool, complaints: &mut Vec<Complaint>) {
    let mut taken = BTreeMap::new();
    for (name, listen) in config.listeners.addresses() {
        let Some(address) = listen.address() else { continue };
        let mut complain = |message| complaints.push((format!("listeners.{name}.listen"), message));
        if ABSENT.contains(&name) {
            complain(format!("this version has no {name} listener: leave it out, or write off"));
        } else if !insecure && !address.ip().is_loopback() {
            complain(format!(
                "{address} can be reached from other machines, and this version cannot authenticate clients: \
                 use a loopback address, or start with --insecure to let everybody in"
            ));
        }
        if address.port() != 0
            && let Some(other) = taken.insert(address, name)
        {
            complain(format!("{address} is taken by listeners.{other} already: choose another port"));
        }
    }
}

fn ranges(config: &Config, complaints: &mut Vec<Complaint>) {
    let engine = &config.engine;
    let topic = &config.defaults.topic;
    let mut require = |holds: bool, setting: &str, message: &str| {
        if !holds {
            complaints.push((setting.into(), message.into()));
        }
    };
    require(topic.partitions >= 1, "defaults.topic.partitions", "a topic has at least 1 partition");
    require(
        topic.partitions as usize <= engine.max_partitions,
        "defaults.topic.partitions",
        "this is more than engine.max_partitions",
    );
    require(engine.reclaim_live_percent <= 100, "engine.reclaim_live_percent", "a percentage is 0 to 100");
    require(engine.lazy_commit <= Duration::from_secs(10), "engine.lazy_commit", "it must be at most 10s");
    require(!engine.maintenance_interval.is_zero(), "engine.maintenance_interval", "it must be longer than 0");
    require(
        engine.retention_interval <= Duration::from_secs(24 * 3600),
        "engine.retention_interval",
        "it must be at most 1d",
    );
    require(
        config.connection_threads <= MAX_THREADS,
        "connection_threads",
        "more than 1024 threads help nobody: 0 is one for each core",
    );
    require(!config.reload_interval.is_zero(), "reload_interval", "it must be longer than 0");
    require(
        engine.segment_bytes >= u64::from(topic.max_message_bytes),
        "engine.segment_bytes",
        "a segment must hold the largest batch, defaults.topic.max_message_bytes",
    );
    require(
        engine.pending_bytes >= topic.max_message_bytes as usize,
        "engine.pending_bytes",
        "it must hold the largest batch, defaults.topic.max_message_bytes",
    );
    let queue = &config.defaults.queue;
    require(
        engine.segment_bytes >= u64::from(queue.max_message_bytes),
        "engine.segment_bytes",
        "a segment must hold the largest batch, defaults.queue.max_message_bytes",
    );
    let amqp = &config.listeners.amqp.settings;
    require(amqp.max_frame_bytes >= 4096, "listeners.amqp.max_frame_bytes", "AMQP's frames are at least 4KiB");
    require(
        amqp.max_table_depth <= HeaderType::MAX_DEPTH,
        "listeners.amqp.max_table_depth",
        "a record keeps the types of tables only 64 deep",
    );
    require(amqp.max_channels >= 1, "listeners.amqp.max_channels", "a connection has at least 1 channel");
    require(
        amqp.max_message_bytes < queue.max_message_bytes as usize,
        "listeners.amqp.max_message_bytes",
        "a message and its properties must fit into defaults.queue.max_message_bytes",
    );
    require(
        amqp.consumer_timeout >= Duration::from_secs(1),
        "listeners.amqp.consumer_timeout",
        "give consumers at least 1s",
    );
    require(amqp.read_gather <= Duration::from_millis(100), "listeners.amqp.read_gather", "at most 100ms");
}
