//! The services there are, with health and reflection.

use tidegate_proto::DESCRIPTORS;
use tidegate_proto::v1::admin_server::AdminServer;
use tidegate_proto::v1::consumer_server::ConsumerServer;
use tidegate_proto::v1::publisher_server::PublisherServer;
use tonic::service::Routes;
use tonic_health::pb::health_server::HealthServer;
use tonic_reflection::server::Builder;

use super::health::Health;
use super::state::Grpc;

/// Every service, without a socket.
#[must_use]
pub fn routes(grpc: Grpc) -> Routes {
    let limit = grpc.config.max_message_bytes;
    // An answer may be larger than any request: a frame of messages is as large as its largest message.
    let publisher = PublisherServer::new(grpc.clone()).max_decoding_message_size(limit);
    let consumer = ConsumerServer::new(grpc.clone()).max_decoding_message_size(limit);
    let health = HealthServer::new(Health(grpc.drain.clone()));
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
        routes = routes.add_service(v1).add_service(v1alpha);
    }
    routes.prepare()
}
