//! Bytes no client would send. The gateway answers with an error or closes, stays within bounds, and serves others.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod amqp;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use tidegate_integration::wire::{self, Batch, Connection};
use tidegate_integration::{Gateway, http, place};

/// Far above what a gateway without messages needs, far below what the attacks ask for.
const MEMORY: u64 = 400 << 20;

fn assert_well(gateway: &mut Gateway, after: &str) {
    assert!(gateway.is_running(), "it died after {after}");
    let resident = gateway.resident_bytes();
    assert!(resident < MEMORY, "{} MiB resident after {after}", resident >> 20);
    let answer = http::send(gateway.http, "PUT", "/v1/topics/good", "application/json", b"{}").unwrap();
    assert!(matches!(answer.status, 200 | 201), "after {after}: {answer:?}");
    let answer = http::send(gateway.http, "POST", "/v1/topics/good/messages", "text/plain", b"good").unwrap();
    assert_eq!(answer.status, 201, "a good HTTP client after {after}: {answer:?}");
    let mut good = Connection::open(gateway.kafka).unwrap();
    good.send(&wire::produce("good", 0, &Batch::good(b"good").encode())).unwrap();
    assert_eq!(wire::produce_error("good", &good.receive().unwrap()), 0, "a good Kafka client after {after}");
}

/// Sends bytes on a new Kafka connection; the peer must answer or close, not wait for more.
fn attack(gateway: &mut Gateway, name: &str, bytes: &[u8]) {
    let mut connection = Connection::open(gateway.kafka).unwrap();
    let _ = connection.send(bytes);
    let _ = connection.receive();
    assert_well(gateway, name);
}

#[test]
fn kafka_frame_lengths() {
    let mut gateway = Gateway::start();
    for length in [i32::MAX, i32::MIN, -1, 0, 1, 3, 200 << 20] {
        let mut connection = Connection::open(gateway.kafka).unwrap();
        connection.send(&length.to_be_bytes()).unwrap();
        let _ = connection.send(&[0; 64]);
        if !(1..100 << 20).contains(&length) {
            assert!(connection.is_closed_by_peer(), "a frame of {length} bytes was not refused");
        }
        assert_well(&mut gateway, &format!("a frame length of {length}"));
    }
}

#[test]
fn kafka_request_heads() {
    let mut gateway = Gateway::start();
    for (key, version) in
        [(9_999, 0), (-1, 0), (i16::MAX, i16::MAX), (wire::PRODUCE, 99), (wire::PRODUCE, -1), (wire::METADATA, 77)]
    {
        attack(&mut gateway, &format!("api key {key} version {version}"), &wire::request(key, version, &[]));
    }
    // KIP-511: an ApiVersions request of an unknown version is answered with UNSUPPORTED_VERSION (35) in version 0.
    let mut connection = Connection::open(gateway.kafka).unwrap();
    connection.send(&wire::request(wire::API_VERSIONS, 99, &[])).unwrap();
    let answer = connection.receive().unwrap();
    assert_eq!(answer[..2], 35_i16.to_be_bytes(), "{answer:?}");
    let mut client_id = BytesMut::new();
    client_id.put_i16(wire::METADATA);
    client_id.put_i16(1);
    client_id.put_i32(7);
    for length in [i16::MAX, i16::MIN, -2] {
        let mut frame = client_id.clone();
        frame.put_i16(length);
        attack(&mut gateway, &format!("a client id of {length} bytes"), &wire::framed(&frame));
    }
}

#[test]
fn kafka_array_lengths() {
    let mut gateway = Gateway::start();
    for length in [i32::MAX, i32::MAX / 16, -2, i32::MIN, 100_000_000] {
        let body = length.to_be_bytes();
        attack(&mut gateway, &format!("metadata of {length} topics"), &wire::request(wire::METADATA, 1, &body));
        let mut produce = BytesMut::new();
        produce.put_i16(-1);
        produce.put_i16(-1);
        produce.put_i32(1_000);
        produce.put_slice(&body);
        attack(&mut gateway, &format!("produce to {length} topics"), &wire::request(wire::PRODUCE, 7, &produce));
        produce.truncate(8);
        produce.put_i32(1);
        wire::put_string(&mut produce, b"good");
        produce.put_i32(1);
        produce.put_i32(0);
        produce.put_slice(&body);
        attack(&mut gateway, &format!("records of {length} bytes"), &wire::request(wire::PRODUCE, 7, &produce));
    }
}

#[test]
fn kafka_over_long_varints() {
    let mut gateway = Gateway::start();
    for bytes in [vec![0xff; 5], vec![0xff; 11], vec![0x80; 64], vec![0xff, 0xff, 0xff, 0xff, 0x7f]] {
        // Metadata 12 is flexible: header with tags, compact arrays.
        let mut frame = BytesMut::new();
        frame.put_i16(wire::METADATA);
        frame.put_i16(12);
        frame.put_i32(7);
        wire::put_string(&mut frame, b"test");
        let mut in_header = frame.clone();
        in_header.put_slice(&bytes);
        attack(&mut gateway, "an over-long tag count", &wire::framed(&in_header));
        frame.put_u8(0);
        frame.put_slice(&bytes);
        attack(&mut gateway, "an over-long array length", &wire::framed(&frame));
    }
}

