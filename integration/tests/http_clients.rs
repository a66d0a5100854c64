//! Other people's clients of the HTTP API.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::process::Command;

use tidegate_integration::{Gateway, place};

/// What may never be, whatever is asked: server errors; statuses, fields and bodies that the document does not tell of; methods
/// answered that it does not have; things that are not there after they were created, or still there once deleted.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,\
                      response_schema_conformance,missing_required_header,unsupported_method,allow_header_conformance,\
                      use_after_free,ensure_resource_availability";

/// Requests made of the OpenAPI document that the gateway serves; without the streams, which do not end.
#[test]
fn schemathesis() {
    let gateway = Gateway::start();
    let mut command = Command::new(place::cached("venv/bin/schemathesis"));
    command.args(["run", &gateway.url("/openapi.json"), "--url", &gateway.url("/v1")]);
    command.args(["--checks", CHECKS, "--max-examples", "40", "--exclude-path-regex", "stream$"]);
    // The same requests every time, whatever was found before.
    command.args(["--seed", "1", "--generation-database", "none"]);
    command.current_dir(place::cached(""));
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    println!("{text}");
}
