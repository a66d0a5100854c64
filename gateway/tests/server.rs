//! A whole gateway in this process: started, looked at by its operator, reconfigured, stopped.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;

use reqwest::StatusCode;
use tempfile::TempDir;
use tidegate::broker::Principal;
use tidegate::config::{Log, Sources};
use tidegate::server::{Error, Reloader, Server};
use tidegate::telemetry;
use tidegate_engine::batch::{Batch, Record};
use tidegate_engine::{TopicConfig, Write};

struct Home {
    directory: TempDir,
}

impl Home {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    /// A configuration file on free ports, with some more lines.
    fn write(&self, more: &str) -> Sources {
        let data = self.path().join("data");
        let listen = "{ listen: 127.0.0.1:0 }";
        let yaml = format!(
            "data_dir: {}\nlisteners: {{ http: {listen}, kafka: {listen}, amqp: {listen}, grpc: {listen}, admin: {listen} }}\n{more}\n",
            data.display()
        );
        let file = self.path().join("tidegate.yaml");
        std::fs::write(&file, yaml).unwrap();
        Sources { file: Some(file), ..Sources::default() }
    }

    async fn start(&self) -> Server {
        Server::start(self.write("").load().unwrap()).await.unwrap()
    }
}

async fn get(server: &Server, path: &str) -> (StatusCode, String) {
    let response = reqwest::get(format!("http://{}{path}", server.addresses().get("admin").unwrap())).await.unwrap();
    (response.status(), response.text().await.unwrap())
}

async fn publish(server: &Server, topic: &str) {
    let gateway = server.gateway();
    let broker = &gateway.running().unwrap().broker;
    let principal = Principal::anonymous();
    let topic = broker.create_topic(&principal, topic, Some(2), TopicConfig::default()).await.unwrap();
    let record =
        Record { timestamp_ms: jiff::Timestamp::now().as_millisecond(), value: Some("x".into()), ..Record::default() };
    let batch = Batch::pack(&[record.clone(), record]).unwrap();
    let appends = broker.publish(vec![Write::new(topic.partitions[1], batch)]).await;
    assert!(appends.results[0].is_ok());
    appends.commit.wait().await.unwrap();
}

#[tokio::test]
async fn it_starts_is_healthy_and_stops() {
    let home = Home::new();
    let server = home.start().await;
    for path in ["/livez", "/startupz", "/readyz"] {
        assert_eq!(get(&server, path).await, (StatusCode::OK, "ok\n".into()), "{path}");
    }
    let addresses = server.addresses();
    assert!(
        [addresses.get("http"), addresses.get("kafka"), addresses.get("admin")]
            .iter()
            .flatten()
            .all(|address| address.port() != 0)
    );
    let welcome = server.welcome();
    assert!(welcome.contains(&addresses.get("http").unwrap().to_string()), "{welcome}");
    assert!(addresses.to_string().starts_with("READY http=127.0.0.1:"), "{addresses}");
    let admin = addresses.get("admin").unwrap();
    server.stop(std::future::pending()).await.unwrap();
    assert!(reqwest::get(format!("http://{admin}/livez")).await.is_err());
}

