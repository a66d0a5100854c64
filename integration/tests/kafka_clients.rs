//! Other people's Kafka clients and tools, unchanged, against the gateway.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use tidegate_integration::{Gateway, client, place};

#[test]
fn kafka_python() {
    let gateway = Gateway::start();
    client::run_checks(client::python("kafka_python.py").arg(gateway.bootstrap()));
}

#[test]
fn confluent_kafka() {
    let gateway = Gateway::start();
    client::run_checks(client::python("confluent.py").arg(gateway.bootstrap()));
}

#[test]
fn aiokafka() {
    let gateway = Gateway::start();
    client::run_checks(client::python("aio.py").arg(gateway.bootstrap()));
}

#[test]
fn java_kafka_clients() {
    let gateway = Gateway::start();
    client::run_checks(client::java("Clients.java", "kafka/jars").arg(gateway.bootstrap()));
}

#[test]
fn kafka_streams() {
    let gateway = Gateway::start();
    client::run_checks(client::java("Streams.java", "kafka/jars").arg(gateway.bootstrap()));
}

#[test]
fn franz_go() {
    let gateway = Gateway::start();
    client::run_checks(client::built("franz").arg(gateway.bootstrap()));
}

#[test]
fn kafkas_own_tools() {
    let gateway = Gateway::start();
    let tool = place::integration("peers/kafka/tool");
    client::run_checks(client::python("kafka_tools.py").arg(gateway.bootstrap()).arg(tool));
}

#[test]
fn kcat() {
    if !place::has("kcat") {
        return place::skip("kcat", "kcat is not installed, and apt-get could not be used");
    }
    let gateway = Gateway::start();
    client::run_checks(client::python("kcat.py").arg(gateway.bootstrap()));
}
