//! One connection: requests in, responses out in the same order.
//!
//! One task reads, handles and writes. Produce is pipelined: its batches are appended as soon as they are read, and reading
//! goes on; its response is written when the append is durable. Everything else is handled to the end before the next request
//! is looked at, as in Kafka. What is in flight is bounded in requests and in bytes; at the bound, reading stops.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::ApiKey;
use kafka_protocol::protocol::StrBytes;
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;
use tokio::net::tcp::ReadHalf;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, Sleep, sleep};

use super::codec::{Frame, FrameReader, Malformed, Outbox, RequestHeader, check};
use super::context::{Context, Peer};
use super::{Listener, api, api_00_produce, api_18_api_versions};
use crate::broker::Principal;
use crate::listener::Drain;

/// Why a connection ends before its client or the drain wants it to.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error("no whole request in time (handshake_timeout, idle_timeout)")]
    TooSlow,
    #[error("a produce without acknowledgement failed")]
    ProduceFailed,
    #[error("a response could not be encoded")]
    Encoding,
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A response that will come: kept in the order of the requests.
struct Pending {
    response: Pin<Box<dyn Future<Output = Option<Frame>> + Send>>,
    /// What it may hold of `max_in_flight_bytes`, given back when it is written.
    budget: OwnedSemaphorePermit,
}

/// Runs a connection to its end.
pub(super) async fn run(listener: Arc<Listener>, mut stream: TcpStream, address: SocketAddr, drain: Drain) {
    let metrics = Arc::clone(&listener.metrics);
    metrics.connections.add(1);
    metrics.connections_accepted.add(1);
    let _ = stream.set_nodelay(true);
    let ended = match advertised(&listener, &stream) {
        Ok((host, port)) => {
            let peer = Peer { principal: principal(), address, host, port };
            let session = Session { listener: &listener, peer, drain: &drain };
            session.run(&mut stream).await
        }
        Err(error) => Err(error.into()),
    };
    match ended {
        Ok(()) => {}
        Err(Ended::Io(error)) => tracing::debug!(%address, %error, "connection lost"),
        Err(reason) => {
            metrics.connections_refused.add(1);
            tracing::info!(%address, %reason, "connection closed");
        }
    }
    metrics.connections.sub(1);
}

/// Who a connection is. Every connection is anonymous: the listener is only bound where configuration lets those in.
fn principal() -> Principal {
    Principal::anonymous()
}

fn advertised(listener: &Listener, stream: &TcpStream) -> io::Result<(StrBytes, i32)> {
    if let Some((host, port)) = listener.config.advertised.as_deref().and_then(|text| text.rsplit_once(':')) {
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        if let Ok(port) = port.parse::<u16>() {
            return Ok((StrBytes::from_string(host), i32::from(port)));
        }
    }
    let local = stream.local_addr()?;
    Ok((StrBytes::from_string(local.ip().to_canonical().to_string()), i32::from(local.port())))
}

/// Handles one request as a connection would, to its response, if it has one.
pub(super) async fn answer(listener: &Listener, frame: Bytes) -> Option<usize> {
    let address = SocketAddr::from(([127, 0, 0, 1], 0));
    let peer = Peer { principal: principal(), address, host: StrBytes::from_static_str("localhost"), port: 0 };
    let session = Session { listener, peer, drain: &Drain::default() };
    let budget = Arc::new(Semaphore::new(session.budget_limit()));
    let (responses, mut queue) = mpsc::channel(1);
    let handled = session.request(frame, &budget, &responses).await;
    assert!(!matches!(handled, Err(Ended::Encoding)), "a response could not be encoded");
    drop(responses);
    let pending = queue.recv().await?;
    let frame = pending.response.await;
    assert!(frame.is_some(), "a response could not be encoded");
    frame.map(|frame| frame.len())
}

struct Session<'a> {
    listener: &'a Listener,
    peer: Peer,
    drain: &'a Drain,
}

