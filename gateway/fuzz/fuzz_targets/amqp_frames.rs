//! What a client may send over AMQP, after its protocol header: frames are read or refused, a message's properties become a
//! record or are refused, and what became a record is delivered as it was published.
//!
//! Input: the bytes of a connection.
#![no_main]

use std::sync::LazyLock;

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use tidegate::amqp::codec::{FrameReader, Limits, Outbox, Payload, Properties};
use tidegate::amqp::convert::{Extra, Incoming, Outgoing};
use tidegate_engine::batch::{BatchBuilder, Record};

const LIMITS: Limits = Limits { max_frame_bytes: 131_072, max_table_depth: 8, max_table_fields: 256 };

static RUNTIME: LazyLock<tokio::runtime::Runtime> =
    LazyLock::new(|| tokio::runtime::Builder::new_current_thread().build().expect("a runtime"));

/// The record that is stored. None if the message is refused.
fn publish(properties: &[u8], body: &[u8]) -> Option<Record> {
    let properties = Properties::parse(properties, &LIMITS).ok()?;
    let mut builder = BatchBuilder::new();
    Incoming::new("exchange", "key", &properties, body).ok()?.append(&mut builder, 1_700_000_000_000).ok()?;
    let batch = builder.finish().expect("it has a record");
    batch.check_records(1 << 24).expect("what is stored can be read");
    batch.records(0, 1 << 24).expect("what is stored can be read").pop()
}

/// The properties it is delivered with.
fn deliver(record: &Record) -> BytesMut {
    let mut written = BytesMut::new();
    let outgoing = Outgoing::new(record, "topic");
    assert_eq!((outgoing.exchange(), outgoing.routing_key()), ("exchange", "key"));
    outgoing.write_properties(&mut written, &Extra { max_bytes: usize::MAX, ..Extra::default() });
    written
}

fuzz_target!(|input: &[u8]| {
    let mut reader = FrameReader::new(LIMITS);
    let mut rest = input;
    let mut header = None;
    let mut outbox = Outbox::default();
    loop {
        match reader.next_frame() {
            Ok(Some(frame)) => match frame.payload {
                Payload::Method(method) => outbox.method(frame.channel, &method),
                Payload::Header(of) => header = Some(of),
                Payload::Body(body) => {
                    let Some(record) = header.take().and_then(|header| publish(&header.properties, &body)) else {
                        continue;
                    };
                    // The first may have been written in another form than ours: a true is any number but 0.
                    let written = deliver(&record);
                    let again = publish(&written, &body).expect("what is delivered can be published");
                    assert_eq!(deliver(&again), written);
                }
                Payload::Heartbeat => outbox.heartbeat(),
            },
            Ok(None) => match RUNTIME.block_on(reader.fill(&mut rest)) {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            },
            Err(_) => return,
        }
    }
});
