//! `ConsumeResponse.Messages`, written by hand: a server that has encoded its messages already puts them in as they are.

use prost::bytes::{Buf, BufMut, Bytes};
use prost::encoding::{DecodeContext, WireType, message, skip_field};
use prost::{DecodeError, Message};

use crate::v1::ReceivedMessage;

/// The one field's number.
const MESSAGES: u32 = 1;

/// Messages.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Messages {
    /// In the order of their delivery ids.
    pub messages: Vec<ReceivedMessage>,
    /// More of them, before the others and encoded, each with its key and length; a receiver always finds this empty.
    pub encoded: Bytes,
}

impl Message for Messages {
    fn encode_raw(&self, buffer: &mut impl BufMut) {
        buffer.put_slice(&self.encoded);
        message::encode_repeated(MESSAGES, &self.messages, buffer);
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buffer: &mut impl Buf,
        context: DecodeContext,
    ) -> Result<(), DecodeError> {
        match tag {
            MESSAGES => message::merge_repeated(wire_type, &mut self.messages, buffer, context),
            _ => skip_field(wire_type, tag, buffer, context),
        }
    }

    fn encoded_len(&self) -> usize {
        self.encoded.len() + message::encoded_len_repeated(MESSAGES, &self.messages)
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}