#[tokio::test]
async fn metrics_tell_topics_partitions_and_offsets() {
    let home = Home::new();
    let server = home.start().await;
    publish(&server, "orders").await;
    let (status, text) = get(&server, "/metrics").await;
    assert_eq!(status, StatusCode::OK);
    for line in [
        "kafka_topic_partitions{namespace=\"default\",topic=\"orders\"} 2.0",
        "kafka_topic_partition_current_offset{namespace=\"default\",topic=\"orders\",partition=\"1\"} 2.0",
        "kafka_topic_partition_oldest_offset{namespace=\"default\",topic=\"orders\",partition=\"1\"} 0.0",
        "kafka_topic_partition_current_offset{namespace=\"default\",topic=\"orders\",partition=\"0\"} 0.0",
        "tidegate_topics 1.0",
        "tidegate_ready 1.0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
    server.stop(std::future::pending()).await.unwrap();
}

#[tokio::test]
async fn series_are_bounded_and_totals_are_not() {
    let home = Home::new();
    let config = home.write("").parse(&format!(
        "data_dir: {}\nlisteners: {{ http: {{ listen: off }}, kafka: {{ listen: off }}, amqp: {{ listen: off }}, grpc: {{ listen: off }}, \
         admin: {{ listen: 127.0.0.1:0, metrics_partitions: 3 }} }}",
        home.path().join("data").display()
    ));
    let server = Server::start(config.unwrap()).await.unwrap();
    for topic in ["a", "b", "c"] {
        publish(&server, topic).await;
    }
    let (_, text) = get(&server, "/metrics").await;
    let series = text.lines().filter(|line| line.starts_with("kafka_topic_partition_current_offset{")).count();
    assert_eq!(series, 2, "{text}");
    for line in ["tidegate_metrics_omitted_partitions 4.0", "tidegate_partitions 6.0"] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
    server.stop(std::future::pending()).await.unwrap();
}

#[tokio::test]
async fn prometheus_is_answered_in_the_format_it_asks_for() {
    let home = Home::new();
    let server = home.start().await;
    let url = format!("http://{}/metrics", server.addresses().get("admin").unwrap());
    let ask = reqwest::Client::new().get(url).header("accept", "application/openmetrics-text; version=1.0.0;q=0.5");
    let response = ask.send().await.unwrap();
    assert!(response.headers()["content-type"].to_str().unwrap().starts_with("application/openmetrics-text"));
    assert!(response.text().await.unwrap().ends_with("# EOF\n"));
    server.stop(std::future::pending()).await.unwrap();
}

#[tokio::test]
async fn a_changed_file_is_applied_where_it_can_be() {
    let home = Home::new();
    let sources = home.write("");
    let server = Server::start(sources.load().unwrap()).await.unwrap();
    let mut reloader = Reloader::new(sources, telemetry::start(&Log::default()));
    home.write("auto_create_topics: false\ndefaults: { topic: { partitions: 7 } }\nengine: { max_topics: 5 }");
    reloader.look(&server);
    let settings = server.gateway().running().unwrap().broker.settings();
    assert!(!settings.auto_create_topics);
    assert_eq!(settings.partitions, 7);
    let shown: serde_json::Value = serde_json::from_str(&get(&server, "/config").await.1).unwrap();
    assert_eq!(shown["auto_create_topics"], false);
    assert_ne!(shown["engine"]["max_topics"], 5, "the engine's limits wait for a restart");
    server.stop(std::future::pending()).await.unwrap();
}

#[tokio::test]
async fn a_mistaken_file_changes_nothing() {
    let home = Home::new();
    let sources = home.write("");
    let server = Server::start(sources.load().unwrap()).await.unwrap();
    let before = server.gateway().config();
    let mut reloader = Reloader::new(sources, telemetry::start(&Log::default()));
    home.write("auto_create_topics: false\nno_such_setting: 1");
    reloader.look(&server);
    reloader.reload(&server);
    assert_eq!(server.gateway().config(), before);
    std::fs::remove_file(home.path().join("tidegate.yaml")).unwrap();
    reloader.look(&server);
    reloader.reload(&server);
    assert_eq!(server.gateway().config(), before);
    server.stop(std::future::pending()).await.unwrap();
}

#[tokio::test]
async fn a_taken_port_and_a_taken_directory_are_named() {
    let home = Home::new();
    let server = home.start().await;
    let mut config = home.write("").load().unwrap();
    let told = Server::start(config.clone()).await.err().unwrap();
    assert!(matches!(told, Error::DataDir { .. }), "{told}");
    let told = told.to_string();
    assert!(told.contains("--data-dir") && told.contains(&config.data_dir.display().to_string()), "{told}");
    config.data_dir = home.path().join("other");
    config.listeners.kafka.listen = server.addresses().get("kafka").unwrap().to_string().parse().unwrap();
    let told = Server::start(config).await.err().unwrap().to_string();
    assert!(told.contains("--kafka") && told.contains(&server.addresses().get("kafka").unwrap().to_string()), "{told}");
    server.stop(std::future::pending()).await.unwrap();
}

#[tokio::test]
async fn the_identity_stays_the_same() {
    let home = Home::new();
    home.start().await.stop(std::future::pending()).await.unwrap();
    let file = home.path().join("data/gateway.json");
    let first = std::fs::read(&file).unwrap();
    home.start().await.stop(std::future::pending()).await.unwrap();
    assert_eq!(std::fs::read(&file).unwrap(), first);
}
