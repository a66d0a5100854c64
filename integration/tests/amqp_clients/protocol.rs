//! The protocol itself, frame by frame: what is refused, and with which code. RabbitMQ 4.0.5 gives the same codes.

use tidegate_integration::AmqpPeer;
use tidegate_integration::amqp_wire::{self as wire, Connection, Refusal};

fn ready(peer: &AmqpPeer) -> Connection {
    Connection::ready(peer.address, 0).unwrap()
}

#[test]
fn a_wrong_protocol_header_is_answered_with_the_right_one() {
    let peer = AmqpPeer::start();
    for wrong in [&b"AMQP\x00\x00\x09\x02"[..], b"AMQP\x01\x01\x01\x09", b"HTTP/1.1", b"\0\0\0\0\0\0\0\0"] {
        let mut connection = Connection::open(peer.address).unwrap();
        connection.send(wrong).unwrap();
        let answer = connection.read_to_end().unwrap();
        // RabbitMQ speaks AMQP 1.0 too, and may name that.
        let named = peer.is_foreign() && answer == b"AMQP\x03\x01\x00\x00";
        assert!(named || answer == wire::PROTOCOL_HEADER, "after {wrong:?} came {answer:?}");
    }
}

#[test]
fn a_server_closes_with_the_code_of_the_specification() {
    let peer = AmqpPeer::start();
    let publish = wire::publish("nowhere");
    let on_channel_7 = wire::method(7, wire::QUEUE_DECLARE, b"\0\0\x01q\0\0\0\0\0");
    // RabbitMQ hangs up on what it cannot decode.
    let unknown = if peer.is_foreign() { Refusal::Socket } else { Refusal::Connection(503) };
    let cases: Vec<(&str, Vec<u8>, Refusal)> = vec![
        ("a frame without its end", wire::framed(wire::METHOD, 1, 4, &[0, 20, 0, 10], 0), Refusal::Connection(501)),
        ("a frame larger than agreed", wire::framed(wire::BODY, 1, 1 << 20, b"", 0), Refusal::Connection(501)),
        ("an unknown class", wire::method(1, (61, 10), b""), unknown),
        ("an unknown method", wire::method(1, (60, 99), b""), unknown),
        ("a method cut short", wire::method(1, (50, 10), b"\0\0\x05ab"), Refusal::Connection(501)),
        ("a channel that is not open", on_channel_7, Refusal::Connection(504)),
        ("a channel opened twice", wire::open_channel(1), Refusal::Connection(504)),
        ("content nobody announced", wire::header(1), Refusal::Connection(505)),
        ("a body nobody announced", wire::body(b"x"), Refusal::Connection(505)),
        (
            "a method where a header belongs",
            [publish.clone(), wire::declare("q", b"")].concat(),
            Refusal::Connection(505),
        ),
        ("a body where a header belongs", [publish.clone(), wire::body(b"x")].concat(), Refusal::Connection(505)),
        (
            "a method where a body belongs",
            [publish.clone(), wire::header(5), publish.clone()].concat(),
            Refusal::Connection(505),
        ),
        ("a channel's method on channel 0", wire::method(0, (60, 10), &[0; 7]), Refusal::Connection(504)),
        ("a body on channel 0", wire::frame(wire::BODY, 0, b"x"), Refusal::Connection(505)),
        ("a method of the connection on a channel", wire::method(1, (10, 40), b"\x01/\0\0"), Refusal::Connection(503)),
    ];
    let mut wrong = Vec::new();
    for (name, bytes, wanted) in cases {
        let mut connection = ready(&peer);
        connection.send(&bytes).unwrap();
        let refusal = connection.refusal();
        if refusal != Some(wanted) {
            wrong.push(format!("{name}: {refusal:?}, wanted {wanted:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn silence_is_cut() {
    let peer = AmqpPeer::start();
    let mut connection = Connection::ready(peer.address, 1).unwrap();
    // It sends heartbeats, gets none, and gives up.
    assert_eq!(connection.refusal(), Some(Refusal::Socket));
}

#[test]
fn a_client_may_close_a_connection_that_still_has_work() {
    let peer = AmqpPeer::start();
    let mut connection = ready(&peer);
    connection.send(&wire::declare("closing", b"")).unwrap();
    connection.expect((50, 11)).unwrap();
    // Half a message, then the end.
    connection.send(&[wire::publish("closing"), wire::header(10), wire::body(b"five.")].concat()).unwrap();
    let reason = [&200_u16.to_be_bytes()[..], &wire::short("bye"), &[0; 4]].concat();
    connection.send(&wire::method(0, wire::CONNECTION_CLOSE, &reason)).unwrap();
    connection.expect((10, 51)).unwrap();
    let mut other = ready(&peer);
    other.send(&wire::declare("closing", b"")).unwrap();
    let declared = other.expect((50, 11)).unwrap();
    assert_eq!(declared[8..], [0; 8], "messages and consumers of a queue that was sent half a message");
    other.send(&wire::method(1, (50, 40), &[vec![0, 0], wire::short("closing"), vec![0]].concat())).unwrap();
    other.expect((50, 41)).unwrap();
}

#[test]
fn heartbeats_may_stand_between_frames() {
    let peer = AmqpPeer::start();
    let mut connection = ready(&peer);
    let beat = wire::frame(wire::HEARTBEAT, 0, b"");
    let all = [
        beat.clone(),
        wire::publish("nowhere"),
        beat.clone(),
        wire::header(2),
        beat.clone(),
        wire::body(b"x"),
        beat.clone(),
        wire::body(b"y"),
    ];
    connection.send(&all.concat()).unwrap();
    connection.send(&wire::declare("beaten", b"")).unwrap();
    connection.expect((50, 11)).unwrap();
}
