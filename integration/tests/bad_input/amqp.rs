//! AMQP: frames and methods that no client would send, at moments when none would. Which code each is refused with is
//! checked beside the clients, against RabbitMQ too; here the gateway has to stay well and serve the others.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tidegate_integration::amqp_wire::{self as wire, Connection, Refusal};
use tidegate_integration::{Gateway, Setup, place};

use crate::assert_well;

/// A good AMQP client: declares, publishes, gets back.
fn assert_serves(to: SocketAddr, after: &str) {
    let mut good = Connection::ready(to, 0).unwrap_or_else(|error| panic!("a good AMQP client after {after}: {error}"));
    good.send(&wire::declare("good-amqp", b"")).unwrap();
    good.expect((50, 11)).unwrap_or_else(|error| panic!("declaring after {after}: {error}"));
    good.send(&[wire::publish("good-amqp"), wire::header(4), wire::body(b"good")].concat()).unwrap();
    let get = [vec![0, 0], wire::short("good-amqp"), vec![1]].concat();
    let start = Instant::now();
    loop {
        good.send(&wire::method(1, (60, 70), &get)).unwrap();
        let answer = good.receive().unwrap_or_else(|error| panic!("getting after {after}: {error}"));
        if answer.is((60, 71)) {
            good.receive().unwrap();
            assert_eq!(good.receive().unwrap().payload, b"good", "after {after}");
            return;
        }
        assert!(start.elapsed() < Duration::from_secs(20), "nothing came after {after}");
    }
}

fn assert_both_well(gateway: &mut Gateway, after: &str) {
    assert_well(gateway, after);
    assert_serves(gateway.amqp, after);
}

/// Sends bytes before anything else; the gateway must close, not wait for more.
fn attack_the_door(gateway: &mut Gateway, name: &str, bytes: &[u8]) {
    let mut connection = Connection::open(gateway.amqp).unwrap();
    let _ = connection.send(bytes);
    assert!(connection.refusal().is_some(), "{name} was not refused");
    assert_both_well(gateway, name);
}

#[test]
fn before_the_handshake() {
    let mut gateway = Gateway::start();
    let header = wire::PROTOCOL_HEADER;
    let attacks: Vec<(&str, Vec<u8>)> = vec![
        ("TLS", b"\x16\x03\x01\x02\x00\x01\x00".repeat(50)),
        ("HTTP", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec()),
        ("frames without a header", wire::open_channel(1)),
        ("a channel before the start", [header, &wire::open_channel(1)].concat()),
        (
            "a publish before the start",
            [header, &wire::publish("attacked"), &wire::header(1), &wire::body(b"x")].concat(),
        ),
        ("an open before the tuning", [header, &wire::start_ok("\0guest\0guest"), &wire::open_vhost("/")].concat()),
        ("a start twice", [header, &wire::start_ok("\0guest\0guest"), &wire::start_ok("\0guest\0guest")].concat()),
        ("a wrong password", [header, &wire::start_ok("\0guest\0wrong")].concat()),
        ("no password", [header, &wire::start_ok("")].concat()),
        ("a body as the first frame", [header, &wire::body(b"x")].concat()),
        ("a first frame of 2 GiB", [header, &wire::framed(wire::METHOD, 0, i32::MAX as u32, b"", 0)].concat()),
        ("a first frame of 1 MiB", [header, &wire::framed(wire::METHOD, 0, 1 << 20, &[0; 4096], 0)].concat()),
        ("an unknown frame type", [header, &wire::frame(99, 0, b"")].concat()),
    ];
    for (name, bytes) in attacks {
        attack_the_door(&mut gateway, name, &bytes);
    }
}

/// Every method of the specification and of RabbitMQ's extensions, by class.
const METHODS: [(u16, &[u16]); 9] = [
    (10, &[10, 11, 20, 21, 30, 31, 40, 41, 50, 51, 60, 61, 70, 71]),
    (20, &[10, 11, 20, 21, 40, 41]),
    (30, &[10, 11]),
    (40, &[10, 11, 20, 21, 30, 31, 40, 51]),
    (50, &[10, 11, 20, 21, 30, 31, 40, 41, 50, 51]),
    (60, &[10, 11, 20, 21, 30, 31, 40, 50, 60, 70, 71, 72, 80, 90, 100, 110, 111, 120]),
    (70, &[10, 11]),
    (85, &[10, 11]),
    (90, &[10, 11, 20, 21, 30, 31]),
];

