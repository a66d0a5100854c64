//! A response, framed: length, correlation id, body.

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::ApiKey;
use kafka_protocol::protocol::Encodable;

use super::flexible_from;

/// A whole response as the pieces to be written one after the other.
#[derive(Debug, Clone, Default)]
pub(in crate::kafka) struct Frame(pub(in crate::kafka) Vec<Bytes>);

impl Frame {
    /// Its size on the wire.
    pub(in crate::kafka) fn len(&self) -> usize {
        self.0.iter().map(Bytes::len).sum()
    }
}

/// Starts a frame in `out`: a length still to be filled in, and the response header of the version.
pub(super) fn begin(out: &mut BytesMut, api: ApiKey, version: i16, correlation: i32) {
    out.put_i32(0);
    out.put_i32(correlation);
    // ApiVersions keeps the oldest response header for ever, so that a client can read the refusal of a version (KIP-511).
    if version >= flexible_from(api) && api != ApiKey::ApiVersions {
        out.put_u8(0);
    }
}

/// Fills in the length of a frame of `total` bytes.
pub(super) fn finish(out: &mut BytesMut, total: usize) -> Option<()> {
    let length = i32::try_from(total.checked_sub(4)?).ok()?;
    out.get_mut(..4)?.copy_from_slice(&length.to_be_bytes());
    Some(())
}

/// Encodes a response. `None` when it does not fit the version, which is our mistake.
pub(in crate::kafka) fn encode<R: Encodable>(
    api: ApiKey,
    version: i16,
    correlation: i32,
    response: &R,
) -> Option<Frame> {
    let mut out = BytesMut::with_capacity(response.compute_size(version).ok()? + 16);
    begin(&mut out, api, version, correlation);
    if let Err(error) = response.encode(&mut out, version) {
        tracing::error!(?api, version, %error, "a response could not be encoded");
        return None;
    }
    let total = out.len();
    finish(&mut out, total)?;
    Some(Frame(vec![out.freeze()]))
}
