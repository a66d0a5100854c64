//! The running gateway: opened, listening, reloaded, drained, closed.

mod counters;
mod error;
mod reload;
mod welcome;

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegate_engine::store::Environment;
use tidegate_engine::{Engine, Recovery};
use tokio::net::TcpListener;

pub use error::Error;
pub use reload::Reloader;

use crate::admin::{self, Gateway, Gather, Running};
use crate::broker::{self, Broker};
use crate::config::{Config, Listen};
use crate::identity::Identity;
use crate::listener::Drain;
use crate::{grpc, http, kafka};

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

/// Where clients connect: the real ports, also where the configuration said 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Addresses {
    /// HTTP API.
    pub http: Option<SocketAddr>,
    /// gRPC.
    pub grpc: Option<SocketAddr>,
    /// Kafka.
    pub kafka: Option<SocketAddr>,
    /// Administration.
    pub admin: Option<SocketAddr>,
}

impl fmt::Display for Addresses {
    /// One line for programs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("READY")?;
        for (name, address) in [("http", self.http), ("grpc", self.grpc), ("kafka", self.kafka), ("admin", self.admin)]
        {
            if let Some(address) = address {
                write!(f, " {name}={address}")?;
            }
        }
        Ok(())
    }
}

/// Sockets, bound before anything is opened: a taken port is known at once and nobody is turned away meanwhile.
struct Sockets {
    http: Option<TcpListener>,
    grpc: Option<TcpListener>,
    kafka: Option<TcpListener>,
    admin: Option<TcpListener>,
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
        let (clients, admin) = (Drain::default(), Drain::default());
        if let Some(socket) = sockets.admin.take() {
            admin.spawn(admin::serve(socket, Arc::clone(&gateway), admin.clone()));
        }
        let (engine, identity) = open(&config).await?;
        let broker = Broker::new(engine.clone(), broker_settings(&config));
        let listeners = serve_clients(&config, sockets, &broker, identity, &clients);
        gateway.set_ready(Running { broker, listeners });
        tracing::info!(
            http = addresses.http.map(tracing::field::display),
            grpc = addresses.grpc.map(tracing::field::display),
            kafka = addresses.kafka.map(tracing::field::display),
            admin = addresses.admin.map(tracing::field::display),
            took_ms = started.elapsed().as_millis() as u64,
            "ready"
        );
        Ok(Self { gateway, engine, addresses, clients, admin })
    }

    /// Where it listens.
    #[must_use]
    pub fn addresses(&self) -> Addresses {
        self.addresses
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
    }
}

async fn open(config: &Arc<Config>) -> Result<(Engine, Identity), Error> {
    let config = Arc::clone(config);
    let opening = tokio::task::spawn_blocking(move || {
        let environment = Environment::local(&config.data_dir)?;
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

/// Starts the listeners; what gathers their metrics.
fn serve_clients(config: &Config, sockets: Sockets, broker: &Broker, identity: Identity, drain: &Drain) -> Vec<Gather> {
    let mut gather: Vec<Gather> = Vec::new();
    if let Some(socket) = sockets.kafka {
        let mut settings = config.listeners.kafka.settings.clone();
        settings.cluster_id = identity.cluster_id;
        let metrics = Arc::new(kafka::Metrics::default());
        let listener = Arc::new(kafka::Listener::new(broker.clone(), Arc::new(settings), Arc::clone(&metrics)));
        drain.spawn(Arc::clone(&listener).serve(socket, drain.clone()));
        gather.push(Box::new(move || counters::kafka(&metrics)));
        gather.push(Box::new(move || vec![counters::members(&listener)]));
    }
    if let Some(socket) = sockets.http {
        let settings = Arc::new(config.listeners.http.settings.clone());
        let listener = http::Http::new(broker.clone(), settings, identity.ack_key, drain.clone());
        let metrics = listener.metrics();
        drain.spawn(http::serve(socket, listener));
        gather.push(Box::new(move || counters::http(&metrics)));
    }
    if let Some(socket) = sockets.grpc {
        let settings = Arc::new(config.listeners.grpc.settings.clone());
        let listener = grpc::Grpc::new(broker.clone(), settings, identity.ack_key, drain.clone());
        let metrics = listener.metrics();
        drain.spawn(grpc::serve(socket, listener));
        gather.push(Box::new(move || counters::grpc(&metrics)));
    }
    gather
}

impl Sockets {
    async fn bind(config: &Config) -> Result<Self, Error> {
        let listeners = &config.listeners;
        Ok(Self {
            http: bind("http", listeners.http.listen).await?,
            grpc: bind("grpc", listeners.grpc.listen).await?,
            kafka: bind("kafka", listeners.kafka.listen).await?,
            admin: bind("admin", listeners.admin.listen).await?,
        })
    }

    fn addresses(&self) -> Result<Addresses, Error> {
        let address = |socket: &Option<TcpListener>| socket.as_ref().map(TcpListener::local_addr).transpose();
        let addresses = || {
            Ok(Addresses {
                http: address(&self.http)?,
                grpc: address(&self.grpc)?,
                kafka: address(&self.kafka)?,
                admin: address(&self.admin)?,
            })
        };
        addresses().map_err(|error: std::io::Error| Error::Internal(error.to_string()))
    }
}

async fn bind(name: &'static str, listen: Listen) -> Result<Option<TcpListener>, Error> {
    let Some(address) = listen.address() else { return Ok(None) };
    match TcpListener::bind(address).await {
        Ok(socket) => Ok(Some(socket)),
        Err(error) => Err(Error::Bind { name, address, error }),
    }
}
