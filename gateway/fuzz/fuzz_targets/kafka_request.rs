//! Requests of the Kafka protocol in front of a real engine: whatever comes, nothing panics and every response can be encoded.
//!
//! Input: a request's frame without its length: key, version, correlation id, client id, body.
#![no_main]

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use tidegate::broker::Settings;
use tidegate::kafka::{Config, Listener};

struct Target {
    runtime: tokio::runtime::Runtime,
    listener: Listener,
}

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let broker = tidegate_fuzz::broker(Settings { auto_create_topics: true, ..Settings::default() });
    let config = Config { initial_rebalance_delay: Duration::ZERO, max_groups: 100, ..Config::default() };
    let listener = Listener::new(broker, Arc::new(config), Arc::default());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    Target { runtime, listener }
});

fuzz_target!(|input: &[u8]| {
    let answer = TARGET.listener.answer(Bytes::copy_from_slice(input));
    // A long poll or a join may wait for others, who will not come.
    let patience = Duration::from_millis(20);
    TARGET.runtime.block_on(async { tokio::time::timeout(patience, answer).await }).ok();
});
