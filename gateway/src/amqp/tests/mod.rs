//! The listener over real sockets, with a client made of the codec itself: what no client library would send.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod any_method;
mod behaviour;
mod full_disk;
mod limits;

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tidegate_engine::store::Environment;
use tidegate_engine::{Engine, EngineConfig};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

use super::codec::{
    Basic, Channel, Confirm, Connection, Frame, FrameReader, Limits, Method, Outbox, PROTOCOL_HEADER, Payload, Queue,
    Table, Text,
};
use super::{Config, Listener, Metrics};
use crate::broker::{Broker, Settings};
use crate::listener::Drain;

/// A listener on a directory of its own.
pub(super) struct Gateway {
    address: std::net::SocketAddr,
    pub metrics: Arc<Metrics>,
    engine: Engine,
    drain: Drain,
    _directory: tempfile::TempDir,
}

impl Gateway {
    pub(super) async fn new() -> Self {
        Self::with(Config::default()).await
    }

    pub(super) async fn with(config: Config) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let environment = Environment::local(directory.path()).unwrap();
        let settings = EngineConfig { segment_bytes: 32 << 20, ..EngineConfig::default() };
        Self::on(environment, settings, config, directory).await
    }

    async fn on(
        environment: Environment,
        settings: EngineConfig,
        config: Config,
        directory: tempfile::TempDir,
    ) -> Self {
        let (engine, _) = Engine::open(settings, environment).unwrap();
        let broker = Broker::open(engine.clone(), Settings::default()).unwrap();
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let (drain, metrics) = (Drain::default(), Arc::new(Metrics::default()));
        let listener = Arc::new(Listener::new(broker, Arc::new(config), Arc::clone(&metrics)));
        drain.spawn(listener.serve(socket, drain.clone()));
        Self { address, metrics, engine, drain, _directory: directory }
    }

    /// A connection that has sent nothing.
    pub(super) async fn connect(&self) -> Client {
        let stream = TcpStream::connect(self.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let limits = Limits { max_frame_bytes: 128 << 10, max_table_depth: 32, max_table_fields: 1000 };
        Client { stream, reader: FrameReader::new(limits), outbox: Outbox::default() }
    }

    /// An open connection with the channel 1.
    pub(super) async fn client(&self) -> Client {
        let mut client = self.connect().await;
        client.open().await;
        client.open_channel(1).await;
        client
    }

    /// Every connection must be able to end.
    pub(super) async fn close(self) {
        assert!(self.drain.finish(Duration::from_secs(10)).await, "a connection does not end");
        self.engine.close().await.unwrap();
    }
}

/// A client that can do everything wrong.
pub(super) struct Client {
    pub stream: TcpStream,
    reader: FrameReader,
    pub outbox: Outbox,
}

/// How the server ended a channel or the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ending {
    Channel(u16),
    Connection(u16),
    /// Without a word.
    Eof,
}

impl Client {
    pub(super) async fn open(&mut self) {
        self.open_with(0).await;
    }

    /// Opens with a heartbeat of so many seconds.
    pub(super) async fn open_with(&mut self, heartbeat: u16) {
        self.raw(&PROTOCOL_HEADER).await;
        assert!(matches!(self.method().await, Method::Connection(Connection::Start { .. })));
        self.send(0, Method::Connection(start_ok("PLAIN", b"\0guest\0guest"))).await;
        let Method::Connection(Connection::Tune { channel_max, frame_max, .. }) = self.method().await else {
            panic!("tune was expected");
        };
        self.send(0, Method::Connection(Connection::TuneOk { channel_max, frame_max, heartbeat })).await;
        self.send(0, Method::Connection(Connection::Open { virtual_host: "/".into() })).await;
        assert!(matches!(self.method().await, Method::Connection(Connection::OpenOk {})));
    }

    pub(super) async fn open_channel(&mut self, id: u16) {
        self.send(id, Method::Channel(Channel::Open {})).await;
        assert!(matches!(self.method().await, Method::Channel(Channel::OpenOk {})));
    }

