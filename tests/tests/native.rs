//! Native clients on broker ports: who is let in by an address, what is relayed, and how others are refused.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use portcullis_tests::gateway::{Broker, Gateway};
use portcullis_tests::namespace::in_namespace;
use portcullis_tests::qemu::{self, Machine};
use portcullis_tests::target::{Target, bounded};
use portcullis_tests::viewer::{self, Desk};
use portcullis_tests::websocket::{connect_from, open};
use portcullis_tests::{behind_every_gate, require, wait_for};
use serde_json::json;

behind_every_gate!(
    a_quiet_client_is_relayed_to_a_console_that_speaks_first,
    an_address_lets_one_session_in,
    another_protocol_is_refused_in_its_own_words,
    a_serial_line_takes_whatever_is_typed,
);

fn gateway(backend: &str) -> (tempfile::TempDir, Gateway) {
    let folder = tempfile::tempdir().expect("a folder");
    let gateway = Gateway::start(folder.path(), backend, &[]);
    (folder, gateway)
}

/// A native client at loopback's first address.
fn call(broker: &Broker) -> TcpStream {
    let stream = TcpStream::connect(broker.endpoint).expect("connects");
    bounded(&stream);
    stream
}

fn reads(stream: &mut TcpStream, expected: &[u8]) {
    let mut bytes = vec![0; expected.len()];
    stream.read_exact(&mut bytes).expect("reads");
    assert_eq!(bytes, expected);
}

/// All that is said to who says `opening`.
fn told(broker: &Broker, opening: &[u8]) -> Vec<u8> {
    let mut stream = call(broker);
    stream.write_all(opening).expect("writes");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an answer");
    answer
}

fn audit(gateway: &Gateway) -> String {
    std::fs::read_to_string(gateway.state_dir().join("audit.log")).unwrap_or_default()
}

fn a_quiet_client_is_relayed_to_a_console_that_speaks_first(backend: &str) {
    let (_folder, gateway) = gateway(backend);
    let target = Target::new();
    gateway.add_instance("i-native", target.port());
    let broker = gateway.open_native("i-native");
    let mut client = call(&broker);
    let mut console = target.accept();
    console.write_all(b"RFB 003.008\n").expect("writes");
    reads(&mut client, b"RFB 003.008\n");
    client.write_all(b"RFB 003.008\n").expect("writes");
    reads(&mut console, b"RFB 003.008\n");
    gateway.wait_metric("portcullis_sessions_active{protocol=\"vnc\"}", 1.0);
    // The console ends, and so does the connection, with the last byte of both.
    console.write_all(b"last").expect("writes");
    drop(console);
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).expect("the end");
    assert_eq!(rest, b"last");
    gateway.wait_metric("portcullis_connection_ends_total{end=\"target_closed\"}", 1.0);
    let sessions = wait_for("the record", || {
        let sessions = gateway.api().get("/v1/sessions?state=ended").1;
        sessions["items"][0]["end_reason"].is_string().then_some(sessions)
    });
    let session = &sessions["items"][0];
    assert_eq!((&session["up_bytes"], &session["down_bytes"]), (&12.into(), &16.into()), "{session}");
}

fn an_address_lets_one_session_in(backend: &str) {
    let (_folder, gateway) = gateway(backend);
    let port = Target::new().named_echo();
    gateway.add_instance("i-native", port);
    let broker = gateway.open_native("i-native");
    let greeted = |stream: &mut TcpStream| reads(stream, &port.to_be_bytes());
    let mut first = call(&broker);
    greeted(&mut first);
    wait_for("the audit log", || {
        let log = audit(&gateway);
        let line = log.lines().find(|line| line.contains("session.began"))?;
        line.contains("\"admitted_by\":\"address\"").then_some(())
    });
    // Another address of the same prefix comes too late.
    let mut other = connect_from("127.0.0.9", broker.endpoint);
    other.write_all(b"RFB 003.008\n").expect("writes");
    let mut answer = Vec::new();
    other.read_to_end(&mut answer).expect("an answer");
    assert!(answer.ends_with(b"this ticket was used"), "{:?}", String::from_utf8_lossy(&answer));
    // The same address comes back, and takes the place of its elder.
    let mut again = call(&broker);
    greeted(&mut again);
    assert_eq!(first.read(&mut [0]).expect("the end"), 0);
    assert_eq!(gateway.api().get("/v1/sessions?state=live").1["items"].as_array().map(Vec::len), Some(1));
    // The ticket that came with it is good for a session of its own.
    drop(open(&broker).expect("a ticket"));
}

