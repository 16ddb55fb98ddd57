//! What happens is told: to those who listen, and to the audit log.

use std::os::unix::fs::PermissionsExt;

use portcullis_tests::events::Listener;
use portcullis_tests::gateway::Gateway;
use portcullis_tests::target::Target;
use portcullis_tests::websocket::{closed, echoes, open, open_with};
use portcullis_tests::{behind_every_gate, wait_for};
use serde_json::{Value, json};

behind_every_gate!(a_session_is_told_from_its_beginning_to_its_end, who_does_not_read_holds_nothing_up);

fn gateway(backend: &str) -> (tempfile::TempDir, Gateway) {
    let folder = tempfile::tempdir().expect("a folder");
    let gateway = Gateway::start(folder.path(), backend, &[]);
    (folder, gateway)
}

fn a_session_is_told_from_its_beginning_to_its_end(backend: &str) {
    let (folder, gateway) = gateway(backend);
    let (mut listener, mut other) = (Listener::new(&gateway), Listener::new(&gateway));
    let broker = gateway.open(Target::new().echo());
    let mut session = open(&broker).expect("a session");
    echoes(&mut session, b"hello");
    session.close(None).expect("closes");
    assert_eq!(closed(&mut session), None);
    gateway.wait_metric("portcullis_connections_active", 0.0);
    let mut told: Vec<Value> = (0..4).map(|_| listener.event()).collect();
    let guess = "0123456789abcdef".repeat(4);
    assert!(open_with(broker.endpoint, Some(&guess)).is_err());
    assert_eq!(gateway.api().delete(&format!("/v1/brokers/{}", broker.id)).0, 204);
    told.extend((0..2).map(|_| listener.event()));

    let names: Vec<_> = told.iter().map(|event| event["event"].as_str().expect("text")).collect();
    let expected = [
        "instance.put",
        "broker.opened",
        "session.began",
        "session.ended",
        "session.refused",
        "broker.closed",
    ];
    assert_eq!(names, expected);
    for event in &told[1..] {
        assert_eq!(event["broker_id"], broker.id.as_str(), "{event}");
        assert_eq!(event["instance_id"], broker.instance(), "{event}");
        assert!(event["time"].is_string(), "{event}");
    }
    assert_eq!(told[2]["session_id"], told[3]["session_id"]);
    assert_eq!(told[3]["reason"], "client_closed");
    assert_eq!((&told[3]["up_bytes"], &told[3]["down_bytes"]), (&json!(5), &json!(5)));
    assert_eq!((&told[4]["reason"], &told[5]["reason"]), (&json!("wrong_ticket"), &json!("closed")));
    // Every listener hears all of it, and so does the audit log.
    for event in &told {
        assert_eq!(&other.event(), event);
    }
    let audit = folder.path().join("state/audit.log");
    let text = std::fs::read_to_string(&audit).expect("a log");
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines, told);
    assert_eq!(std::fs::metadata(&audit).expect("a file").permissions().mode() & 0o777, 0o600);
    for secret in [broker.token.as_str(), &guess, &gateway.api().key] {
        assert!(!text.contains(secret) && !gateway.log().contains(secret));
    }
}

fn who_does_not_read_holds_nothing_up(backend: &str) {
    let (_folder, gateway) = gateway(backend);
    let mut listener = Listener::new(&gateway);
    // Long ids fill what the server and the system keep for a connection.
    let id = format!("i-{}", "x".repeat(250));
    let put = |port: u16| gateway.add_instance(&id, port);
    for port in 1..=3000 {
        put(port);
    }
    // Meanwhile sessions come and go as ever.
    echoes(&mut open(&gateway.open(Target::new().echo())).expect("a session"), b"hello");
    let (mut heard, mut lost) = (0, 0);
    while lost == 0 {
        match listener.named() {
            (name, count) if name == "lost" => lost = count.parse::<u64>().expect("a number"),
            _ => heard += 1,
        }
        assert!(heard <= 3000, "nothing was lost");
    }
    // It goes on with what is left, and with what comes.
    let last = wait_for("the last event", || {
        put(5000);
        let (name, _) = listener.named();
        (name == "session.ended").then_some(name)
    });
    assert_eq!(last, "session.ended");
}
