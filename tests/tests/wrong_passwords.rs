//! Consoles with a password, which the gateway shows them and clients do not have.

use std::net::SocketAddr;

use portcullis_tests::console::Console;
use portcullis_tests::gateway::{Broker, Gateway, agent, call};
use portcullis_tests::target::connect;
use portcullis_tests::websocket::{closed, open, talk};
use portcullis_tests::{PATIENCE, behind_every_gate};
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

behind_every_gate!(
    a_wrong_password_is_not_tried_over_and_over,
    of_many_clients_at_once_one_tries_a_wrong_password,
    a_client_that_breaks_the_handshake_is_to_blame,
);

fn gateway(backend: &str) -> (tempfile::TempDir, Gateway) {
    let folder = tempfile::tempdir().expect("a folder");
    let gateway = Gateway::start(folder.path(), backend, &[]);
    (folder, gateway)
}

fn put(gateway: &Gateway, id: &str, port: u16, password: &str) {
    let body = json!({
        "host": "127.0.0.1", "graphics_port": port, "graphics_protocol": "vnc", "graphics_passwd": password,
    });
    let (status, answer) = gateway.api().put(&format!("/v1/instances/{id}"), &body);
    assert!(matches!(status, 200 | 201), "{status} {answer}");
}

/// The whole answer to a handshake.
fn answer(endpoint: SocketAddr, token: &str) -> String {
    let mut stream = connect(endpoint, PATIENCE).expect("connects");
    let request = format!(
        "GET /?token={token} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    String::from_utf8(talk(&mut stream, request.as_bytes())).expect("text")
}

/// The broker's client is told that the password is wrong, and when to come again.
fn is_refused(broker: &Broker) -> u64 {
    let answer = answer(broker.endpoint, &broker.token);
    assert!(answer.starts_with("HTTP/1.1 502 ") && answer.contains("\"target_password\""), "{answer}");
    let seconds = answer.lines().find_map(|line| line.strip_prefix("Retry-After: ")).expect("a header");
    seconds.parse().expect("seconds")
}

/// What a page is told, which cannot read the answer itself.
fn status(broker: &Broker) -> serde_json::Value {
    let request = agent().get(format!("http://{}/status", broker.endpoint));
    let (status, text) = call(request.header("Authorization", format!("Bearer {}", broker.token)).call());
    assert_eq!(status, 200, "{text}");
    serde_json::from_str(&text).expect("JSON")
}

fn a_wrong_password_is_not_tried_over_and_over(backend: &str) {
    let (_folder, gateway) = gateway(backend);
    let console = Console::start();
    put(&gateway, "i-1", console.port(), "wrong");
    put(&gateway, "i-2", console.port(), "wrong");
    let (broker, other) = (gateway.open_again("i-1"), gateway.open_again("i-2"));
    assert_eq!(is_refused(&broker), 5);
    let last = &status(&broker)["last_refusal"];
    assert_eq!(last["code"], "target_password", "{last}");
    assert!((1..=5).contains(&last["retry_after_s"].as_u64().expect("seconds")), "{last}");
    // The same place by another name is the same place. On a machine under load, the wait may be over.
    let mut waits = Vec::new();
    while console.tries() == 1 && waits.len() < 10 {
        waits.push(is_refused(&broker));
        waits.push(is_refused(&other));
    }
    assert!(waits.iter().all(|wait| (1..=10).contains(wait)), "{waits:?}");
    assert!(console.tries() <= 2, "{} tries", console.tries());

    // The console takes what it did not take; nobody tries that yet. The record is corrected, and all is well.
    console.let_in(true);
    put(&gateway, "i-1", console.port(), "right");
    let tries = console.tries();
    let mut session = open(&broker).expect("a session");
    assert_eq!(session.read().expect("reads"), Message::binary(&b"RFB 003.008\n"[..]));
    assert_eq!(console.tries(), tries + 1);
}

fn of_many_clients_at_once_one_tries_a_wrong_password(backend: &str) {
    let (_folder, gateway) = gateway(backend);
    let console = Console::start();
    put(&gateway, "i-1", console.port(), "wrong");
    let brokers: Vec<_> = (0..20).map(|_| gateway.open_again("i-1")).collect();
    let clients: Vec<_> =
        brokers.into_iter().map(|broker| std::thread::spawn(move || is_refused(&broker))).collect();
    for client in clients {
        client.join().expect("it is told");
    }
    // One for each wait that was over before all of them had come: 0, 5, 15, 35 seconds.
    assert!(console.tries() <= 4, "{} tries", console.tries());
    let refused = gateway.metric("portcullis_handshake_refusals_total{code=\"target_password\"}");
    assert_eq!(refused, 20.0);
}

fn a_client_that_breaks_the_handshake_is_to_blame(backend: &str) {
    let (_folder, gateway) = gateway(backend);
    let console = Console::start();
    console.let_in(true);
    put(&gateway, "i-1", console.port(), "right");
    for (says, why) in [
        (&b"RFB 009.009\n"[..], "there is no such version of RFB"),
        (b"RFB 003.008\n\x02", "this security type of RFB was not offered"),
    ] {
        let mut session = open(&gateway.open_again("i-1")).expect("a session");
        session.send(Message::binary(says)).expect("sends");
        assert_eq!(closed(&mut session), Some((1002, why.into())));
    }
    gateway.wait_metric("portcullis_connection_ends_total{end=\"protocol_error\"}", 2.0);
    assert_eq!(gateway.metric("portcullis_connection_ends_total{end=\"target_error\"}"), 0.0);
}
