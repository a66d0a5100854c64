//! The listeners for clients, a line for each, and the addresses they are at.

use std::fmt;
use std::net::SocketAddr;

use tokio::net::TcpListener;

use super::Error;
use crate::config::{Config, Listen};
use crate::listener::Surroundings;
use crate::metrics::Gather;
use crate::{amqp, grpc, http, kafka};

/// How a listener is started on its socket; what gathers its metrics.
type Start = fn(TcpListener, &Surroundings) -> Gather;

/// Every listener for clients: its name in the configuration, how a person is told its address, and how it starts.
const LISTENERS: [(&str, &str, Start); 4] = [
    ("http", "HTTP    http://", http::start),
    ("grpc", "gRPC    ", grpc::start),
    ("kafka", "Kafka   ", kafka::start),
    ("amqp", "AMQP    amqp://guest:guest@", amqp::start),
];

/// The admin listener is started before there is anything that a client could want.
pub const ADMIN: &str = "admin";

/// Sockets, bound before anything is opened: a taken port is known at once and nobody is turned away meanwhile.
pub struct Sockets(Vec<(&'static str, TcpListener)>);

impl Sockets {
    /// Binds every address.
    pub async fn bind(config: &Config) -> Result<Self, Error> {
        let mut sockets = Vec::new();
        for (name, listen) in config.listeners.addresses() {
            if let Some(socket) = bind(name, listen).await? {
                sockets.push((name, socket));
            }
        }
        Ok(Self(sockets))
    }

    /// Takes one out.
    pub fn take(&mut self, name: &str) -> Option<TcpListener> {
        let index = self.0.iter().position(|(of, _)| *of == name)?;
        Some(self.0.swap_remove(index).1)
    }

    /// Where they are: the real ports, also where the configuration said 0.
    pub fn addresses(&self) -> Result<Addresses, Error> {
        let address = |(name, socket): &(&'static str, TcpListener)| Ok((*name, socket.local_addr()?));
        let addresses: std::io::Result<_> = self.0.iter().map(address).collect();
        addresses.map(Addresses).map_err(|error| Error::Internal(error.to_string()))
    }

    /// Starts the listeners; what gathers their metrics.
    pub fn serve(mut self, surroundings: &Surroundings) -> Vec<Gather> {
        let start = |(name, _, start): &(&str, &str, Start)| Some(start(self.take(name)?, surroundings));
        LISTENERS.iter().filter_map(start).collect()
    }
}

async fn bind(name: &'static str, listen: Listen) -> Result<Option<TcpListener>, Error> {
    let Some(address) = listen.address() else { return Ok(None) };
    match TcpListener::bind(address).await {
        Ok(socket) => Ok(Some(socket)),
        Err(error) => Err(Error::Bind { name, address, error }),
    }
}

/// Where clients connect.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Addresses(Vec<(&'static str, SocketAddr)>);

impl Addresses {
    /// A listener's address, if it listens.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<SocketAddr> {
        self.0.iter().find(|(of, _)| *of == name).map(|(_, address)| *address)
    }

    /// A line for each listener, for people.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        let clients = LISTENERS.iter().map(|(name, told, _)| (*name, *told, ""));
        let all = clients.chain([(ADMIN, "admin   http://", "/metrics")]);
        all.filter_map(|(name, told, path)| Some(format!("  {told}{}{path}", self.get(name)?)))
    }
}

impl fmt::Display for Addresses {
    /// One line for programs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("READY")?;
        self.0.iter().try_for_each(|(name, address)| write!(f, " {name}={address}"))
    }
}
