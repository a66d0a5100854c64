//! Every method a server of 0-9-1 with RabbitMQ's extensions receives or sends, a file per class. Fields have the
//! specification's names; what it reserves is read and left out, and written as zeros.

mod basic;
mod channel;
mod confirm;
mod connection;
mod exchange;
mod queue;
mod tx;

use std::ops::Range;

use bytes::{BufMut, Bytes, BytesMut};

use super::field::{Field, FieldReader, FieldWriter};
use super::{Limits, Malformed, Syntax};

pub use basic::{Basic, Delivery};
pub use channel::Channel;
pub use confirm::Confirm;
pub use connection::Connection;
pub use exchange::Exchange;
pub use queue::Queue;
pub use tx::Tx;

/// Why a method could not be read.
enum Unread {
    Unknown,
    Syntax(Syntax),
}

impl From<Syntax> for Unread {
    fn from(syntax: Syntax) -> Self {
        Self::Syntax(syntax)
    }
}

/// The methods of a class: `Name = number "class.name" [reserved before] { fields } [reserved after]`.
macro_rules! class {
    (
        $(#[$about:meta])* $class:ident = $class_id:literal {
            $($method:ident = $method_id:literal $name:literal
                [$($before:ty),*] { $($field:ident: $type:ty),* $(,)? } [$($after:ty),*])*
        }
    ) => {
        $(#[$about])*
        #[derive(Debug, Clone, PartialEq)]
        pub enum $class {
            $(
                #[doc = concat!("`", $name, "`")]
                #[allow(missing_docs)]
                $method { $($field: $type),* },
            )*
        }

        impl $class {
            /// The class's number.
            pub const CLASS_ID: u16 = $class_id;

            /// The method's number in the class.
            #[must_use]
            pub fn method_id(&self) -> u16 {
                match self {
                    $(Self::$method { .. } => $method_id,)*
                }
            }

            /// The method's name, with that of the class.
            #[must_use]
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$method { .. } => $name,)*
                }
            }

            #[inline]
            pub(super) fn read(method_id: u16, from: &mut FieldReader<'_>) -> Result<Self, Unread> {
                Ok(match method_id {
                    $($method_id => {
                        $(<$before>::read(from)?;)*
                        $(let $field = <$type>::read(from)?;)*
                        $(<$after>::read(from)?;)*
                        from.finish()?;
                        Self::$method { $($field),* }
                    })*
                    _ => return Err(Unread::Unknown),
                })
            }

            #[inline]
            #[allow(unused_variables)]
            pub(super) fn write(&self, to: &mut FieldWriter<'_>) {
                match self {
                    $(Self::$method { $($field),* } => {
                        $(<$before>::default().write(to);)*
                        $($field.write(to);)*
                        $(<$after>::default().write(to);)*
                    })*
                }
            }
        }
    };
}

use class;

/// A method.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub enum Method {
    Connection(Connection),
    Channel(Channel),
    Exchange(Exchange),
    Queue(Queue),
    Basic(Basic),
    Confirm(Confirm),
    Tx(Tx),
}

/// Everything to do with all the classes.
macro_rules! each_class {
    ($self:expr, $method:ident => $of:expr) => {
        match $self {
            Method::Connection($method) => $of,
            Method::Channel($method) => $of,
            Method::Exchange($method) => $of,
            Method::Queue($method) => $of,
            Method::Basic($method) => $of,
            Method::Confirm($method) => $of,
            Method::Tx($method) => $of,
        }
    };
}

impl Method {
    /// From the payload of a method frame, which lies in `bytes`.
    #[inline]
    pub(super) fn read(bytes: &Bytes, payload: Range<usize>, limits: &Limits) -> Result<Self, Malformed> {
        let Some(&[c1, c2, m1, m2]) = bytes[payload.clone()].first_chunk() else {
            return Err(Malformed::FrameTooShort);
        };
        let (class_id, method_id) = (u16::from_be_bytes([c1, c2]), u16::from_be_bytes([m1, m2]));
        let from = &mut FieldReader::new(bytes, payload.start + 4..payload.end, limits);
        let read = match class_id {
            Basic::CLASS_ID => Basic::read(method_id, from).map(Self::Basic),
            Connection::CLASS_ID => Connection::read(method_id, from).map(Self::Connection),
            Channel::CLASS_ID => Channel::read(method_id, from).map(Self::Channel),
            Exchange::CLASS_ID => Exchange::read(method_id, from).map(Self::Exchange),
            Queue::CLASS_ID => Queue::read(method_id, from).map(Self::Queue),
            Confirm::CLASS_ID => Confirm::read(method_id, from).map(Self::Confirm),
            Tx::CLASS_ID => Tx::read(method_id, from).map(Self::Tx),
            _ => return Err(Malformed::UnknownClass(class_id)),
        };
        read.map_err(|unread| match unread {
            Unread::Unknown => Malformed::UnknownMethod(class_id, method_id),
            Unread::Syntax(syntax) => Malformed::Arguments { class_id, method_id, syntax },
        })
    }

    /// The number of the method's class.
    #[must_use]
    pub fn class_id(&self) -> u16 {
        match self {
            Self::Connection(_) => Connection::CLASS_ID,
            Self::Channel(_) => Channel::CLASS_ID,
            Self::Exchange(_) => Exchange::CLASS_ID,
            Self::Queue(_) => Queue::CLASS_ID,
            Self::Basic(_) => Basic::CLASS_ID,
            Self::Confirm(_) => Confirm::CLASS_ID,
            Self::Tx(_) => Tx::CLASS_ID,
        }
    }

    /// The method's number in its class.
    #[must_use]
    pub fn method_id(&self) -> u16 {
        each_class!(self, method => method.method_id())
    }

    /// Its name, such as `basic.publish`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        each_class!(self, method => method.name())
    }
}

/// What a method frame holds.
pub trait MethodBody {
    /// Writes class, method and arguments.
    fn write(&self, out: &mut BytesMut);
}

impl MethodBody for Method {
    #[inline]
    fn write(&self, out: &mut BytesMut) {
        out.put_u16(self.class_id());
        out.put_u16(self.method_id());
        let mut to = FieldWriter::new(out);
        each_class!(self, method => method.write(&mut to));
    }
}