fn another_protocol_is_refused_in_its_own_words(backend: &str) {
    let (_folder, gateway) = gateway(backend);
    let port = Target::new().echo();
    let brokers = ["vnc", "spice"].map(|protocol| {
        let id = format!("i-{protocol}");
        gateway.add_instance_speaking(&id, protocol, port);
        gateway.open_native(&id)
    });
    let [vnc, spice] = &brokers;
    let link = b"REDQ\x02\0\0\0\x02\0\0\0\x12\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\0\0\x12\0\0\0";
    let rdp = [3, 0, 0, 0x13, 0x0e, 0xe0, 0, 0, 0, 0, 0, 1, 0, 8, 0, 3, 0, 0, 0];
    let blob = [16, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 7, 0, 0, 0];

    let answer = told(vnc, link);
    assert_eq!((&answer[..4], &answer[16..20]), (&b"REDQ"[..], &[7, 0, 0, 0][..]), "{answer:x?}");
    for opening in [&rdp[..], &blob[..]] {
        for broker in &brokers {
            assert_eq!(told(broker, opening), [3, 0, 0, 11, 6, 0x80, 0, 0, 0, 0, 0]);
        }
    }
    let answer = told(spice, b"RFB 003.008\n");
    assert!(answer.starts_with(b"RFB 003.003\n\0\0\0\0"), "{answer:x?}");
    assert!(answer.ends_with(b"this console speaks another protocol"), "{answer:x?}");
    gateway.wait_metric("portcullis_handshake_refusals_total{code=\"other_protocol\"}", 6.0);
    // None of it was an attempt: the place is still free.
    let mut client = call(vnc);
    client.write_all(b"RFB 003.008\n").expect("writes");
    reads(&mut client, b"RFB 003.008\n");
    // Without the wish for it, no address is enough.
    let plain = gateway.open_again("i-vnc");
    assert!(told(&plain, b"RFB 003.008\n").ends_with(b"this console needs a ticket"));
}

fn a_serial_line_takes_whatever_is_typed(backend: &str) {
    let (_folder, gateway) = gateway(backend);
    // What cannot be told to be anything yet, what is nothing that is known, and nothing at all; each on a line of its
    // own, because who comes later is shown what was there before.
    for (id, typed) in [("i-1", &b"\r"[..]), ("i-2", b"root\n"), ("i-3", b"")] {
        gateway.add_instance_speaking(id, "serial", Target::new().echo());
        let broker = gateway.open_native(id);
        let mut client = call(&broker);
        client.write_all(typed).expect("writes");
        reads(&mut client, typed);
        wait_for("a session", || (gateway.metric("portcullis_connections_active") >= 1.0).then_some(()));
        client.write_all(b"more").expect("writes");
        reads(&mut client, b"more");
        drop(client);
        gateway.wait_metric("portcullis_connections_active", 0.0);
    }
}

#[test]
fn the_wish_for_it_needs_a_narrow_prefix() {
    in_namespace_if_root(|| {
        let (_folder, gateway) = gateway("none");
        gateway.add_instance("i-native", 5900);
        for (client, good) in [
            (json!(null), false),
            (json!("10.0.0.0/23"), false),
            (json!("2001:db8::/47"), false),
            (json!("127.0.0.1"), true),
            (json!("10.0.0.0/24"), true),
            (json!("2001:db8::/48"), true),
        ] {
            let wish = json!({ "instance_id": "i-native", "client": client, "native": true, "reuse": true });
            let (status, answer) = gateway.api().post("/v1/brokers", &wish);
            assert_eq!(status, if good { 201 } else { 400 }, "{client}: {answer}");
        }
        // Nobody is given the place that was made for another.
        let brokers = gateway.api().get("/v1/brokers").1;
        assert_eq!(brokers["items"].as_array().map(Vec::len), Some(3), "{brokers}");
    });
}

fn in_namespace_if_root(body: impl FnOnce() + Send) {
    if require::root() {
        in_namespace(body);
    }
}

#[test]
fn a_real_viewer_shows_a_real_machine_without_its_password() {
    let all_is_here = require::kernel()
        && qemu::is_here()
        && viewer::is_here()
        && require::file("/usr/bin/xtigervncviewer", "tigervnc-viewer");
    if !all_is_here {
        return;
    }
    in_namespace(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let mut machine = Machine::start_with_password(folder.path(), "secret12");
        let gateway = Gateway::start(folder.path(), "ebpf", &[]);
        let instance = json!({
            "host": "127.0.0.1", "graphics_port": machine.vnc_port, "graphics_protocol": "vnc",
            "graphics_passwd": "secret12",
        });
        assert_eq!(gateway.api().put("/v1/instances/i-native", &instance).0, 201);
        let SocketAddr::V4(endpoint) = gateway.open_native("i-native").endpoint else { panic!("IPv4") };
        let desk = Desk::start(folder.path());
        let server = format!("{}::{}", endpoint.ip(), endpoint.port());
        let _viewer = desk.open(
            "xtigervncviewer",
            &["-SecurityTypes=None", "-RemoteResize=0", "-AutoSelect=0", "-NoJPEG=1", &server],
        );
        desk.shows(&mut machine);
        // "c" in GRUB's menu opens its command line.
        let menu = machine.screen();
        desk.press("c");
        wait_for("the key to arrive", || (machine.screen().likeness(&menu) < 0.99).then_some(()));
        desk.shows(&mut machine);
        desk.shot("native-viewer");
        assert!(!gateway.log().contains("secret12"), "the password is in the log");
    });
}
