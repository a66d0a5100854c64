//! Every limit is reached, and its error has the name and the code it should have.

use super::*;

async fn opened(config: Config) -> (Gateway, Client) {
    let gateway = Gateway::with(config).await;
    let client = gateway.client().await;
    (gateway, client)
}

#[tokio::test]
async fn what_is_no_amqp_is_told_what_would_be() {
    let gateway = Gateway::new().await;
    let mut client = gateway.connect().await;
    client.raw(b"GET / HTTP/1.1\r\n\r\n").await;
    let mut answer = Vec::new();
    tokio::io::AsyncReadExt::read_to_end(&mut client.stream, &mut answer).await.unwrap();
    assert_eq!(answer, PROTOCOL_HEADER);
    drop(client);
    gateway.close().await;
}

#[tokio::test]
async fn a_handshake_that_takes_too_long_is_cut_off() {
    let gateway = Gateway::with(Config { handshake_timeout: Duration::from_millis(100), ..Config::default() }).await;
    let mut client = gateway.connect().await;
    client.raw(&PROTOCOL_HEADER).await;
    assert_eq!(client.ending().await, Ending::Eof);
    assert_eq!(gateway.metrics.connections_refused.get(), 1);
    drop(client);
    gateway.close().await;
}

#[tokio::test]
async fn who_does_not_log_in_right_stays_outside() {
    let gateway = Gateway::new().await;
    for response in
        [b"\0guest\0wrong".as_slice(), b"\0guest\0", b"", b"\0\0", b"\0guest\0guest\0", b"root\0guest\0guest"]
    {
        let mut client = gateway.connect().await;
        client.raw(&PROTOCOL_HEADER).await;
        client.send(0, Method::Connection(start_ok("PLAIN", response))).await;
        assert_eq!(client.ending().await, Ending::Connection(403), "{response:?}");
    }
    let mut client = gateway.connect().await;
    client.raw(&PROTOCOL_HEADER).await;
    client.send(0, Method::Connection(start_ok("CRAM-MD5", b"x"))).await;
    assert_eq!(client.ending().await, Ending::Connection(503));
    drop(client);
    gateway.close().await;
}

#[tokio::test]
async fn nothing_is_done_before_the_connection_is_open() {
    let gateway = Gateway::new().await;
    for method in [
        Method::Queue(declare("q", false)),
        Method::Channel(Channel::Open {}),
        select_confirms(),
        consume("q", "", true),
    ] {
        let mut client = gateway.connect().await;
        client.raw(&PROTOCOL_HEADER).await;
        client.send(1, method).await;
        assert_eq!(client.ending().await, Ending::Connection(503));
    }
    assert!(gateway.engine.topics().is_empty());
    gateway.close().await;
}

#[tokio::test]
async fn a_large_frame_before_tuning_is_refused() {
    let gateway = Gateway::new().await;
    let mut client = gateway.connect().await;
    client.raw(&PROTOCOL_HEADER).await;
    client.raw(&[1, 0, 0, 0, 1, 0, 0]).await;
    assert_eq!(client.ending().await, Ending::Connection(501));
    drop(client);
    gateway.close().await;
}

#[tokio::test]
async fn who_is_still_sending_hears_what_was_wrong() {
    let (gateway, mut client) = opened(Config::default()).await;
    client.stream.write_all(&[&[9, 0, 1, 0, 0, 0, 0, 206][..], &vec![0; 8 << 20]].concat()).await.unwrap();
    assert_eq!(client.ending().await, Ending::Connection(501));
    drop(client);
    gateway.close().await;
}

#[tokio::test]
async fn a_payload_may_be_as_large_as_a_frame() {
    const FRAME_MAX: u32 = 128 << 10;
    let (gateway, mut client) = opened(Config::default()).await;
    client.declare("q").await;
    for (size, fits) in [(FRAME_MAX, true), (FRAME_MAX + 1, false)] {
        let publish =
            Basic::Publish { exchange: "".into(), routing_key: "q".into(), mandatory: false, immediate: false };
        client.send(1, Method::Basic(publish)).await;
        let header = [&[2, 0, 1, 0, 0, 0, 14, 0, 60, 0, 0, 0, 0, 0, 0][..], &size.to_be_bytes(), &[0, 0, 206]].concat();
        let body = [&[3, 0, 1][..], &size.to_be_bytes(), &vec![1; size as usize], &[206]].concat();
        client.raw(&[header, body].concat()).await;
        if fits {
            assert_eq!(client.declare("q").await, 1);
        } else {
            assert_eq!(client.ending().await, Ending::Connection(501));
        }
    }
    drop(client);
    gateway.close().await;
}

#[tokio::test]
async fn channels_are_counted() {
    let (gateway, mut client) = opened(Config { max_channels: 2, ..Config::default() }).await;
    client.open_channel(2).await;
    client.send(3, Method::Channel(Channel::Open {})).await;
    assert_eq!(client.ending().await, Ending::Connection(530));
    drop(client);
    gateway.close().await;
}

#[tokio::test]
async fn a_large_message_closes_its_channel() {
    let (gateway, mut client) = opened(Config { max_message_bytes: 4, ..Config::default() }).await;
    client.publish("", "q", b"12345");
    client.flush().await;
    assert_eq!(client.ending().await, Ending::Channel(406));
    drop(client);
    gateway.close().await;
}

