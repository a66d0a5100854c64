//! The process dies under AMQP clients: what it confirmed stays, and what was acknowledged does not come again.

mod blocked;
mod history;
mod load;

use tidegate_integration::{Gateway, Setup, place};

use crate::crash::{Moments, setting};
use history::History;
use load::Load;

const ROUTES: [(&str, &[&str]); 3] = [("direct", &["one"]), ("topic", &["one", "two"]), ("narrow", &["two"])];

async fn full_load(gateway: &Gateway) -> Load {
    let mut load = Load::prepare(gateway.amqp, &[("one", "wide.#"), ("two", "*.*")]).await;
    load.publisher("direct", "", "one");
    load.publisher("topic", "amq.topic", "wide.one");
    load.publisher("narrow", "amq.topic", "only.two");
    for queue in ["one", "one", "two"] {
        load.consumer(queue);
    }
    load
}

fn check(history: &History) {
    let broken = history.violations(&ROUTES);
    assert!(broken.is_empty(), "{} rules broken:\n{}", broken.len(), broken[..broken.len().min(20)].join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_with_confirms_and_acknowledgements() {
    let kills: u32 = setting("TIDEGATE_KILLS", 10);
    let mut gateway = Setup::default().segments("8MiB").start();
    let load = full_load(&gateway).await;
    let mut moments = Moments::from_seed();
    for _ in 0..kills {
        load.progress(200).await;
        tokio::time::sleep(moments.next(500)).await;
        tokio::task::block_in_place(|| gateway.restart());
    }
    load.progress(200).await;
    let history = load.finish().await;
    place::report(&format!(
        "{kills} kills: {} confirmed, {} acknowledgements durable, {} deliveries repeated",
        history.confirmed_count(),
        history.settled_count(),
        history.repeated_count(),
    ));
    check(&history);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_loses_nothing() {
    let mut gateway = Gateway::start();
    let load = full_load(&gateway).await;
    for _ in 0..3 {
        load.progress(200).await;
        let status = tokio::task::block_in_place(|| gateway.stop());
        assert!(status.success(), "{status}");
        tokio::task::block_in_place(|| gateway.restart());
    }
    load.progress(200).await;
    check(&load.finish().await);
}
