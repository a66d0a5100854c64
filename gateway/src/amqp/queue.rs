//! Class 50: queues.

use std::sync::Arc;

use super::codec::{self, Method, Table, Text, Value};
use super::error::{Code, Exception, Result};
use super::exchange::check_default;
use super::session::{Session, from_servers};
use crate::broker::{Kind, QueueInfo, QueueSpec};

impl Session<'_> {
    pub(super) async fn queue_method(&mut self, id: u16, method: codec::Queue) -> Result<()> {
        use codec::Queue as Q;
        let (answer, no_wait) = match method {
            Q::Declare { queue, passive, durable, exclusive, auto_delete, no_wait, arguments } => {
                let queue = without_line_ends(queue);
                let declared = if let Some(found) = self.look_at_reply_queue(&queue)? {
                    found
                } else if passive {
                    self.look_at_queue(id, &queue).await?
                } else {
                    let spec = spec(durable, exclusive, auto_delete, &arguments)?;
                    self.declare_queue(id, &queue, spec).await?
                };
                (declare_ok(&declared), no_wait)
            }
            Q::Bind { queue, exchange, routing_key, no_wait, arguments: _ } => {
                self.bind(id, &queue, &exchange, &routing_key).await?;
                (Q::BindOk {}, no_wait)
            }
            Q::Unbind { queue, exchange, routing_key, arguments: _ } => {
                self.unbind(id, &queue, &exchange, &routing_key).await?;
                (Q::UnbindOk {}, false)
            }
            Q::Purge { queue, no_wait } => {
                self.catch_up().await?;
                let queue = self.channel(id)?.queue(&queue)?;
                let purged = self.listener.broker.purge_queue(&self.opened.principal, &queue, self.owner).await?;
                (Q::PurgeOk { message_count: count(purged) }, no_wait)
            }
            Q::Delete { queue, if_unused, if_empty, no_wait } => {
                let deleted = self.delete_queue(id, &without_line_ends(queue), (if_unused, if_empty)).await?;
                (Q::DeleteOk { message_count: count(deleted) }, no_wait)
            }
            Q::DeclareOk { .. } | Q::BindOk {} | Q::PurgeOk { .. } | Q::DeleteOk { .. } | Q::UnbindOk {} => {
                return Err(from_servers(method.name()));
            }
        };
        if !no_wait {
            self.reply(id, Method::Queue(answer));
        }
        Ok(())
    }

    async fn declare_queue(&mut self, id: u16, name: &Text, spec: QueueSpec) -> Result<QueueInfo> {
        self.catch_up().await?;
        let (broker, principal) = (&self.listener.broker, &self.opened.principal);
        let exclusive = spec.exclusive;
        let declared = broker.declare_queue(principal, name, spec, self.owner).await?;
        if exclusive && !self.exclusive_queues.contains(&declared.name) {
            self.exclusive_queues.push(Arc::clone(&declared.name));
        }
        self.channel(id)?.last_queue = Some(Arc::clone(&declared.name));
        Ok(declared)
    }

    async fn look_at_queue(&mut self, id: u16, name: &Text) -> Result<QueueInfo> {
        self.catch_up().await?;
        // The empty name is not the queue declared last here: to declare, it has a meaning of its own.
        let declared = self.listener.broker.queue(&self.opened.principal, name, self.owner)?;
        self.channel(id)?.last_queue = Some(Arc::clone(&declared.name));
        Ok(declared)
    }

    async fn bind(&mut self, id: u16, queue: &Text, exchange: &Text, key: &Text) -> Result<()> {
        let channel = self.channel(id)?;
        // Neither named: the queue declared last, bound by its own name.
        let key = match &channel.last_queue {
            Some(last) if queue.is_empty() && key.is_empty() => Arc::clone(last),
            _ => key.as_str().into(),
        };
        let queue = channel.queue(queue)?;
        check_default(exchange)?;
        let (broker, principal) = (&self.listener.broker, &self.opened.principal);
        // Another connection's queue is not there for this one.
        broker.queue(principal, &queue, self.owner)?;
        Ok(broker.bind(principal, exchange, &queue, &key).await?)
    }

    async fn unbind(&mut self, id: u16, queue: &Text, exchange: &Text, key: &Text) -> Result<()> {
        let queue = self.channel(id)?.queue(queue)?;
        check_default(exchange)?;
        let (broker, principal) = (&self.listener.broker, &self.opened.principal);
        match broker.queue(principal, &queue, self.owner) {
            Err(error) if error.kind == Kind::NotFound => return Ok(()),
            found => found?,
        };
        Ok(broker.unbind(principal, exchange, &queue, key).await?)
    }

    async fn delete_queue(&mut self, id: u16, name: &Text, only_if: (bool, bool)) -> Result<u64> {
        self.catch_up().await?;
        let queue = self.channel(id)?.queue(name)?;
        let deleted = self.listener.broker.delete_queue(&self.opened.principal, &queue, self.owner, only_if).await;
        match deleted {
            Ok(count) => {
                self.exclusive_queues.retain(|of| *of != queue);
                Ok(count)
            }
            Err(error) if error.kind == Kind::NotFound => Ok(0),
            Err(error) => Err(error.into()),
        }
    }
}

