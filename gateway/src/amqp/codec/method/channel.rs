//! Class 20: channels.

use super::class;
use super::{Field, FieldReader, FieldWriter, Unread};
use crate::amqp::codec::Text;
use bytes::Bytes;

class! {
    /// Class 20: channels.
    Channel = 20 {
        Open = 10 "channel.open" [] {} [Text]
        OpenOk = 11 "channel.open-ok" [] {} [Bytes]
        Flow = 20 "channel.flow" [] { active: bool } []
        FlowOk = 21 "channel.flow-ok" [] { active: bool } []
        Close = 40 "channel.close" [] { reply_code: u16, reply_text: Text, class_id: u16, method_id: u16 } []
        CloseOk = 41 "channel.close-ok" [] {} []
    }
}
