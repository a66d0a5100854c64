//! What the targets stand on.

use tidegate::broker::{Broker, Settings};
use tidegate_engine::store::Environment;
use tidegate_engine::{Engine, EngineConfig};

/// A broker of few topics on a real engine in a new directory. The directory stays, because a fuzzer's process ends without
/// dropping anything: whoever starts it names a place for such (`TMPDIR`) and removes it.
pub fn broker(settings: Settings) -> Broker {
    let directory = tempfile::tempdir().expect("a directory").keep();
    let environment = Environment::local(&directory).expect("the directory is ours");
    let limits = EngineConfig { max_topics: 100, max_partitions: 200, max_groups: 100, ..EngineConfig::default() };
    let (engine, _) = Engine::open(limits, environment).expect("it opens");
    Broker::open(engine, Settings { partitions: 1, ..settings }).expect("it opens")
}
