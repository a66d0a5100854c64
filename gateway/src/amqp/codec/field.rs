//! The fields of methods, read and written one after the other.

use std::ops::Range;

use bytes::{BufMut, Bytes, BytesMut};

use super::{Limits, RawTable, Syntax, Table, Text};

/// Something a method has.
pub(super) trait Field: Sized {
    fn read(from: &mut FieldReader<'_>) -> Result<Self, Syntax>;
    fn write(&self, to: &mut FieldWriter<'_>);
}

/// Reads fields off a frame's payload, which may lie among others.
pub(super) struct FieldReader<'a> {
    bytes: &'a Bytes,
    at: usize,
    end: usize,
    limits: &'a Limits,
    /// Bits that follow one another share an octet.
    octet: u8,
    bits_left: u8,
}

impl<'a> FieldReader<'a> {
    pub(super) fn new(bytes: &'a Bytes, fields: Range<usize>, limits: &'a Limits) -> Self {
        Self { bytes, at: fields.start, end: fields.end, limits, octet: 0, bits_left: 0 }
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Syntax> {
        self.bits_left = 0;
        let bytes = self.bytes.get(self.at..self.end).and_then(<[u8]>::first_chunk).ok_or(Syntax::Truncated)?;
        self.at += N;
        Ok(*bytes)
    }

    #[inline]
    fn taken(&mut self, length: usize) -> Result<&'a [u8], Syntax> {
        let end = self.at.checked_add(length).filter(|end| *end <= self.end).ok_or(Syntax::Truncated)?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    #[inline]
    fn bit(&mut self) -> Result<bool, Syntax> {
        if self.bits_left == 0 {
            [self.octet] = self.array()?;
            self.bits_left = 8;
        }
        let bit = self.octet & 1 == 1;
        self.octet >>= 1;
        self.bits_left -= 1;
        Ok(bit)
    }

    /// Nothing may be left over.
    #[inline]
    pub(super) fn finish(&self) -> Result<(), Syntax> {
        if self.at == self.end { Ok(()) } else { Err(Syntax::LeftOver) }
    }
}

/// Writes fields.
pub(super) struct FieldWriter<'a> {
    out: &'a mut BytesMut,
    next_bit: u8,
}

impl<'a> FieldWriter<'a> {
    pub(super) fn new(out: &'a mut BytesMut) -> Self {
        Self { out, next_bit: 0 }
    }

    #[inline]
    fn octets(&mut self) -> &mut BytesMut {
        self.next_bit = 0;
        self.out
    }

    #[inline]
    fn bit(&mut self, bit: bool) {
        if self.next_bit.is_multiple_of(8) {
            self.out.put_u8(0);
            self.next_bit = 0;
        }
        if let Some(octet) = self.out.last_mut() {
            *octet |= u8::from(bit) << self.next_bit;
        }
        self.next_bit += 1;
    }
}

/// A short string; what is over 255 bytes is left out, at a character's end.
pub(super) fn put_short(out: &mut BytesMut, text: &str) {
    let text = &text[..text.floor_char_boundary(255)];
    out.put_u8(text.len() as u8);
    out.extend_from_slice(text.as_bytes());
}

pub(super) fn put_long(out: &mut BytesMut, bytes: &[u8]) {
    out.put_u32(bytes.len() as u32);
    out.extend_from_slice(bytes);
}

impl Field for bool {
    #[inline]
    fn read(from: &mut FieldReader<'_>) -> Result<Self, Syntax> {
        from.bit()
    }

    #[inline]
    fn write(&self, to: &mut FieldWriter<'_>) {
        to.bit(*self);
    }
}

macro_rules! number_fields {
    ($($number:ty)*) => {$(
        impl Field for $number {
            #[inline]
            fn read(from: &mut FieldReader<'_>) -> Result<Self, Syntax> {
                from.array().map(Self::from_be_bytes)
            }

            #[inline]
            fn write(&self, to: &mut FieldWriter<'_>) {
                to.octets().extend_from_slice(&self.to_be_bytes());
            }
        }
    )*};
}

number_fields!(u8 u16 u32 u64);

impl Field for Text {
    #[inline]
    fn read(from: &mut FieldReader<'_>) -> Result<Self, Syntax> {
        let [length] = from.array()?;
        Self::from_utf8(from.taken(length.into())?)
    }

    #[inline]
    fn write(&self, to: &mut FieldWriter<'_>) {
        put_short(to.octets(), self);
    }
}

/// A long string.
impl Field for Bytes {
    fn read(from: &mut FieldReader<'_>) -> Result<Self, Syntax> {
        let length = from.array().map(u32::from_be_bytes)?;
        from.taken(length as usize).map(|taken| from.bytes.slice_ref(taken))
    }

    fn write(&self, to: &mut FieldWriter<'_>) {
        put_long(to.octets(), self);
    }
}

impl Field for Table {
    fn read(from: &mut FieldReader<'_>) -> Result<Self, Syntax> {
        let bytes = Bytes::read(from)?;
        let table = RawTable::check(&bytes, from.limits)?;
        Ok(Self::decode(&bytes, table))
    }

    fn write(&self, to: &mut FieldWriter<'_>) {
        self.encode(to.octets());
    }
}
