//! What client libraries do not show: the order and the grouping of what comes.

use super::*;

/// The next delivery: its tag, whether it was delivered before, and its body.
async fn delivery(client: &mut Client) -> (u64, bool, Bytes) {
    let mut deliver = None;
    loop {
        match client.frame().await.expect("the server hung up").payload {
            Payload::Method(Method::Basic(Basic::Deliver { delivery_tag, redelivered, .. })) => {
                deliver = Some((delivery_tag, redelivered));
            }
            Payload::Body(body) => {
                let (tag, redelivered) = deliver.unwrap();
                return (tag, redelivered, body);
            }
            _ => {}
        }
    }
}

#[tokio::test]
async fn what_one_write_published_is_confirmed_together() {
    let gateway = Gateway::new().await;
    let mut client = gateway.client().await;
    client.declare("q").await;
    client.send(1, select_confirms()).await;
    client.method().await;
    (0..50).for_each(|_| client.publish("", "q", b"x"));
    client.publish("", "nowhere", b"x");
    client.flush().await;
    let mut confirmed = std::collections::BTreeSet::new();
    let mut frames = 0;
    while confirmed.len() < 51 {
        let Method::Basic(Basic::Ack { delivery_tag, multiple }) = client.method().await else { panic!() };
        confirmed.extend(if multiple { 1..=delivery_tag } else { delivery_tag..=delivery_tag });
        frames += 1;
    }
    assert!(frames < 20, "{frames} frames for 51 publishes");
    assert_eq!(client.declare("q").await, 50);
    drop(client);
    gateway.close().await;
}

#[tokio::test]
async fn what_a_consumer_leaves_behind_comes_again_in_order() {
    let gateway = Gateway::new().await;
    let mut client = gateway.client().await;
    client.declare("q").await;
    for body in [b"0".as_slice(), b"1", b"2", b"3"] {
        client.publish("", "q", body);
    }
    client.flush().await;
    let mut lost = gateway.client().await;
    lost.send(1, Method::Basic(Basic::Qos { prefetch_size: 0, prefetch_count: 3, global: false })).await;
    lost.send(1, consume("q", "c", false)).await;
    for expected in ["0", "1", "2"] {
        assert_eq!(delivery(&mut lost).await.2, expected);
    }
    lost.send(1, Method::Basic(Basic::Ack { delivery_tag: 2, multiple: false })).await;
    lost.send(1, Method::Basic(Basic::Qos { prefetch_size: 0, prefetch_count: 3, global: false })).await;
    while !matches!(lost.method().await, Method::Basic(Basic::QosOk {})) {}
    drop(lost);
    client.send(1, consume("q", "c", false)).await;
    let mut seen = Vec::new();
    for _ in 0..3 {
        let (_, redelivered, body) = delivery(&mut client).await;
        seen.push((body, redelivered));
    }
    // The last may have been on its way to the consumer that was lost, or not.
    let redelivered = seen[2].1;
    assert_eq!(seen, [("0".into(), true), ("2".into(), true), ("3".into(), redelivered)]);
    drop(client);
    gateway.close().await;
}

#[tokio::test]
async fn consumers_of_two_connections_share_a_burst() {
    let gateway = Gateway::new().await;
    let mut publisher = gateway.client().await;
    publisher.declare("q").await;
    let mut consumers = [gateway.client().await, gateway.client().await];
    for consumer in &mut consumers {
        consumer.send(1, consume("q", "c", true)).await;
        assert!(matches!(consumer.method().await, Method::Basic(Basic::ConsumeOk { .. })));
    }
    (0..60).for_each(|_| publisher.publish("", "q", b"x"));
    publisher.flush().await;
    let mut shares = [0, 0];
    let [one, other] = &mut consumers;
    while shares[0] + shares[1] < 60 {
        let (at, frame) = tokio::select! {
            frame = one.frame() => (0, frame),
            frame = other.frame() => (1, frame),
        };
        shares[at] += usize::from(matches!(frame.expect("the server hung up").payload, Payload::Body(_)));
    }
    assert!(shares.into_iter().all(|share| share >= 15), "{shares:?}");
    drop((publisher, consumers));
    gateway.close().await;
}

