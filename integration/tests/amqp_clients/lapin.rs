//! lapin, which can write every type of header that there is.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::StreamExt;
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicGetOptions, BasicNackOptions, BasicPublishOptions, BasicQosOptions,
    BasicRejectOptions, ConfirmSelectOptions, ExchangeDeclareOptions, ExchangeDeleteOptions, QueueBindOptions,
    QueueDeclareOptions, QueueDeleteOptions, QueuePurgeOptions,
};
use lapin::types::{AMQPValue, DecimalValue, FieldArray, FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, Consumer, ExchangeKind};
use tidegate_integration::AmqpPeer;

/// A peer, and a connection to it with one channel.
struct Session {
    connection: Connection,
    channel: Channel,
    _peer: AmqpPeer,
}

async fn open() -> Session {
    let peer = AmqpPeer::start();
    let uri = format!("amqp://guest:guest@{}/%2f", peer.address);
    let connection = Connection::connect(&uri, ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    Session { connection, channel, _peer: peer }
}

impl Session {
    /// A new, empty durable queue.
    async fn queue(&self, name: &str) {
        self.channel.queue_delete(name.into(), QueueDeleteOptions::default()).await.unwrap();
        let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        self.channel.queue_declare(name.into(), options, FieldTable::default()).await.unwrap();
    }

    async fn publish(&self, exchange: &str, key: &str, body: &[u8], properties: BasicProperties) -> Confirmation {
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let sent = self.channel.basic_publish(exchange.into(), key.into(), options, body, properties).await.unwrap();
        sent.await.unwrap()
    }

    async fn consume(&self, queue: &str) -> Consumer {
        let options = BasicConsumeOptions::default();
        self.channel.basic_consume(queue.into(), "".into(), options, FieldTable::default()).await.unwrap()
    }

    async fn confirm(&self) {
        self.channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
    }
}

async fn next(consumer: &mut Consumer) -> Delivery {
    let delivery = tokio::time::timeout(Duration::from_secs(10), consumer.next()).await;
    delivery.expect("a delivery in 10 s").expect("the consumer goes on").unwrap()
}

async fn take(consumer: &mut Consumer, count: usize) -> Vec<Delivery> {
    let mut deliveries = Vec::new();
    while deliveries.len() < count {
        deliveries.push(next(consumer).await);
    }
    deliveries
}

fn bodies(deliveries: &[Delivery]) -> Vec<String> {
    deliveries.iter().map(|delivery| String::from_utf8_lossy(&delivery.data).into_owned()).collect()
}

fn array(values: Vec<AMQPValue>) -> AMQPValue {
    AMQPValue::FieldArray(FieldArray::from(values))
}

fn table(values: Vec<(&str, AMQPValue)>) -> FieldTable {
    let map: BTreeMap<ShortString, AMQPValue> = values.into_iter().map(|(name, value)| (name.into(), value)).collect();
    FieldTable::from(map)
}

/// Every type, at its limits, in a table in an array in a table.
fn every_type() -> FieldTable {
    let values = vec![
        ("boolean", AMQPValue::Boolean(true)),
        ("i8", AMQPValue::ShortShortInt(i8::MIN)),
        ("u8", AMQPValue::ShortShortUInt(u8::MAX)),
        ("i16", AMQPValue::ShortInt(i16::MIN)),
        ("u16", AMQPValue::ShortUInt(u16::MAX)),
        ("i32", AMQPValue::LongInt(i32::MIN)),
        ("u32", AMQPValue::LongUInt(u32::MAX)),
        ("i64", AMQPValue::LongLongInt(i64::MIN)),
        ("f32", AMQPValue::Float(f32::MIN_POSITIVE)),
        ("f64", AMQPValue::Double(f64::MAX)),
        ("decimal", AMQPValue::DecimalValue(DecimalValue { scale: 2, value: 4_294_967_295 })),
        ("text", AMQPValue::LongString("größe 🌊".into())),
        ("not utf-8", AMQPValue::LongString(vec![0xff, 0xfe, 0].into())),
        ("long", AMQPValue::LongString("x".repeat(20_000).into())),
        ("timestamp", AMQPValue::Timestamp(253_402_300_799)),
        ("bytes", AMQPValue::ByteArray(vec![0, 255].into())),
        ("void", AMQPValue::Void),
        ("empty array", array(Vec::new())),
        ("empty table", AMQPValue::FieldTable(FieldTable::default())),
    ];
    let everything: Vec<AMQPValue> = values.iter().map(|(_, value)| value.clone()).collect();
    let inner = AMQPValue::FieldTable(table(values.clone()));
    let nested = ("nested", array(vec![inner, array(everything)]));
    table(values.into_iter().chain([nested]).collect())
}

#[tokio::test]
async fn headers_of_every_type() {
    let session = open().await;
    session.queue("lapin-headers").await;
    let sent = BasicProperties::default()
        .with_headers(every_type())
        .with_content_type("application/octet-stream".into())
        .with_content_encoding("gzip".into())
        .with_delivery_mode(2)
        .with_priority(255)
        .with_correlation_id("c".into())
        .with_reply_to("r".into())
        .with_expiration("600000".into())
        .with_message_id("m".repeat(255).as_str().into())
        .with_timestamp(1_700_000_000)
        .with_type("".into())
        .with_user_id("guest".into())
        .with_app_id("a".into())
        .with_cluster_id("k".into());
    session.publish("", "lapin-headers", b"all", sent.clone()).await;
    session.publish("", "lapin-headers", b"none", BasicProperties::default()).await;
    let mut consumer = session.consume("lapin-headers").await;
    let delivery = next(&mut consumer).await;
    for (name, value) in every_type().inner() {
        let got = delivery.properties.headers().as_ref().unwrap().inner().get(name);
        assert_eq!(got, Some(value), "header {name}");
    }
    assert_eq!(delivery.properties, sent);
    assert_eq!(next(&mut consumer).await.properties, BasicProperties::default());
}

#[tokio::test]
async fn confirms_and_returns() {
    let session = open().await;
    session.queue("lapin-confirms").await;
    session.confirm().await;
    for _ in 0..100 {
        let confirmation = session.publish("", "lapin-confirms", b"x", BasicProperties::default()).await;
        assert!(matches!(confirmation, Confirmation::Ack(None)), "{confirmation:?}");
    }
    let Confirmation::Ack(Some(back)) = session.publish("amq.fanout", "", b"back", BasicProperties::default()).await
    else {
        panic!("what nobody is bound for was not returned");
    };
    assert_eq!((back.reply_code, back.reply_text.as_str()), (312, "NO_ROUTE"));
    assert_eq!(back.delivery.data, b"back");
    let purged = session.channel.queue_purge("lapin-confirms".into(), QueuePurgeOptions::default()).await.unwrap();
    assert_eq!(purged, 100);
}

#[tokio::test]
async fn five_mebibytes_and_nothing() {
    let session = open().await;
    session.queue("lapin-bodies").await;
    let mut consumer = session.consume("lapin-bodies").await;
    for size in [0, 1, 131_064, 131_065, 5 << 20] {
        let body: Vec<u8> = (0..size).map(|at: u32| at.to_le_bytes()[1] ^ at.to_le_bytes()[0]).collect();
        session.publish("", "lapin-bodies", &body, BasicProperties::default()).await;
        let delivery = next(&mut consumer).await;
        assert!(delivery.data == body, "a body of {size} bytes came back as {} bytes, or changed", delivery.data.len());
        delivery.ack(BasicAckOptions::default()).await.unwrap();
    }
}

#[tokio::test]
async fn settling() {
    let session = open().await;
    session.queue("lapin-settling").await;
    session.channel.basic_qos(3, BasicQosOptions::default()).await.unwrap();
    session.confirm().await;
    for number in 0..6 {
        session.publish("", "lapin-settling", number.to_string().as_bytes(), BasicProperties::default()).await;
    }
    let mut consumer = session.consume("lapin-settling").await;
    let first = take(&mut consumer, 3).await;
    assert_eq!(bodies(&first), ["0", "1", "2"]);
    let more = tokio::time::timeout(Duration::from_millis(300), consumer.next()).await;
    assert!(more.is_err(), "more than the prefetch count: {more:?}");
    first[0].reject(BasicRejectOptions { requeue: true }).await.unwrap();
    let again = next(&mut consumer).await;
    assert_eq!((again.data.as_slice(), again.redelivered), (b"0".as_slice(), true));
    let both = BasicNackOptions { multiple: true, requeue: false };
    first[2].nack(both).await.unwrap();
    assert_eq!(bodies(&take(&mut consumer, 2).await), ["3", "4"]);
    again.ack(BasicAckOptions::default()).await.unwrap();
    let last = next(&mut consumer).await;
    assert_eq!((last.data.as_slice(), last.redelivered), (b"5".as_slice(), false));
    last.ack(BasicAckOptions { multiple: true }).await.unwrap();
    let other = session.connection.create_channel().await.unwrap();
    let left = other.basic_get("lapin-settling".into(), BasicGetOptions { no_ack: true }).await.unwrap();
    assert!(left.is_none(), "{left:?}");
}

#[tokio::test]
async fn exchanges() {
    let session = open().await;
    let kinds = [(ExchangeKind::Direct, "a.b", 1), (ExchangeKind::Fanout, "", 2), (ExchangeKind::Topic, "a.*", 1)];
    session.confirm().await;
    for (index, (kind, pattern, wanted)) in kinds.into_iter().enumerate() {
        let name = format!("lapin-{index}");
        let declare = ExchangeDeclareOptions::default();
        session.channel.exchange_declare(name.as_str().into(), kind, declare, FieldTable::default()).await.unwrap();
        let exclusive = QueueDeclareOptions { exclusive: true, ..QueueDeclareOptions::default() };
        let queue = session.channel.queue_declare("".into(), exclusive, FieldTable::default()).await.unwrap();
        let (bind, arguments) = (QueueBindOptions::default(), FieldTable::default());
        let queue = queue.name().clone();
        session.channel.queue_bind(queue.clone(), name.as_str().into(), pattern.into(), bind, arguments).await.unwrap();
        for key in ["a.b", "x"] {
            session.publish(&name, key, key.as_bytes(), BasicProperties::default()).await;
        }
        let mut consumer = session.consume(queue.as_str()).await;
        let wanted = &["a.b", "x"][..wanted];
        assert_eq!(bodies(&take(&mut consumer, wanted.len()).await), wanted);
        session.channel.exchange_delete(name.as_str().into(), ExchangeDeleteOptions::default()).await.unwrap();
    }
}

fn code(error: &lapin::Error) -> Option<u16> {
    match error.kind() {
        lapin::ErrorKind::ProtocolError(said) => Some(said.get_id()),
        _ => None,
    }
}

#[tokio::test]
async fn errors() {
    let session = open().await;
    session.queue("lapin-errors").await;
    for (wanted, name, durable) in [(404, "lapin-nowhere", true), (406, "lapin-errors", false)] {
        let channel = session.connection.create_channel().await.unwrap();
        let options = QueueDeclareOptions { passive: wanted == 404, durable, ..QueueDeclareOptions::default() };
        let error = channel.queue_declare(name.into(), options, FieldTable::default()).await.unwrap_err();
        assert_eq!(code(&error), Some(wanted), "{error}");
    }
    assert!(session.connection.status().connected());
    session.publish("", "lapin-errors", b"the first channel goes on", BasicProperties::default()).await;
}
