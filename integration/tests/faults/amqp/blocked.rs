//! The disk is full under AMQP clients: publishers are told to wait and lose nothing, consumers go on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
    QueueDeclareOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Confirmation};
use tidegate_integration::place;

use super::load::connect;
use crate::disk::SmallDisk;

const WAITING: u64 = 200;
const PATIENCE: Duration = Duration::from_secs(60);

async fn declare(channel: &Channel, queue: &str) -> u32 {
    let queue = channel.queue_declare(queue.into(), QueueDeclareOptions::durable(), FieldTable::default());
    queue.await.unwrap().message_count()
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, waiting).await.is_ok(), "no {what}");
}

/// Publishes with confirms until it is told to stop, whether the connection is blocked or not, and waits for the rest; how many
/// were confirmed.
async fn fill(channel: &Channel, stop: &AtomicBool) -> u32 {
    let (mut unconfirmed, mut confirmed, body) = (FuturesUnordered::new(), 0, vec![b'x'; 100_000]);
    for sent in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        assert!(sent < 2_000, "200 MB were taken on a disk of 64 MiB");
        let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
        let publish = channel.basic_publish("".into(), "filled".into(), options, &body, properties);
        unconfirmed.push(tokio::time::timeout(PATIENCE, publish).await.expect("publishing goes on").unwrap());
        while unconfirmed.len() > 10 && !stop.load(Ordering::Relaxed) {
            if let Ok(confirm) = tokio::time::timeout(Duration::from_millis(100), unconfirmed.next()).await {
                confirmed += u32::from(matches!(confirm.unwrap().unwrap(), Confirmation::Ack(None)));
            }
        }
    }
    while let Some(confirm) = tokio::time::timeout(PATIENCE, unconfirmed.next()).await.expect("a confirm") {
        confirmed += u32::from(matches!(confirm.unwrap(), Confirmation::Ack(None)));
    }
    confirmed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn publishers_are_told_of_a_full_disk_and_of_its_end() {
    let test = "publishers_are_told_of_a_full_disk_and_of_its_end";
    let Some((disk, mut gateway)) = SmallDisk::with_gateway(test) else { return };
    let (reading, reader) = connect(gateway.amqp).await.unwrap();
    declare(&reader, "waiting").await;
    for _ in 0..WAITING {
        let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
        reader.basic_publish("".into(), "waiting".into(), options, b"small", properties).await.unwrap();
    }
    reader.basic_qos(10, BasicQosOptions::default()).await.unwrap();
    let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
    let mut deliveries = reader.basic_consume("waiting".into(), "".into(), options, arguments).await.unwrap();

    let (connection, channel) = connect(gateway.amqp).await.unwrap();
    declare(&channel, "filled").await;
    channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
    let status = connection.status().clone();
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let filling = tokio::spawn(async move {
        let confirmed = fill(&channel, &stopped).await;
        (connection, channel, confirmed)
    });
    until("connection.blocked", || status.blocked()).await;

    for number in 0..WAITING {
        let delivery = tokio::time::timeout(PATIENCE, deliveries.next()).await;
        let delivery = delivery.unwrap_or_else(|_| panic!("delivery {number} does not come while the disk is full"));
        delivery.unwrap().unwrap().ack(BasicAckOptions::default()).await.unwrap();
    }
    until("connection.blocked", || status.blocked()).await;

    stop.store(true, Ordering::Relaxed);
    disk.make_room();
    let (connection, channel, confirmed) = filling.await.unwrap();
    until("connection.unblocked", || !status.blocked()).await;
    let stored = declare(&channel, "filled").await;
    assert!(stored >= confirmed && confirmed > 0, "{confirmed} confirmed, {stored} stored");
    place::report(&format!("disk full under AMQP: {confirmed} confirmed, {stored} stored"));
    connection.close(200, "".into()).await.unwrap();
    reading.close(200, "".into()).await.unwrap();
    tokio::task::block_in_place(|| gateway.restart());
    let (again, channel) = connect(gateway.amqp).await.unwrap();
    assert_eq!((declare(&channel, "filled").await, declare(&channel, "waiting").await), (stored, 0), "after a kill -9");
    again.close(200, "".into()).await.unwrap();
}