    pub(super) async fn raw(&mut self, bytes: &[u8]) {
        // The server may have hung up already; that is seen by reading.
        let _ = self.stream.write_all(bytes).await;
    }

    pub(super) async fn send(&mut self, channel: u16, method: Method) {
        self.outbox.method(channel, &method);
        self.flush().await;
    }

    pub(super) async fn flush(&mut self) {
        let _ = self.outbox.flush(&mut self.stream).await;
    }

    /// Puts a publish into the outbox.
    pub(super) fn publish(&mut self, exchange: &'static str, key: &'static str, body: &'static [u8]) {
        let method =
            Basic::Publish { exchange: exchange.into(), routing_key: key.into(), mandatory: false, immediate: false };
        let none = |out: &mut BytesMut| out.extend_from_slice(&[0, 0]);
        self.outbox.content(1, &Method::Basic(method), none, &Bytes::from_static(body), 4096);
    }

    /// Puts a publish into the outbox of a message that lives no longer than its arrival.
    pub(super) fn publish_for_now(&mut self, key: &'static str, body: &'static [u8]) {
        let (exchange, routing_key) = ("".into(), key.into());
        let method = Basic::Publish { exchange, routing_key, mandatory: false, immediate: false };
        let expiration = |out: &mut BytesMut| out.extend_from_slice(&[1, 0, 1, b'0']);
        self.outbox.content(1, &Method::Basic(method), expiration, &Bytes::from_static(body), 4096);
    }

    pub(super) async fn declare(&mut self, queue: &'static str) -> u32 {
        self.send(1, Method::Queue(declare(queue, false))).await;
        match self.method().await {
            Method::Queue(Queue::DeclareOk { message_count, .. }) => message_count,
            other => panic!("{other:?}"),
        }
    }

    /// The next frame; none at the end.
    pub(super) async fn frame(&mut self) -> Option<Frame> {
        let next = async {
            loop {
                if let Some(frame) = self.reader.next_frame().unwrap() {
                    return Some(frame);
                }
                match self.reader.fill(&mut self.stream).await {
                    Ok(0) | Err(_) => return None,
                    Ok(_) => {}
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(20), next).await.expect("the server says nothing")
    }

    /// The next method; what is no method is passed over.
    pub(super) async fn method(&mut self) -> Method {
        loop {
            if let Payload::Method(method) = self.frame().await.expect("the server hung up").payload {
                return method;
            }
        }
    }

    /// Waits for the end of a channel or of the connection.
    pub(super) async fn ending(&mut self) -> Ending {
        while let Some(frame) = self.frame().await {
            match frame.payload {
                Payload::Method(Method::Channel(Channel::Close { reply_code, .. })) => {
                    return Ending::Channel(reply_code);
                }
                Payload::Method(Method::Connection(Connection::Close { reply_code, .. })) => {
                    return Ending::Connection(reply_code);
                }
                _ => {}
            }
        }
        Ending::Eof
    }
}

pub(super) fn start_ok(mechanism: &'static str, response: &'static [u8]) -> Connection {
    Connection::StartOk {
        client_properties: {
            let mut capabilities = Table::default();
            capabilities.push("authentication_failure_close", true);
            capabilities.push("consumer_cancel_notify", true);
            let mut properties = Table::default();
            properties.push("capabilities", capabilities);
            properties
        },
        mechanism: mechanism.into(),
        response: Bytes::from_static(response),
        locale: "en_US".into(),
    }
}

pub(super) fn declare(queue: &'static str, passive: bool) -> Queue {
    Queue::Declare {
        queue: Text::from_static(queue),
        passive,
        durable: false,
        exclusive: false,
        auto_delete: false,
        no_wait: false,
        arguments: Table::default(),
    }
}

pub(super) fn consume(queue: &'static str, tag: &'static str, no_ack: bool) -> Method {
    Method::Basic(Basic::Consume {
        queue: queue.into(),
        consumer_tag: tag.into(),
        no_local: false,
        no_ack,
        exclusive: false,
        no_wait: false,
        arguments: Table::default(),
    })
}

pub(super) fn select_confirms() -> Method {
    Method::Confirm(Confirm::Select { nowait: false })
}
