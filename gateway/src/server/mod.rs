//! The running gateway: opened, listening, reloaded, drained, closed.

mod error;
mod listeners;
mod reload;
mod welcome;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use error::Error;
pub use listeners::Addresses;
pub use reload::Reloader;
use tidegate_engine::store::{Environment, LocalStore};
use tidegate_engine::{Engine, Recovery};

use listeners::{ADMIN, Sockets};

use crate::admin::{self, Gateway, Running};
use crate::broker::{self, Broker};
use crate::config::Config;
use crate::identity::Identity;
use crate::listener::{Drain, Surroundings};
use crate::workers::{Workers, cores};

/// The admin listener has only short answers to finish.
const ADMIN_DEADLINE: Duration = Duration::from_secs(1);

/// A gateway that serves.
pub struct Server {
    gateway: Arc<Gateway>,
    engine: Engine,
    addresses: Addresses,
    clients: Drain,
    admin: Drain,
}

impl Server {
    /// Binds every address, opens the data and serves.
    ///
    /// # Errors
    /// What stands in the way, and what to do about it.
    pub async fn start(config: Config) -> Result<Self, Error> {
        let started = Instant::now();
        let config = Arc::new(config);
        let mut sockets = Sockets::bind(&config).await?;
        let addresses = sockets.addresses()?;
        let gateway = Arc::new(Gateway::new(Arc::clone(&config)));
        let (clients, admin) = (Drain::with_workers(workers(&config)?), Drain::default());
        if let Some(socket) = sockets.take(ADMIN) {
            admin.spawn(admin::serve(socket, Arc::clone(&gateway), admin.clone()));
        }
        let (engine, identity) = open(&config).await?;
        let broker = Broker::open(engine.clone(), broker_settings(&config))?;
        let surroundings = Surroundings { broker: broker.clone(), config, identity, drain: clients.clone() };
        let listeners = sockets.serve(&surroundings);
        gateway.set_ready(Running { broker, listeners });
        let listeners = addresses.to_string();
        tracing::info!(
            listeners = listeners.trim_start_matches("READY "),
            took_ms = started.elapsed().as_millis() as u64,
            "ready"
        );
        Ok(Self { gateway, engine, addresses, clients, admin })
    }

    /// Where it listens.
    #[must_use]
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// What its operator sees.
    #[must_use]
    pub fn gateway(&self) -> &Arc<Gateway> {
        &self.gateway
    }

    /// What to tell a person who has just started it.
    #[must_use]
    pub fn welcome(&self) -> String {
        welcome::welcome(&self.addresses, &self.gateway.config().data_dir)
    }

    /// Lets connections finish what they have begun, at most until the deadline or until `hurry`, writes everything down
    /// and stops.
    ///
    /// # Errors
    /// [`Error::Engine`] when the last write failed: what was acknowledged before is safe.
    pub async fn stop(self, hurry: impl Future<Output = ()>) -> Result<(), Error> {
        self.gateway.set_draining();
        let deadline = self.gateway.config().shutdown_deadline;
        tracing::info!(?deadline, "draining");
        let finished = tokio::select! {
            finished = self.clients.finish(deadline) => finished,
            () = hurry => false,
        };
        if !finished {
            tracing::warn!("some connections had not finished and are cut");
        }
        let closed = self.engine.close().await;
        self.admin.finish(ADMIN_DEADLINE).await;
        closed?;
        tracing::info!("stopped");
        Ok(())
    }
}

/// What the broker takes from the configuration; live.
fn broker_settings(config: &Config) -> broker::Settings {
    broker::Settings {
        topic: config.defaults.topic.config(),
        partitions: config.defaults.topic.partitions,
        auto_create_topics: config.auto_create_topics,
        max_queue_message_bytes: config.defaults.queue.max_message_bytes,
    }
}

fn workers(config: &Config) -> Result<Workers, Error> {
    let count = if config.connection_threads == 0 { cores() } else { config.connection_threads };
    Workers::start(count).map_err(|error| Error::Internal(error.to_string()))
}

async fn open(config: &Arc<Config>) -> Result<(Engine, Identity), Error> {
    let config = Arc::clone(config);
    let opening = tokio::task::spawn_blocking(move || {
        let store = LocalStore::open(&config.data_dir)
            .map_err(|error| Error::DataDir { data_dir: config.data_dir.clone(), error })?;
        let environment = Environment::of(store.direct_io(config.direct_io));
        // The environment holds the directory's lock: two first starts cannot make two identities.
        let identity = Identity::open(&config.data_dir)
            .map_err(|error| Error::Identity { data_dir: config.data_dir.clone(), error })?;
        let (engine, recovery) = Engine::open(config.engine.clone(), environment)?;
        report(&recovery, &config.data_dir);
        Ok((engine, identity))
    });
    opening.await.map_err(|error| Error::Internal(error.to_string()))?
}

fn report(recovery: &Recovery, data_dir: &Path) {
    let Recovery { replayed_bytes, torn_bytes, took } = recovery;
    if *torn_bytes > 0 {
        tracing::warn!(torn_bytes, "cut off an unfinished last write, which nobody had been promised");
    }
    tracing::info!(data_dir = %data_dir.display(), replayed_bytes, ?took, "data opened");
}
