//! As much of a Kafka client as load needs: one connection, requests in order, responses in order.

use std::io;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::messages::{RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use crate::cli::Error;

/// The largest response taken.
const MAX_RESPONSE: usize = 128 << 20;

/// Where the correlation id stands in an encoded frame: after length, key and version.
const CORRELATION: std::ops::Range<usize> = 8..12;

/// One connection.
pub struct Client {
    reader: OwnedReadHalf,
    writer: OwnedWriteHalf,
}

impl Client {
    pub async fn connect(address: &str) -> Result<Self, Error> {
        let stream = TcpStream::connect(address).await.map_err(|error| {
            Error::unavailable(format!("cannot reach {address}: {error}. Start it with: tidegate serve"))
        })?;
        stream.set_nodelay(true)?;
        let (reader, writer) = stream.into_split();
        Ok(Self { reader, writer })
    }

    pub fn split(self) -> (OwnedReadHalf, OwnedWriteHalf) {
        (self.reader, self.writer)
    }

    /// Sends one request and waits for its response.
    pub async fn call<R: Request>(&mut self, request: &R, version: i16) -> Result<R::Response, Error> {
        self.writer.write_all(&frame(request, version)?).await?;
        receive::<R>(&mut self.reader, version).await
    }
}

/// A request as it goes over the wire, with correlation id 0.
pub fn frame<R: Request>(request: &R, version: i16) -> Result<Bytes, Error> {
    let malformed = |error: &dyn std::fmt::Display| Error::failed(format!("cannot encode a request: {error}"));
    let header = RequestHeader::default()
        .with_request_api_key(R::KEY)
        .with_request_api_version(version)
        .with_client_id(Some(StrBytes::from_static_str("tidegate-bench")));
    let mut body = BytesMut::new();
    header.encode(&mut body, R::header_version(version)).map_err(|error| malformed(&error))?;
    request.encode(&mut body, version).map_err(|error| malformed(&error))?;
    let mut frame = BytesMut::with_capacity(4 + body.len());
    frame.put_u32(u32::try_from(body.len()).map_err(|error| malformed(&error))?);
    frame.extend_from_slice(&body);
    Ok(frame.freeze())
}

/// Numbers an encoded frame.
pub fn number(frame: &mut [u8], correlation: i32) {
    frame[CORRELATION].copy_from_slice(&correlation.to_be_bytes());
}

/// The next response.
pub async fn receive<R: Request>(reader: &mut OwnedReadHalf, version: i16) -> Result<R::Response, Error> {
    let length = reader.read_u32().await.map_err(|error| broken(&error))? as usize;
    if length > MAX_RESPONSE {
        return Err(Error::failed(format!("a response claims {length} bytes")));
    }
    let mut bytes = vec![0; length];
    reader.read_exact(&mut bytes).await.map_err(|error| broken(&error))?;
    let mut bytes = Bytes::from(bytes);
    let malformed = |error: &dyn std::fmt::Display| Error::failed(format!("cannot read a response: {error}"));
    ResponseHeader::decode(&mut bytes, R::Response::header_version(version)).map_err(|error| malformed(&error))?;
    let response = R::Response::decode(&mut bytes, version).map_err(|error| malformed(&error))?;
    if bytes.has_remaining() {
        return Err(Error::failed(format!("a response has {} bytes too many", bytes.remaining())));
    }
    Ok(response)
}

fn broken(error: &io::Error) -> Error {
    Error::unavailable(format!("the connection broke: {error}"))
}
