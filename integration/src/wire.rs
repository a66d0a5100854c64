//! Kafka frames and record batches by hand, so that they can be wrong on purpose.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use bytes::{BufMut, BytesMut};

/// API keys used here (<https://kafka.apache.org/protocol#protocol_api_keys>).
pub const PRODUCE: i16 = 0;
/// Metadata.
pub const METADATA: i16 = 3;
/// `ApiVersions`.
pub const API_VERSIONS: i16 = 18;
/// `CreateTopics`.
pub const CREATE_TOPICS: i16 = 19;

/// A connection to a Kafka listener.
pub struct Connection(TcpStream);

impl Connection {
    /// Connects; reads give up after 20 s.
    ///
    /// # Errors
    /// What the socket says.
    pub fn open(to: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&to, Duration::from_secs(5))?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        stream.set_write_timeout(Some(Duration::from_secs(20)))?;
        Ok(Self(stream))
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// What the socket says.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    /// Reads one answer, without its length and correlation id.
    ///
    /// # Errors
    /// What the socket says, or that the peer closed.
    pub fn receive(&mut self) -> io::Result<Vec<u8>> {
        let mut length = [0; 4];
        self.0.read_exact(&mut length)?;
        let mut body = vec![0; u32::from_be_bytes(length) as usize];
        self.0.read_exact(&mut body)?;
        body.drain(..4);
        Ok(body)
    }

    /// Whether the peer closes the connection, without sending more than an answer first.
    #[must_use]
    pub fn is_closed_by_peer(&mut self) -> bool {
        let mut sink = [0; 4096];
        loop {
            match self.0.read(&mut sink) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) => return error.kind() == io::ErrorKind::ConnectionReset,
            }
        }
    }
}

/// A request frame with header version 1 (not flexible).
#[must_use]
pub fn request(key: i16, version: i16, body: &[u8]) -> Vec<u8> {
    let mut frame = BytesMut::new();
    frame.put_i16(key);
    frame.put_i16(version);
    frame.put_i32(7);
    put_string(&mut frame, b"test");
    frame.put_slice(body);
    framed(&frame)
}

/// Bytes with their length in front.
#[must_use]
pub fn framed(body: &[u8]) -> Vec<u8> {
    let mut frame = BytesMut::new();
    frame.put_u32(u32::try_from(body.len()).expect("a frame"));
    frame.put_slice(body);
    frame.to_vec()
}

/// Writes a STRING.
pub fn put_string(to: &mut BytesMut, text: &[u8]) {
    to.put_i16(i16::try_from(text.len()).expect("a string"));
    to.put_slice(text);
}

/// A Produce request, version 7, of one batch.
#[must_use]
pub fn produce(topic: &str, partition: i32, records: &[u8]) -> Vec<u8> {
    let mut body = BytesMut::new();
    body.put_i16(-1); // no transactional id
    body.put_i16(-1); // acks: all
    body.put_i32(10_000);
    body.put_i32(1);
    put_string(&mut body, topic.as_bytes());
    body.put_i32(1);
    body.put_i32(partition);
    body.put_u32(u32::try_from(records.len()).expect("a batch"));
    body.put_slice(records);
    request(PRODUCE, 7, &body)
}

/// The error code in the answer to [`produce`].
#[must_use]
pub fn produce_error(topic: &str, answer: &[u8]) -> i16 {
    let at = 4 + 2 + topic.len() + 4 + 4;
    i16::from_be_bytes([answer[at], answer[at + 1]])
}

/// A `CreateTopics` request, version 2, for one topic whose name may be any bytes.
#[must_use]
pub fn create_topic(name: &[u8], partitions: i32) -> Vec<u8> {
    let mut body = BytesMut::new();
    body.put_i32(1);
    put_string(&mut body, name);
    body.put_i32(partitions);
    body.put_i16(1);
    body.put_i32(0); // assignments
    body.put_i32(0); // configs
    body.put_i32(10_000);
    body.put_u8(0); // validate only
    request(CREATE_TOPICS, 2, &body)
}

/// The error code in the answer to [`create_topic`].
#[must_use]
pub fn create_topic_error(name: &[u8], answer: &[u8]) -> i16 {
    let at = 4 + 4 + 2 + name.len();
    i16::from_be_bytes([answer[at], answer[at + 1]])
}

/// A record batch v2 whose fields can be set apart from what it carries; the checksum is right.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Compression bits and the rest.
    pub attributes: i16,
    /// Offset of the last record in the batch.
    pub last_offset_delta: i32,
    /// How many records it claims.
    pub count: i32,
    /// The records, compressed as the attributes say.
    pub records: Vec<u8>,
    /// Added to the true length.
    pub length_lie: i32,
    /// Exclusive-ored with the true checksum.
    pub crc_lie: u32,
}

impl Batch {
    /// A good batch of one record.
    #[must_use]
    pub fn good(value: &[u8]) -> Self {
        Self { attributes: 0, last_offset_delta: 0, count: 1, records: record(value), length_lie: 0, crc_lie: 0 }
    }

    /// The bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut body = BytesMut::new();
        body.put_i16(self.attributes);
        body.put_i32(self.last_offset_delta);
        let now = std::time::UNIX_EPOCH.elapsed().expect("a clock after 1970").as_millis();
        let now = i64::try_from(now).expect("a time");
        body.put_i64(now); // base timestamp
        body.put_i64(now); // max timestamp
        body.put_i64(-1); // producer id
        body.put_i16(-1);
        body.put_i32(-1);
        body.put_i32(self.count);
        body.put_slice(&self.records);
        let crc = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, &body);
        let mut batch = BytesMut::new();
        batch.put_i64(0);
        batch.put_i32(i32::try_from(body.len()).expect("a batch") + 9 + self.length_lie);
        batch.put_i32(-1); // leader epoch
        batch.put_u8(2);
        batch.put_u32(u32::try_from(crc).expect("32 bits") ^ self.crc_lie);
        batch.put_slice(&body);
        batch.to_vec()
    }
}

/// One record without key and headers, the first of its batch.
#[must_use]
pub fn record(value: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    put_record(&mut whole, 0, value);
    whole
}

/// Adds a record without key and headers.
pub fn put_record(to: &mut Vec<u8>, offset_delta: i64, value: &[u8]) {
    let mut body = vec![0];
    varint(&mut body, 0); // timestamp delta
    varint(&mut body, offset_delta);
    varint(&mut body, -1); // no key
    varint(&mut body, i64::try_from(value.len()).expect("a length"));
    body.extend_from_slice(value);
    varint(&mut body, 0); // headers
    varint(to, i64::try_from(body.len()).expect("a length"));
    to.extend_from_slice(&body);
}

/// A zigzag varint, as records use.
pub fn varint(to: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
    while rest >= 0x80 {
        to.push(u8::try_from(rest & 0x7f).expect("7 bits") | 0x80);
        rest >>= 7;
    }
    to.push(u8::try_from(rest).expect("7 bits"));
}
