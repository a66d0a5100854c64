//! The request header (versions 1 and 2; KIP-482).

use bytes::{Buf, Bytes};
use kafka_protocol::messages::ApiKey;
use kafka_protocol::protocol::StrBytes;

use super::{Malformed, flexible_from, shape::Cursor};

/// What opens every request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::kafka) struct RequestHeader {
    pub(in crate::kafka) api: ApiKey,
    pub(in crate::kafka) version: i16,
    pub(in crate::kafka) correlation: i32,
    pub(in crate::kafka) client_id: StrBytes,
}

impl RequestHeader {
    /// The eight bytes that never change: enough to refuse a request.
    pub(in crate::kafka) fn peek(frame: &[u8]) -> Result<(i16, i16, i32), Malformed> {
        let mut buf = frame;
        let key = buf.try_get_i16().map_err(|_| Malformed::Truncated)?;
        let version = buf.try_get_i16().map_err(|_| Malformed::Truncated)?;
        let correlation = buf.try_get_i32().map_err(|_| Malformed::Truncated)?;
        Ok((key, version, correlation))
    }

    /// Takes the header off a frame.
    pub(in crate::kafka) fn take(frame: &mut Bytes) -> Result<Self, Malformed> {
        let (key, version, correlation) = Self::peek(frame)?;
        let api = ApiKey::try_from(key).map_err(|()| Malformed::UnknownKey(key))?;
        let mut cursor = Cursor::new(&frame[8..], usize::MAX);
        let client_id = cursor.nullable_string()?;
        // The client id keeps the old length form in version 2 too, so that any header can be read.
        if version >= flexible_from(api) {
            cursor.tags()?;
        }
        let length = frame.len() - cursor.remaining();
        let client_id = client_id.map(|id| frame.slice_ref(id));
        frame.advance(length);
        let client_id = client_id.map(StrBytes::from_utf8).transpose().map_err(|_| Malformed::Undecodable)?;
        Ok(Self { api, version, correlation, client_id: client_id.unwrap_or_default() })
    }
}
