//! The AMQP 0-9-1 listener, with RabbitMQ's extensions.

pub mod codec;
pub mod convert;
