//! lapin's publishers with confirms and consumers with acknowledgements, which begin anew whenever the broker is gone.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions, QueueBindOptions,
    QueueDeclareOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties};
use tokio::task::JoinSet;

use super::history::{History, Message};

/// Unconfirmed messages of one publisher.
const IN_FLIGHT: usize = 100;
/// Acknowledgements after which a consumer asks something, to know that they are durable.
const SETTLE: usize = 20;
const PREFETCH: u16 = 50;

/// Clients at work.
pub struct Load {
    /// What they saw.
    pub history: Arc<Mutex<History>>,
    broker: SocketAddr,
    publishers: JoinSet<()>,
    consumers: JoinSet<()>,
    stop_publishing: Arc<AtomicBool>,
    stop_consuming: Arc<AtomicBool>,
}

/// Waits for an answer, but not for one that a connection which is gone cannot bring: then lapin may wait for ever.
async fn answered<T>(
    what: &str,
    connection: &Connection,
    answer: impl Future<Output = lapin::Result<T>>,
) -> lapin::Result<T> {
    tokio::pin!(answer);
    let start = Instant::now();
    loop {
        match tokio::time::timeout(Duration::from_secs(1), answer.as_mut()).await {
            Ok(answer) => return answer,
            Err(_) if !connection.status().connected() => return Err(gone()),
            Err(_) => {
                assert!(start.elapsed() < Duration::from_secs(60), "{what}: no answer in 60 s on a good connection")
            }
        }
    }
}

fn gone() -> lapin::Error {
    std::io::Error::from(std::io::ErrorKind::ConnectionAborted).into()
}

pub async fn connect(broker: SocketAddr) -> lapin::Result<(Connection, Channel)> {
    let uri = format!("amqp://guest:guest@{broker}/%2f?heartbeat=5");
    let connecting = Connection::connect(&uri, ConnectionProperties::default());
    let connection = tokio::time::timeout(Duration::from_secs(10), connecting).await.unwrap_or_else(|_| Err(gone()))?;
    let channel = answered("channel.open", &connection, connection.create_channel()).await?;
    Ok((connection, channel))
}

impl Load {
    /// Declares durable queues, each bound to `amq.topic` with a key, and starts nobody yet.
    pub async fn prepare(broker: SocketAddr, queues: &[(&str, &str)]) -> Self {
        let (connection, channel) = connect(broker).await.unwrap();
        let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        for (queue, key) in queues {
            channel.queue_declare((*queue).into(), durable, FieldTable::default()).await.unwrap();
            let (bind, arguments) = (QueueBindOptions::default(), FieldTable::default());
            channel.queue_bind((*queue).into(), "amq.topic".into(), (*key).into(), bind, arguments).await.unwrap();
        }
        connection.close(200, "".into()).await.unwrap();
        Self {
            history: Arc::default(),
            broker,
            publishers: JoinSet::new(),
            consumers: JoinSet::new(),
            stop_publishing: Arc::default(),
            stop_consuming: Arc::default(),
        }
    }

