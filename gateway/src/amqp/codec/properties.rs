//! The properties of a message: two bytes of flags, then what they say is there.

use bytes::{BufMut, BytesMut};

use super::{Limits, Malformed, RawTable, Syntax};

/// A message's properties where they lie. Short strings are bytes here: publishers put anything into them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub struct Properties<'a> {
    pub content_type: Option<&'a [u8]>,
    pub content_encoding: Option<&'a [u8]>,
    pub headers: Option<RawTable<'a>>,
    pub delivery_mode: Option<u8>,
    pub priority: Option<u8>,
    pub correlation_id: Option<&'a [u8]>,
    pub reply_to: Option<&'a [u8]>,
    pub expiration: Option<&'a [u8]>,
    pub message_id: Option<&'a [u8]>,
    /// Seconds since the Unix epoch.
    pub timestamp: Option<u64>,
    pub r#type: Option<&'a [u8]>,
    pub user_id: Option<&'a [u8]>,
    pub app_id: Option<&'a [u8]>,
    pub cluster_id: Option<&'a [u8]>,
}

const CONTENT_TYPE: u16 = 1 << 15;
const CONTENT_ENCODING: u16 = 1 << 14;
const HEADERS: u16 = 1 << 13;
const DELIVERY_MODE: u16 = 1 << 12;
const PRIORITY: u16 = 1 << 11;
const CORRELATION_ID: u16 = 1 << 10;
const REPLY_TO: u16 = 1 << 9;
const EXPIRATION: u16 = 1 << 8;
const MESSAGE_ID: u16 = 1 << 7;
const TIMESTAMP: u16 = 1 << 6;
const TYPE: u16 = 1 << 5;
const USER_ID: u16 = 1 << 4;
const APP_ID: u16 = 1 << 3;
const CLUSTER_ID: u16 = 1 << 2;
const UNKNOWN: u16 = 0b11;

impl<'a> Properties<'a> {
    /// Reads flags and properties, and checks the table.
    ///
    /// # Errors
    /// [`Malformed::Properties`].
    #[inline]
    pub fn parse(bytes: &'a [u8], limits: &Limits) -> Result<Self, Malformed> {
        Self::read(bytes, limits).map_err(Malformed::Properties)
    }

    #[inline]
    fn read(bytes: &'a [u8], limits: &Limits) -> Result<Self, Syntax> {
        let mut from = Source { rest: bytes, flags: 0 };
        from.flags = u16::from_be_bytes(from.array()?);
        if from.flags & UNKNOWN != 0 {
            return Err(Syntax::PropertyFlags);
        }
        let properties = Self {
            content_type: from.short(CONTENT_TYPE)?,
            content_encoding: from.short(CONTENT_ENCODING)?,
            headers: from.table(limits)?,
            delivery_mode: from.octet(DELIVERY_MODE)?,
            priority: from.octet(PRIORITY)?,
            correlation_id: from.short(CORRELATION_ID)?,
            reply_to: from.short(REPLY_TO)?,
            expiration: from.short(EXPIRATION)?,
            message_id: from.short(MESSAGE_ID)?,
            timestamp: from.timestamp()?,
            r#type: from.short(TYPE)?,
            user_id: from.short(USER_ID)?,
            app_id: from.short(APP_ID)?,
            cluster_id: from.short(CLUSTER_ID)?,
        };
        if from.rest.is_empty() { Ok(properties) } else { Err(Syntax::LeftOver) }
    }

    /// Writes them.
    pub fn write(&self, out: &mut BytesMut) {
        let mut writer = PropertiesWriter::new(out);
        writer.content_type(self.content_type);
        writer.content_encoding(self.content_encoding);
        if let Some(table) = self.headers {
            writer.headers().extend_from_slice(table.as_bytes());
            writer.end_headers();
        }
        writer.delivery_mode(self.delivery_mode);
        writer.priority(self.priority);
        writer.correlation_id(self.correlation_id);
        writer.reply_to(self.reply_to);
        writer.expiration(self.expiration);
        writer.message_id(self.message_id);
        writer.timestamp(self.timestamp);
        writer.r#type(self.r#type);
        writer.user_id(self.user_id);
        writer.app_id(self.app_id);
        writer.cluster_id(self.cluster_id);
    }
}

struct Source<'a> {
    rest: &'a [u8],
    flags: u16,
}

impl<'a> Source<'a> {
    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Syntax> {
        let (array, after) = self.rest.split_first_chunk().ok_or(Syntax::Truncated)?;
        self.rest = after;
        Ok(*array)
    }

