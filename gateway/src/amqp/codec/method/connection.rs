//! Class 10: the connection.

use super::class;
use super::{Field, FieldReader, FieldWriter, Unread};
use crate::amqp::codec::{Table, Text};
use bytes::Bytes;

class! {
    /// Class 10: the connection.
    Connection = 10 {
        Start = 10 "connection.start" [] {
            version_major: u8, version_minor: u8, server_properties: Table, mechanisms: Bytes, locales: Bytes,
        } []
        StartOk = 11 "connection.start-ok" [] {
            client_properties: Table, mechanism: Text, response: Bytes, locale: Text,
        } []
        Secure = 20 "connection.secure" [] { challenge: Bytes } []
        SecureOk = 21 "connection.secure-ok" [] { response: Bytes } []
        Tune = 30 "connection.tune" [] { channel_max: u16, frame_max: u32, heartbeat: u16 } []
        TuneOk = 31 "connection.tune-ok" [] { channel_max: u16, frame_max: u32, heartbeat: u16 } []
        Open = 40 "connection.open" [] { virtual_host: Text } [Text, bool]
        OpenOk = 41 "connection.open-ok" [] {} [Text]
        Close = 50 "connection.close" [] { reply_code: u16, reply_text: Text, class_id: u16, method_id: u16 } []
        CloseOk = 51 "connection.close-ok" [] {} []
        Blocked = 60 "connection.blocked" [] { reason: Text } []
        Unblocked = 61 "connection.unblocked" [] {} []
        UpdateSecret = 70 "connection.update-secret" [] { new_secret: Bytes, reason: Text } []
        UpdateSecretOk = 71 "connection.update-secret-ok" [] {} []
    }
}
