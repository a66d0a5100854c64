//! HTTP and Kafka meet on the same topics and groups.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use tidegate_integration::{Gateway, client};

#[test]
fn http_and_kafka() {
    let gateway = Gateway::start();
    client::run_checks(client::python("cross.py").arg(gateway.url("")).arg(gateway.bootstrap()));
}
