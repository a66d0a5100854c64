//! The service Publisher.

use tidegate_proto::v1::publisher_server::Publisher;
use tidegate_proto::v1::{PublishRequest, PublishResponse, PublishStreamRequest, PublishStreamResponse};
use tonic::{Request, Response, Status, Streaming, async_trait};

use super::driven::Driven;
use super::metrics::Method;
use super::state::Grpc;
use super::{publish, publish_stream};

#[async_trait]
impl Publisher for Grpc {
    async fn publish(&self, request: Request<PublishRequest>) -> Result<Response<PublishResponse>, Status> {
        self.answer(Method::Publish, publish::publish(self, request.into_inner())).await
    }

    type PublishStreamStream = Driven<PublishStreamResponse>;

    async fn publish_stream(
        &self,
        request: Request<Streaming<PublishStreamRequest>>,
    ) -> Result<Response<Self::PublishStreamStream>, Status> {
        let grpc = self.clone();
        self.stream(Method::PublishStream, |writer| publish_stream::run(grpc, request.into_inner(), writer))
    }
}