#[test]
fn every_method_before_authentication() {
    let mut gateway = Gateway::start();
    assert_both_well(&mut gateway, "nothing");
    let start_ok = (10, 11);
    for (class, methods) in METHODS {
        for method in methods.iter().map(|number| (class, *number)).filter(|method| *method != start_ok) {
            for channel in [0, 1] {
                let mut connection = Connection::open(gateway.amqp).unwrap();
                let frame = wire::method(channel, method, &[0; 32]);
                let _ = connection.send(&[wire::PROTOCOL_HEADER, &frame].concat());
                assert!(connection.refusal().is_some(), "{method:?} on channel {channel} before authentication");
            }
        }
    }
    assert_both_well(&mut gateway, "every method before authentication");
}

/// Sends bytes on an open channel; the gateway must refuse, not wait for more.
fn attack(gateway: &mut Gateway, name: &str, bytes: &[u8]) {
    let mut connection = Connection::ready(gateway.amqp, 0).unwrap();
    let _ = connection.send(bytes);
    assert!(connection.refusal().is_some(), "{name} was not refused");
    assert_both_well(gateway, name);
}

#[test]
fn lengths_that_lie() {
    let mut gateway = Gateway::start();
    for size in [u32::MAX, i32::MAX as u32, 200 << 20, 200 << 10] {
        let frame = wire::framed(wire::METHOD, 1, size, &[0; 64], 0);
        attack(&mut gateway, &format!("a frame of {size} bytes"), &frame);
    }
    for size in [u32::MAX, i32::MAX as u32, 1000] {
        let arguments = [&b"\0\0\x01q\0"[..], &size.to_be_bytes(), b"abc"].concat();
        let name = format!("a table of {size} bytes, of which 3 are there");
        attack(&mut gateway, &name, &wire::method(1, wire::QUEUE_DECLARE, &arguments));
        for kind in [b'S', b'x', b'A', b'F'] {
            let field = [&b"\x01a"[..], &[kind], &size.to_be_bytes(), b"abc"].concat();
            let name = format!("a field of type {kind} of {size} bytes, of which 3 are there");
            attack(&mut gateway, &name, &wire::declare("q", &field));
        }
    }
    for (name, payload) in [
        ("an empty method", &b""[..]),
        ("half a method id", b"\0\x32\0"),
        ("a short string longer than the frame", b"\0\x32\0\x0a\0\0\xffab"),
        ("a method with bytes to spare", b"\0\x14\0\x0a\0abcdef"),
    ] {
        attack(&mut gateway, name, &wire::frame(wire::METHOD, 1, payload));
    }
    for size in [u64::MAX, i64::MAX as u64, 1 << 40] {
        let bytes = [wire::publish("attacked"), wire::header(size)].concat();
        attack(&mut gateway, &format!("a body of {size} bytes announced"), &bytes);
    }
}

#[test]
fn bodies_that_differ_from_their_headers() {
    let mut gateway = Gateway::start();
    assert_both_well(&mut gateway, "nothing");
    let publish = wire::publish("attacked");
    let too_long = [publish.clone(), wire::header(3), wire::body(b"four")].concat();
    attack(&mut gateway, "a body longer than its header says", &too_long);
    let of_nothing = [publish.clone(), wire::header(0), wire::body(b"x")].concat();
    attack(&mut gateway, "a body after a header of nothing", &of_nothing);
    let flags = [publish.clone(), wire::header_with(1, 0xffff, b"\x01"), wire::body(b"x")].concat();
    attack(&mut gateway, "a header with all flags and no properties", &flags);
    let wrong_class = wire::frame(wire::HEADER, 1, b"\0\x32\0\0\0\0\0\0\0\0\0\x01\0\0");
    attack(&mut gateway, "a header of another class", &[publish.clone(), wrong_class].concat());
    // Empty body frames do not get on with it; each is legal, and costs its sender only.
    let mut patient = Connection::ready(gateway.amqp, 0).unwrap();
    patient.send(&[publish, wire::header(1)].concat()).unwrap();
    let nothing = wire::body(b"").repeat(1_000);
    for _ in 0..100 {
        if patient.send(&nothing).is_err() {
            break;
        }
    }
    assert_both_well(&mut gateway, "100,000 empty body frames");
}