fn declare_ok(info: &QueueInfo) -> codec::Queue {
    codec::Queue::DeclareOk {
        queue: Text::from(info.name.to_string()),
        message_count: count(info.messages),
        consumer_count: u32::try_from(info.consumers).unwrap_or(u32::MAX),
    }
}

/// Names lose their line ends where queues and exchanges are declared and deleted, as in RabbitMQ.
pub(super) fn without_line_ends(name: Text) -> Text {
    if name.contains(['\r', '\n']) { Text::from(name.replace(['\r', '\n'], "")) } else { name }
}

pub(super) fn count(messages: u64) -> u32 {
    u32::try_from(messages).unwrap_or(u32::MAX)
}

/// What a queue is declared with. Arguments that would change what it does, and cannot be had, are refused; what nobody
/// knows is let through, as RabbitMQ does.
fn spec(durable: bool, exclusive: bool, auto_delete: bool, arguments: &Table) -> Result<QueueSpec> {
    let mut spec = QueueSpec { durable, exclusive, auto_delete, max_deliveries: None, dead_letter: None, kind: None };
    let mut dead_letter_exchange = None;
    for (name, value) in &arguments.0 {
        match name.as_str() {
            "x-queue-type" => spec.kind = kind(value)?,
            // Both say how RabbitMQ stores a queue, and do nothing any more.
            "x-queue-mode" if !matches!(value.as_str(), Some("default" | "lazy")) => {
                return Err(invalid(name, "default or lazy"));
            }
            "x-queue-version" if !matches!(value.as_i64(), Some(1 | 2)) => return Err(invalid(name, "1 or 2")),
            "x-delivery-limit" => spec.max_deliveries = max_deliveries(value)?,
            "x-dead-letter-exchange" => dead_letter_exchange = Some(text(name, value)?),
            "x-dead-letter-routing-key" => spec.dead_letter = Some(text(name, value)?.to_owned()),
            "x-message-ttl"
            | "x-expires"
            | "x-max-length"
            | "x-max-length-bytes"
            | "x-overflow"
            | "x-max-priority"
            | "x-single-active-consumer"
            | "x-dead-letter-strategy" => {
                return Err(Exception::not_implemented(format_args!("queue argument {name}")));
            }
            _ => {}
        }
    }
    match (dead_letter_exchange, &spec.dead_letter) {
        (None, None) | (Some(""), Some(_)) => {}
        (None, Some(_)) => {
            let message = "x-dead-letter-routing-key without x-dead-letter-exchange";
            return Err(Exception::new(Code::PreconditionFailed, message));
        }
        (Some(""), None) => {
            return Err(Exception::not_implemented(
                "dead letters by their own routing key: give x-dead-letter-routing-key",
            ));
        }
        (Some(_), _) => {
            return Err(Exception::not_implemented(
                "dead letters through an exchange of a name: give x-dead-letter-exchange '' and a queue as x-dead-letter-routing-key",
            ));
        }
    }
    if spec.kind.as_deref() == Some("quorum") && (exclusive || auto_delete || !durable) {
        let message = "a quorum queue is durable, not exclusive and not auto-delete";
        return Err(Exception::new(Code::PreconditionFailed, message));
    }
    Ok(spec)
}

