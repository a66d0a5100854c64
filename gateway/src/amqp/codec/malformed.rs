//! What cannot be understood.

/// What a client sent cannot be understood; its connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The answer is the server's own protocol header, and the end of the connection.
    #[error("the connection does not begin with the protocol header of AMQP 0-9-1")]
    ProtocolHeader,
    /// The last byte of a frame is another than 206.
    #[error("a frame ends with {0}, not with 206")]
    FrameEnd(u8),
    /// No such type of frame.
    #[error("frame type {0} is unknown")]
    FrameType(u8),
    /// A frame over `frame_max`: its size, and the largest there may be.
    #[error("a frame of {0} bytes is larger than the {1} that frame_max allows")]
    FrameSize(usize, usize),
    /// A heartbeat with a payload, or on a channel other than 0.
    #[error("a heartbeat has no payload and is sent on channel 0")]
    Heartbeat,
    /// A frame too short for what it is.
    #[error("a frame is too short")]
    FrameTooShort,
    /// A method of a class there is not.
    #[error("class {0} is unknown")]
    UnknownClass(u16),
    /// A method its class does not have.
    #[error("class {0} has no method {1}")]
    UnknownMethod(u16, u16),
    /// A method's arguments.
    #[error("the arguments of method {method_id} of class {class_id} do not parse: {syntax}")]
    Arguments {
        /// The method's class.
        class_id: u16,
        /// The method.
        method_id: u16,
        /// What is wrong.
        syntax: Syntax,
    },
    /// A content's properties.
    #[error("the properties of a content do not parse: {0}")]
    Properties(Syntax),
    /// A content header of a class that has no content.
    #[error("class {0} has no content")]
    ContentClass(u16),
}

/// What is wrong with a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Syntax {
    /// A field ends after the bytes do.
    #[error("they end early")]
    Truncated,
    /// Bytes are left over.
    #[error("bytes are left over")]
    LeftOver,
    /// A short string that is not UTF-8.
    #[error("a short string is not UTF-8")]
    NotUtf8,
    /// A table field of a type there is not.
    #[error("a table has a field of the unknown type {0}")]
    FieldType(u8),
    /// Over [`super::Limits::max_table_depth`].
    #[error("tables and arrays lie deeper in one another than max_table_depth")]
    TableDepth,
    /// Over [`super::Limits::max_table_fields`].
    #[error("a table has more fields than max_table_fields")]
    TableFields,
    /// A property flag that 0-9-1 does not define.
    #[error("an unknown property flag is set")]
    PropertyFlags,
}

impl Malformed {
    /// The class and the method that failed, 0 where they are not known.
    #[must_use]
    pub fn class_and_method(&self) -> (u16, u16) {
        match *self {
            Self::UnknownClass(class) | Self::ContentClass(class) => (class, 0),
            Self::UnknownMethod(class_id, method_id) | Self::Arguments { class_id, method_id, .. } => {
                (class_id, method_id)
            }
            _ => (0, 0),
        }
    }
}
