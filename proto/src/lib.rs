//! The gRPC API: types, clients and servers generated from `tidegate/v1/*.proto`, whose comments are its documentation.

mod messages;

pub use messages::Messages;

/// Package `tidegate.v1`.
#[allow(missing_docs, clippy::all, clippy::pedantic)]
pub mod v1 {
    tonic::include_proto!("tidegate.v1");
}

/// The schema as an encoded `google.protobuf.FileDescriptorSet`, with everything it imports: what reflection serves.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