    /// Adds a publisher with confirms.
    pub fn publisher(&mut self, name: &'static str, exchange: &'static str, key: &'static str) {
        let (broker, history, stop) = (self.broker, Arc::clone(&self.history), Arc::clone(&self.stop_publishing));
        self.publishers.spawn(async move {
            let mut publisher = Publisher { name, exchange, key, next: 0, history, stop };
            while publisher.session(broker).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
    }

    /// Adds a consumer that acknowledges one by one.
    pub fn consumer(&mut self, queue: &'static str) {
        let (broker, history, stop) = (self.broker, Arc::clone(&self.history), Arc::clone(&self.stop_consuming));
        self.consumers.spawn(async move {
            let consumer = Consumer { queue, history, stop };
            while consumer.session(broker).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
    }

    /// Waits until so many more messages are confirmed and so many more settled.
    pub async fn progress(&self, messages: usize) {
        let counts = || {
            let history = self.history.lock().unwrap();
            (history.confirmed_count(), history.settled_count())
        };
        let (start, before) = (Instant::now(), counts());
        loop {
            let now = counts();
            if now.0 >= before.0 + messages && now.1 >= before.1 + messages {
                return;
            }
            assert!(
                start.elapsed() < Duration::from_secs(120),
                "stuck: from {before:?} to {now:?} confirmed and settled"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Stops publishing, lets the consumers empty the queues, and gives what happened.
    pub async fn finish(mut self) -> History {
        self.stop_publishing.store(true, Ordering::Release);
        ended(&mut self.publishers).await;
        self.stop_consuming.store(true, Ordering::Release);
        ended(&mut self.consumers).await;
        std::mem::take(&mut *self.history.lock().unwrap())
    }
}

async fn ended(tasks: &mut JoinSet<()>) {
    let all = async { while tasks.join_next().await.is_some_and(|ended| ended.is_ok()) {} };
    tokio::time::timeout(Duration::from_secs(180), all).await.expect("the clients come to an end");
    assert!(tasks.is_empty(), "a client panicked");
}

struct Publisher {
    name: &'static str,
    exchange: &'static str,
    key: &'static str,
    next: u64,
    history: Arc<Mutex<History>>,
    stop: Arc<AtomicBool>,
}

impl Publisher {
    /// Publishes until told to stop; an error when the broker is gone, and what it had not confirmed is given up.
    async fn session(&mut self, broker: SocketAddr) -> lapin::Result<()> {
        let (connection, channel) = connect(broker).await?;
        answered("confirm.select", &connection, channel.confirm_select(ConfirmSelectOptions::default())).await?;
        let mut unconfirmed = FuturesUnordered::new();
        loop {
            while unconfirmed.len() < IN_FLIGHT && !self.stop.load(Ordering::Acquire) {
                let message: Message = (self.name.to_owned(), self.next);
                self.next += 1;
                let body = format!("{} {} {}", message.0, message.1, "x".repeat(80));
                let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
                let persistent = BasicProperties::default().with_delivery_mode(2);
                let (exchange, key) = (self.exchange.into(), self.key.into());
                let sent = channel.basic_publish(exchange, key, options, body.as_bytes(), persistent).await?;
                unconfirmed.push(async move { (message, sent.await) });
            }
            let next = answered("a confirm", &connection, async { Ok(unconfirmed.next().await) }).await?;
            let Some((message, answer)) = next else { break };
            let mut history = self.history.lock().unwrap();
            match answer? {
                Confirmation::Ack(None) => history.confirmed(message),
                other => history.trouble(format!("{message:?} was answered with {other:?}")),
            }
        }
        connection.close(200, "".into()).await
    }
}

struct Consumer {
    queue: &'static str,
    history: Arc<Mutex<History>>,
    stop: Arc<AtomicBool>,
}

impl Consumer {
    /// Consumes until told to stop and the queue is empty; an error when the broker is gone.
    async fn session(&self, broker: SocketAddr) -> lapin::Result<()> {
        let (connection, channel) = connect(broker).await?;
        let qos = || channel.basic_qos(PREFETCH, BasicQosOptions::default());
        answered("basic.qos", &connection, qos()).await?;
        let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
        let consuming = channel.basic_consume(self.queue.into(), "".into(), options, arguments);
        let mut deliveries = answered("basic.consume", &connection, consuming).await?;
        let session = self.history.lock().unwrap().session();
        let mut acknowledged = Vec::new();
        loop {
            let next = tokio::time::timeout(Duration::from_millis(100), deliveries.next()).await;
            let quiet = next.is_err();
            if let Ok(delivery) = next {
                let delivery = delivery.unwrap_or_else(|| Err(std::io::Error::other("the consumer ended").into()))?;
                let message = message_of(&delivery);
                self.history.lock().unwrap().delivered(session, self.queue, message.clone());
                answered("basic.ack", &connection, async { delivery.ack(BasicAckOptions::default()).await.map(drop) })
                    .await?;
                acknowledged.push(message);
            }
            if acknowledged.len() >= SETTLE || quiet && !acknowledged.is_empty() {
                // AMQP has no answer to an acknowledgement; what is asked after it is answered when it is durable.
                answered("basic.qos", &connection, qos()).await?;
                self.history.lock().unwrap().settled(self.queue, &acknowledged);
                acknowledged.clear();
            }
            if !connection.status().connected() {
                return Err(gone());
            }
            if quiet && self.stop.load(Ordering::Acquire) && self.is_empty(&channel).await? {
                return connection.close(200, "".into()).await;
            }
        }
    }

    async fn is_empty(&self, channel: &Channel) -> lapin::Result<bool> {
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let queue = channel.queue_declare(self.queue.into(), passive, FieldTable::default()).await?;
        Ok(queue.message_count() == 0)
    }
}

fn message_of(delivery: &Delivery) -> Message {
    let text = String::from_utf8_lossy(&delivery.data);
    let mut words = text.split(' ');
    let (name, number) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    (name.to_owned(), number.parse().unwrap_or_else(|_| panic!("a foreign message: {text}")))
}
