//! The HTTP API: one durable message a request, each connection kept alive and used for one request at a time.

use std::sync::Arc;
use std::time::Instant;

use axum::routing::post;
use bytes::Bytes;
use clap::Args;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

use super::load::{Measured, Run};
use super::{Amount, load, report};
use crate::cli::Error;
use crate::cli::arguments::ServerOption;

/// Load the HTTP API.
#[derive(Debug, Args)]
pub struct Options {
    /// How much.
    #[command(flatten)]
    amount: Amount,
    /// The topic to publish to; it is created when the gateway creates topics by itself
    #[arg(long, default_value = "bench")]
    topic: String,
    /// Load an empty axum handler in this process instead, for comparison
    #[arg(long)]
    empty: bool,
    /// The gateway.
    #[command(flatten)]
    server: ServerOption,
}

pub async fn run(options: Options) -> Result<(), Error> {
    let (name, uri) = if options.empty {
        ("empty handler", serve_empty().await?)
    } else {
        (
            "http publish",
            format!("{}/v1/topics/{}/messages", options.server.server.trim_end_matches('/'), options.topic),
        )
    };
    let uri: Uri = uri.parse().map_err(|error| Error::failed(format!("--server is not a URL: {error}")))?;
    let (measured, took) = load::run(&options.amount, |_, run| publish(uri.clone(), run)).await?;
    report::print(options.amount.output, &[(name, measured, took)])
}

/// What axum costs by itself: the body is read and nothing done with it. It ends with the process.
async fn serve_empty() -> Result<String, Error> {
    let socket = TcpListener::bind("127.0.0.1:0").await?;
    let address = socket.local_addr()?;
    let router = axum::Router::new().route("/", post(|_: Bytes| async { "" }));
    std::thread::spawn(move || serve_alone(socket, router));
    Ok(format!("http://{address}/"))
}

/// On a runtime of its own, as a gateway would have.
fn serve_alone(socket: TcpListener, router: axum::Router) -> Result<(), Error> {
    let socket = socket.into_std()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async { Ok(axum::serve(TcpListener::from_std(socket)?, router).await?) })
}

async fn publish(uri: Uri, run: Arc<Run>) -> Result<Measured, Error> {
    let authority = uri.authority().ok_or_else(|| Error::failed(format!("{uri} names no host")))?.clone();
    let address = (authority.host().to_owned(), authority.port_u16().unwrap_or(80));
    let unreachable = |error: &dyn std::fmt::Display| {
        Error::unavailable(format!("cannot reach {authority}: {error}. Start it with: tidegate serve"))
    };
    let stream = TcpStream::connect(address).await.map_err(|error| unreachable(&error))?;
    stream.set_nodelay(true)?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| unreachable(&error))?;
    let requests = send_all(sender, &uri, &run);
    tokio::pin!(requests);
    tokio::select! {
        measured = requests.as_mut() => measured,
        ended = connection => match ended {
            Ok(()) => requests.await,
            Err(error) => Err(unreachable(&error)),
        },
    }
}

async fn send_all(mut sender: http1::SendRequest<Full<Bytes>>, uri: &Uri, run: &Run) -> Result<Measured, Error> {
    let mut measured = Measured::new()?;
    let body = Bytes::from(vec![b'x'; run.size()]);
    while run.claim(1).is_some() {
        let request = Request::post(uri.path())
            .header("host", uri.authority().map_or("", |authority| authority.as_str()))
            .header("content-type", "application/octet-stream")
            .body(Full::new(body.clone()))
            .map_err(|error| Error::failed(error.to_string()))?;
        let sent = Instant::now();
        let failed = |error: hyper::Error| Error::failed(format!("the connection broke: {error}"));
        let response = sender.send_request(request).await.map_err(failed)?;
        let status = response.status();
        let answer = response.into_body().collect().await.map_err(failed)?.to_bytes();
        if status.is_success() {
            run.record(&mut measured, sent, 1, body.len() as u64);
        } else {
            measured.fail(format!("{status}: {}", String::from_utf8_lossy(&answer)));
        }
    }
    Ok(measured)
}
