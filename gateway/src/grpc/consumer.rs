//! The service Consumer.

use tidegate_proto::v1::consumer_server::Consumer;
use tidegate_proto::v1::{
    AckRequest, ConsumeRequest, ConsumeResponse, ExtendRequest, FetchRequest, FetchResponse, GetLagRequest, Lag,
    NackRequest, PullRequest, PullResponse, SeekRequest, SeekResponse, SettleResponse,
};
use tonic::{Request, Response, Status, Streaming, async_trait};

use super::driven::Driven;
use super::metrics::Method;
use super::state::Grpc;
use super::{consume, fetch, lag, pull, seek, settle};

#[async_trait]
impl Consumer for Grpc {
    type ConsumeStream = Driven<ConsumeResponse>;

    async fn consume(
        &self,
        request: Request<Streaming<ConsumeRequest>>,
    ) -> Result<Response<Self::ConsumeStream>, Status> {
        let grpc = self.clone();
        self.stream(Method::Consume, |writer| consume::run(grpc, request.into_inner(), writer))
    }

    async fn pull(&self, request: Request<PullRequest>) -> Result<Response<PullResponse>, Status> {
        self.answer(Method::Pull, pull::pull(self, request.into_inner())).await
    }

    async fn ack(&self, request: Request<AckRequest>) -> Result<Response<SettleResponse>, Status> {
        self.answer(Method::Ack, settle::ack(self, request.into_inner())).await
    }

    async fn nack(&self, request: Request<NackRequest>) -> Result<Response<SettleResponse>, Status> {
        self.answer(Method::Nack, settle::nack(self, request.into_inner())).await
    }

    async fn extend(&self, request: Request<ExtendRequest>) -> Result<Response<SettleResponse>, Status> {
        self.answer(Method::Extend, settle::extend(self, request.into_inner())).await
    }

    async fn seek(&self, request: Request<SeekRequest>) -> Result<Response<SeekResponse>, Status> {
        self.answer(Method::Seek, seek::seek(self, request.into_inner())).await
    }

    async fn get_lag(&self, request: Request<GetLagRequest>) -> Result<Response<Lag>, Status> {
        self.answer(Method::GetLag, async { lag::get_lag(self, request.get_ref()) }).await
    }

    type FetchStream = Driven<FetchResponse>;

    async fn fetch(&self, request: Request<FetchRequest>) -> Result<Response<Self::FetchStream>, Status> {
        let grpc = self.clone();
        self.stream(Method::Fetch, |writer| fetch::run(grpc, request.into_inner(), writer))
    }
}
