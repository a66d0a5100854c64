//! Other people's AMQP clients, unchanged, against the gateway, or against the real RabbitMQ (`integration/run oracle`).
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod given_back;
mod lapin;
mod protocol;

use std::process::Command;

use tidegate_integration::{AmqpPeer, client, place};

fn check(command: &mut Command) {
    let peer = AmqpPeer::start();
    client::run_checks(command.arg(peer.address.to_string()));
}

#[test]
fn pika_queues() {
    check(&mut client::python("pika_queues.py"));
}

#[test]
fn pika_messages() {
    check(&mut client::python("pika_messages.py"));
}

#[test]
fn pika_extensions() {
    check(&mut client::python("pika_extensions.py"));
}

#[test]
fn pika_tutorials() {
    check(&mut client::python("pika_tutorials.py"));
}

#[test]
fn amqplib() {
    check(&mut client::node("amqplib.js"));
}

#[test]
fn amqp091_go() {
    check(&mut client::built("amqp091"));
}

#[test]
fn rabbitmq_java_client() {
    check(&mut client::java("AmqpClient.java", "rabbitmq/client-jars"));
}

/// What RabbitMQ does and the gateway does not is refused in AMQP's own words.
#[test]
fn refusals() {
    let peer = AmqpPeer::start();
    if peer.is_foreign() {
        return place::skip("refusals", "RabbitMQ does what the gateway refuses");
    }
    client::run_checks(client::python("pika_refusals.py").arg(peer.address.to_string()));
}
