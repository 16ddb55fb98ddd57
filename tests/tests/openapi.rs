//! The API against its own description: Schemathesis makes calls of it, good and bad ones, and compares
//! the answers. It does the same in each run.

use std::process::{Command, Stdio};

use portcullis_tests::gateway::Gateway;
use portcullis_tests::namespace::in_namespace;
use portcullis_tests::require;
use portcullis_tests::target::Target;
use portcullis_tests::websocket::{echoes, open};
use serde_json::{Value, json};

const TESTER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/tests/venv/bin/schemathesis");
const ASKED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi/schemathesis.toml");

#[test]
fn every_answer_is_as_described() {
    if require::root() && require::file(TESTER, "none: cargo xtask setup --test") {
        in_namespace(check);
    }
}

fn check() {
    let folder = tempfile::tempdir().expect("a folder");
    // No broker of the run is to lack a port.
    let gateway = Gateway::start(folder.path(), "none", &["broker.rest_s = 0", "reveal_passwords = true"]);
    let api = gateway.api();
    let instance = json!({
        "host": "127.0.0.1", "graphics_port": Target::new().echo(), "graphics_protocol": "serial",
        "graphics_passwd": "secret12",
    });
    // The one that the description has for an example.
    for id in ["i-8snyruit", "i-live"] {
        assert_eq!(api.put(&format!("/v1/instances/{id}"), &instance).0, 201);
    }
    let broker = gateway.open_again("i-live");
    let session = open(&broker).expect("a session");
    let live = api.get("/v1/sessions?state=live").1["items"][0]["session_id"].clone();

    let mut tester = Command::new(TESTER);
    tester.args(["--no-color", "--config-file", ASKED, "run", &format!("{}/openapi.json", api.url)]);
    tester.args(["--header", &format!("X-API-Key: {}", api.key)]);
    // About half a minute; what is slow here is the machine.
    tester.args(["--max-examples", "50", "--request-timeout", "60", "--suppress-health-check", "all"]);
    tester.env("BROKER_ID", &broker.id).env("SESSION_ID", live.as_str().expect("an id"));
    tester
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("NO_PROXY", "*")
        .current_dir(folder.path())
        .stdin(Stdio::null());
    let output = tester.output().expect("runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    // All calls but the stream of events, and the description itself, which is where the run begins.
    let document: Value = serde_json::from_str(include_str!("../../deploy/openapi.json")).expect("JSON");
    let paths = document["paths"].as_object().expect("paths").values();
    let calls: usize = paths.map(|path| path.as_object().expect("methods").len()).sum();
    assert!(said.contains(&format!("Tested: {}\n", calls - 2)), "{said}");

    // It is in good health; the session may have been ended by a call that ends sessions.
    drop(session);
    let broker = gateway.open(Target::new().echo());
    echoes(&mut open(&broker).expect("a session"), b"hello");
    assert!(!gateway.log().contains("panicked"), "{}", gateway.log());
}