#[tokio::test]
async fn a_fanout_goes_to_every_queue_in_the_order_of_the_publisher() {
    let gateway = Gateway::new().await;
    let mut client = gateway.client().await;
    for queue in ["a", "b"] {
        client.declare(queue).await;
        let bind = Queue::Bind {
            queue: queue.into(),
            exchange: "amq.fanout".into(),
            routing_key: "".into(),
            no_wait: true,
            arguments: Table::default(),
        };
        client.send(1, Method::Queue(bind)).await;
    }
    client.publish("amq.fanout", "", b"both");
    client.publish("", "a", b"a alone");
    client.publish("amq.fanout", "", b"both again");
    client.flush().await;
    assert_eq!(client.declare("a").await, 3);
    assert_eq!(client.declare("b").await, 2);
    client.send(1, consume("a", "", true)).await;
    for expected in ["both", "a alone", "both again"] {
        assert_eq!(delivery(&mut client).await.2, expected);
    }
    drop(client);
    gateway.close().await;
}

#[tokio::test]
async fn a_confirmation_does_not_reach_the_next_channel_of_the_number() {
    let gateway = Gateway::new().await;
    let mut client = gateway.client().await;
    client.declare("q").await;
    client.send(1, select_confirms()).await;
    client.method().await;
    client.publish("", "q", b"x");
    client.publish("missing", "q", b"x");
    client.flush().await;
    assert_eq!(client.ending().await, Ending::Channel(404));
    client.send(1, Method::Channel(Channel::CloseOk {})).await;
    client.open_channel(1).await;
    assert_eq!(client.declare("q").await, 1, "no acknowledgement comes in between");
    drop(client);
    gateway.close().await;
}

#[tokio::test]
async fn the_channel_of_a_publish_that_nobody_can_take_is_closed() {
    let gateway = Gateway::new().await;
    let mut client = gateway.client().await;
    client.declare("q").await;
    let topic = gateway.engine.topic("default", "q").unwrap();
    let mut config = topic.config.clone();
    config.max_message_bytes = 200;
    gateway.engine.alter_topic(&topic.name, config).unwrap().1.wait().await.unwrap();
    client.publish("", "q", b"small");
    client.publish("", "q", &[7; 300]);
    client.publish("", "q", b"also small");
    client.flush().await;
    assert_eq!(client.ending().await, Ending::Channel(311));
    client.send(1, Method::Channel(Channel::CloseOk {})).await;
    client.open_channel(1).await;
    assert_eq!(client.declare("q").await, 2, "its neighbours are not lost with it");
    drop(client);
    gateway.close().await;
}

#[tokio::test]
async fn a_connection_that_ends_takes_its_exclusive_queues_along() {
    let gateway = Gateway::new().await;
    let mut owner = gateway.client().await;
    let declared = Queue::Declare {
        queue: "mine".into(),
        passive: false,
        durable: false,
        exclusive: true,
        auto_delete: false,
        no_wait: false,
        arguments: Table::default(),
    };
    owner.send(1, Method::Queue(declared)).await;
    owner.method().await;
    let mut other = gateway.client().await;
    other.send(1, Method::Queue(declare("mine", true))).await;
    assert_eq!(other.ending().await, Ending::Channel(405));
    drop(owner);
    while gateway.engine.topic("default", "mine").is_some() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drop(other);
    gateway.close().await;
}

#[tokio::test]
async fn a_consumer_is_told_that_its_queue_is_gone() {
    let gateway = Gateway::new().await;
    let mut client = gateway.client().await;
    client.declare("q").await;
    client.send(1, consume("q", "c", false)).await;
    client.method().await;
    let mut other = gateway.client().await;
    other
        .send(1, Method::Queue(Queue::Delete { queue: "q".into(), if_unused: false, if_empty: false, no_wait: false }))
        .await;
    other.method().await;
    let told = client.method().await;
    assert_eq!(told, Method::Basic(Basic::Cancel { consumer_tag: "c".into(), no_wait: true }));
    drop(client);
    drop(other);
    gateway.close().await;
}

#[tokio::test]
async fn a_message_that_comes_back_too_often_is_dead_lettered() {
    let gateway = Gateway::new().await;
    let mut client = gateway.client().await;
    let mut arguments = Table::default();
    arguments.push("x-delivery-limit", 2);
    arguments.push("x-dead-letter-exchange", "");
    arguments.push("x-dead-letter-routing-key", "dead");
    let limited = |arguments: &Table| {
        Method::Queue(Queue::Declare {
            queue: "limited".into(),
            passive: false,
            durable: true,
            exclusive: false,
            auto_delete: false,
            no_wait: false,
            arguments: arguments.clone(),
        })
    };
    client.send(1, limited(&arguments)).await;
    assert!(matches!(client.method().await, Method::Queue(Queue::DeclareOk { .. })));
    client.declare("dead").await;
    client.publish("", "limited", b"poison");
    client.flush().await;
    client.send(1, consume("limited", "c", false)).await;
    for round in 0..3 {
        let (delivery_tag, redelivered, body) = delivery(&mut client).await;
        assert_eq!((redelivered, &body[..]), (round > 0, &b"poison"[..]));
        client.send(1, Method::Basic(Basic::Nack { delivery_tag, multiple: false, requeue: true })).await;
    }
    while client.declare("dead").await == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drop(client);
    gateway.close().await;
}

