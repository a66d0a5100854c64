//! One of every method, and tables of every type.

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::amqp::codec::{
    Basic, Channel, Confirm, Connection, Exchange, Method, Properties, Queue, RawTable, Table, Text, Tx, Value,
};

fn text(text: &'static str) -> Text {
    Text::from_static(text)
}

/// Every method. No two neighbouring fields of one have the same value, so that swapped ones are noticed.
pub(super) fn methods(arguments: &Table) -> Vec<Method> {
    let arguments = || arguments.clone();
    let (a, b, c) = (text("a"), text("b"), text("c"));
    let long = |text: &'static str| Bytes::from_static(text.as_bytes());
    let connection = [
        Connection::Start {
            version_major: 0,
            version_minor: 9,
            server_properties: arguments(),
            mechanisms: long("PLAIN AMQPLAIN"),
            locales: long("en_US"),
        },
        Connection::StartOk {
            client_properties: arguments(),
            mechanism: text("PLAIN"),
            response: long("\0guest\0guest"),
            locale: text("en_US"),
        },
        Connection::Secure { challenge: long("who?") },
        Connection::SecureOk { response: long("me") },
        Connection::Tune { channel_max: 2047, frame_max: 131_072, heartbeat: 60 },
        Connection::TuneOk { channel_max: 1, frame_max: 4096, heartbeat: 0 },
        Connection::Open { virtual_host: text("/") },
        Connection::OpenOk {},
        Connection::Close { reply_code: 320, reply_text: text("é"), class_id: 60, method_id: 40 },
        Connection::CloseOk {},
        Connection::Blocked { reason: text("low on disk") },
        Connection::Unblocked {},
        Connection::UpdateSecret { new_secret: long("token"), reason: text("expiry") },
        Connection::UpdateSecretOk {},
    ];
    let channel = [
        Channel::Open {},
        Channel::OpenOk {},
        Channel::Flow { active: true },
        Channel::FlowOk { active: false },
        Channel::Close { reply_code: 404, reply_text: text("NOT_FOUND"), class_id: 50, method_id: 10 },
        Channel::CloseOk {},
    ];
    let bound = |a, b, c| (text(a), text(b), text(c));
    let (destination, source, routing_key) = bound("d", "s", "k");
    let exchange = [
        Exchange::Declare {
            exchange: a.clone(),
            r#type: text("topic"),
            passive: true,
            durable: false,
            auto_delete: true,
            internal: false,
            no_wait: true,
            arguments: arguments(),
        },
        Exchange::DeclareOk {},
        Exchange::Delete { exchange: a.clone(), if_unused: true, no_wait: false },
        Exchange::DeleteOk {},
        Exchange::Bind {
            destination: destination.clone(),
            source: source.clone(),
            routing_key: routing_key.clone(),
            no_wait: true,
            arguments: arguments(),
        },
        Exchange::BindOk {},
        Exchange::Unbind { destination, source, routing_key, no_wait: false, arguments: arguments() },
        Exchange::UnbindOk {},
    ];
    let queue = [
        Queue::Declare {
            queue: a.clone(),
            passive: false,
            durable: true,
            exclusive: false,
            auto_delete: true,
            no_wait: false,
            arguments: arguments(),
        },
        Queue::DeclareOk { queue: a.clone(), message_count: 1, consumer_count: 2 },
        Queue::Bind {
            queue: a.clone(),
            exchange: b.clone(),
            routing_key: c.clone(),
            no_wait: true,
            arguments: arguments(),
        },
        Queue::BindOk {},
        Queue::Purge { queue: a.clone(), no_wait: true },
        Queue::PurgeOk { message_count: u32::MAX },
        Queue::Delete { queue: a.clone(), if_unused: true, if_empty: false, no_wait: true },
        Queue::DeleteOk { message_count: 7 },
        Queue::Unbind { queue: a.clone(), exchange: b.clone(), routing_key: c.clone(), arguments: arguments() },
        Queue::UnbindOk {},
    ];
    let basic = [
        Basic::Qos { prefetch_size: 0, prefetch_count: 2, global: true },
        Basic::QosOk {},
        Basic::Consume {
            queue: a.clone(),
            consumer_tag: b.clone(),
            no_local: true,
            no_ack: false,
            exclusive: true,
            no_wait: false,
            arguments: arguments(),
        },
        Basic::ConsumeOk { consumer_tag: a.clone() },
        Basic::Cancel { consumer_tag: a.clone(), no_wait: true },
        Basic::CancelOk { consumer_tag: a.clone() },
        Basic::Publish { exchange: a.clone(), routing_key: b.clone(), mandatory: true, immediate: false },
        Basic::Return { reply_code: 312, reply_text: text("NO_ROUTE"), exchange: a.clone(), routing_key: b.clone() },
        Basic::Deliver {
            consumer_tag: a.clone(),
            delivery_tag: u64::MAX,
            redelivered: true,
            exchange: b.clone(),
            routing_key: c,
        },
        Basic::Get { queue: a.clone(), no_ack: true },
        Basic::GetOk { delivery_tag: 5, redelivered: false, exchange: a, routing_key: b, message_count: 6 },
        Basic::GetEmpty {},
        Basic::Ack { delivery_tag: 1, multiple: true },
        Basic::Reject { delivery_tag: 2, requeue: true },
        Basic::RecoverAsync { requeue: true },
        Basic::Recover { requeue: false },
        Basic::RecoverOk {},
        Basic::Nack { delivery_tag: 3, multiple: false, requeue: true },
    ];
    let tx = [Tx::Select {}, Tx::SelectOk {}, Tx::Commit {}, Tx::CommitOk {}, Tx::Rollback {}, Tx::RollbackOk {}];
    let all = connection.into_iter().map(Method::Connection);
    let all = all.chain(channel.into_iter().map(Method::Channel)).chain(exchange.into_iter().map(Method::Exchange));
    let all = all.chain(queue.into_iter().map(Method::Queue)).chain(basic.into_iter().map(Method::Basic));
    let confirm = [Confirm::Select { nowait: true }, Confirm::SelectOk {}];
    all.chain(confirm.into_iter().map(Method::Confirm)).chain(tx.into_iter().map(Method::Tx)).collect()
}