fn produce_batch(gateway: &Gateway, batch: &[u8]) -> Option<i16> {
    let mut connection = Connection::open(gateway.kafka).unwrap();
    connection.send(&wire::produce("good", 0, batch)).unwrap();
    connection.receive().ok().map(|answer| wire::produce_error("good", &answer))
}

#[test]
fn batches_that_lie_are_refused() {
    let mut gateway = Gateway::start();
    assert_well(&mut gateway, "nothing");
    let good = Batch::good(b"value");
    let lies = [
        ("a wrong checksum", Batch { crc_lie: 1, ..good.clone() }),
        ("a length too small", Batch { length_lie: -1, ..good.clone() }),
        ("a length too large", Batch { length_lie: 1, ..good.clone() }),
        ("a huge length", Batch { length_lie: i32::MAX - 1_000, ..good.clone() }),
        ("a negative length", Batch { length_lie: -1_000, ..good.clone() }),
        ("millions of records", Batch { count: 5_000_000, last_offset_delta: 4_999_999, ..good.clone() }),
        ("2^31-1 records", Batch { count: i32::MAX, last_offset_delta: i32::MAX - 1, ..good.clone() }),
        ("no records", Batch { count: 0, last_offset_delta: -1, ..good.clone() }),
        ("a negative count", Batch { count: -1, ..good.clone() }),
        ("a count and offsets that differ", Batch { last_offset_delta: 7, ..good.clone() }),
        ("an unknown compression", Batch { attributes: 7, ..good.clone() }),
        ("a control batch", Batch { attributes: 0x20, ..good.clone() }),
    ];
    for (name, batch) in lies {
        let error = produce_batch(&gateway, &batch.encode());
        assert_ne!(error, Some(0), "a batch with {name} was accepted");
        assert_well(&mut gateway, name);
    }
    for cut in 1..70 {
        let bytes = good.encode();
        let error = produce_batch(&gateway, &bytes[..bytes.len() - cut.min(bytes.len())]);
        assert_ne!(error, Some(0), "a batch cut by {cut} bytes was accepted");
    }
    assert_well(&mut gateway, "cut batches");
}

/// Records of a compressed batch that decompress to this many zero bytes in one record.
fn bomb(mib: usize) -> Vec<(&'static str, i16, Vec<u8>)> {
    let raw = wire::record(&vec![0; mib << 20]);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gzip.write_all(&raw).unwrap();
    vec![("gzip", 1, gzip.finish().unwrap()), ("zstd", 4, zstd::encode_all(&*raw, 19).unwrap())]
}

#[test]
fn compressed_bombs_stay_small() {
    let mut gateway = Gateway::start();
    assert_well(&mut gateway, "nothing");
    for (name, attributes, records) in bomb(700) {
        assert!(records.len() < 1 << 20, "{name} compresses well");
        let batch = Batch { attributes, records, ..Batch::good(b"") };
        let error = produce_batch(&gateway, &batch.encode());
        assert_well(&mut gateway, &format!("a {name} bomb, answered {error:?}"));
        // Stored as it came or refused: a reader that decompresses must not blow up either way.
        let answer = http::get(gateway.http, "/v1/topics/good/messages?partition=0&offset=0&limit=100").unwrap();
        assert!(answer.body.len() < 64 << 20, "{} bytes came out", answer.body.len());
        assert_well(&mut gateway, &format!("reading a {name} bomb over HTTP, answered {}", answer.status));
    }
}

/// Names of threats, as bytes: each is refused or is nothing but a name.
fn names() -> Vec<Vec<u8>> {
    let mut names: Vec<Vec<u8>> =
        ["../x", "../../etc/passwd", "/absolute", ".", "..", "", ".*", "a|b", "%s%n%d", "{}{0}", "a\0b", "a\r\nb"]
            .iter()
            .map(|name| name.as_bytes().to_vec())
            .collect();
    names.push("right\u{202e}to\u{200f}left".as_bytes().to_vec());
    names.push(vec![b'n'; 4096]);
    names.push(vec![0xff, 0xfe, 0x80]);
    names
}

#[test]
fn names_are_names() {
    let mut gateway = Gateway::start();
    let outside = gateway.data.parent().unwrap().to_owned();
    let before = std::fs::read_dir(&outside).unwrap().count();
    for name in names() {
        let shown = String::from_utf8_lossy(&name).into_owned();
        let mut connection = Connection::open(gateway.kafka).unwrap();
        connection.send(&wire::create_topic(&name, 1)).unwrap();
        if let Ok(answer) = connection.receive() {
            let error = wire::create_topic_error(&name, &answer);
            assert_ne!(error, 0, "Kafka's own rules refuse the topic name '{shown}'");
        }
        let encoded: String = name.iter().map(|byte| format!("%{byte:02x}")).collect();
        let answer =
            http::send(gateway.http, "PUT", &format!("/v1/topics/{encoded}"), "application/json", b"{}").unwrap();
        assert!(answer.status < 500, "the topic name '{shown}' over HTTP: {answer:?}");
        assert!(!answer.body.contains('\r'), "{answer:?}");
        assert_well(&mut gateway, &format!("the name '{shown}'"));
    }
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), before, "something was written beside the data directory");
    let forged = gateway.log().lines().filter(|line| line.starts_with('b')).count();
    assert_eq!(forged, 0, "a name broke a log line:\n{}", gateway.log());
    gateway.restart();
    assert_well(&mut gateway, "a restart with such names");
}

