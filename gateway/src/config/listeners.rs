//! The listeners there are, each with the settings its own folder brings.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use super::listen::{Listen, Section, Written};
use crate::{admin, amqp, grpc, http, kafka};

/// The listeners there are.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Listeners {
    /// HTTP API and SSE.
    pub http: Section<http::Config>,
    /// Kafka.
    pub kafka: Section<kafka::Config>,
    /// AMQP 0-9-1.
    pub amqp: Section<amqp::Config>,
    /// Administration: /metrics, /livez, /readyz, /startupz, /config.
    pub admin: Section<admin::Config>,
    /// gRPC.
    pub grpc: Section<grpc::Config>,
    /// RabbitMQ-compatible management API: not in this version; only `off` is accepted.
    pub management: Section<Absent>,
}

/// Settings of a listener that this version does not have.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Absent {}

impl Default for Listeners {
    fn default() -> Self {
        Self {
            http: Section::new(Listen::loopback(8080)),
            kafka: Section::new(Listen::loopback(9092)),
            amqp: Section::new(Listen::loopback(5672)),
            admin: Section::new(Listen::loopback(9600)),
            grpc: Section::new(Listen::loopback(50051)),
            management: Section::new(Listen::Off),
        }
    }
}

impl Listeners {
    /// Every listener's name and address.
    #[must_use]
    pub fn addresses(&self) -> [(&'static str, Listen); 6] {
        [
            ("http", self.http.listen),
            ("kafka", self.kafka.listen),
            ("amqp", self.amqp.listen),
            ("admin", self.admin.listen),
            ("grpc", self.grpc.listen),
            ("management", self.management.listen),
        ]
    }
}

/// Names of the listeners, as they are written in configuration.
pub const NAMES: [&str; 6] = ["http", "kafka", "amqp", "admin", "grpc", "management"];

/// The listeners of [`NAMES`] that this version does not have.
pub const ABSENT: [&str; 1] = ["management"];

impl<'de> Deserialize<'de> for Listeners {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Sections {
            http: Option<Written<http::Config>>,
            kafka: Option<Written<kafka::Config>>,
            admin: Option<Written<admin::Config>>,
            grpc: Option<Written<grpc::Config>>,
            amqp: Option<Written<amqp::Config>>,
            management: Option<Written<Absent>>,
        }
        let written = Sections::deserialize(deserializer)?;
        let defaults = Self::default();
        Ok(Self {
            http: defaults.http.overlaid(written.http),
            kafka: defaults.kafka.overlaid(written.kafka),
            admin: defaults.admin.overlaid(written.admin),
            grpc: defaults.grpc.overlaid(written.grpc),
            amqp: defaults.amqp.overlaid(written.amqp),
            management: defaults.management.overlaid(written.management),
        })
    }
}