fn any_bytes() -> impl Strategy<Value = Bytes> {
    prop_oneof![vec(any::<u8>(), 0..20).prop_map(Bytes::from), "\\PC{0,12}".prop_map(Bytes::from)]
}

pub(in crate::amqp) fn any_value() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        any::<bool>().prop_map(Value::Boolean),
        any::<i8>().prop_map(Value::Int8),
        any::<u8>().prop_map(Value::Uint8),
        any::<i16>().prop_map(Value::Int16),
        any::<u16>().prop_map(Value::Uint16),
        any::<i32>().prop_map(Value::Int32),
        any::<u32>().prop_map(Value::Uint32),
        any::<i64>().prop_map(Value::Int64),
        any::<u32>().prop_map(|bits| Value::Float(f32::from_bits(bits))),
        any::<u64>().prop_map(|bits| Value::Double(f64::from_bits(bits))),
        Just(Value::Double(f64::NAN)),
        any::<u32>().prop_map(|bits| Value::Float(f32::from_bits(bits | 0x7f80_0000))),
        (any::<u8>(), any::<u32>()).prop_map(|(scale, value)| Value::Decimal(scale, value)),
        any_bytes().prop_map(Value::LongString),
        any::<u64>().prop_map(Value::Timestamp),
        (0..4_000_000_000_u64).prop_map(Value::Timestamp),
        Just(Value::Void),
        any_bytes().prop_map(Value::Bytes),
    ];
    scalar.prop_recursive(4, 24, 5, |inner| {
        let fields = vec(("\\PC{0,6}".prop_map(Text::from), inner.clone()), 0..5);
        prop_oneof![vec(inner, 0..5).prop_map(Value::Array), fields.prop_map(|fields| Value::Table(Table(fields)))]
    })
}

/// Names that mean something to the conversion, among others.
const MEANINGFUL: [&str; 17] = [
    "x-key",
    "x-tombstone",
    "x-timestamp-ms",
    "x-delay",
    "x-deliver-at",
    "x-death",
    "amqp",
    "amqp-exchange",
    "content-type",
    "deliver-at",
    "ttl-ms",
    "priority",
    "cluster-id",
    "tidegate-header-types",
    "dead-letter-reason",
    "dead-letter-topic",
    "dead-letter-group",
];

pub(in crate::amqp) fn any_table() -> impl Strategy<Value = Table> {
    let name = prop_oneof![
        "[a-z]{1,3}".prop_map(Text::from),
        "\\PC{0,6}".prop_map(Text::from),
        prop::sample::select(&MEANINGFUL[..]).prop_map(Text::from_static),
    ];
    let number = any::<i64>().prop_map(|number| Value::from(number.to_string()));
    let value = prop_oneof![
        4 => any_value(),
        1 => Just(Value::Boolean(true)),
        1 => (-5000..5000_i64).prop_map(Value::Int64),
        1 => number,
        1 => Just(Value::from("2026-01-31T12:00:00.5Z")),
        1 => Just(Value::from("0=int32")),
        1 => Just(Value::from("2t")),
    ];
    vec((name, value), 0..6).prop_map(Table)
}

/// Properties, their table among them, as bytes.
pub(in crate::amqp) fn any_properties() -> impl Strategy<Value = Bytes> {
    let short =
        || prop::option::weighted(0.3, prop_oneof![vec(any::<u8>(), 0..256), "[a-z0-9-]{0,30}".prop_map(Vec::from)]);
    let octets = (prop::option::of(any::<u8>()), prop::option::of(any::<u8>()));
    let timestamp = prop::option::of(prop_oneof![any::<u64>(), 0..4_000_000_000_u64]);
    let expiration = prop::option::weighted(0.3, prop_oneof!["[0-9]{1,9}", Just("007".to_owned())]);
    let shorts = (short(), short(), short(), short(), short(), short(), short(), short(), short());
    let table = prop::option::of(any_table());
    (shorts, table, octets, timestamp, expiration).prop_map(|(shorts, table, octets, timestamp, expiration)| {
        let table = table.map(|table| encoded(&table));
        let properties = Properties {
            content_type: shorts.0.as_deref(),
            content_encoding: shorts.1.as_deref(),
            headers: table.as_ref().map(|table| RawTable::check(table, &Default::default()).expect("it is ours")),
            delivery_mode: octets.0,
            priority: octets.1,
            correlation_id: shorts.2.as_deref(),
            reply_to: shorts.3.as_deref(),
            expiration: expiration.as_deref().map(str::as_bytes),
            message_id: shorts.4.as_deref(),
            timestamp,
            r#type: shorts.5.as_deref(),
            user_id: shorts.6.as_deref(),
            app_id: shorts.7.as_deref(),
            cluster_id: shorts.8.as_deref(),
        };
        let mut out = bytes::BytesMut::new();
        properties.write(&mut out);
        out.freeze()
    })
}

/// A table's bytes, without their length.
pub(in crate::amqp) fn encoded(table: &Table) -> Bytes {
    let mut out = bytes::BytesMut::new();
    table.encode(&mut out);
    out.freeze().slice(4..)
}
