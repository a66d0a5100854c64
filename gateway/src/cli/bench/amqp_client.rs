//! As much of an AMQP 0-9-1 client as load needs: one connection, one channel, methods by their numbers.

use std::io;

use bytes::{Buf, BufMut, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use crate::cli::Error;

/// The channel that everything happens on.
const CHANNEL: u16 = 1;
/// Type, channel, size in front of a frame's payload; one byte behind it.
const FRAME_HEAD: usize = 7;
const FRAME_END: u8 = 0xCE;
/// The largest frame taken.
const MAX_FRAME: usize = 16 << 20;
/// Room for what one read brings.
const READ_BYTES: usize = 256 << 10;

/// A method: its class and its number in it.
pub type Id = (u16, u16);
const CONNECTION_CLOSE: Id = (10, 50);
const CHANNEL_CLOSE: Id = (20, 40);
pub const BASIC_PUBLISH: Id = (60, 40);
pub const BASIC_DELIVER: Id = (60, 60);
pub const BASIC_ACK: Id = (60, 80);
pub const BASIC_NACK: Id = (60, 120);

/// What came in one frame.
pub enum Frame<'a> {
    /// A method with its arguments.
    Method(Id, &'a [u8]),
    /// The size of the body that follows.
    Header(u64),
    /// A part of the body.
    Body(&'a [u8]),
}

/// A method on its way out, argument by argument.
pub struct Arguments(BytesMut);

impl Arguments {
    pub fn new((class, method): Id) -> Self {
        let mut bytes = BytesMut::new();
        bytes.put_u16(class);
        bytes.put_u16(method);
        Self(bytes)
    }

    pub fn u8(mut self, value: u8) -> Self {
        self.0.put_u8(value);
        self
    }

    pub fn u16(mut self, value: u16) -> Self {
        self.0.put_u16(value);
        self
    }

    pub fn u32(mut self, value: u32) -> Self {
        self.0.put_u32(value);
        self
    }

    /// Up to 255 bytes; what is longer is cut.
    pub fn short(mut self, text: &str) -> Self {
        let text = &text.as_bytes()[..text.len().min(255)];
        self.0.put_u8(text.len() as u8);
        self.0.put_slice(text);
        self
    }

    pub fn long(mut self, text: &str) -> Self {
        self.0.put_u32(text.len() as u32);
        self.0.put_slice(text.as_bytes());
        self
    }

    /// Adds the frame to what is to be sent.
    pub fn put(&self, channel: u16, to: &mut BytesMut) {
        put_frame(1, channel, &self.0, to);
    }
}

fn put_frame(kind: u8, channel: u16, payload: &[u8], to: &mut BytesMut) {
    to.put_u8(kind);
    to.put_u16(channel);
    to.put_u32(payload.len() as u32);
    to.put_slice(payload);
    to.put_u8(FRAME_END);
}

/// A message as it is published: method, header, and the body in as many frames as it needs.
pub fn message(publish: &Arguments, persistent: bool, body: &[u8], frame_max: usize) -> BytesMut {
    let mut bytes = BytesMut::new();
    publish.put(CHANNEL, &mut bytes);
    let mut header = BytesMut::new();
    header.put_u16(BASIC_PUBLISH.0);
    header.put_u16(0);
    header.put_u64(body.len() as u64);
    header.put_u16(1 << 12); // only the delivery mode is there
    header.put_u8(if persistent { 2 } else { 1 });
    put_frame(2, CHANNEL, &header, &mut bytes);
    for part in body.chunks(frame_max - FRAME_HEAD - 1) {
        put_frame(3, CHANNEL, part, &mut bytes);
    }
    bytes
}

/// Takes frames from a connection.
pub struct Reader {
    socket: OwnedReadHalf,
    buffer: BytesMut,
    /// Bytes of the buffer that frames already taken stood in.
    taken: usize,
}

impl Reader {
    /// Waits for bytes.
    pub async fn fill(&mut self) -> Result<(), Error> {
        self.buffer.advance(std::mem::take(&mut self.taken));
        self.buffer.reserve(READ_BYTES);
        match self.socket.read_buf(&mut self.buffer).await {
            Ok(0) => Err(Error::unavailable("the broker closed the connection")),
            Ok(_) => Ok(()),
            Err(error) => Err(broken(&error)),
        }
    }

    /// The next whole frame of what is here; an error if the broker closes the channel or the connection.
    pub fn next(&mut self) -> Result<Option<Frame<'_>>, Error> {
        loop {
            let rest = &self.buffer[self.taken..];
            let Some(head) = rest.get(..FRAME_HEAD) else { return Ok(None) };
            let kind = head[0];
            let size = u32::from_be_bytes([head[3], head[4], head[5], head[6]]) as usize;
            if size > MAX_FRAME {
                return Err(Error::failed(format!("a frame claims {size} bytes")));
            }
            if rest.len() <= FRAME_HEAD + size {
                return Ok(None);
            }
            let start = self.taken + FRAME_HEAD;
            self.taken = start + size + 1;
            let mut payload = &self.buffer[start..start + size];
            let short = || Error::failed("a frame is too short");
            return match kind {
                1 => {
                    let id = (payload.try_get_u16().map_err(|_| short())?, payload.try_get_u16().map_err(|_| short())?);
                    if id == CONNECTION_CLOSE || id == CHANNEL_CLOSE {
                        return Err(refused(payload));
                    }
                    Ok(Some(Frame::Method(id, payload)))
                }
                2 => {
                    payload.try_get_u32().map_err(|_| short())?;
                    Ok(Some(Frame::Header(payload.try_get_u64().map_err(|_| short())?)))
                }
                3 => Ok(Some(Frame::Body(payload))),
                _ => continue, // a heartbeat
            };
        }
    }

    /// Waits for a method and gives its arguments.
    async fn expect(&mut self, wanted: Id) -> Result<Vec<u8>, Error> {
        loop {
            match self.next()? {
                Some(Frame::Method(id, arguments)) if id == wanted => return Ok(arguments.to_vec()),
                Some(_) => {}
                None => self.fill().await?,
            }
        }
    }
}

/// The reason in a close method.
fn refused(mut arguments: &[u8]) -> Error {
    let code = arguments.try_get_u16().unwrap_or_default();
    let length = usize::from(arguments.try_get_u8().unwrap_or_default());
    let text = String::from_utf8_lossy(&arguments[..length.min(arguments.len())]);
    Error::refused(format!("the broker closed: {code} {text}"))
}

/// One connection.
pub struct Client {
    pub reader: Reader,
    pub writer: OwnedWriteHalf,
    /// The largest frame agreed on.
    pub frame_max: usize,
}

impl Client {
    /// Connects, as the user with a password, and opens the channel. Without heartbeats.
    pub async fn connect(address: &str, user: &str, password: &str) -> Result<Self, Error> {
        let stream = TcpStream::connect(address).await.map_err(|error| {
            Error::unavailable(format!("cannot reach {address}: {error}. Start it with: tidegate serve"))
        })?;
        stream.set_nodelay(true)?;
        let (socket, mut writer) = stream.into_split();
        writer.write_all(b"AMQP\0\0\x09\x01").await.map_err(|error| broken(&error))?;
        let reader = Reader { socket, buffer: BytesMut::new(), taken: 0 };
        let mut client = Self { reader, writer, frame_max: 0 };
        client.reader.expect((10, 10)).await?;
        let start_ok = Arguments::new((10, 11)).u32(0).short("PLAIN").long(&format!("\0{user}\0{password}"));
        client.send(&start_ok.short("en_US"), 0).await?;
        let tune = client
            .reader
            .expect((10, 30))
            .await
            .map_err(|error| Error::refused(format!("'{user}' with this password is not let in: {error}")))?;
        let mut tune = tune.as_slice();
        let channels = tune.try_get_u16().unwrap_or_default();
        let frame_max = tune.try_get_u32().unwrap_or_default();
        client.frame_max = if frame_max == 0 { 128 << 10 } else { frame_max as usize };
        client.send(&Arguments::new((10, 31)).u16(channels).u32(client.frame_max as u32).u16(0), 0).await?;
        client.send(&Arguments::new((10, 40)).short("/").short("").u8(0), 0).await?;
        client.reader.expect((10, 41)).await?;
        client.call((20, 10), |method| method.short("")).await?;
        Ok(client)
    }

    async fn send(&mut self, method: &Arguments, channel: u16) -> Result<(), Error> {
        let mut bytes = BytesMut::new();
        method.put(channel, &mut bytes);
        self.writer.write_all(&bytes).await.map_err(|error| broken(&error))
    }

    /// Sends a method and waits for its answer, which has the next number.
    pub async fn call(&mut self, id: Id, arguments: impl FnOnce(Arguments) -> Arguments) -> Result<Vec<u8>, Error> {
        self.send(&arguments(Arguments::new(id)), CHANNEL).await?;
        self.reader.expect((id.0, id.1 + 1)).await
    }
}

/// Adds an acknowledgement of this delivery, or of all up to it.
pub fn put_ack(tag: u64, multiple: bool, to: &mut BytesMut) {
    let high = (tag >> 32) as u32;
    Arguments::new(BASIC_ACK).u32(high).u32(tag as u32).u8(u8::from(multiple)).put(CHANNEL, to);
}

pub fn broken(error: &io::Error) -> Error {
    Error::unavailable(format!("the connection broke: {error}"))
}
