//! The disk is full: what waits for space holds up no heartbeats.

use tidegate_engine::store::SystemClock;
use tidegate_engine::store::faulty::FaultyStore;
use tidegate_engine::{Error as EngineError, Write};

use super::*;

static LARGE: [u8; 100_000] = [b'x'; 100_000];

/// Publishes until there is no more space.
async fn fill(engine: &Engine, queue: &str) {
    let partition = engine.topic("default", queue).unwrap().partitions[0];
    let record = tidegate_engine::batch::Record { value: Some(Bytes::from_static(&LARGE)), ..<_>::default() };
    let batch = tidegate_engine::batch::Batch::pack(&[record]).unwrap();
    for _ in 0..1000 {
        let appends = engine.append(vec![Write::new(partition, batch.clone())]).await;
        if appends.results == [Err(EngineError::DiskFull)] {
            return;
        }
        let _ = appends.commit.wait().await;
    }
    panic!("the disk is not full after 100 MB");
}

/// A gateway whose disk is full, a client that hears of it every half second, and how many messages are in its queue. The
/// client has published one more, and asked for something that is answered after that.
async fn waiting() -> (Gateway, FaultyStore, Client, u64) {
    let store = FaultyStore::new(1);
    let environment = Environment { store: Arc::new(store.clone()), clock: Arc::new(SystemClock::default()) };
    let settings = EngineConfig { segment_bytes: 1 << 20, ..EngineConfig::default() };
    let gateway = Gateway::on(environment, settings, Config::default(), tempfile::tempdir().unwrap()).await;
    let mut client = gateway.connect().await;
    client.open_with(1).await;
    client.open_channel(1).await;
    client.declare("full").await;
    store.set_capacity(store.used());
    fill(&gateway.engine, "full").await;
    let partition = gateway.engine.topic("default", "full").unwrap().partitions[0];
    let stored = gateway.engine.partition(partition).unwrap().high_watermark;
    client.publish("", "full", &LARGE);
    client.outbox.method(1, &Method::Queue(declare("full", true)));
    client.flush().await;
    (gateway, store, client, stored)
}

#[tokio::test]
async fn a_request_that_waits_for_space_does_not_stop_heartbeats() {
    let (gateway, store, mut client, stored) = waiting().await;
    for _ in 0..3 {
        let frame = client.frame().await.expect("the server hung up");
        assert!(matches!(frame.payload, Payload::Heartbeat), "{frame:?}");
    }
    store.set_capacity(u64::MAX);
    let answer = client.method().await;
    let Method::Queue(Queue::DeclareOk { message_count, .. }) = answer else { panic!("{answer:?}") };
    assert_eq!(u64::from(message_count), stored + 1);
    drop(client);
    gateway.close().await;
}

#[tokio::test]
async fn a_client_that_goes_away_while_its_request_waits_is_noticed() {
    let (gateway, store, client, _) = waiting().await;
    drop(client);
    let gone = async {
        while gateway.metrics.connections.get() > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), gone).await.expect("nobody notices that the client is gone");
    store.set_capacity(u64::MAX);
    gateway.close().await;
}
