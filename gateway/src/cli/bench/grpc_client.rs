//! As much of a gRPC client as load needs: streams whose requests are encoded already; and the echo to compare with.

use std::convert::Infallible;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::http::uri::PathAndQuery;
use axum::http::{Request as HttpRequest, Response as HttpResponse};
use bytes::{BufMut, Bytes};
use futures_util::stream;
use prost::Message;
use tidegate_proto::v1::PublishStreamRequest;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tonic::body::Body;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::server::{Grpc, NamedService, StreamingService};
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;
use tower::Service;

use crate::cli::Error;

/// HTTP/2 windows of both ends, as the gateway's by default.
const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;

/// Where the echo is.
pub const ECHO: &str = "/tidegate.bench.Echo/Stream";

/// A connection of its own.
pub async fn connect(server: &str) -> Result<Channel, Error> {
    let endpoint = Endpoint::from_shared(server.to_owned())
        .map_err(|error| Error::failed(format!("--server is not a URL: {error}")))?
        .tcp_nodelay(true)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW);
    endpoint
        .connect()
        .await
        .map_err(|error| Error::unavailable(format!("cannot reach {server}: {error}. Start it with: tidegate serve")))
}

/// Opens a stream of encoded requests; responses are decoded.
pub async fn open<M: Message + Default + 'static>(
    channel: Channel,
    path: &'static str,
    frames: mpsc::Receiver<Bytes>,
) -> Result<Streaming<M>, Error> {
    let requests = stream::unfold(frames, async |mut frames| Some((frames.recv().await?, frames)));
    let mut client = tonic::client::Grpc::new(channel).max_decoding_message_size(64 << 20);
    client.ready().await.map_err(|error| Error::unavailable(error.to_string()))?;
    let codec = Encoded(PhantomData);
    let called = client.streaming(Request::new(requests), PathAndQuery::from_static(path), codec).await;
    let refused = |status: Status| Error::refused(format!("{:?}: {}", status.code(), status.message()));
    called.map(Response::into_inner).map_err(refused)
}

/// Takes requests as they are.
struct Encoded<M>(PhantomData<M>);

struct Copy;

impl<M: Message + Default + 'static> Codec for Encoded<M> {
    type Encode = Bytes;
    type Decode = M;
    type Encoder = Copy;
    type Decoder = Decode<M>;

    fn encoder(&mut self) -> Copy {
        Copy
    }

    fn decoder(&mut self) -> Decode<M> {
        Decode(PhantomData)
    }
}

impl Encoder for Copy {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put_slice(&item);
        Ok(())
    }
}

struct Decode<M>(PhantomData<M>);

impl<M: Message + Default + 'static> Decoder for Decode<M> {
    type Item = M;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<M>, Status> {
        M::decode(from).map(Some).map_err(|error| Status::internal(error.to_string()))
    }
}

/// What tonic costs by itself: each frame of a PublishStream is decoded and sent back. It ends with the process.
pub async fn serve_echo() -> Result<String, Error> {
    let socket = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
    let address = socket.local_addr()?;
    std::thread::spawn(move || serve_alone(socket));
    Ok(format!("http://{address}"))
}

/// On a runtime of its own, as a gateway would have.
fn serve_alone(socket: TcpListener) -> Result<(), Error> {
    let socket = socket.into_std()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let incoming = TcpIncoming::from(TcpListener::from_std(socket)?).with_nodelay(Some(true));
        let server = Server::builder()
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .add_service(EchoServer)
            .serve_with_incoming(incoming);
        server.await.map_err(|error| Error::failed(error.to_string()))
    })
}

#[derive(Clone)]
struct EchoServer;

impl NamedService for EchoServer {
    const NAME: &'static str = "tidegate.bench.Echo";
}

impl Service<HttpRequest<Body>> for EchoServer {
    type Response = HttpResponse<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: HttpRequest<Body>) -> Self::Future {
        Box::pin(async move {
            let mut grpc = Grpc::new(ProstCodec::default()).max_decoding_message_size(64 << 20);
            Ok(grpc.streaming(Back, request).await)
        })
    }
}

/// Answers with what it is asked.
struct Back;

impl StreamingService<PublishStreamRequest> for Back {
    type Response = PublishStreamRequest;
    type ResponseStream = Streaming<PublishStreamRequest>;
    type Future = std::future::Ready<Result<Response<Streaming<PublishStreamRequest>>, Status>>;

    fn call(&mut self, request: Request<Streaming<PublishStreamRequest>>) -> Self::Future {
        std::future::ready(Ok(Response::new(request.into_inner())))
    }
}
