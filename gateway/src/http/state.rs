//! What the listener's handlers share.

use std::ops::Deref;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use tokio::sync::Semaphore;

use super::attempts::Attempts;
use super::config::Config;
use super::consumers::Consumers;
use super::metrics::Metrics;
use super::openapi;
use super::session::RequestIds;
use crate::broker::{AckKey, Broker, Principal};
use crate::listener::Drain;

/// The HTTP listener's state. Clones share it.
#[derive(Clone)]
pub struct Http(Arc<Shared>);

/// See [`Http`].
pub struct Shared {
    pub(super) broker: Broker,
    pub(super) config: Arc<Config>,
    pub(super) drain: Drain,
    pub(super) metrics: Arc<Metrics>,
    pub(super) ack_key: AckKey,
    /// Who everybody is as long as there is no authentication.
    pub(super) principal: Principal,
    pub(super) request_ids: RequestIds,
    pub(super) requests: Semaphore,
    pub(super) streams: Arc<Semaphore>,
    pub(super) attempts: Attempts,
    pub(super) consumers: Consumers,
    /// The OpenAPI document.
    pub(super) document: Bytes,
}

impl Http {
    /// State for [`super::serve`] and [`super::router`]. `ack_key` signs acknowledgement ids: as long as it stays the
    /// same, ids given out before a restart are recognised after it.
    #[must_use]
    pub fn new(broker: Broker, config: Arc<Config>, ack_key: [u8; 32], drain: Drain) -> Self {
        let permits = |limit: usize| limit.min(Semaphore::MAX_PERMITS);
        Self(Arc::new(Shared {
            broker,
            drain,
            metrics: Arc::new(Metrics::new(openapi::operations(&openapi::routes().1))),
            ack_key: AckKey::new("tidegate http ack_id v1", &ack_key),
            principal: Principal::anonymous(),
            request_ids: RequestIds::default(),
            requests: Semaphore::new(permits(config.max_requests)),
            streams: Arc::new(Semaphore::new(permits(config.max_streams))),
            attempts: Attempts::new(config.max_attempts, config.max_attempt_bytes),
            consumers: Consumers::default(),
            document: openapi::document_bytes(),
            config,
        }))
    }

    /// The listener's counters.
    #[must_use]
    pub fn metrics(&self) -> Arc<Metrics> {
        Arc::clone(&self.0.metrics)
    }
}

impl Deref for Http {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

/// Milliseconds since the Unix epoch.
pub(super) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
