//! AMQP frames by hand, so that they can be wrong on purpose.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use bytes::{BufMut, BytesMut};

/// What a client sends first.
pub const PROTOCOL_HEADER: &[u8] = b"AMQP\x00\x00\x09\x01";
/// Frame types.
pub const METHOD: u8 = 1;
/// The head of a message's content.
pub const HEADER: u8 = 2;
/// A part of a message's content.
pub const BODY: u8 = 3;
/// A sign of life.
pub const HEARTBEAT: u8 = 8;
/// What ends a frame.
pub const FRAME_END: u8 = 0xCE;

/// A method: its class, and its number in it.
pub type Method = (u16, u16);
/// `connection.close`.
pub const CONNECTION_CLOSE: Method = (10, 50);
/// `channel.open`.
pub const CHANNEL_OPEN: Method = (20, 10);
/// `channel.close`.
pub const CHANNEL_CLOSE: Method = (20, 40);
/// `queue.declare`.
pub const QUEUE_DECLARE: Method = (50, 10);
/// `basic.consume`.
pub const BASIC_CONSUME: Method = (60, 20);
/// `basic.publish`.
pub const BASIC_PUBLISH: Method = (60, 40);

/// A frame as it came.
#[derive(Debug, Clone)]
pub struct Frame {
    /// [`METHOD`], [`HEADER`], [`BODY`], [`HEARTBEAT`].
    pub kind: u8,
    /// 0 for the connection itself.
    pub channel: u16,
    /// What is between head and end.
    pub payload: Vec<u8>,
}

impl Frame {
    /// Whether it is this method.
    #[must_use]
    pub fn is(&self, (class, method): Method) -> bool {
        let id = [class.to_be_bytes(), method.to_be_bytes()].concat();
        self.kind == METHOD && self.payload.starts_with(&id)
    }
}

/// How a broker refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It closed the channel, with this code.
    Channel(u16),
    /// It closed the connection, with this code.
    Connection(u16),
    /// It closed the socket without a word.
    Socket,
}

/// A connection to an AMQP listener.
pub struct Connection(TcpStream);

impl Connection {
    /// Connects, and says nothing; reads give up after 20 s.
    ///
    /// # Errors
    /// What the socket says.
    pub fn open(to: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&to, Duration::from_secs(5))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        stream.set_write_timeout(Some(Duration::from_secs(20)))?;
        Ok(Self(stream))
    }

    /// Connects as guest, with heartbeats so often (seconds; 0 for none), and opens channel 1.
    ///
    /// # Errors
    /// What the socket says.
    pub fn ready(to: SocketAddr, heartbeat: u16) -> io::Result<Self> {
        let mut connection = Self::open(to)?;
        connection.send(PROTOCOL_HEADER)?;
        connection.expect((10, 10))?;
        connection.send(&start_ok("\0guest\0guest"))?;
        let tune = connection.expect((10, 30))?;
        let mut tune_ok = tune.clone();
        tune_ok.truncate(6);
        tune_ok.put_u16(heartbeat);
        connection.send(&method(0, (10, 31), &tune_ok))?;
        connection.send(&open_vhost("/"))?;
        connection.expect((10, 41))?;
        connection.send(&open_channel(1))?;
        connection.expect((20, 11))?;
        Ok(connection)
    }

    /// Gives up sending after this time.
    pub fn write_timeout(&self, at_most: Duration) {
        self.0.set_write_timeout(Some(at_most)).expect("a time above zero");
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// What the socket says.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    /// The next frame.
    ///
    /// # Errors
    /// What the socket says, or that the peer closed.
    pub fn receive(&mut self) -> io::Result<Frame> {
        let mut head = [0; 7];
        self.0.read_exact(&mut head)?;
        let size = u32::from_be_bytes([head[3], head[4], head[5], head[6]]) as usize;
        let mut payload = vec![0; size + 1];
        self.0.read_exact(&mut payload)?;
        assert_eq!(payload.pop(), Some(FRAME_END), "a frame from the broker has no end");
        Ok(Frame { kind: head[0], channel: u16::from_be_bytes([head[1], head[2]]), payload })
    }

    /// Waits for a method; its arguments.
    ///
    /// # Errors
    /// What the socket says, or that the peer closed.
    pub fn expect(&mut self, wanted: Method) -> io::Result<Vec<u8>> {
        loop {
            let frame = self.receive()?;
            if frame.is(wanted) {
                return Ok(frame.payload[4..].to_vec());
            }
            if frame.is(CONNECTION_CLOSE) || frame.is(CHANNEL_CLOSE) {
                return Err(io::Error::other(format!("closed: {}", String::from_utf8_lossy(&frame.payload[4..]))));
            }
        }
    }

    /// Waits for the broker to refuse; none if it does nothing of the kind for 20 s.
    #[must_use]
    pub fn refusal(&mut self) -> Option<Refusal> {
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(20) {
            match self.receive() {
                Ok(frame) if frame.is(CONNECTION_CLOSE) => return Some(Refusal::Connection(code(&frame))),
                Ok(frame) if frame.is(CHANNEL_CLOSE) => return Some(Refusal::Channel(code(&frame))),
                Ok(_) => {}
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    return None;
                }
                Err(_) => return Some(Refusal::Socket),
            }
        }
        None
    }

    /// Everything the broker sends until it closes the socket.
    ///
    /// # Errors
    /// What the socket says: that it stays open, too.
    pub fn read_to_end(&mut self) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        match self.0.read_to_end(&mut all) {
            Err(error) if error.kind() != io::ErrorKind::ConnectionReset => Err(error),
            _ => Ok(all),
        }
    }
}

