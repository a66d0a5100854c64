//! Any method at any moment, over a real socket: the server answers, or closes the channel or the connection with a reply
//! code. It never hangs up without a word and never keeps a client waiting.
//!
//! Input: frames after the handshake, each as type and channel (an octet each), length (two octets) and payload, so that
//! what is changed stays a frame.
#![no_main]

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use tidegate::amqp::{Config, Listener};
use tidegate::broker::Settings;
use tidegate::listener::Drain;
use tokio::net::TcpListener;

const METHOD: u8 = 1;
const CONNECTION: [u8; 2] = [0, 10];
const CLOSE: [u8; 4] = [0, 10, 0, 50];
const CLOSE_OK: [u8; 4] = [0, 10, 0, 51];

struct Target {
    address: SocketAddr,
    _runtime: tokio::runtime::Runtime,
}

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let broker = tidegate_fuzz::broker(Settings::default());
    let listener = Arc::new(Listener::new(broker, Arc::new(Config::default()), Arc::default()));
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let socket = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
    let address = socket.local_addr().expect("it is bound");
    runtime.spawn(listener.serve(socket, Drain::default()));
    Target { address, _runtime: runtime }
});

fn frame(out: &mut Vec<u8>, kind: u8, channel: u8, payload: &[u8]) {
    out.extend([kind, 0, channel]);
    out.extend(u32::try_from(payload.len()).expect("it is short").to_be_bytes());
    out.extend(payload);
    out.push(0xce);
}

/// What a client says before its first channel is open.
fn handshake() -> Vec<u8> {
    let mut out = b"AMQP\0\0\x09\x01".to_vec();
    // No properties of the client's; that its password is wrong would be said in a close.
    let start_ok = b"\0\x0a\0\x0b\0\0\0\0\x05PLAIN\0\0\0\x0c\0guest\0guest\x05en_US";
    frame(&mut out, METHOD, 0, start_ok);
    // As many channels as there are, frames of 128 KiB, no heartbeat.
    frame(&mut out, METHOD, 0, b"\0\x0a\0\x1f\x07\xff\0\x02\0\0\0\0");
    frame(&mut out, METHOD, 0, b"\0\x0a\0\x28\x01/\0\0");
    out
}

/// The frames that the input stands for. The connection is closed by what follows it.
fn frames(out: &mut Vec<u8>, mut input: &[u8]) {
    while let [kind, channel, high, low, rest @ ..] = input {
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(rest.len());
        let (payload, rest) = rest.split_at(length);
        input = rest;
        // Hanging up is what a client may do at any time, and nobody can be told of it.
        if !payload.starts_with(&CONNECTION) {
            frame(out, *kind, *channel, payload);
        }
    }
    frame(out, METHOD, 0, b"\0\x0a\0\x32\0\xc8\0\0\0\0\0");
}

/// The first four octets of each method on channel 0.
fn methods(mut answer: &[u8]) -> Vec<[u8; 4]> {
    let mut found = Vec::new();
    while let [kind, c1, c2, a, b, c, d, rest @ ..] = answer {
        let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        let Some((payload, [0xce, rest @ ..])) = rest.split_at_checked(length) else { break };
        answer = rest;
        if (*kind, *c1, *c2) == (METHOD, 0, 0) {
            found.push(payload[..4].try_into().expect("four octets"));
        }
    }
    found
}

fuzz_target!(|input: &[u8]| {
    let mut bytes = handshake();
    frames(&mut bytes, input);
    let mut stream = TcpStream::connect(TARGET.address).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(5))).expect("a socket");
    stream.write_all(&bytes).expect("it fits the socket's buffer");
    let (mut answer, mut part) = (Vec::new(), [0; 16 << 10]);
    loop {
        match stream.read(&mut part) {
            Ok(0) => break,
            Ok(read) => answer.extend_from_slice(&part[..read]),
            // It had hung up when the close-ok came.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
            Err(error) => panic!("neither an answer nor the end: {error}"),
        }
        if methods(&answer).contains(&CLOSE) {
            let mut close_ok = Vec::new();
            frame(&mut close_ok, METHOD, 0, &CLOSE_OK);
            stream.write_all(&close_ok).ok();
        }
    }
    let methods = methods(&answer);
    assert!(methods.contains(&CLOSE) || methods.contains(&CLOSE_OK), "hung up without a word: {methods:?}");
});
