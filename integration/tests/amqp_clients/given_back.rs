//! A consumer that goes away in the middle gives its messages back: in order, before those nobody has seen, marked redelivered.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::Stdio;

use tidegate_integration::amqp_wire::{self as wire, Connection};
use tidegate_integration::{AmqpPeer, client, signal};

const MESSAGES: u32 = 40;
/// More than the first consumer is given.
const HELD: u32 = 25;

fn prepare(peer: SocketAddr, queue: &str) {
    let mut connection = Connection::ready(peer, 0).unwrap();
    connection.send(&wire::declare(queue, b"")).unwrap();
    connection.expect((50, 11)).unwrap();
    for number in 0..MESSAGES {
        let text = number.to_string();
        let message = [wire::publish(queue), wire::header(text.len() as u64), wire::body(text.as_bytes())];
        connection.send(&message.concat()).unwrap();
    }
    connection.send(&wire::declare(queue, b"")).unwrap();
    connection.expect((50, 11)).unwrap();
}

fn qos(prefetch: u32) -> Vec<u8> {
    let prefetch = u16::try_from(prefetch).unwrap();
    wire::method(1, (60, 10), &[&[0; 4][..], &prefetch.to_be_bytes(), &[0]].concat())
}

/// Takes everything: (message, redelivered), in order.
fn take_all(peer: SocketAddr, queue: &str) -> Vec<(u32, bool)> {
    let mut connection = Connection::ready(peer, 0).unwrap();
    connection.send(&wire::consume(queue)).unwrap();
    connection.expect((60, 21)).unwrap();
    let mut taken = Vec::new();
    let mut redelivered = false;
    while taken.len() < MESSAGES as usize {
        let frame = connection.receive().expect("a message");
        if frame.is((60, 60)) {
            let tag = usize::from(frame.payload[4]);
            redelivered = frame.payload[4 + 1 + tag + 8] != 0;
        } else if frame.kind == wire::BODY {
            taken.push((String::from_utf8(frame.payload).unwrap().parse().unwrap(), redelivered));
        }
    }
    connection.send(&wire::method(1, (60, 80), &[&[0; 8][..], &[1]].concat())).unwrap();
    connection.send(&wire::method(1, (50, 40), &[vec![0, 0], wire::short(queue), vec![0]].concat())).unwrap();
    connection.expect((50, 41)).unwrap();
    taken
}

/// The broker notices in its own time that a consumer is gone: waits until everything is back.
fn wait_until_back(peer: SocketAddr, queue: &str) {
    let mut connection = Connection::ready(peer, 0).unwrap();
    for _ in 0..1000 {
        connection.send(&wire::declare(queue, b"")).unwrap();
        let answer = connection.expect((50, 11)).unwrap();
        // Ends with the numbers of messages and of consumers.
        let (_, counts) = answer.split_last_chunk::<8>().unwrap();
        if counts[..4] == MESSAGES.to_be_bytes() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("not all is back after 10 s");
}

fn assert_given_back(peer: SocketAddr, queue: &str) {
    let wanted: Vec<(u32, bool)> = (0..MESSAGES).map(|number| (number, number < HELD)).collect();
    wait_until_back(peer, queue);
    assert_eq!(take_all(peer, queue), wanted);
}

#[test]
fn by_a_socket_that_is_reset() {
    let peer = AmqpPeer::start();
    prepare(peer.address, "reset");
    let mut connection = Connection::ready(peer.address, 0).unwrap();
    connection.send(&qos(HELD)).unwrap();
    connection.expect((60, 11)).unwrap();
    connection.send(&wire::consume("reset")).unwrap();
    connection.expect((60, 21)).unwrap();
    connection.receive().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(300));
    // With deliveries unread in its buffer, the kernel resets the connection.
    drop(connection);
    assert_given_back(peer.address, "reset");
}

#[test]
fn by_a_process_that_is_killed() {
    let peer = AmqpPeer::start();
    prepare(peer.address, "killed");
    let mut command = client::python("pika_hold.py");
    command.arg(peer.address.to_string()).args(["killed", &HELD.to_string()]).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line.trim(), format!("holding {HELD}"));
    signal(child.id(), "KILL");
    child.wait().unwrap();
    assert_given_back(peer.address, "killed");
}