#[tokio::test]
async fn messages_begun_and_not_finished_are_bounded() {
    let (gateway, mut client) = opened(Config { max_unfinished_bytes: 4000, ..Config::default() }).await;
    let publish = Basic::Publish { exchange: "".into(), routing_key: "q".into(), mandatory: false, immediate: false };
    client.send(1, Method::Basic(publish)).await;
    client.raw(&[2, 0, 1, 0, 0, 0, 14, 0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0x40, 0, 0, 0, 206]).await;
    let mut body = vec![3, 0, 1, 0, 0, 0x10, 0];
    body.resize(7 + 4096, 1);
    body.push(206);
    client.raw(&body).await;
    assert_eq!(client.ending().await, Ending::Connection(506));
    drop(client);
    gateway.close().await;
}

#[tokio::test]
async fn a_body_is_as_long_as_its_header_says() {
    let (gateway, mut client) = opened(Config::default()).await;
    let publish = Basic::Publish { exchange: "".into(), routing_key: "q".into(), mandatory: false, immediate: false };
    client.send(1, Method::Basic(publish)).await;
    client.raw(&[2, 0, 1, 0, 0, 0, 14, 0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 206]).await;
    client.raw(&[3, 0, 1, 0, 0, 0, 3, 1, 2, 3, 206]).await;
    assert_eq!(client.ending().await, Ending::Connection(505));
    drop(client);
    gateway.close().await;
}

#[tokio::test]
async fn consumers_are_counted() {
    let (gateway, mut client) = opened(Config { max_consumers: 1, ..Config::default() }).await;
    client.declare("q").await;
    client.send(1, consume("q", "a", false)).await;
    client.send(1, consume("q", "b", false)).await;
    assert_eq!(client.ending().await, Ending::Channel(406));
    drop(client);
    gateway.close().await;
}

#[tokio::test]
async fn what_is_unacknowledged_is_bounded_whatever_the_prefetch() {
    let (gateway, mut client) = opened(Config { max_unacknowledged: 3, ..Config::default() }).await;
    client.declare("q").await;
    (0..5).for_each(|_| client.publish("", "q", b"x"));
    client.flush().await;
    assert_eq!(client.declare("q").await, 5);
    client.send(1, consume("q", "c", false)).await;
    let mut tags = Vec::new();
    while tags.len() < 3 {
        if let Method::Basic(Basic::Deliver { delivery_tag, .. }) = client.method().await {
            tags.push(delivery_tag);
        }
    }
    assert_eq!(client.declare("q").await, 2, "two stay where they are");
    client.send(1, Method::Basic(Basic::Ack { delivery_tag: 2, multiple: true })).await;
    while tags.len() < 5 {
        if let Method::Basic(Basic::Deliver { delivery_tag, .. }) = client.method().await {
            tags.push(delivery_tag);
        }
    }
    assert_eq!(tags, [1, 2, 3, 4, 5]);
    drop(client);
    gateway.close().await;
}

#[tokio::test]
async fn a_silent_client_is_cut_off_and_a_quiet_one_is_not() {
    let gateway = Gateway::with(Config { heartbeat: Duration::from_secs(1), ..Config::default() }).await;
    let mut client = gateway.connect().await;
    client.raw(&PROTOCOL_HEADER).await;
    client.method().await;
    client.send(0, Method::Connection(start_ok("PLAIN", b"\0guest\0guest"))).await;
    client.method().await;
    client.send(0, Method::Connection(Connection::TuneOk { channel_max: 0, frame_max: 0, heartbeat: 1 })).await;
    client.send(0, Method::Connection(Connection::Open { virtual_host: "/".into() })).await;
    client.method().await;
    for _ in 0..3 {
        let frame = client.frame().await.unwrap();
        assert_eq!(frame.payload, Payload::Heartbeat, "the server says that it is alive");
        client.outbox.heartbeat();
        client.flush().await;
    }
    while let Some(frame) = client.frame().await {
        assert_eq!(frame.payload, Payload::Heartbeat);
    }
    drop(client);
    gateway.close().await;
}

#[tokio::test]
async fn who_takes_too_long_over_a_message_loses_the_channel() {
    let (gateway, mut client) = opened(Config { consumer_timeout: Duration::from_secs(1), ..Config::default() }).await;
    client.declare("q").await;
    client.publish("", "q", b"x");
    client.send(1, consume("q", "c", false)).await;
    assert_eq!(client.ending().await, Ending::Channel(406));
    client.send(1, Method::Channel(Channel::CloseOk {})).await;
    client.open_channel(1).await;
    assert_eq!(client.declare("q").await, 1, "it has come back");
    drop(client);
    gateway.close().await;
}

#[tokio::test]
async fn another_virtual_host_is_not_there() {
    let gateway = Gateway::new().await;
    let mut client = gateway.connect().await;
    client.raw(&PROTOCOL_HEADER).await;
    client.send(0, Method::Connection(start_ok("PLAIN", b"\0guest\0guest"))).await;
    client.send(0, Method::Connection(Connection::TuneOk { channel_max: 0, frame_max: 0, heartbeat: 0 })).await;
    client.send(0, Method::Connection(Connection::Open { virtual_host: "other".into() })).await;
    assert_eq!(client.ending().await, Ending::Connection(530));
    drop(client);
    gateway.close().await;
}

#[tokio::test]
async fn what_was_tuned_is_what_was_offered_or_less() {
    let gateway = Gateway::new().await;
    for (channel_max, frame_max) in [(65_535, 0), (0, 4095), (0, 1 << 30)] {
        let mut client = gateway.connect().await;
        client.raw(&PROTOCOL_HEADER).await;
        client.send(0, Method::Connection(start_ok("PLAIN", b"\0guest\0guest"))).await;
        client.send(0, Method::Connection(Connection::TuneOk { channel_max, frame_max, heartbeat: 0 })).await;
        assert_eq!(client.ending().await, Ending::Connection(530), "{channel_max} {frame_max}");
    }
    gateway.close().await;
}
