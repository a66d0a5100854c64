//! The services there are, with health and reflection.

use futures_util::StreamExt;
use http_body_util::{BodyStream, StreamBody};
use tidegate_proto::DESCRIPTORS;
use tidegate_proto::v1::admin_server::AdminServer;
use tidegate_proto::v1::consumer_server::ConsumerServer;
use tidegate_proto::v1::publisher_server::PublisherServer;
use tonic::body::Body;
use tonic::service::{LayerExt, Routes};
use tonic_health::pb::health_server::HealthServer;
use tonic_reflection::server::Builder;
use tower::util::MapRequestLayer;

use super::health::Health;
use super::state::Grpc;
use crate::listener::Drain;

/// Every service, without a socket.
#[must_use]
pub fn routes(grpc: Grpc) -> Routes {
    let limit = grpc.config.max_message_bytes;
    // An answer may be larger than any request: a frame of messages is as large as its largest message.
    let publisher = PublisherServer::new(grpc.clone()).max_decoding_message_size(limit);
    let consumer = ConsumerServer::new(grpc.clone()).max_decoding_message_size(limit);
    let drain = grpc.drain.clone();
    let health = HealthServer::new(Health(drain.clone()));
    let admin = AdminServer::new(grpc).max_decoding_message_size(limit);
    let mut routes = Routes::new(publisher).add_service(consumer).add_service(admin).add_service(health);
    let described = || {
        Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
    };
    // The descriptors are the program's own; a test sees that they are served.
    if let (Ok(v1), Ok(v1alpha)) = (described().build_v1(), described().build_v1alpha()) {
        let until_drained = MapRequestLayer::new(move |request: hyper::Request<Body>| {
            let drain = drain.clone();
            request.map(|body| until_drained(body, drain))
        });
        routes = routes.add_service(until_drained.named_layer(v1)).add_service(until_drained.named_layer(v1alpha));
    }
    routes.prepare()
}

/// What a client asks in a stream, up to a drain: then it is as if the client had ended its stream, what it has asked is answered,
/// and it does not hold a connection that is to close.
fn until_drained(body: Body, drain: Drain) -> Body {
    let drained = Box::pin(async move { drain.requested().await });
    Body::new(StreamBody::new(BodyStream::new(body).take_until(drained)))
}
