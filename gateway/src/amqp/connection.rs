//! One connection from its socket's point of view: opened, run, and ended with the words the protocol has for it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::Listener;
use super::codec::{Connection, Frame, FrameReader, Limits, Malformed, Method, Outbox, PROTOCOL_HEADER, Payload};
use super::error::{Code, Exception};
use super::handshake::{self, Opened};
use super::session::Session;
use super::socket::Socket;
use crate::listener::Drain;

/// Why a connection ends.
#[derive(Debug, thiserror::Error)]
pub(super) enum Ended {
    #[error("closed by the client")]
    ByClient,
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error("{exception}")]
    Refused { exception: Exception, silently: bool },
    #[error("{exception} ({method})")]
    Exception { exception: Exception, class_id: u16, method_id: u16, method: &'static str },
    #[error("the connection was not opened in time (handshake_timeout)")]
    TooSlow,
    #[error("missed heartbeats from the client")]
    MissedHeartbeats,
    #[error("the gateway is stopping")]
    Drained,
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl From<Exception> for Ended {
    fn from(exception: Exception) -> Self {
        Self::Exception { exception, class_id: 0, method_id: 0, method: "connection" }
    }
}

/// How long a client that is told that its connection is closed may take to say that it has heard it.
const CLOSE_PATIENCE: Duration = Duration::from_secs(5);

/// The bytes of a connection, both ways.
pub(super) struct Wire {
    pub(super) reader: FrameReader,
    pub(super) outbox: Outbox,
    pub(super) socket: Socket,
}

impl Wire {
    fn new(stream: TcpStream, limits: Limits) -> Self {
        Self { reader: FrameReader::new(limits), outbox: Outbox::default(), socket: Socket::new(stream) }
    }

    pub(super) fn set_limits(&mut self, limits: Limits) {
        self.reader.set_limits(limits);
    }

    /// Waits for the eight bytes a connection begins with.
    pub(super) async fn protocol_header(&mut self) -> Result<(), Ended> {
        while !self.reader.protocol_header()? {
            self.fill().await?;
        }
        Ok(())
    }

    /// The next frame that says something.
    pub(super) async fn receive(&mut self) -> Result<Frame, Ended> {
        loop {
            match self.reader.next_frame()? {
                Some(Frame { payload: Payload::Heartbeat, .. }) => {}
                Some(frame) => return Ok(frame),
                None => self.fill().await?,
            }
        }
    }

    async fn fill(&mut self) -> Result<(), Ended> {
        match self.reader.fill(&mut self.socket.halves().0).await? {
            0 => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            _ => Ok(()),
        }
    }

    /// Sends a method of the connection's own channel.
    pub(super) async fn send(&mut self, method: Connection) -> Result<(), Ended> {
        self.outbox.method(0, &Method::Connection(method));
        self.flush().await?;
        Ok(())
    }

    async fn flush(&mut self) -> io::Result<()> {
        self.outbox.flush(&mut self.socket.halves().1).await.map(drop)
    }
}

/// Runs a connection to its end.
pub(super) async fn run(listener: Arc<Listener>, stream: TcpStream, address: SocketAddr, drain: Drain) {
    let metrics = &listener.metrics;
    metrics.connections.add(1);
    metrics.connections_accepted.add(1);
    let _ = stream.set_nodelay(true);
    let mut wire = Wire::new(stream, Limits::default());
    let ended = match open(&listener, &mut wire, &drain).await {
        Ok(opened) => {
            let mut session = Session::new(&listener, wire, opened);
            let ended = session.serve(&drain).await;
            session.end().await;
            // Being told that the connection is closed tells a client that what it acknowledged is done.
            if matches!(ended, Ended::ByClient)
                && let Err(exception) = session.sync().await
            {
                tracing::warn!(%address, %exception, "the last acknowledgements may come again");
            }
            wire = session.wire;
            ended
        }
        Err(ended) => ended,
    };
    match &ended {
        Ended::ByClient => {}
        Ended::Io(error) => tracing::debug!(%address, %error, "connection lost"),
        Ended::Drained => tracing::debug!(%address, "connection closed for the stop"),
        reason => {
            metrics.connections_refused.add(1);
            tracing::info!(%address, %reason, "connection closed");
        }
    }
    // Whether the client hears it is its own business.
    let _ = tokio::time::timeout(CLOSE_PATIENCE, say_goodbye(&mut wire, ended)).await;
    metrics.connections.sub(1);
}

async fn open(listener: &Listener, wire: &mut Wire, drain: &Drain) -> Result<Opened, Ended> {
    tokio::select! {
        opened = tokio::time::timeout(listener.config.handshake_timeout, handshake::open(listener, wire)) => {
            opened.unwrap_or(Err(Ended::TooSlow))
        }
        () = drain.requested() => Err(Ended::Drained),
    }
}

/// Tells the client why, and waits for it to answer.
async fn say_goodbye(wire: &mut Wire, ended: Ended) -> Result<(), Ended> {
    wire.socket.watch()?;
    let (code, text, class_id, method_id) = match &ended {
        Ended::Malformed(Malformed::ProtocolHeader) => {
            wire.outbox.raw(&PROTOCOL_HEADER);
            wire.flush().await?;
            return Ok(());
        }
        Ended::Malformed(malformed) => {
            let (class_id, method_id) = malformed.class_and_method();
            let exception = Exception::from(*malformed);
            (exception.code.number(), exception.text(), class_id, method_id)
        }
        Ended::Exception { exception, class_id, method_id, .. } => {
            (exception.code.number(), exception.text(), *class_id, *method_id)
        }
        Ended::Refused { exception, silently: false } => (exception.code.number(), exception.text(), 0, 0),
        Ended::Drained => {
            let exception =
                Exception::new(Code::ConnectionForced, "broker forced connection closure with reason 'shutdown'");
            (exception.code.number(), exception.text(), 0, 0)
        }
        Ended::ByClient => return wire.send(Connection::CloseOk {}).await,
        Ended::Refused { silently: true, .. } | Ended::TooSlow | Ended::MissedHeartbeats | Ended::Io(_) => {
            return Ok(());
        }
    };
    wire.send(Connection::Close { reply_code: code, reply_text: text.into(), class_id, method_id }).await?;
    if let Ended::Malformed(_) = ended {
        // What comes next cannot be told apart any more; but left unread it would take these words from the client.
        let (mut input, mut output) = wire.socket.halves();
        output.shutdown().await?;
        tokio::io::copy(&mut input, &mut tokio::io::sink()).await?;
        return Ok(());
    }
    loop {
        match wire.receive().await?.payload {
            Payload::Method(Method::Connection(Connection::CloseOk {})) => return Ok(()),
            Payload::Method(Method::Connection(Connection::Close { .. })) => {
                return wire.send(Connection::CloseOk {}).await;
            }
            _ => {}
        }
    }
}