fn code(frame: &Frame) -> u16 {
    u16::from_be_bytes([frame.payload[4], frame.payload[5]])
}

/// A frame.
#[must_use]
pub fn frame(kind: u8, channel: u16, payload: &[u8]) -> Vec<u8> {
    framed(kind, channel, u32::try_from(payload.len()).expect("a frame"), payload, FRAME_END)
}

/// A frame that says what it is told to say.
#[must_use]
pub fn framed(kind: u8, channel: u16, size: u32, payload: &[u8], end: u8) -> Vec<u8> {
    let mut frame = BytesMut::new();
    frame.put_u8(kind);
    frame.put_u16(channel);
    frame.put_u32(size);
    frame.put_slice(payload);
    frame.put_u8(end);
    frame.to_vec()
}

/// A method frame.
#[must_use]
pub fn method(channel: u16, (class, number): Method, arguments: &[u8]) -> Vec<u8> {
    frame(METHOD, channel, &[&class.to_be_bytes(), &number.to_be_bytes(), arguments].concat())
}

/// A short string.
#[must_use]
pub fn short(text: &str) -> Vec<u8> {
    [&[u8::try_from(text.len()).expect("a short string")], text.as_bytes()].concat()
}

/// A long string, or a table from its contents.
#[must_use]
pub fn long(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).expect("a long string").to_be_bytes(), bytes].concat()
}

/// `connection.start-ok` with PLAIN.
#[must_use]
pub fn start_ok(response: &str) -> Vec<u8> {
    let arguments = [long(b""), short("PLAIN"), long(response.as_bytes()), short("en_US")].concat();
    method(0, (10, 11), &arguments)
}

/// `connection.open`.
#[must_use]
pub fn open_vhost(name: &str) -> Vec<u8> {
    method(0, (10, 40), &[short(name), short(""), vec![0]].concat())
}

/// `channel.open`.
#[must_use]
pub fn open_channel(number: u16) -> Vec<u8> {
    method(number, CHANNEL_OPEN, &short(""))
}

/// `queue.declare` of a durable queue, with a table of arguments.
#[must_use]
pub fn declare(queue: &str, table: &[u8]) -> Vec<u8> {
    method(1, QUEUE_DECLARE, &[vec![0, 0], short(queue), vec![0b10], long(table)].concat())
}

/// `basic.consume` with manual acknowledgements.
#[must_use]
pub fn consume(queue: &str) -> Vec<u8> {
    method(1, BASIC_CONSUME, &[vec![0, 0], short(queue), short(""), vec![0], long(b"")].concat())
}

/// `basic.publish` through the default exchange, without the content that must follow.
#[must_use]
pub fn publish(queue: &str) -> Vec<u8> {
    method(1, BASIC_PUBLISH, &[vec![0, 0], short(""), short(queue), vec![0]].concat())
}

/// A content header without properties.
#[must_use]
pub fn header(size: u64) -> Vec<u8> {
    header_with(size, 0, b"")
}

/// A content header with flags and property list as given.
#[must_use]
pub fn header_with(size: u64, flags: u16, properties: &[u8]) -> Vec<u8> {
    let head = [&60_u16.to_be_bytes()[..], &[0, 0], &size.to_be_bytes(), &flags.to_be_bytes(), properties];
    frame(HEADER, 1, &head.concat())
}

/// A body frame.
#[must_use]
pub fn body(bytes: &[u8]) -> Vec<u8> {
    frame(BODY, 1, bytes)
}

/// A table entry: one table in another, so often.
#[must_use]
pub fn nested_tables(depth: usize) -> Vec<u8> {
    let mut inner = Vec::new();
    for _ in 0..depth {
        inner = [short("t"), vec![b'F'], long(&inner)].concat();
    }
    inner
}