/// `classic` is what a queue is that says nothing.
fn kind(value: &Value) -> Result<Option<String>> {
    match value.as_str() {
        Some("classic") => Ok(None),
        Some("quorum") => Ok(Some("quorum".to_owned())),
        Some("stream") => Err(Exception::not_implemented("x-queue-type stream")),
        _ => Err(invalid("x-queue-type", "classic or quorum")),
    }
}

fn max_deliveries(value: &Value) -> Result<Option<u32>> {
    let invalid = || invalid("x-delivery-limit", "a number from -1");
    match value.as_i64().ok_or_else(invalid)? {
        -1 => Ok(None),
        // So many come back; the delivery after them is the last.
        limit => u32::try_from(limit).map(|limit| Some(limit.saturating_add(1))).map_err(|_| invalid()),
    }
}

fn text<'a>(name: &Text, value: &'a Value) -> Result<&'a str> {
    value.as_str().ok_or_else(|| invalid(name, "a text"))
}

fn invalid(name: &str, wanted: &str) -> Exception {
    Exception::new(Code::PreconditionFailed, format!("invalid arg '{name}': it is {wanted}"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn arguments(arguments: &[(&'static str, Value)]) -> Table {
        let mut table = Table::default();
        arguments.iter().for_each(|(name, value)| table.push(*name, value.clone()));
        table
    }

    fn code(table: &Table) -> Option<Code> {
        spec(true, false, false, table).err().map(|exception| exception.code)
    }

    #[test]
    fn arguments_are_taken_or_refused() {
        let quorum = arguments(&[("x-queue-type", "quorum".into())]);
        for (durable, exclusive, auto_delete) in [(false, false, false), (true, true, false), (true, false, true)] {
            assert_eq!(spec(durable, exclusive, auto_delete, &quorum).unwrap_err().code, Code::PreconditionFailed);
        }
        let taken = arguments(&[
            ("x-queue-type", "quorum".into()),
            ("x-delivery-limit", Value::Int32(2)),
            ("x-dead-letter-exchange", "".into()),
            ("x-dead-letter-routing-key", "dead".into()),
            ("my-own", Value::Void),
        ]);
        let spec = spec(true, false, false, &taken).unwrap();
        assert_eq!(
            (spec.max_deliveries, spec.dead_letter.as_deref(), spec.kind.as_deref()),
            (Some(3), Some("dead"), Some("quorum"))
        );
        for (name, value) in
            [("x-queue-type", "classic".into()), ("x-queue-mode", "lazy".into()), ("x-queue-version", Value::Int32(2))]
        {
            assert_eq!(code(&arguments(&[(name, value)])), None, "{name}");
        }
        for (name, value) in [
            ("x-message-ttl", Value::Int32(1)),
            ("x-dead-letter-exchange", "dlx".into()),
            ("x-queue-type", "stream".into()),
        ] {
            assert_eq!(code(&arguments(&[(name, value)])), Some(Code::NotImplemented), "{name}");
        }
        for (name, value) in [
            ("x-delivery-limit", "x".into()),
            ("x-delivery-limit", Value::Int32(-2)),
            ("x-queue-type", "fast".into()),
            ("x-queue-mode", "fast".into()),
            ("x-queue-version", Value::Int32(3)),
            ("x-dead-letter-routing-key", "dead".into()),
        ] {
            assert_eq!(code(&arguments(&[(name, value)])), Some(Code::PreconditionFailed), "{name}");
        }
    }
}
