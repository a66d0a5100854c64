//! Requests of the Kafka protocol in front of a real engine: whatever comes, nothing panics and every response can be encoded.
//!
//! Input: a request's frame without its length: key, version, correlation id, client id, body.
#![no_main]

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use tidegate::broker::{Broker, Settings};
use tidegate::kafka::{Config, Listener};
use tidegate_engine::store::Environment;
use tidegate_engine::{Engine, EngineConfig};

struct Target {
    runtime: tokio::runtime::Runtime,
    listener: Listener,
    _directory: tempfile::TempDir,
}

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let directory = tempfile::tempdir().expect("a directory");
    let environment = Environment::local(directory.path()).expect("the directory is ours");
    let settings = EngineConfig { max_topics: 100, max_partitions: 200, max_groups: 100, ..EngineConfig::default() };
    let (engine, _) = Engine::open(settings, environment).expect("it opens");
    let broker = Broker::open(engine, Settings { partitions: 1, auto_create_topics: true, ..Settings::default() }).unwrap();
    let config = Config { initial_rebalance_delay: Duration::ZERO, max_groups: 100, ..Config::default() };
    let listener = Listener::new(broker, Arc::new(config), Arc::default());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    Target { runtime, listener, _directory: directory }
});

fuzz_target!(|input: &[u8]| {
    let answer = TARGET.listener.answer(Bytes::copy_from_slice(input));
    // A long poll or a join may wait for others, who will not come.
    let patience = Duration::from_millis(20);
    TARGET.runtime.block_on(async { tokio::time::timeout(patience, answer).await }).ok();
});
