//! What a message costs between the socket's bytes and the record batch: `cargo bench -p tidegate --bench amqp_codec`.
//!
//! Prints nanoseconds per message of 100 bytes, the best of many rounds: what else the machine does only adds. A word after
//! `--` picks the lines that have it.
#![allow(clippy::unwrap_used, missing_docs)]

use std::hint::black_box;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use tidegate::amqp::codec::{
    Basic, Delivery, Frame, FrameReader, Limits, Method, Outbox, Payload, Properties, Table, Text, Value,
    max_properties,
};
use tidegate::amqp::convert::{Extra, Incoming, Outgoing};
use tidegate_engine::batch::{Batch, BatchBuilder};

const MESSAGES: usize = 256;
const ROUNDS: usize = 300;
const FRAME_MAX: usize = 131_072;

struct Case {
    name: &'static str,
    exchange: &'static str,
    properties: Bytes,
}

fn limits() -> Limits {
    Limits { max_frame_bytes: FRAME_MAX, ..Limits::default() }
}

fn bytes_of(write: impl FnOnce(&mut BytesMut)) -> Bytes {
    let mut out = BytesMut::new();
    write(&mut out);
    out.freeze()
}

fn cases() -> [Case; 3] {
    let mut table = Table::default();
    table.push("retries", 3);
    table.push("tenant", "a-tenant");
    table.push("flagged", Value::Boolean(true));
    let table = bytes_of(|out| table.encode(out));
    let headers = bytes_of(|out| {
        // Content type, headers and delivery mode.
        out.extend_from_slice(b"\xb0\0\x10application/json");
        out.extend_from_slice(&table);
        out.extend_from_slice(b"\x02");
    });
    let plain = bytes_of(|out| Properties { delivery_mode: Some(2), ..Properties::default() }.write(out));
    [
        Case { name: "delivery mode only", exchange: "", properties: plain.clone() },
        Case { name: "through an exchange", exchange: "events", properties: plain },
        Case { name: "content type, three headers", exchange: "", properties: headers },
    ]
}

fn stream(case: &Case) -> Vec<u8> {
    let mut outbox = Outbox::default();
    let body = Bytes::from(vec![b'x'; 100]);
    let publish = Basic::Publish {
        exchange: Text::from_static(case.exchange),
        routing_key: Text::from_static("orders"),
        mandatory: false,
        immediate: false,
    };
    let publish = Method::Basic(publish);
    for _ in 0..MESSAGES {
        outbox.content(1, &publish, |out| out.extend_from_slice(&case.properties), &body, FRAME_MAX);
    }
    let mut stream = Vec::new();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(outbox.flush(&mut stream)).unwrap();
    stream
}

/// The best round, per message.
fn measure(what: &str, name: &str, mut round: impl FnMut() -> usize) {
    let words = std::env::args().skip(1).filter(|word| !word.starts_with("--"));
    if !words.into_iter().all(|word| what.contains(&word) || name.contains(&word)) {
        return;
    }
    let mut best = f64::INFINITY;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        let messages = black_box(round());
        best = best.min(start.elapsed().as_nanos() as f64 / messages as f64);
    }
    println!("{what:32} {name:30} {best:7.1} ns");
}

/// Reads the stream as a busy connection does, and gives every message's frames to `each`.
fn read(reader: &mut FrameReader, runtime: &tokio::runtime::Runtime, mut stream: &[u8], mut each: impl FnMut(Frame)) {
    loop {
        while let Some(frame) = reader.next_frame().unwrap() {
            each(frame);
        }
        if runtime.block_on(reader.fill(&mut stream)).unwrap() == 0 {
            return;
        }
    }
}

/// One message after the other becomes a record, all of them one batch.
fn publish(reader: &mut FrameReader, runtime: &tokio::runtime::Runtime, stream: &[u8]) -> Batch {
    let mut builder = BatchBuilder::new();
    let mut method = None;
    let mut header = None;
    read(reader, runtime, stream, |frame| match frame.payload {
        Payload::Method(Method::Basic(Basic::Publish { exchange, routing_key, .. })) => {
            method = Some((exchange, routing_key));
        }
        Payload::Header(of) => header = Some(of),
        Payload::Body(body) => {
            let (Some((exchange, routing_key)), Some(header)) = (method.take(), header.take()) else { return };
            let properties = header.parse_properties(&limits()).unwrap();
            let incoming = Incoming::new(&exchange, &routing_key, &properties, &body).unwrap();
            incoming.append(&mut builder, 1_700_000_000_000).unwrap();
        }
        _ => {}
    });
    builder.finish().unwrap()
}

fn run(case: &Case) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let stream = stream(case);
    let mut reader = FrameReader::new(limits());
    measure("frames parsed", case.name, || {
        let mut frames = 0;
        read(&mut reader, &runtime, &stream, |frame| {
            black_box(frame);
            frames += 1;
        });
        frames / 3
    });
    measure("frames parsed, records packed", case.name, || {
        publish(&mut reader, &runtime, &stream).header.record_count as usize
    });
    let records = publish(&mut reader, &runtime, &stream).records(0, 1 << 24).unwrap();
    let extra = Extra { max_bytes: max_properties(FRAME_MAX), ..Extra::default() };
    let mut outbox = Outbox::default();
    measure("deliveries written", case.name, || {
        for (tag, record) in records.iter().enumerate() {
            let outgoing = Outgoing::new(record, "orders");
            let delivery = Delivery {
                consumer_tag: "amq.ctag-0123456789abcdef",
                delivery_tag: tag as u64,
                redelivered: false,
                exchange: outgoing.exchange(),
                routing_key: outgoing.routing_key(),
            };
            outbox.content(1, &delivery, |out| outgoing.write_properties(out, &extra), outgoing.body(), FRAME_MAX);
        }
        runtime.block_on(outbox.flush(&mut tokio::io::sink())).unwrap();
        records.len()
    });
}

fn main() {
    for case in cases() {
        run(&case);
    }
}