#[test]
fn unfinished_bodies_cost_bounded_memory() {
    let mut gateway = Gateway::start();
    assert_both_well(&mut gateway, "nothing");
    let before = gateway.resident_bytes();
    let mut open = Vec::new();
    for _ in 0..10 {
        let mut connection = Connection::ready(gateway.amqp, 0).unwrap();
        // On 16 channels each 16 MiB less one byte, never ended: 2.5 GiB if all of it were kept.
        'channels: for channel in 1..=16_u16 {
            let mut bytes = if channel == 1 { Vec::new() } else { wire::open_channel(channel) };
            for frame in [wire::publish("attacked"), wire::header(16 << 20)] {
                bytes.extend([&frame[..1], &channel.to_be_bytes(), &frame[3..]].concat());
            }
            bytes.extend(wire::frame(wire::BODY, channel, &[7; 64 << 10]).repeat(255));
            if connection.send(&bytes).is_err() {
                break 'channels;
            }
        }
        open.push(connection);
    }
    let grown = gateway.resident_bytes().saturating_sub(before) >> 20;
    place::report(&format!("10 connections of bodies never ended: {grown} MiB"));
    assert!(grown < 1200, "{grown} MiB");
    drop(open);
    assert_serves(gateway.amqp, "bodies never ended");
}

#[test]
fn table_bombs() {
    let mut gateway = Gateway::start();
    for depth in [40, 1_000, 10_000] {
        let table = wire::nested_tables(depth);
        if table.len() < 100_000 {
            attack(&mut gateway, &format!("{depth} tables in one another"), &wire::declare("bomb", &table));
        }
        let headers =
            [wire::publish("attacked"), wire::header_with(1, 1 << 13, &wire::long(&table)), wire::body(b"x")].concat();
        attack(&mut gateway, &format!("{depth} tables in one another in a message's headers"), &headers);
    }
    let arrays = (0..20_000_u32).fold(Vec::new(), |inner: Vec<u8>, _| {
        if inner.len() > 120_000 { inner } else { [&b"A"[..], &wire::long(&inner)].concat() }
    });
    attack(&mut gateway, "arrays in one another", &wire::declare("bomb", &[&b"\x01a"[..], &arrays].concat()));
    let wide = b"\0V".repeat(60_000);
    attack(&mut gateway, "60,000 fields of nothing", &wire::declare("bomb", &wide));
}

#[test]
fn half_open_connections_are_cut() {
    let mut gateway = Setup::default().set("listeners.amqp.handshake_timeout", "2s").start();
    assert_both_well(&mut gateway, "nothing");
    let before = gateway.resident_bytes();
    let header = wire::PROTOCOL_HEADER;
    let start_ok = wire::start_ok("\0guest\0guest");
    let stages: [&[u8]; 4] = [b"", &header[..5], header, &[header, &start_ok[..20]].concat()];
    let mut open = Vec::new();
    for at in 0..1_000 {
        let mut connection = Connection::open(gateway.amqp).unwrap();
        connection.send(stages[at % stages.len()]).unwrap();
        open.push(connection);
    }
    let grown = gateway.resident_bytes().saturating_sub(before);
    place::report(&format!("{} half-open AMQP connections: {} KiB each", open.len(), grown / 1024 / open.len() as u64));
    assert!(grown < 100 << 20, "{} MiB for {} half-open connections", grown >> 20, open.len());
    assert_both_well(&mut gateway, "1,000 half-open connections");
    for connection in &mut open {
        assert_eq!(connection.refusal(), Some(Refusal::Socket), "a half-open connection is still there");
    }
    assert_both_well(&mut gateway, "their end");
}

#[test]
fn too_much_of_everything() {
    let setup = Setup::default().set("listeners.amqp.max_channels", "20").set("listeners.amqp.max_consumers", "50");
    let mut gateway = setup.start();
    let channels: Vec<u8> = (2..=40).flat_map(wire::open_channel).collect();
    attack(&mut gateway, "40 channels of 20", &channels);
    let consumers = wire::consume("good-amqp").repeat(60);
    attack(&mut gateway, "60 consumers of 50", &consumers);
    // A client that asks and does not read: its requests wait, nobody else's do.
    let mut deaf = Connection::ready(gateway.amqp, 0).unwrap();
    deaf.write_timeout(Duration::from_millis(500));
    let questions = wire::declare("good-amqp", b"").repeat(1_000);
    let asked = (0..1_000).take_while(|_| deaf.send(&questions).is_ok()).count();
    place::report(&format!("a client that does not read was let ask {asked},000 questions"));
    assert!(asked < 1_000, "a million answers wait for a client that does not read");
    assert_both_well(&mut gateway, "a client that does not read");
}
