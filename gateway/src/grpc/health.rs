//! The service grpc.health.v1.Health: everything serves until the listener drains. Who watches is told so and let go, so that
//! it does not hold a connection that is to close.

use std::pin::Pin;

use futures_util::{Stream, StreamExt, stream};
use tidegate_proto::v1::admin_server::AdminServer;
use tidegate_proto::v1::consumer_server::ConsumerServer;
use tidegate_proto::v1::publisher_server::PublisherServer;
use tonic::server::NamedService;
use tonic::{Request, Response, Status, async_trait};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::Health as HealthService;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use super::state::Grpc;
use crate::listener::Drain;

/// The services whose health is told; the empty name stands for the whole.
const SERVICES: [&str; 4] =
    ["", PublisherServer::<Grpc>::NAME, ConsumerServer::<Grpc>::NAME, AdminServer::<Grpc>::NAME];

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct Health(pub Drain);

impl Health {
    fn of(&self, service: &str) -> ServingStatus {
        match SERVICES.contains(&service) {
            false => ServingStatus::ServiceUnknown,
            true if self.0.is_requested() => ServingStatus::NotServing,
            true => ServingStatus::Serving,
        }
    }
}

fn response(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}

#[async_trait]
impl HealthService for Health {
    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        match self.of(&request.get_ref().service) {
            ServingStatus::ServiceUnknown => {
                Err(Status::not_found(format!("there is no such service here: it is one of {}", SERVICES.join(" "))))
            }
            status => Ok(Response::new(response(status))),
        }
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let (health, service) = (self.clone(), request.into_inner().service);
        let first = health.of(&service);
        let last = stream::once(async move {
            health.0.requested().await;
            health.of(&service)
        });
        let changed = last.filter(move |last| std::future::ready(*last != first));
        let told = stream::iter([first]).chain(changed).map(|status| Ok(response(status)));
        let end = stream::iter([Err(Status::unavailable("the gateway is stopping"))]);
        Ok(Response::new(Box::pin(told.chain(end))))
    }
}