#[test]
fn slow_partial_frames_from_many_connections() {
    let mut gateway = Gateway::start();
    assert_well(&mut gateway, "nothing");
    let before = gateway.resident_bytes();
    let mut open = Vec::new();
    for at in 0..1_000 {
        let to = if at % 2 == 0 { gateway.kafka } else { gateway.http };
        let Ok(mut stream) = TcpStream::connect_timeout(&to, Duration::from_secs(5)) else { break };
        // A frame, or a body, of 50 MB announced; ten bytes of it sent.
        let start: &[u8] = if at % 2 == 0 {
            b"\x02\xfa\xf0\x80\x00\x03\x00\x01\x00\x00\x00\x07"
        } else {
            b"POST /v1/topics/good/messages HTTP/1.1\r\nHost: x\r\nContent-Length: 50000000\r\n\r\nxxxxxxxxxx"
        };
        let _ = stream.write_all(start);
        open.push(stream);
    }
    let grown = gateway.resident_bytes().saturating_sub(before);
    place::report(&format!("{} half-sent requests: {} KiB each", open.len(), grown / 1024 / open.len() as u64));
    assert!(grown < 100 << 20, "{} MiB for {} half-sent requests", grown >> 20, open.len());
    assert_well(&mut gateway, "1,000 half-sent requests");
    drop(open);
    assert_well(&mut gateway, "their end");
}

#[test]
fn http_requests_that_are_wrong() {
    let mut gateway = Gateway::start();
    let huge_header = format!("GET /v1/topics HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "y".repeat(4 << 20));
    let many_headers = format!("GET /v1/topics HTTP/1.1\r\nHost: x\r\n{}\r\n", "A: b\r\n".repeat(10_000));
    let deep = format!("{{\"messages\":{}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
    let requests: Vec<(&str, Vec<u8>)> = vec![
        ("no HTTP", b"\x16\x03\x01\x02\x00\x01\x00".repeat(100)),
        ("a huge header", huge_header.into_bytes()),
        ("10,000 headers", many_headers.into_bytes()),
        ("two lengths", b"POST /v1/topics/good/messages HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 9\r\n\r\nx".to_vec()),
        ("a negative length", b"POST /v1/topics/good/messages HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n".to_vec()),
        ("a length of 2^63", b"POST /v1/topics/good/messages HTTP/1.1\r\nHost: x\r\nContent-Length: 9223372036854775808\r\n\r\n".to_vec()),
        ("a bad chunk", b"POST /v1/topics/good/messages HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n".to_vec()),
        ("a bad path", b"GET /v1/topics/%zz%00 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".to_vec()),
    ];
    for (name, request) in requests {
        if let Ok(answer) = http::exchange(gateway.http, &request) {
            assert!((400..500).contains(&answer.status), "{name}: {answer:?}");
        }
        assert_well(&mut gateway, name);
    }
    for (name, path, body) in [
        ("deep JSON", "/v1/topics/good/messages:batch", deep.as_bytes()),
        ("invalid UTF-8", "/v1/topics/good/messages:batch", b"{\"messages\":[{\"text\":\"\xff\xfe\"}]}".as_slice()),
        ("no JSON", "/v1/topics/good/messages:batch", b"nonsense".as_slice()),
        ("wrong types", "/v1/groups/g:pull", b"{\"max_messages\":-1,\"wait\":\"for ever\"}".as_slice()),
    ] {
        let answer = http::send(gateway.http, "POST", path, "application/json", body).unwrap();
        // 207: a batch of which nothing was stored says so message by message.
        assert!((400..500).contains(&answer.status) || answer.status == 207, "{name}: {answer:?}");
        assert!(answer.body.contains("\"code\""), "{name} is not answered with a problem: {answer:?}");
        assert_well(&mut gateway, name);
    }
    let too_big = vec![b'x'; 200 << 20];
    if let Ok(answer) = http::send(gateway.http, "POST", "/v1/topics/good/messages", "text/plain", &too_big) {
        assert_eq!(answer.status, 413, "{answer:?}");
    }
    assert_well(&mut gateway, "a body of 200 MiB");
    let mut slow = TcpStream::connect(gateway.http).unwrap();
    slow.write_all(b"GET / HT").unwrap();
    slow.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let _ = slow.read(&mut [0; 16]);
    assert_well(&mut gateway, "a request never finished");
}
