//! Field tables where they lie: checked once, then read without taking memory.

use super::{Limits, Syntax};

/// A table's bytes, without their length. They have been checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RawTable<'a>(&'a [u8]);

/// An array's bytes, without their length. They have been checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RawArray<'a>(&'a [u8]);

/// A field's value; see [`super::Value`].
#[derive(Debug, Clone, Copy, PartialEq)]
#[allow(missing_docs)]
pub enum RawValue<'a> {
    Boolean(bool),
    Int8(i8),
    Uint8(u8),
    Int16(i16),
    Uint16(u16),
    Int32(i32),
    Uint32(u32),
    Int64(i64),
    Float(f32),
    Double(f64),
    Decimal(u8, u32),
    LongString(&'a [u8]),
    Array(RawArray<'a>),
    Timestamp(u64),
    Table(RawTable<'a>),
    Void,
    Bytes(&'a [u8]),
}

impl<'a> RawTable<'a> {
    /// Checks a table's bytes and those of everything in it.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn check(bytes: &'a [u8], limits: &Limits) -> Result<Self, Syntax> {
        let mut budget = Budget { depth: limits.max_table_depth, fields: limits.max_table_fields };
        budget.check_table(bytes)?;
        Ok(Self(bytes))
    }

    /// Its bytes.
    #[must_use]
    pub fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// Names, which are UTF-8, and values in order.
    pub fn iter(self) -> impl Iterator<Item = (&'a [u8], RawValue<'a>)> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let name = split_name(&mut rest).ok()?;
            Some((name, split_value(&mut rest).ok()?))
        })
    }
}

impl<'a> RawArray<'a> {
    /// Its values in order.
    pub fn iter(self) -> impl Iterator<Item = RawValue<'a>> {
        let mut rest = self.0;
        std::iter::from_fn(move || split_value(&mut rest).ok())
    }
}

/// What is left of the limits.
struct Budget {
    depth: usize,
    fields: usize,
}

impl Budget {
    fn check_table(&mut self, bytes: &[u8]) -> Result<(), Syntax> {
        self.enter()?;
        let mut rest = bytes;
        while !rest.is_empty() {
            let name = split_name(&mut rest)?;
            if !name.is_ascii() {
                std::str::from_utf8(name).map_err(|_| Syntax::NotUtf8)?;
            }
            self.check_value(&mut rest)?;
        }
        self.depth += 1;
        Ok(())
    }

    fn check_array(&mut self, bytes: &[u8]) -> Result<(), Syntax> {
        self.enter()?;
        let mut rest = bytes;
        while !rest.is_empty() {
            self.check_value(&mut rest)?;
        }
        self.depth += 1;
        Ok(())
    }

    fn enter(&mut self) -> Result<(), Syntax> {
        self.depth = self.depth.checked_sub(1).ok_or(Syntax::TableDepth)?;
        Ok(())
    }

    #[inline]
    fn check_value(&mut self, rest: &mut &[u8]) -> Result<(), Syntax> {
        self.fields = self.fields.checked_sub(1).ok_or(Syntax::TableFields)?;
        match split_value(rest)? {
            RawValue::Table(RawTable(bytes)) => self.check_table(bytes),
            RawValue::Array(RawArray(bytes)) => self.check_array(bytes),
            _ => Ok(()),
        }
    }
}

#[inline]
fn split_array<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], Syntax> {
    let (array, after) = rest.split_first_chunk().ok_or(Syntax::Truncated)?;
    *rest = after;
    Ok(*array)
}

#[inline]
fn split<'a>(rest: &mut &'a [u8], length: usize) -> Result<&'a [u8], Syntax> {
    let (bytes, after) = rest.split_at_checked(length).ok_or(Syntax::Truncated)?;
    *rest = after;
    Ok(bytes)
}

#[inline]
fn split_name<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], Syntax> {
    let [length] = split_array(rest)?;
    split(rest, length.into())
}

/// A length of 32 bits and as many bytes.
#[inline]
fn split_long<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], Syntax> {
    let length = u32::from_be_bytes(split_array(rest)?);
    split(rest, length as usize)
}

/// A value; what is in a table or an array is not looked at.
#[inline]
fn split_value<'a>(rest: &mut &'a [u8]) -> Result<RawValue<'a>, Syntax> {
    let [of] = split_array(rest)?;
    Ok(match of {
        b'S' => RawValue::LongString(split_long(rest)?),
        b't' => RawValue::Boolean(split_array(rest)? != [0]),
        b'b' => RawValue::Int8(i8::from_be_bytes(split_array(rest)?)),
        b'B' => RawValue::Uint8(u8::from_be_bytes(split_array(rest)?)),
        b's' => RawValue::Int16(i16::from_be_bytes(split_array(rest)?)),
        b'u' => RawValue::Uint16(u16::from_be_bytes(split_array(rest)?)),
        b'I' => RawValue::Int32(i32::from_be_bytes(split_array(rest)?)),
        b'i' => RawValue::Uint32(u32::from_be_bytes(split_array(rest)?)),
        // The specification has L for it, clients and RabbitMQ l.
        b'l' | b'L' => RawValue::Int64(i64::from_be_bytes(split_array(rest)?)),
        b'f' => RawValue::Float(f32::from_be_bytes(split_array(rest)?)),
        b'd' => RawValue::Double(f64::from_be_bytes(split_array(rest)?)),
        b'D' => {
            let [scale] = split_array(rest)?;
            RawValue::Decimal(scale, u32::from_be_bytes(split_array(rest)?))
        }
        b'A' => RawValue::Array(RawArray(split_long(rest)?)),
        b'T' => RawValue::Timestamp(u64::from_be_bytes(split_array(rest)?)),
        b'F' => RawValue::Table(RawTable(split_long(rest)?)),
        b'V' => RawValue::Void,
        b'x' => RawValue::Bytes(split_long(rest)?),
        _ => return Err(Syntax::FieldType(of)),
    })
}
