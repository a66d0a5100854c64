//! The AMQP listener: AMQP 0-9-1 with RabbitMQ's extensions in front of the broker.
//!
//! A queue is a topic and a group of one name, a consumer leases what it is sent, an acknowledgement settles the lease.
//! `connection` is a socket from beginning to end, `handshake` opens it, `session` runs it, `clock` is what it does as time passes, `pace` says when its `socket` may rest; `channel` is what a channel remembers; then a file per class, and one
//! for each thing done with messages: `basic_publish`, `basic_consume`, `basic_get`, `basic_settle`. `codec` is bytes,
//! `convert` messages.

mod basic_consume;
mod basic_get;
mod basic_publish;
mod basic_settle;
mod channel;
mod clock;
pub mod codec;
mod config;
mod confirm;
mod connection;
pub mod convert;
mod error;
mod exchange;
mod handshake;
mod look;
mod metrics;
mod pace;
mod queue;
mod reply_to;
mod sender_selected;
mod session;
mod socket;
mod space;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use tokio::net::TcpListener;

pub use config::Config;
pub use metrics::Metrics;

use crate::broker::Broker;
use crate::listener::{self, Drain, Surroundings};
use crate::metrics::Gather;

/// The AMQP listener: shared by its connections.
pub struct Listener {
    broker: Broker,
    config: Arc<Config>,
    metrics: Arc<Metrics>,
}

impl Listener {
    /// A listener in front of `broker`. It counts into `metrics`.
    #[must_use]
    pub fn new(broker: Broker, config: Arc<Config>, metrics: Arc<Metrics>) -> Self {
        Self { broker, config, metrics }
    }

    /// Serves connections until the drain is requested. Returns when no more are accepted; those that are open finish as
    /// tasks of the drain.
    pub async fn serve(self: Arc<Self>, socket: TcpListener, drain: Drain) {
        let max_connections = self.config.max_connections;
        let connections = drain.clone();
        listener::accept(socket, max_connections, drain, move |stream, peer| {
            connection::run(Arc::clone(&self), stream, peer, connections.clone())
        })
        .await;
    }
}

/// Starts the listener on a socket; what gathers its metrics.
pub fn start(socket: TcpListener, surroundings: &Surroundings) -> Gather {
    let Surroundings { broker, config, drain, .. } = surroundings;
    let settings = Arc::new(config.listeners.amqp.settings.clone());
    let metrics = Arc::new(Metrics::default());
    let listener = Arc::new(Listener::new(broker.clone(), settings, Arc::clone(&metrics)));
    drain.spawn(listener.serve(socket, drain.clone()));
    Box::new(move || metrics.families())
}
