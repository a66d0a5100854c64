//! The broker that AMQP clients are checked against: a gateway of their own, or one that is already there, so that the
//! real RabbitMQ can prove the checks (`integration/run oracle`).

use std::net::SocketAddr;

use crate::Gateway;

/// Names the listener to check instead of a gateway: `127.0.0.1:5672`.
const ADDRESS: &str = "TIDEGATE_AMQP_PEER";

/// A broker with an AMQP listener.
pub struct AmqpPeer {
    /// Its listener.
    pub address: SocketAddr,
    gateway: Option<Gateway>,
}

impl AmqpPeer {
    /// The broker that the environment names; else a gateway, started for this test.
    #[must_use]
    pub fn start() -> Self {
        if let Ok(address) = std::env::var(ADDRESS) {
            let address = address.parse().unwrap_or_else(|_| panic!("{ADDRESS} is no address: {address}"));
            return Self { address, gateway: None };
        }
        let gateway = Gateway::start();
        Self { address: gateway.amqp, gateway: Some(gateway) }
    }

    /// Whether it is not a gateway.
    #[must_use]
    pub fn is_foreign(&self) -> bool {
        self.gateway.is_none()
    }
}
