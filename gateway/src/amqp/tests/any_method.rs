//! Any method at any moment: the server answers, or closes the channel or the connection with a reply code, and nobody
//! else notices.

use tidegate_engine::store::faulty::Random;

use super::*;

const NAMES: [&str; 6] = ["", "q", "r", "amq.topic", "missing", "a.b"];

fn one_of<T: Copy>(random: &mut Random, these: &[T]) -> T {
    these[random.index(these.len())]
}

fn method(random: &mut Random) -> Method {
    use super::super::codec::Exchange;
    let (name, other) = (one_of(random, &NAMES), one_of(random, &NAMES));
    let (yes, maybe, no_wait) = (random.chance(50), random.chance(50), random.index(4) == 0);
    let tag = one_of(random, &[0, 1, 2, 3, 7, u64::MAX]);
    let arguments = Table::default;
    let kind = one_of(random, &["direct", "fanout", "topic", "headers", "nonsense"]);
    match random.index(34) {
        0 => Method::Channel(Channel::Open {}),
        1 => Method::Channel(Channel::Close { reply_code: 200, reply_text: "bye".into(), class_id: 0, method_id: 0 }),
        2 => Method::Channel(Channel::CloseOk {}),
        3 => Method::Channel(Channel::Flow { active: yes }),
        4 => Method::Connection(Connection::OpenOk {}),
        5 => Method::Connection(Connection::TuneOk { channel_max: 1, frame_max: 4096, heartbeat: 0 }),
        6 => Method::Confirm(Confirm::Select { nowait: no_wait }),
        7 => Method::Tx(super::super::codec::Tx::Select {}),
        8 | 9 => Method::Queue(Queue::Declare {
            queue: name.into(),
            passive: random.index(3) == 0,
            durable: false,
            exclusive: maybe,
            auto_delete: random.index(5) == 0,
            no_wait,
            arguments: arguments(),
        }),
        10 => Method::Queue(Queue::Delete { queue: name.into(), if_unused: yes, if_empty: maybe, no_wait }),
        11 => Method::Queue(Queue::Purge { queue: name.into(), no_wait }),
        12 => Method::Queue(Queue::Bind {
            queue: name.into(),
            exchange: other.into(),
            routing_key: "#".into(),
            no_wait,
            arguments: arguments(),
        }),
        13 => Method::Queue(Queue::Unbind {
            queue: name.into(),
            exchange: other.into(),
            routing_key: "#".into(),
            arguments: arguments(),
        }),
        14 => Method::Exchange(Exchange::Declare {
            exchange: name.into(),
            r#type: kind.into(),
            passive: yes,
            durable: maybe,
            auto_delete: random.chance(50),
            internal: random.index(4) == 0,
            no_wait,
            arguments: arguments(),
        }),
        15 => Method::Exchange(Exchange::Delete { exchange: name.into(), if_unused: yes, no_wait }),
        16 => Method::Exchange(Exchange::Bind {
            destination: name.into(),
            source: other.into(),
            routing_key: "k".into(),
            no_wait,
            arguments: arguments(),
        }),
        17 => {
            Method::Basic(Basic::Qos { prefetch_size: u32::from(random.index(9) == 0), prefetch_count: 2, global: yes })
        }
        18 | 19 => Method::Basic(Basic::Consume {
            queue: name.into(),
            consumer_tag: one_of(random, &["", "c", "d"]).into(),
            no_local: false,
            no_ack: yes,
            exclusive: random.index(5) == 0,
            no_wait,
            arguments: arguments(),
        }),
        20 => Method::Basic(Basic::Cancel { consumer_tag: one_of(random, &["c", "d", "e"]).into(), no_wait }),
        21 | 22 => Method::Basic(Basic::Get { queue: name.into(), no_ack: yes }),
        23 => Method::Basic(Basic::Ack { delivery_tag: tag, multiple: yes }),
        24 => Method::Basic(Basic::Nack { delivery_tag: tag, multiple: yes, requeue: maybe }),
        25 => Method::Basic(Basic::Reject { delivery_tag: tag, requeue: maybe }),
        26 => Method::Basic(Basic::Recover { requeue: random.index(5) > 0 }),
        27 => Method::Basic(Basic::RecoverAsync { requeue: true }),
        28 => Method::Basic(Basic::GetEmpty {}),
        29 => Method::Basic(Basic::CancelOk { consumer_tag: "c".into() }),
        _ => Method::Basic(Basic::Publish {
            exchange: one_of(random, &["", "", "amq.topic", "missing"]).into(),
            routing_key: name.into(),
            mandatory: yes,
            immediate: random.index(9) == 0,
        }),
    }
}

/// One step of a client that has lost its mind, in one of three ways.
fn step(client: &mut Client, random: &mut Random) {
    let channel = one_of(random, &[1, 1, 1, 1, 2, 2, 3, 0]);
    let method = method(random);
    let is_publish = matches!(method, Method::Basic(Basic::Publish { .. }));
    if is_publish && random.index(8) > 0 {
        let body = one_of::<&'static [u8]>(random, &[b"", b"hello", &[7; 9000]]);
        // Flags that say what is not there, once in a while.
        let properties = one_of::<&'static [u8]>(random, &[&[0, 0], &[0, 0], &[0, 0], &[0x10, 0, 2], &[0x80, 0]]);
        let write = |out: &mut BytesMut| out.extend_from_slice(properties);
        client.outbox.content(channel, &method, write, &Bytes::from_static(body), 4096);
    } else {
        client.outbox.method(channel, &method);
    }
    if random.index(12) == 0 {
        // A frame of a body that nobody announced.
        client.outbox.raw(&[3, 0, 1, 0, 0, 0, 2, b'x', b'y', 206]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_survives_any_method_at_any_moment() {
    let gateway = Gateway::new().await;
    let mut bystander = gateway.client().await;
    bystander.declare("bystander").await;
    let mut endings = std::collections::BTreeMap::<String, usize>::new();
    for seed in 1..=300_u64 {
        let mut random = Random::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut client = gateway.client().await;
        client.send(2, Method::Channel(Channel::Open {})).await;
        for _ in 0..40 {
            step(&mut client, &mut random);
        }
        client.flush().await;
        // Whatever it was, the connection can be closed in good order, or has been.
        client
            .send(
                0,
                Method::Connection(Connection::Close {
                    reply_code: 200,
                    reply_text: "".into(),
                    class_id: 0,
                    method_id: 0,
                }),
            )
            .await;
        let mut last = None;
        while let Some(frame) = client.frame().await {
            match frame.payload {
                Payload::Method(Method::Connection(Connection::CloseOk {})) => {
                    last.get_or_insert_with(|| "closed".to_owned());
                }
                Payload::Method(Method::Connection(Connection::Close { reply_code, .. })) => {
                    last = Some(reply_code.to_string());
                    client.send(0, Method::Connection(Connection::CloseOk {})).await;
                }
                _ => {}
            }
        }
        *endings
            .entry(last.unwrap_or_else(|| panic!("seed {seed}: the server hung up without a word")))
            .or_default() += 1;
    }
    assert!(endings.len() > 3, "the runs end in different ways: {endings:?}");
    bystander.publish("", "bystander", b"still here");
    bystander.flush().await;
    assert_eq!(bystander.declare("bystander").await, 1);
    drop(bystander);
    gateway.close().await;
}
