//! Frames: type, channel, length, payload, and a byte that ends them.

use std::ops::Range;

use bytes::{BufMut, Bytes, BytesMut};

use super::{Basic, Limits, Malformed, Method, Properties};

pub(super) const METHOD: u8 = 1;
pub(super) const HEADER: u8 = 2;
pub(super) const BODY: u8 = 3;
const HEARTBEAT: u8 = 8;
const END: u8 = 206;

/// Type, channel and length.
const HEAD: usize = 7;
/// What a frame has besides its payload.
pub const FRAME_OVERHEAD: usize = HEAD + 1;
/// Class, weight and body size.
pub(super) const CONTENT_HEAD: usize = 12;

/// One frame.
#[derive(Debug, Clone, PartialEq)]
pub struct Frame {
    /// 0 is the connection itself.
    pub channel: u16,
    /// What it carries.
    pub payload: Payload,
}

/// What a frame carries.
#[derive(Debug, Clone, PartialEq)]
pub enum Payload {
    /// A method.
    Method(Method),
    /// The start of a content.
    Header(ContentHeader),
    /// A content's body, or a part of it.
    Body(Bytes),
    /// A sign of life.
    Heartbeat,
}

/// What comes before the body of a content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContentHeader {
    /// Always that of [`Basic`].
    pub class_id: u16,
    /// How many bytes will follow, in any number of body frames.
    pub body_size: u64,
    /// The properties, not looked at; see [`Properties::parse`].
    pub properties: Bytes,
}

impl ContentHeader {
    /// The properties, checked.
    ///
    /// # Errors
    /// [`Malformed::Properties`].
    pub fn parse_properties(&self, limits: &Limits) -> Result<Properties<'_>, Malformed> {
        Properties::parse(&self.properties, limits)
    }
}

/// The size of the frame that `bytes` begin with, framing included. None if too little has come to tell.
#[inline]
pub(super) fn size(bytes: &[u8], limits: &Limits) -> Result<Option<usize>, Malformed> {
    let Some(&[of, _, _, a, b, c, d]) = bytes.first_chunk::<HEAD>() else { return Ok(None) };
    if !matches!(of, METHOD | HEADER | BODY | HEARTBEAT) {
        return Err(Malformed::FrameType(of));
    }
    let size = u32::from_be_bytes([a, b, c, d]) as usize + FRAME_OVERHEAD;
    if size > limits.max_frame_bytes {
        return Err(Malformed::FrameSize(size, limits.max_frame_bytes));
    }
    Ok(Some(size))
}

/// The channel and the payload of the frame of one type that `bytes` begin with, and what comes after it. None if there is no
/// such frame, or not all of it.
#[inline]
pub(super) fn take<'a>(bytes: &'a [u8], of: u8, limits: &Limits) -> Option<(u16, &'a [u8], &'a [u8])> {
    let (&[is, c1, c2, l1, l2, l3, l4], rest) = bytes.split_first_chunk::<HEAD>()?;
    let length = u32::from_be_bytes([l1, l2, l3, l4]) as usize;
    let (payload, rest) = rest.split_at_checked(length)?;
    let (end, rest) = rest.split_first()?;
    let is_good = is == of && *end == END && length + FRAME_OVERHEAD <= limits.max_frame_bytes;
    is_good.then_some((u16::from_be_bytes([c1, c2]), payload, rest))
}

/// Reads the frame that lies at `place`, which is as large as [`size`] said.
#[inline]
pub(super) fn read(bytes: &Bytes, place: Range<usize>, limits: &Limits) -> Result<Frame, Malformed> {
    let frame = &bytes[place.clone()];
    let end = frame[frame.len() - 1];
    if end != END {
        return Err(Malformed::FrameEnd(end));
    }
    let channel = u16::from_be_bytes([frame[1], frame[2]]);
    let payload = place.start + HEAD..place.end - 1;
    let payload = match frame[0] {
        METHOD => Payload::Method(Method::read(bytes, payload, limits)?),
        HEADER => Payload::Header(read_content_header(bytes, payload)?),
        BODY => Payload::Body(bytes.slice(payload)),
        HEARTBEAT if channel == 0 && payload.is_empty() => Payload::Heartbeat,
        HEARTBEAT => return Err(Malformed::Heartbeat),
        of => return Err(Malformed::FrameType(of)),
    };
    Ok(Frame { channel, payload })
}

#[inline]
fn read_content_header(bytes: &Bytes, payload: Range<usize>) -> Result<ContentHeader, Malformed> {
    let head = bytes[payload.clone()].first_chunk::<CONTENT_HEAD>();
    // The weight is not used by anybody.
    let Some(&[c1, c2, _, _, s1, s2, s3, s4, s5, s6, s7, s8]) = head else { return Err(Malformed::FrameTooShort) };
    let class_id = u16::from_be_bytes([c1, c2]);
    if class_id != Basic::CLASS_ID {
        return Err(Malformed::ContentClass(class_id));
    }
    let body_size = u64::from_be_bytes([s1, s2, s3, s4, s5, s6, s7, s8]);
    Ok(ContentHeader { class_id, body_size, properties: bytes.slice(payload.start + CONTENT_HEAD..payload.end) })
}

/// Writes a frame around its payload.
#[inline]
fn write(out: &mut BytesMut, of: u8, channel: u16, payload: impl FnOnce(&mut BytesMut)) {
    let at = out.len();
    let [c1, c2] = channel.to_be_bytes();
    out.extend_from_slice(&[of, c1, c2, 0, 0, 0, 0]);
    payload(out);
    let length = (out.len() - at - HEAD) as u32;
    out[at + 3..at + HEAD].copy_from_slice(&length.to_be_bytes());
    out.put_u8(END);
}

#[inline]
pub(super) fn write_method(out: &mut BytesMut, channel: u16, arguments: impl FnOnce(&mut BytesMut)) {
    write(out, METHOD, channel, arguments);
}

#[inline]
pub(super) fn write_header(out: &mut BytesMut, channel: u16, body_size: u64, properties: impl FnOnce(&mut BytesMut)) {
    write(out, HEADER, channel, |out| {
        out.put_u32(u32::from(Basic::CLASS_ID) << 16);
        out.put_u64(body_size);
        properties(out);
    });
}

/// The largest payload of a content header, in which the properties must fit, or of a body frame.
pub(super) fn max_payload(frame_max: usize) -> usize {
    frame_max.max(super::MIN_FRAME_MAX) - FRAME_OVERHEAD
}

/// How large a content's properties may be.
#[must_use]
pub fn max_properties(frame_max: usize) -> usize {
    max_payload(frame_max) - CONTENT_HEAD
}

/// A body frame without its payload.
#[inline]
pub(super) fn body_head(channel: u16, length: usize) -> [u8; HEAD] {
    let ([c1, c2], [l1, l2, l3, l4]) = (channel.to_be_bytes(), (length as u32).to_be_bytes());
    [BODY, c1, c2, l1, l2, l3, l4]
}

/// The byte after the payload.
pub(super) const FRAME_END: u8 = END;

/// A whole heartbeat.
pub(super) const HEARTBEAT_FRAME: [u8; FRAME_OVERHEAD] = [HEARTBEAT, 0, 0, 0, 0, 0, 0, END];
