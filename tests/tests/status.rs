//! `GET /v1/status` says what the metrics say, and the dashboard's page is there without a key.

use portcullis_tests::behind_every_gate;
use portcullis_tests::gateway::{Gateway, agent};
use portcullis_tests::target::Target;
use portcullis_tests::websocket::{echoes, open, open_with};
use serde_json::{Value, json};

behind_every_gate!(the_status_is_that_of_the_metrics, the_page_needs_no_key_and_the_figures_do);

fn the_status_is_that_of_the_metrics(backend: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let gateway = Gateway::start(folder.path(), backend, &[]);
    let broker = gateway.open_speaking("serial", Target::new().echo());
    gateway.open(1);
    let mut session = open(&broker).expect("a session");
    echoes(&mut session, b"hello");
    assert_eq!(open_with(broker.endpoint, None).expect_err("no ticket").0, 401);
    gateway.wait_metric("portcullis_relay_bytes_total{direction=\"down\"}", 5.0);

    let (status, seen) = gateway.api().get("/v1/status");
    assert_eq!(status, 200, "{seen}");
    for name in ["backend", "hook", "steering"] {
        assert_eq!(seen[name], gateway.ready(name), "{name}");
    }
    for (name, value) in [
        ("brokers_open", 2),
        ("brokers_opened", 2),
        ("sessions_live", 1),
        ("sessions_begun", 1),
        ("up_bytes", 5),
        ("down_bytes", 5),
        ("store_errors", 0),
        ("filter_errors", 0),
        ("lost_records", 0),
    ] {
        assert_eq!(seen[name], value, "{name} in {seen}");
    }
    assert_eq!(seen["refusals"], json!({ "no_ticket": 1 }));
    assert_eq!(seen["store"], "ok");
    if backend == "none" {
        assert_eq!((&seen["filter"], &seen["verdicts"]), (&json!("none"), &Value::Null));
    } else {
        assert_eq!(seen["filter"], "ok");
        let open = gateway.metric("portcullis_filter_packets_total{verdict=\"open\"}");
        assert_eq!(seen["verdicts"]["open"].as_f64(), Some(open));
    }
    drop(session);
    gateway.wait_metric("portcullis_connections_active", 0.0);
    assert_eq!(gateway.api().get("/v1/status").1["sessions_live"], 0);
}

fn the_page_needs_no_key_and_the_figures_do(backend: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let gateway = Gateway::start(folder.path(), backend, &[]);
    let page = agent().get(gateway.ready("api")).call().expect("an answer");
    assert_eq!(page.status(), 200);
    let header = |name: &str| page.headers()[name].to_str().expect("text");
    assert_eq!(header("content-type"), "text/html; charset=utf-8");
    assert_eq!(header("cache-control"), "no-store");
    assert_eq!(header("referrer-policy"), "no-referrer");
    assert_eq!(header("x-content-type-options"), "nosniff");
    for part in ["default-src 'none'", "script-src 'self'", "connect-src 'self'", "frame-ancestors 'none'"] {
        assert!(header("content-security-policy").contains(part), "{part}");
    }
    let figures = agent().get(format!("{}/v1/status", gateway.ready("api"))).call().expect("an answer");
    assert_eq!(figures.status(), 401);
}
