//! What the listener's handlers share, and what every call goes through: limits, the time it may take, the counters.

use std::ops::Deref;
use std::sync::Arc;

use tokio::sync::Semaphore;
use tonic::{Code, Response, Status};

use super::config::Config;
use super::consume::Sessions;
use super::driven::{Driven, Writer};
use super::error::{Refusal, Result};
use super::metrics::{Method, Metrics};
use crate::broker::{AckKey, Broker, Principal};
use crate::listener::Drain;

/// The gRPC listener's state. Clones share it.
#[derive(Clone)]
pub struct Grpc(Arc<Shared>);

/// See [`Grpc`].
pub struct Shared {
    pub(super) broker: Broker,
    pub(super) config: Arc<Config>,
    pub(super) drain: Drain,
    pub(super) metrics: Arc<Metrics>,
    pub(super) ack_key: AckKey,
    /// Who everybody is as long as there is no authentication.
    pub(super) principal: Principal,
    pub(super) sessions: Sessions,
    requests: Semaphore,
    streams: Arc<Semaphore>,
}

impl Grpc {
    /// State for [`super::serve`] and [`super::routes`]. `ack_key` signs acknowledgement ids: as long as it stays the same,
    /// ids given out before a restart are recognised after it.
    #[must_use]
    pub fn new(broker: Broker, config: Arc<Config>, ack_key: [u8; 32], drain: Drain) -> Self {
        let permits = |limit: usize| limit.min(Semaphore::MAX_PERMITS);
        Self(Arc::new(Shared {
            broker,
            drain,
            metrics: Arc::default(),
            ack_key: AckKey::new("tidegate grpc ack_id v1", &ack_key),
            principal: Principal::anonymous(),
            sessions: Sessions::new(config.max_sessions),
            requests: Semaphore::new(permits(config.max_requests)),
            streams: Arc::new(Semaphore::new(permits(config.max_streams))),
            config,
        }))
    }

    /// The listener's counters.
    #[must_use]
    pub fn metrics(&self) -> Arc<Metrics> {
        Arc::clone(&self.0.metrics)
    }

    /// Answers a unary call.
    pub(super) async fn answer<T>(
        &self,
        method: Method,
        work: impl Future<Output = Result<T>>,
    ) -> Result<Response<T>, Status> {
        let done = self.within_limits(method, work).await;
        self.metrics.ended(method, done.as_ref().map_or_else(Refusal::code, |_| Code::Ok));
        done.map(Response::new).map_err(|refusal| {
            if matches!(refusal.code(), Code::Internal | Code::DataLoss) {
                tracing::warn!(?method, reason = refusal.reason(), "{}", refusal.message());
            }
            refusal.into()
        })
    }

    async fn within_limits<T>(&self, method: Method, work: impl Future<Output = Result<T>>) -> Result<T> {
        let Ok(_permit) = self.requests.try_acquire() else {
            return Err(Refusal::limit("max_requests", self.config.max_requests));
        };
        let wait = if method == Method::Pull { self.config.max_wait } else { std::time::Duration::ZERO };
        match tokio::time::timeout(self.config.request_timeout + wait, work).await {
            Ok(done) => done,
            Err(_) => {
                let words = "the call took too long (request_timeout); whether it was carried out is not known";
                Err(Refusal::new(Code::DeadlineExceeded, "TIMEOUT", words).later())
            }
        }
    }

    /// Answers with a stream of what `work` writes.
    pub(super) fn stream<T, F>(
        &self,
        method: Method,
        work: impl FnOnce(Writer<T>) -> F,
    ) -> Result<Response<Driven<T>>, Status>
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        match Arc::clone(&self.streams).try_acquire_owned() {
            Ok(permit) => {
                let open = self.metrics.open_stream();
                Ok(Response::new(Driven::new(work, self.metrics(), method, (permit, open))))
            }
            Err(_) => {
                let refusal = Refusal::limit("max_streams", self.config.max_streams);
                self.metrics.ended(method, refusal.code());
                Err(refusal.into())
            }
        }
    }
}

impl Deref for Grpc {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}