impl Session<'_> {
    async fn run(&self, stream: &mut TcpStream) -> Result<(), Ended> {
        let (mut input, mut output) = stream.split();
        let (responses, queue) = mpsc::channel(self.listener.config.max_in_flight_requests.max(1));
        // Both run in this task: no other thread is woken to hand a response over. When reading ends, what is owed is still
        // written; when writing fails, reading stops.
        tokio::try_join!(self.read(&mut input, responses), self.write(&mut output, queue)).map(drop)
    }

    async fn read(&self, input: &mut ReadHalf<'_>, responses: mpsc::Sender<Pending>) -> Result<(), Ended> {
        let config = &self.listener.config;
        let mut reader = FrameReader::new(config.max_request_bytes);
        let mut patience = Patience::new(config.handshake_timeout);
        let budget = Arc::new(Semaphore::new(self.budget_limit()));
        let mut drained = std::pin::pin!(self.drain.requested());
        loop {
            while let Some(frame) = reader.next_frame()? {
                self.request(frame, &budget, &responses).await?;
                patience.renew(config.idle_timeout);
            }
            if reader.is_partial() {
                patience.shorten(config.handshake_timeout);
            }
            let count = tokio::select! {
                biased;
                count = reader.fill(input) => count?,
                () = patience.over() => return Err(Ended::TooSlow),
                () = &mut drained => return Ok(()),
            };
            if count == 0 {
                return Ok(());
            }
            self.listener.metrics.bytes_in.add(count);
        }
    }

    fn budget_limit(&self) -> usize {
        self.listener.config.max_in_flight_bytes.clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize))
    }

    /// Waits until so many more bytes may be in flight (or, for more than the limit, until nothing else is).
    async fn admit(&self, budget: &Arc<Semaphore>, bytes: usize) -> Result<OwnedSemaphorePermit, Ended> {
        let bytes = bytes.min(self.budget_limit()) as u32;
        Arc::clone(budget).acquire_many_owned(bytes).await.map_err(|_| Ended::Encoding)
    }

    async fn request(
        &self,
        mut frame: Bytes,
        budget: &Arc<Semaphore>,
        responses: &mpsc::Sender<Pending>,
    ) -> Result<(), Ended> {
        let permit = self.admit(budget, frame.len()).await?;
        let Some(context) = self.context(&mut frame)? else {
            let refusal = api_18_api_versions::refusal(&frame)?;
            return send(responses, Box::pin(std::future::ready(Some(refusal))), permit).await;
        };
        let elements = self.listener.config.max_request_elements;
        check(context.header.api, context.header.version, &frame, elements)?;
        self.listener.metrics.count_request(context.header.api);
        if context.header.api == ApiKey::Produce {
            return self.produce(&context, frame, permit, responses).await;
        }
        let response = api::handle(&context, frame).await?.ok_or(Ended::Encoding)?;
        // The response may be far larger than its request.
        drop(permit);
        let permit = self.admit(budget, response.len()).await?;
        send(responses, Box::pin(std::future::ready(Some(response))), permit).await
    }

    /// The request's header and surroundings; `None` for an ApiVersions request of an unknown version, which is answered.
    fn context(&self, frame: &mut Bytes) -> Result<Option<Context<'_>>, Malformed> {
        let (key, version, _) = RequestHeader::peek(frame)?;
        let served =
            ApiKey::try_from(key).map_err(|()| Malformed::UnknownKey(key)).and_then(|api| api::check(api, version));
        match served {
            Err(Malformed::UnknownVersion(..)) if key == ApiKey::ApiVersions as i16 => return Ok(None),
            served => served?,
        }
        let header = RequestHeader::take(frame)?;
        Ok(Some(Context { listener: self.listener, peer: &self.peer, header, drain: self.drain }))
    }

    async fn produce(
        &self,
        context: &Context<'_>,
        body: Bytes,
        permit: OwnedSemaphorePermit,
        responses: &mpsc::Sender<Pending>,
    ) -> Result<(), Ended> {
        let started = api_00_produce::start(context, body).await?;
        if !started.wants_response() {
            return if started.has_failed() { Err(Ended::ProduceFailed) } else { Ok(()) };
        }
        send(responses, Box::pin(started.finish(Arc::clone(&self.listener.metrics))), permit).await
    }

    async fn write(
        &self,
        output: &mut (impl AsyncWrite + Unpin),
        mut queue: mpsc::Receiver<Pending>,
    ) -> Result<(), Ended> {
        let mut outbox = Outbox::default();
        let mut budgets = Vec::new();
        let mut next = None;
        loop {
            // What is ready goes out in one write; what is not is waited for with nothing left unwritten.
            let response = tokio::select! {
                biased;
                response = ready_response(&mut queue, &mut next), if !outbox.is_full() => response,
                () = std::future::ready(()), if !outbox.is_empty() => {
                    let count = outbox.flush(output).await?;
                    self.listener.metrics.bytes_out.add(count);
                    budgets.clear();
                    continue;
                }
            };
            let Some((frame, budget)) = response else { break };
            outbox.push(frame.ok_or(Ended::Encoding)?);
            budgets.push(budget);
        }
        let count = outbox.flush(output).await?;
        self.listener.metrics.bytes_out.add(count);
        Ok(())
    }
}

async fn send(
    responses: &mpsc::Sender<Pending>,
    response: Pin<Box<dyn Future<Output = Option<Frame>> + Send>>,
    budget: OwnedSemaphorePermit,
) -> Result<(), Ended> {
    responses.send(Pending { response, budget }).await.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe).into())
}

/// The next response, when it has come. May be dropped while it waits: `next` keeps what was begun.
async fn ready_response(
    queue: &mut mpsc::Receiver<Pending>,
    next: &mut Option<Pending>,
) -> Option<(Option<Frame>, OwnedSemaphorePermit)> {
    if next.is_none() {
        *next = queue.recv().await;
    }
    let frame = next.as_mut()?.response.as_mut().await;
    next.take().map(|pending| (frame, pending.budget))
}

/// How much longer a connection is waited for. One timer, moved only when it fires: renewing costs a clock reading.
struct Patience {
    until: Instant,
    partial: bool,
    timer: Pin<Box<Sleep>>,
}

impl Patience {
    fn new(first: Duration) -> Self {
        Self { until: Instant::now() + first, partial: false, timer: Box::pin(sleep(first)) }
    }

    fn renew(&mut self, time: Duration) {
        self.partial = false;
        self.until = Instant::now() + time;
    }

    /// A request has begun: from now on it has only this long.
    fn shorten(&mut self, time: Duration) {
        if !self.partial {
            self.partial = true;
            self.until = Instant::now() + time;
            if self.timer.deadline() > self.until {
                self.timer.as_mut().reset(self.until);
            }
        }
    }

    async fn over(&mut self) {
        loop {
            self.timer.as_mut().await;
            if self.timer.deadline() >= self.until {
                return;
            }
            self.timer.as_mut().reset(self.until);
        }
    }
}