    #[inline]
    fn bytes(&mut self, length: usize) -> Result<&'a [u8], Syntax> {
        let (bytes, after) = self.rest.split_at_checked(length).ok_or(Syntax::Truncated)?;
        self.rest = after;
        Ok(bytes)
    }

    #[inline]
    fn has(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }

    #[inline]
    fn short(&mut self, flag: u16) -> Result<Option<&'a [u8]>, Syntax> {
        if !self.has(flag) {
            return Ok(None);
        }
        let [length] = self.array()?;
        self.bytes(length.into()).map(Some)
    }

    #[inline]
    fn octet(&mut self, flag: u16) -> Result<Option<u8>, Syntax> {
        if !self.has(flag) {
            return Ok(None);
        }
        self.array().map(|[octet]| Some(octet))
    }

    #[inline]
    fn timestamp(&mut self) -> Result<Option<u64>, Syntax> {
        if !self.has(TIMESTAMP) {
            return Ok(None);
        }
        self.array().map(|seconds| Some(u64::from_be_bytes(seconds)))
    }

    #[inline]
    fn table(&mut self, limits: &Limits) -> Result<Option<RawTable<'a>>, Syntax> {
        if !self.has(HEADERS) {
            return Ok(None);
        }
        let length = u32::from_be_bytes(self.array()?);
        RawTable::check(self.bytes(length as usize)?, limits).map(Some)
    }
}

/// Writes properties one by one, in the order of its methods. A short string is at most 255 bytes: what is longer the
/// caller puts elsewhere.
pub struct PropertiesWriter<'a> {
    out: &'a mut BytesMut,
    at: usize,
    flags: u16,
    table_at: usize,
}

macro_rules! short_strings {
    ($($(#[$order:meta])* $name:ident $flag:ident)*) => {$(
        $(#[$order])*
        #[inline]
        #[allow(missing_docs)]
        pub fn $name(&mut self, value: Option<&[u8]>) {
            if let Some(value) = value {
                self.short($flag, value);
            }
        }
    )*};
}

impl<'a> PropertiesWriter<'a> {
    /// Writes at the end of `out`.
    #[inline]
    pub fn new(out: &'a mut BytesMut) -> Self {
        let at = out.len();
        out.put_u16(0);
        Self { out, at, flags: 0, table_at: 0 }
    }

    #[inline]
    fn set(&mut self, flag: u16) {
        debug_assert!(self.flags & (flag | (flag - 1)) == 0, "properties are written in order");
        self.flags |= flag;
        let at = self.at;
        self.out[at..at + 2].copy_from_slice(&self.flags.to_be_bytes());
    }

    #[inline]
    fn short(&mut self, flag: u16, value: &[u8]) {
        let value = &value[..value.len().min(255)];
        self.set(flag);
        self.out.put_u8(value.len() as u8);
        self.out.extend_from_slice(value);
    }

    short_strings! {
        content_type CONTENT_TYPE
        content_encoding CONTENT_ENCODING
        correlation_id CORRELATION_ID
        reply_to REPLY_TO
        expiration EXPIRATION
        message_id MESSAGE_ID
        r#type TYPE
        user_id USER_ID
        app_id APP_ID
        cluster_id CLUSTER_ID
    }

    /// Starts the table; its fields are written into what this returns, up to [`PropertiesWriter::end_headers`].
    #[inline]
    pub fn headers(&mut self) -> &mut BytesMut {
        self.set(HEADERS);
        self.out.put_u32(0);
        self.table_at = self.out.len();
        self.out
    }

    /// Ends the table.
    #[inline]
    pub fn end_headers(&mut self) {
        let at = self.table_at;
        let length = (self.out.len() - at) as u32;
        self.out[at - 4..at].copy_from_slice(&length.to_be_bytes());
    }

    #[inline]
    #[allow(missing_docs)]
    pub fn delivery_mode(&mut self, value: Option<u8>) {
        self.octet(DELIVERY_MODE, value);
    }

    #[inline]
    #[allow(missing_docs)]
    pub fn priority(&mut self, value: Option<u8>) {
        self.octet(PRIORITY, value);
    }

    #[inline]
    #[allow(missing_docs)]
    pub fn timestamp(&mut self, seconds: Option<u64>) {
        if let Some(seconds) = seconds {
            self.set(TIMESTAMP);
            self.out.put_u64(seconds);
        }
    }

    #[inline]
    fn octet(&mut self, flag: u16, value: Option<u8>) {
        if let Some(value) = value {
            self.set(flag);
            self.out.put_u8(value);
        }
    }
}
