//! Class 50: queues.

use super::class;
use super::{Field, FieldReader, FieldWriter, Unread};
use crate::amqp::codec::{Table, Text};

class! {
    /// Class 50: queues.
    Queue = 50 {
        Declare = 10 "queue.declare" [u16] {
            queue: Text, passive: bool, durable: bool, exclusive: bool, auto_delete: bool, no_wait: bool,
            arguments: Table,
        } []
        DeclareOk = 11 "queue.declare-ok" [] { queue: Text, message_count: u32, consumer_count: u32 } []
        Bind = 20 "queue.bind" [u16] {
            queue: Text, exchange: Text, routing_key: Text, no_wait: bool, arguments: Table,
        } []
        BindOk = 21 "queue.bind-ok" [] {} []
        Purge = 30 "queue.purge" [u16] { queue: Text, no_wait: bool } []
        PurgeOk = 31 "queue.purge-ok" [] { message_count: u32 } []
        Delete = 40 "queue.delete" [u16] { queue: Text, if_unused: bool, if_empty: bool, no_wait: bool } []
        DeleteOk = 41 "queue.delete-ok" [] { message_count: u32 } []
        Unbind = 50 "queue.unbind" [u16] { queue: Text, exchange: Text, routing_key: Text, arguments: Table } []
        UnbindOk = 51 "queue.unbind-ok" [] {} []
    }
}
