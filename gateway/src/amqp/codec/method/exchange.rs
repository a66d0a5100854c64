//! Class 40: exchanges.

use super::class;
use super::{Field, FieldReader, FieldWriter, Unread};
use crate::amqp::codec::{Table, Text};

class! {
    /// Class 40: exchanges.
    Exchange = 40 {
        Declare = 10 "exchange.declare" [u16] {
            exchange: Text, r#type: Text, passive: bool, durable: bool, auto_delete: bool, internal: bool,
            no_wait: bool, arguments: Table,
        } []
        DeclareOk = 11 "exchange.declare-ok" [] {} []
        Delete = 20 "exchange.delete" [u16] { exchange: Text, if_unused: bool, no_wait: bool } []
        DeleteOk = 21 "exchange.delete-ok" [] {} []
        Bind = 30 "exchange.bind" [u16] {
            destination: Text, source: Text, routing_key: Text, no_wait: bool, arguments: Table,
        } []
        BindOk = 31 "exchange.bind-ok" [] {} []
        Unbind = 40 "exchange.unbind" [u16] {
            destination: Text, source: Text, routing_key: Text, no_wait: bool, arguments: Table,
        } []
        UnbindOk = 51 "exchange.unbind-ok" [] {} []
    }
}
