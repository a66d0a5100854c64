//! Clients at work while something happens to the gateway. See `clients/python/load.py`.

use std::cell::Cell;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::history::{Event, History, Place};
use crate::{Gateway, wire};
use crate::{client, http};

struct Worker {
    child: Child,
    /// Is to see everything that the others publish.
    consumes: bool,
    file: PathBuf,
    counted: Cell<Counted>,
}

/// Acknowledgements found in a worker's file up to a position.
#[derive(Clone, Copy, Default)]
struct Counted {
    position: u64,
    acknowledged: usize,
}

impl Worker {
    /// Looks at what was written since it last looked.
    fn acknowledged(&self) -> usize {
        let Counted { mut position, mut acknowledged } = self.counted.get();
        let mut file = File::open(&self.file).expect("the worker's file");
        file.seek(SeekFrom::Start(position)).expect("seek");
        let mut new = Vec::new();
        file.read_to_end(&mut new).expect("read");
        for line in new.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n")) {
            position += line.len() as u64;
            acknowledged += usize::from(line.starts_with(b"acked "));
        }
        self.counted.set(Counted { position, acknowledged });
        acknowledged
    }
}

/// Running clients and the files they write to.
pub struct Load {
    bootstrap: String,
    topic: String,
    workers: Vec<Worker>,
    directory: TempDir,
}

impl Load {
    /// None yet; the topic is created with this many partitions.
    #[must_use]
    pub fn new(gateway: &Gateway, topic: &str, partitions: u32) -> Self {
        let mut connection = wire::Connection::open(gateway.kafka).expect("a connection");
        let partitions = i32::try_from(partitions).expect("a number of partitions");
        connection.send(&wire::create_topic(topic.as_bytes(), partitions)).expect("send");
        let answer = connection.receive().expect("an answer");
        assert_eq!(wire::create_topic_error(topic.as_bytes(), &answer), 0, "creating {topic}");
        Self {
            bootstrap: gateway.bootstrap(),
            topic: topic.to_owned(),
            workers: Vec::new(),
            directory: tempfile::tempdir().expect("a temporary directory"),
        }
    }

    /// Adds a Kafka producer that spreads over the partitions in turn.
    pub fn kafka_producer(&mut self, name: &str, partitions: u32, idempotent: bool) {
        let kind = if idempotent { "idempotent" } else { "plain" };
        let arguments = ["kafka", &self.bootstrap, &self.topic, &partitions.to_string(), name, kind].map(str::to_owned);
        self.worker(&arguments);
    }

    /// Adds an HTTP publisher with an idempotency key per message, to partition 0.
    pub fn http_publisher(&mut self, gateway: &Gateway, name: &str) {
        let arguments = ["http", &gateway.url(""), &self.topic, name].map(str::to_owned);
        self.worker(&arguments);
    }

    /// Adds a gRPC publisher: one stream, with an idempotency key per message, to partition 0.
    pub fn grpc_publisher(&mut self, gateway: &Gateway, name: &str) {
        let arguments = ["grpc", &gateway.grpc.to_string(), &self.topic, name].map(str::to_owned);
        self.worker(&arguments);
    }

    /// Adds a group and its one consumer, which acknowledges everything in its gRPC stream.
    pub fn grpc_group(&mut self, gateway: &Gateway, group: &str) {
        let body = format!("{{\"topics\":[\"{}\"]}}", self.topic);
        let created =
            http::send(gateway.http, "PUT", &format!("/v1/groups/{group}"), "application/json", body.as_bytes())
                .expect("an answer");
        assert_eq!(created.status, 201, "creating group {group}");
        let arguments = ["group", &gateway.grpc.to_string(), group].map(str::to_owned);
        self.worker(&arguments);
        self.workers.iter_mut().last().expect("just begun").consumes = true;
    }

    /// Adds a reader of everything as it comes.
    pub fn tail(&mut self) {
        let arguments = ["tail", &self.bootstrap, &self.topic].map(str::to_owned);
        self.worker(&arguments);
    }

    /// Acknowledgements written down so far.
    #[must_use]
    pub fn acknowledged(&self) -> usize {
        self.workers.iter().map(Worker::acknowledged).sum()
    }

    /// Waits until at least so many messages have been acknowledged.
    pub fn wait_acknowledged(&self, count: usize) {
        let start = Instant::now();
        while self.acknowledged() < count {
            assert!(start.elapsed() < Duration::from_secs(120), "only {} of {count} acknowledged", self.acknowledged());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Stops the clients, waits for their outstanding answers, reads everything back and joins it all into one history.
    #[must_use]
    pub fn finish(mut self) -> History {
        let mut history = History::default();
        let (consumers, others): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.workers).into_iter().partition(|worker| worker.consumes);
        for mut workers in [others, consumers] {
            for worker in &mut workers {
                drop(worker.child.stdin.take());
            }
            for Worker { mut child, file, .. } in workers {
                let status = child.wait().expect("wait");
                assert!(status.success(), "a client ended with {status}: {}", errors(&file));
                history.join(parse(&file));
            }
        }
        let last = read_all(&self.bootstrap, &self.topic);
        history.trouble.extend(last.trouble);
        history.finally = last.read;
        history
    }

    fn worker(&mut self, arguments: &[String]) {
        let file = self.directory.path().join(self.workers.len().to_string());
        let child = command(arguments, &file).stdin(Stdio::piped()).spawn().expect("python");
        self.workers.push(Worker { child, consumes: false, file, counted: Cell::default() });
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        for worker in &mut self.workers {
            let _ = worker.child.kill();
            let _ = worker.child.wait();
        }
    }
}

/// Everything in a topic, in the order of each partition.
#[must_use]
pub fn read(gateway: &Gateway, topic: &str) -> Vec<(Place, String)> {
    read_all(&gateway.bootstrap(), topic).read
}

fn read_all(bootstrap: &str, topic: &str) -> History {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("read");
    let status = command(&["read".into(), bootstrap.to_owned(), topic.to_owned()], &file).status().expect("python");
    assert!(status.success(), "reading {topic} ended with {status}: {}", errors(&file));
    parse(&file)
}

/// Publishes so many MiB of incompressible messages and waits until all are acknowledged.
pub fn fill(gateway: &Gateway, topic: &str, mib: u64) {
    let arguments = ["fill".to_owned(), gateway.bootstrap(), topic.to_owned(), mib.to_string()];
    let status = client::python("load.py").args(arguments).stdout(Stdio::null()).status().expect("python");
    assert!(status.success(), "filling ended with {status}");
}

fn command(arguments: &[String], file: &Path) -> Command {
    let mut command = client::python("load.py");
    // Unbuffered, so that what was acknowledged is in the file when the test looks.
    command.env("PYTHONUNBUFFERED", "1").args(arguments);
    command
        .stdout(File::create(file).expect("a file"))
        .stderr(File::create(file.with_extension("err")).expect("a file"));
    command
}

fn errors(file: &Path) -> String {
    fs::read_to_string(file.with_extension("err")).unwrap_or_default()
}

fn parse(file: &Path) -> History {
    let text = fs::read_to_string(file).unwrap_or_default();
    let complete = text.rfind('\n').map_or("", |end| &text[..end]);
    complete.lines().map(Event::parse).collect()
}