#[tokio::test]
async fn small_pieces_are_gathered_and_all_of_them_count() {
    const PIECES: usize = 800;
    let gateway = Gateway::with(Config { read_gather: Duration::from_millis(20), ..Config::default() }).await;
    let mut publisher = gateway.client().await;
    publisher.declare("q").await;
    let before = gateway.metrics.reads.get();
    for _ in 0..PIECES / 4 {
        (0..4).for_each(|_| publisher.publish("", "q", b"x"));
        publisher.flush().await;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // A request among them is answered, and so is the end.
    assert_eq!(publisher.declare("q").await, PIECES as u32);
    let reads = gateway.metrics.reads.get() - before;
    // One for each piece of four, if nothing were gathered.
    assert!(reads < PIECES as u64 / 6, "{reads} reads of {PIECES} messages");
    let mut consumer = gateway.client().await;
    consumer.send(1, consume("q", "c", false)).await;
    for tag in 1..=PIECES as u64 {
        assert_eq!(delivery(&mut consumer).await.0, tag);
    }
    for tags in (1..=PIECES as u64).collect::<Vec<_>>().chunks(4) {
        for delivery_tag in tags.iter().copied() {
            consumer.outbox.method(1, &Method::Basic(Basic::Ack { delivery_tag, multiple: false }));
        }
        consumer.flush().await;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let close = Connection::Close { reply_code: 200, reply_text: "bye".into(), class_id: 0, method_id: 0 };
    consumer.send(0, Method::Connection(close)).await;
    assert!(matches!(consumer.method().await, Method::Connection(Connection::CloseOk {})));
    drop(consumer);
    assert_eq!(publisher.declare("q").await, 0);
    drop(publisher);
    gateway.close().await;
}

#[tokio::test]
async fn names_lose_their_line_ends() {
    let gateway = Gateway::new().await;
    let mut client = gateway.client().await;
    for name in ["two\r\nlines\n", "twolines"] {
        client.send(1, Method::Queue(declare(name, name == "twolines"))).await;
        let Method::Queue(Queue::DeclareOk { queue, .. }) = client.method().await else { panic!() };
        assert_eq!(queue, "twolines");
    }
    drop(client);
    gateway.close().await;
}

#[tokio::test]
async fn both_sides_may_close_a_channel_at_once() {
    let gateway = Gateway::new().await;
    let mut client = gateway.client().await;
    client.open_channel(2).await;
    client.publish("no such exchange", "", b"x");
    let close = Channel::Close { reply_code: 200, reply_text: "bye".into(), class_id: 0, method_id: 0 };
    client.send(1, Method::Channel(close)).await;
    assert!(matches!(client.method().await, Method::Channel(Channel::Close { reply_code: 404, .. })));
    assert!(matches!(client.method().await, Method::Channel(Channel::CloseOk {})));
    client.send(1, Method::Channel(Channel::CloseOk {})).await;
    client.send(2, Method::Queue(declare("other", false))).await;
    assert!(
        matches!(client.method().await, Method::Queue(Queue::DeclareOk { .. })),
        "another channel of the connection"
    );
    client.open_channel(1).await;
    drop(client);
    gateway.close().await;
}

#[tokio::test]
async fn a_message_that_lives_no_longer_than_its_arrival_is_for_a_consumer_that_waits() {
    let gateway = Gateway::new().await;
    let mut client = gateway.client().await;
    client.declare("q").await;
    client.publish_for_now("q", b"for nobody");
    client.send(1, Method::Basic(Basic::Qos { prefetch_size: 0, prefetch_count: 2, global: false })).await;
    client.method().await;
    client.send(1, consume("q", "c", false)).await;
    // It waits when this is answered.
    while !matches!(client.method().await, Method::Basic(Basic::ConsumeOk { .. })) {}
    for body in [b"1".as_slice(), b"2", b"too many"] {
        client.publish_for_now("q", body);
    }
    client.flush().await;
    assert_eq!(delivery(&mut client).await, (1, false, "1".into()));
    assert_eq!(delivery(&mut client).await, (2, false, "2".into()));
    client.publish("", "q", b"lasts");
    client.send(1, Method::Basic(Basic::Ack { delivery_tag: 2, multiple: true })).await;
    assert_eq!(delivery(&mut client).await, (3, false, "lasts".into()));
    drop(client);
    gateway.close().await;
}
