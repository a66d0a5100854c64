//! Other people's gRPC clients and tools, with what they generate from proto/, against the gateway.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use tidegate_integration::{Gateway, client};

#[test]
fn grpcio() {
    let gateway = Gateway::start();
    client::run_checks(client::python("grpc_python.py").arg(gateway.grpc.to_string()));
}

#[test]
fn grpc_go() {
    let gateway = Gateway::start();
    client::run_checks(client::built("grpc").arg(gateway.grpc.to_string()));
}

/// Runs grpcurl, which knows of the API only what reflection tells it.
fn grpcurl(gateway: &Gateway, arguments: &[&str]) -> String {
    let mut command = client::built("grpcurl");
    let (before, method) = arguments.split_at(arguments.len() - 1);
    let output = command.arg("-plaintext").args(before).arg(gateway.grpc.to_string()).args(method).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    said.into_owned()
}

#[test]
fn grpcurl_by_reflection() {
    let gateway = Gateway::start();
    let services = grpcurl(&gateway, &["list"]);
    for service in ["tidegate.v1.Admin", "tidegate.v1.Consumer", "tidegate.v1.Publisher", "grpc.health.v1.Health"] {
        assert!(services.contains(service), "{services}");
    }
    let health = grpcurl(&gateway, &["grpc.health.v1.Health/Check"]);
    assert!(health.contains("SERVING"), "{health}");
    let entry = r#"{"topic": "t", "entries": [{"message": {"value": "aGVsbG8=", "properties": {"contentType": "text/plain"}}}]}"#;
    let published = grpcurl(&gateway, &["-d", entry, "tidegate.v1.Publisher/Publish"]);
    assert!(published.contains("DURABILITY_FSYNC"), "{published}");
    let fetched = grpcurl(&gateway, &["-d", r#"{"topic": "t"}"#, "tidegate.v1.Consumer/Fetch"]);
    assert!(fetched.contains("aGVsbG8="), "{fetched}");
    let refused = grpcurl(&gateway, &["-d", r#"{"group": "none"}"#, "tidegate.v1.Consumer/Pull"]);
    for word in ["NotFound", "google.rpc.ErrorInfo", "tidegate"] {
        assert!(refused.contains(word), "{refused}");
    }
}
