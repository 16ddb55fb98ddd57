//! The byte path, from the outside: a real gateway, clients and targets on loopback.

use std::io::{Read, Write};
use std::thread;

use portcullis_tests::gateway::{Broker, Gateway, agent, call};
use portcullis_tests::namespace::{HERE, Neighbour, in_namespace};
use portcullis_tests::process::{anonymous_memory, descriptors};
use portcullis_tests::target::{Target, connect};
use portcullis_tests::websocket::{
    bare, begin_from, closed, connect_from, echoes, frame, open, open_on, open_with, talk,
};
use portcullis_tests::{PATIENCE, behind_every_gate, behind_nftables, pattern, require, transfer, wait_for};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

behind_every_gate!(
    every_byte_of_64_mib_arrives_both_ways,
    messages_of_every_size_come_back,
    a_wrong_ticket_is_refused,
    a_ticket_lets_one_session_in,
    a_session_is_listed_and_killed,
    limits_are_kept_and_given_back,
    too_many_wrong_tickets_are_429,
    unfinished_handshakes_are_bounded,
    a_broker_may_need_no_ticket,
    a_console_with_a_password_has_to_speak_vnc,
    a_dead_target_is_502_and_the_ticket_stays_good,
    a_slow_head_is_408,
    what_is_no_handshake_is_400,
    a_huge_frame_takes_no_memory,
    a_close_is_answered_in_kind,
    a_ping_is_answered_while_the_target_is_silent,
    what_breaks_the_protocol_is_closed_with_its_code,
    text_arrives_as_bytes,
    the_targets_end_is_a_normal_close,
    a_client_that_leaves_frees_its_target,
    bytes_behind_the_handshake_are_not_lost,
    the_page_and_its_parts_are_served,
    a_page_can_ask_for_the_status_of_its_console,
);

behind_nftables!(
    every_byte_of_64_mib_arrives_both_ways,
    a_ticket_lets_one_session_in,
    a_session_is_listed_and_killed,
    a_broker_may_need_no_ticket,
    the_targets_end_is_a_normal_close,
    the_page_and_its_parts_are_served,
);

fn gateway(backend: &str, more: &[&str]) -> (tempfile::TempDir, Gateway) {
    let folder = tempfile::tempdir().expect("a folder");
    let gateway = Gateway::start(folder.path(), backend, more);
    assert_eq!(gateway.ready("backend"), backend);
    let steering = if backend == "ebpf" { "sk_lookup" } else { "ports" };
    assert_eq!(gateway.ready("steering"), steering);
    (folder, gateway)
}

const MIB: u64 = 1024 * 1024;

/// The client is tokio-tungstenite.
fn every_byte_of_64_mib_arrives_both_ways(backend: &str) {
    const TOTAL: u64 = 64 * MIB;
    let (_folder, gateway) = gateway(backend, &[]);
    let target = Target::new();
    let broker = gateway.open(target.port());
    let far_end = target.serve(|stream| transfer::far_end(stream, TOTAL));
    transfer::run(&broker, TOTAL, &[1, 100, 125, 126, 4_096, 65_535, 65_536, 1_000_003]);
    far_end.join().expect("every byte arrived");

    gateway.wait_metric("portcullis_connection_ends_total{end=\"client_closed\"}", 1.0);
    gateway.wait_metric("portcullis_connections_active", 0.0);
    for direction in ["up", "down"] {
        let name = format!("portcullis_relay_bytes_total{{direction={direction:?}}}");
        assert_eq!(gateway.metric(&name), TOTAL as f64);
    }
    if backend != "none" {
        // The filter and not something else let it in.
        assert!(gateway.metric("portcullis_filter_packets_total{verdict=\"open\"}") >= 1.0);
    }
}

fn messages_of_every_size_come_back(backend: &str) {
    let (_folder, gateway) = gateway(backend, &[]);
    let broker = gateway.open(Target::new().echo());
    let mut socket = open(&broker).expect("a session");
    for size in [0, 1, 2, 125, 126, 127, 1_000, 65_525, 65_535, 65_536, 65_537, 200_000] {
        let mut bytes = vec![0; size];
        pattern::fill(size as u64, 0, &mut bytes);
        echoes(&mut socket, &bytes);
    }
}

fn a_wrong_ticket_is_refused(backend: &str) {
    let (_folder, gateway) = gateway(backend, &[]);
    let broker = gateway.open(Target::new().echo());
    let other = gateway.open(Target::new().echo());
    let refused = |token| open_with(broker.endpoint, token).err();
    assert_eq!(refused(None), Some((401, "no_ticket".into())));
    assert_eq!(refused(Some("0000")), Some((403, "wrong_ticket".into())));
    assert_eq!(refused(Some(&other.token)), Some((403, "wrong_ticket".into())));
    assert_eq!(gateway.metric("portcullis_handshake_refusals_total{code=\"wrong_ticket\"}"), 2.0);
    echoes(&mut open(&broker).expect("the right one"), b"hello");
    assert!(!gateway.log().contains(&broker.token), "a ticket is in the log");
}

fn a_ticket_lets_one_session_in(backend: &str) {
    let (_folder, gateway) = gateway(backend, &["session.reconnect_s = 1"]);
    let broker = gateway.open(Target::new().echo());
    let mut first = open(&broker).expect("a session");
    echoes(&mut first, b"here");
    // A newer connection of the same client takes the place of the older one.
    let mut second = open(&broker).expect("the same session");
    assert_eq!(closed(&mut first), Some((4000, "replaced by a newer connection".into())));
    echoes(&mut second, b"still here");
    // Any other address is refused while the session lives.
    let other = connect_from("127.0.0.9", broker.endpoint);
    assert_eq!(open_on(other, broker.endpoint, Some(&broker.token)).err(), Some((403, "ticket_used".into())));
    second.close(None).expect("closes");
    assert_eq!(closed(&mut second), None);
    drop((first, second));
    let (_, sessions) = gateway.api().get("/v1/sessions");
    assert_eq!(sessions["items"].as_array().map(Vec::len), Some(1), "{sessions}");
    // A while after its last connection the session is over, and the broker with it.
    gateway.wait_metric("portcullis_brokers{state=\"open\"}", 0.0);
    assert_eq!(gateway.api().get(&format!("/v1/brokers/{}", broker.id)).0, 404);
}

fn a_session_is_listed_and_killed(backend: &str) {
    let (_folder, gateway) = gateway(backend, &[]);
    let broker = gateway.open(Target::new().echo());
    let further = serde_json::json!({ "instance_id": broker.instance(), "reuse": true });
    let (status, answer) = gateway.api().post("/v1/brokers", &further);
    assert_eq!((status, &answer["broker_id"]), (201, &broker.id.as_str().into()), "{answer}");
    let mut socket = open(&broker).expect("a session");
    echoes(&mut socket, b"12345");
    let (_, live) = gateway.api().get("/v1/sessions?state=live");
    let session = live["items"][0].clone();
    assert_eq!((&session["state"], &session["client"]), (&"live".into(), &"127.0.0.1".into()), "{live}");
    let id = session["session_id"].as_str().expect("an id");
    wait_for("the bytes to be counted", || {
        let (_, session) = gateway.api().get(&format!("/v1/sessions/{id}"));
        (session["up_bytes"] == 5 && session["down_bytes"] == 5).then_some(())
    });
    assert_eq!(gateway.api().delete(&format!("/v1/sessions/{id}")).0, 204);
    assert_eq!(closed(&mut socket), Some((4001, "ended by an operator".into())));
    drop(socket);
    // The kill is recorded before it is answered, the end a moment after it.
    wait_for("the end to be recorded", || {
        let (_, session) = gateway.api().get(&format!("/v1/sessions/{id}"));
        assert_eq!(session["end_reason"], "killed", "{session}");
        (!session["ended_at"].is_null()).then_some(())
    });
    // Its ticket is good for nothing any more; the broker stays, for it has a further one.
    assert_eq!(gateway.api().delete(&format!("/v1/sessions/{id}")).0, 404);
    assert_eq!(open(&broker).err(), Some((403, "ticket_used".into())));
    assert_eq!(gateway.api().get("/v1/sessions?state=live").1["items"], serde_json::json!([]));
}

fn limits_are_kept_and_given_back(backend: &str) {
    for (limit, code) in [
        ("max", (503, "full")),
        ("per_instance", (429, "instance_full")),
        ("per_client", (429, "client_full")),
    ] {
        let (_folder, gateway) = gateway(backend, &[&format!("sessions.{limit} = 1")]);
        let port = Target::new().echo();
        let (one, two) = (gateway.open(port), gateway.open(port));
        let mut first = open(&one).expect("room");
        assert_eq!(open(&two).err(), Some((code.0, code.1.into())), "{limit}");
        assert_eq!(gateway.metric(&format!("portcullis_handshake_refusals_total{{code={:?}}}", code.1)), 1.0);
        first.close(None).expect("closes");
        assert_eq!(closed(&mut first), None);
        drop(first);
        gateway.wait_metric("portcullis_connections_active", 0.0);
        // The ticket that found no room is as good as before.
        wait_for("room", || open(&two).ok());
    }
}

fn too_many_wrong_tickets_are_429(backend: &str) {
    let (_folder, gateway) = gateway(backend, &[]);
    let broker = gateway.open(Target::new().echo());
    let wrong = || open_with(broker.endpoint, Some("0000")).err();
    for _ in 0..20 {
        assert_eq!(wrong(), Some((403, "wrong_ticket".into())));
    }
    assert_eq!(wrong(), Some((429, "too_many".into())));
    // Others are not their business.
    let other = connect_from("127.0.0.9", broker.endpoint);
    assert!(open_on(other, broker.endpoint, Some(&broker.token)).is_ok());
}

fn unfinished_handshakes_are_bounded(backend: &str) {
    let (_folder, gateway) = gateway(backend, &[]);
    let port = Target::new().echo();
    let (broker, second) = (gateway.open(port), gateway.open(port));
    let mut silent = Vec::new();
    // Which of two connections is accepted first is not ours to say.
    let refused = wait_for("the limit", || {
        silent.extend((0..64).map(|_| connect(broker.endpoint, PATIENCE).expect("connects")));
        open(&broker).err()
    });
    assert_eq!(refused, (429, "too_many".into()));
    let other = connect_from("127.0.0.9", second.endpoint);
    assert!(open_on(other, second.endpoint, Some(&second.token)).is_ok());
    drop(silent);
}

fn a_broker_may_need_no_ticket(backend: &str) {
    let (_folder, gateway) = gateway(backend, &[]);
    let port = Target::new().echo();
    gateway.add_instance("i-open", port);
    let wish =
        serde_json::json!({ "instance_id": "i-open", "tickets": "optional", "client": "127.0.0.0/29" });
    let (status, answer) = gateway.api().post("/v1/brokers", &wish);
    assert_eq!(status, 201, "{answer}");
    let broker = Broker::read(answer);
    let mut socket = open_with(broker.endpoint, None).expect("no ticket needed");
    echoes(&mut socket, b"hello");
    assert_eq!(open_with(broker.endpoint, Some("0000")).err(), Some((403, "wrong_ticket".into())));
    if backend != "none" {
        nobody_else_hears_of_it(&gateway, &broker);
        return;
    }
    for token in [None, Some(broker.token.as_str())] {
        let other = connect_from("127.0.0.9", broker.endpoint);
        assert_eq!(open_on(other, broker.endpoint, token).err(), Some((403, "wrong_source".into())));
    }
}

/// The filter drops what comes from outside of a broker's `client`, and counts it for the broker.
fn nobody_else_hears_of_it(gateway: &Gateway, broker: &Broker) {
    let counted = || gateway.api().get(&format!("/v1/brokers/{}", broker.id)).1["connections"].clone();
    let before = counted();
    assert!(before["open"].as_u64().is_some_and(|open| open >= 2), "{before}");
    assert_eq!((&before["wrong_source"], &before["expired"]), (&0.into(), &0.into()));
    let attempt = begin_from("127.0.0.9", broker.endpoint);
    wait_for("a count", || (counted()["wrong_source"] != before["wrong_source"]).then_some(()));
    assert_eq!(counted()["open"], before["open"]);
    assert!(attempt.take_error().expect("an option").is_none() && attempt.peer_addr().is_err());
    assert!(gateway.metric("portcullis_filter_packets_total{verdict=\"wrong_source\"}") >= 1.0);
}

fn a_console_with_a_password_has_to_speak_vnc(backend: &str) {
    let (_folder, gateway) = gateway(backend, &[]);
    let put = |port: u16| {
        let body = serde_json::json!({
            "host": "127.0.0.1", "graphics_port": port, "graphics_protocol": "vnc", "graphics_passwd": "secret12",
        });
        assert!(matches!(gateway.api().put("/v1/instances/i-locked", &body).0, 200 | 201));
    };
    for (greeting, code) in [
        (&b"SSH-2.0-OpenSSH_9.2"[..], "target_not_vnc"),
        // VeNCrypt alone, which the gateway does not speak yet.
        (b"RFB 003.008\n\x01\x13", "target_security"),
        (b"RFB 003.008\n\0\0\0\0\x04full", "target_security"),
    ] {
        let target = Target::new();
        put(target.port());
        let broker = gateway.open_again("i-locked");
        let console = target.serve(move |mut stream| {
            stream.write_all(greeting).expect("writes");
            stream.read_to_end(&mut Vec::new())
        });
        assert_eq!(open(&broker).err(), Some((502, code.into())));
        // The gateway may leave with bytes unread, which is a reset.
        let _ = console.join().expect("ends");
    }
}

fn a_dead_target_is_502_and_the_ticket_stays_good(backend: &str) {
    let (_folder, gateway) = gateway(backend, &[]);
    let target = Target::new();
    let port = target.port();
    drop(target);
    let broker = gateway.open(port);
    assert_eq!(open(&broker).err(), Some((502, "target_refused".into())));
    // The machine comes up, and the same link works.
    let listener = std::net::TcpListener::bind(("127.0.0.1", port)).expect("binds");
    let console =
        thread::spawn(move || portcullis_tests::target::accept(&listener).0.write_all(b"RFB 003.008\n"));
    let mut socket = open(&broker).expect("a session");
    assert_eq!(socket.read().expect("reads"), Message::binary(&b"RFB 003.008\n"[..]));
    console.join().expect("accepts").expect("writes");
}

fn a_slow_head_is_408(backend: &str) {
    let (_folder, gateway) = gateway(backend, &["session.first_byte_s = 1", "session.header_s = 1"]);
    let broker = gateway.open(Target::new().echo());
    for begun in ["", "GET / HTTP/1.1\r\nHost: x"] {
        let mut stream = connect(broker.endpoint, PATIENCE).expect("connects");
        let answer = String::from_utf8(talk(&mut stream, begun.as_bytes())).expect("text");
        assert!(answer.starts_with("HTTP/1.1 408 Request Timeout\r\n"), "{answer}");
        assert!(
            answer.ends_with("{\"code\":\"slow\",\"message\":\"the request took too long\"}"),
            "{answer}"
        );
    }
    echoes(&mut open(&broker).expect("others are served"), b"hello");
}

fn what_is_no_handshake_is_400(backend: &str) {
    let (_folder, gateway) = gateway(backend, &[]);
    let broker = gateway.open(Target::new().echo());
    let long = format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(20_000));
    for (request, status) in [
        ("POST / HTTP/1.1\r\n\r\n", "400"),
        ("SSH-2.0-OpenSSH_9.2\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n", "400"),
        ("GET /nothing HTTP/1.1\r\n\r\n", "404"),
        (&long, "431"),
    ] {
        let mut stream = connect(broker.endpoint, PATIENCE).expect("connects");
        let answer = String::from_utf8(talk(&mut stream, request.as_bytes())).expect("text");
        assert_eq!(answer.get(9..12), Some(status), "{request:?}: {answer}");
    }
}

/// A frame that declares 2^40 bytes is relayed as it comes, and costs what any other does.
fn a_huge_frame_takes_no_memory(backend: &str) {
    const SENT: u64 = 256 * MIB;
    let (_folder, gateway) = gateway(backend, &[]);
    let target = Target::new();
    let broker = gateway.open(target.port());
    let far_side = target.serve(|mut stream| {
        let mut part = vec![0; 1024 * 1024];
        let mut received = 0;
        while received < SENT {
            let len = stream.read(&mut part).expect("reads");
            assert_ne!(len, 0, "ends after {received} bytes");
            received += len as u64;
        }
        received
    });
    let mut stream = bare(&broker);
    let mut header = vec![0x82, 0xff];
    header.extend((1_u64 << 40).to_be_bytes());
    header.extend([0; 4]);
    stream.write_all(&header).expect("writes");
    let part = vec![0; MIB as usize];
    stream.write_all(&part).expect("writes");
    let before = anonymous_memory(gateway.id());
    for _ in 1..SENT / MIB {
        stream.write_all(&part).expect("writes");
        let now = anonymous_memory(gateway.id());
        assert!(now < before + 2 * MIB, "{before} bytes became {now}");
    }
    assert_eq!(far_side.join().expect("reads"), SENT);
    drop(stream);
    // An end inside a frame is the client's fault, and is no reason to keep anything.
    gateway.wait_metric("portcullis_connections_active", 0.0);
}

fn a_close_is_answered_in_kind(backend: &str) {
    let (_folder, gateway) = gateway(backend, &[]);
    let port = Target::new().echo();
    for (sent, answer) in [
        (frame(0x88, &[]), &[0x88, 0][..]),
        (frame(0x88, &[3, 232]), &[0x88, 2, 3, 232]),
        (frame(0x88, b"\x0f\xa0bye"), b"\x88\x05\x0f\xa0bye"),
    ] {
        let mut stream = bare(&gateway.open(port));
        // What was sent before the close still reaches the target, what comes after it is nobody's.
        assert_eq!(talk(&mut stream, &sent), answer);
    }
    let mut socket = open(&gateway.open(port)).expect("a session");
    socket.close(Some(CloseFrame { code: 1000.into(), reason: "done".into() })).expect("closes");
    assert_eq!(closed(&mut socket), Some((1000, "done".into())));
    gateway.wait_metric("portcullis_connection_ends_total{end=\"client_closed\"}", 4.0);
}

fn a_ping_is_answered_while_the_target_is_silent(backend: &str) {
    let (_folder, gateway) = gateway(backend, &[]);
    let target = Target::new();
    let broker = gateway.open(target.port());
    let mut stream = bare(&broker);
    let _silent = target.accept();
    // Ten at once, then one in two halves.
    let mut pings = Vec::new();
    let mut expected = Vec::new();
    for number in 0..10 {
        pings.extend(frame(0x89, &[number; 125]));
        expected.extend([0x8a, 125]);
        expected.extend([number; 125]);
    }
    stream.write_all(&pings).expect("writes");
    let mut pongs = vec![0; expected.len()];
    stream.read_exact(&mut pongs).expect("reads");
    assert!(pongs == expected, "the pongs are not those of the pings");
    let ping = frame(0x89, b"half and half");
    stream.write_all(&ping[..7]).expect("writes");
    stream.write_all(&ping[7..]).expect("writes");
    let mut pong = [0; 15];
    stream.read_exact(&mut pong).expect("reads");
    assert_eq!(&pong, b"\x8a\x0dhalf and half");
}

fn what_breaks_the_protocol_is_closed_with_its_code(backend: &str) {
    let (_folder, gateway) = gateway(backend, &[]);
    let port = Target::new().echo();
    for (what, bytes, code) in [
        ("a reserved bit", frame(0xc2, b"x"), 1002_u16),
        ("an unknown opcode", frame(0x83, b"x"), 1002),
        ("no mask", vec![0x82, 1, b'x'], 1002),
        ("a long ping", frame(0x89, &[0; 126]), 1002),
        ("a fragmented ping", frame(0x09, b"x"), 1002),
        ("a continuation of nothing", frame(0x80, b"x"), 1002),
        ("a close code that is reserved", frame(0x88, &1005_u16.to_be_bytes()), 1002),
        ("text that is not UTF-8", frame(0x81, &[0xff]), 1007),
    ] {
        let mut stream = bare(&gateway.open(port));
        let answer = talk(&mut stream, &bytes);
        assert_eq!(answer.first(), Some(&0x88), "{what}: {answer:?}");
        assert_eq!(answer.get(2..4), Some(&code.to_be_bytes()[..]), "{what}");
    }
    gateway.wait_metric("portcullis_connection_ends_total{end=\"protocol_error\"}", 8.0);
}

fn text_arrives_as_bytes(backend: &str) {
    let (_folder, gateway) = gateway(backend, &[]);
    let broker = gateway.open(Target::new().echo());
    let mut socket = open(&broker).expect("a session");
    socket.send(Message::text("ls -l ä\r")).expect("sends");
    assert_eq!(socket.read().expect("reads"), Message::binary("ls -l ä\r".as_bytes()));
}

fn the_targets_end_is_a_normal_close(backend: &str) {
    let (_folder, gateway) = gateway(backend, &[]);
    let target = Target::new();
    let broker = gateway.open(target.port());
    let far_side = target.serve(|mut stream| stream.write_all(&[7; 100_000]).expect("writes"));
    let mut socket = open(&broker).expect("a session");
    let mut received = 0;
    let frame = loop {
        match socket.read().expect("reads") {
            Message::Binary(part) => received += part.len(),
            Message::Close(frame) => break frame.expect("a code"),
            other => panic!("{other:?}"),
        }
    };
    // Nothing that the target said before its end is lost.
    assert_eq!(received, 100_000);
    assert_eq!((u16::from(frame.code), frame.reason.as_str()), (1000, "target closed"));
    far_side.join().expect("writes");
    gateway.wait_metric("portcullis_connection_ends_total{end=\"target_closed\"}", 1.0);
}

fn a_client_that_leaves_frees_its_target(backend: &str) {
    let (_folder, gateway) = gateway(backend, &[]);
    let target = Target::new();
    let port = target.port();
    // Warm: what the first session leaves open for good is there.
    drop(open(&gateway.open(port)).expect("a session"));
    drop(target.accept());
    gateway.wait_metric("portcullis_connection_ends_total{end=\"client_gone\"}", 1.0);
    let before = descriptors(gateway.id());
    for _ in 0..3 {
        let socket = open(&gateway.open(port)).expect("a session");
        let mut far_side = target.accept();
        drop(socket);
        assert_eq!(far_side.read(&mut [0; 1]).expect("an orderly end"), 0);
    }
    gateway.wait_metric("portcullis_connection_ends_total{end=\"client_gone\"}", 4.0);
    for (_, broker) in brokers(&gateway) {
        assert_eq!(gateway.api().delete(&format!("/v1/brokers/{broker}")).0, 204);
    }
    wait_for("descriptors to be given back", || (descriptors(gateway.id()) <= before).then_some(()));
}

fn brokers(gateway: &Gateway) -> Vec<(String, String)> {
    let (_, list) = gateway.api().get("/v1/brokers");
    let text = |item: &serde_json::Value, name: &str| item[name].as_str().expect("text").to_owned();
    let items = list["items"].as_array().expect("a list").iter();
    items.map(|item| (text(item, "instance_id"), text(item, "broker_id"))).collect()
}

fn bytes_behind_the_handshake_are_not_lost(backend: &str) {
    let (_folder, gateway) = gateway(backend, &[]);
    let Broker { endpoint, token, .. } = gateway.open(Target::new().echo());
    let mut stream = connect(endpoint, PATIENCE).expect("connects");
    let mut request = format!(
        "GET /?token={token} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    .into_bytes();
    request.extend(frame(0x82, b"early"));
    stream.write_all(&request).expect("writes");
    let mut answer = Vec::new();
    wait_for("the echo", || {
        let mut part = [0; 1024];
        let len = stream.read(&mut part).expect("reads");
        answer.extend_from_slice(&part[..len]);
        answer.ends_with(b"\r\n\r\n\x82\x05early").then_some(())
    });
}

fn the_page_and_its_parts_are_served(backend: &str) {
    let (_folder, gateway) = gateway(backend, &[]);
    let broker = gateway.open(Target::new().echo());
    let mut response = agent().get(format!("http://{}/", broker.endpoint)).call().expect("an answer");
    assert_eq!(response.status(), 200);
    let header = |name: &str| response.headers()[name].to_str().expect("text").to_owned();
    assert_eq!(header("content-type"), "text/html; charset=utf-8");
    assert_eq!(header("cache-control"), "no-store");
    assert_eq!(header("referrer-policy"), "no-referrer");
    assert_eq!(header("x-content-type-options"), "nosniff");
    assert!(header("content-security-policy").starts_with("default-src 'none'; script-src 'self';"));
    // Browsers complain of it on a page that did not come by TLS.
    assert!(!response.headers().contains_key("cross-origin-opener-policy"));
    let page = response.body_mut().read_to_string().expect("text");
    assert!(page.contains("Portcullis"), "{page}");
    // Parts exist in a build with pages only.
    for part in page.split(['"', '\'']).filter(|word| word.starts_with("assets/")) {
        let response = agent().get(format!("http://{}/{part}", broker.endpoint)).call().expect("an answer");
        assert_eq!(response.status(), 200, "{part}");
        assert!(response.headers()["cache-control"].to_str().expect("text").ends_with("immutable"));
    }
}

fn a_page_can_ask_for_the_status_of_its_console(backend: &str) {
    let (_folder, gateway) = gateway(backend, &[]);
    let target = Target::new();
    let port = target.port();
    drop(target);
    let broker = gateway.open(port);
    let status = |token: &str| {
        let request = agent().get(format!("http://{}/status", broker.endpoint));
        let (status, text) = call(request.header("Authorization", format!("Bearer {token}")).call());
        (status, serde_json::from_str::<serde_json::Value>(&text).expect("JSON"))
    };
    assert_eq!(status("0000").1["code"], "wrong_ticket");
    let (good, body) = status(&broker.token);
    assert_eq!((good, &body["graphics_protocol"]), (200, &"vnc".into()));
    assert!(body["last_refusal"].is_null(), "{body}");
    assert_eq!(body["reconnect_s"], 30, "{body}");
    assert_eq!(open(&broker).err(), Some((502, "target_refused".into())));
    // Somebody without a ticket does not overwrite what its holder wants to know.
    assert_eq!(open_with(broker.endpoint, Some("0000")).err(), Some((403, "wrong_ticket".into())));
    let last = &status(&broker.token).1["last_refusal"];
    assert_eq!((&last["code"], &last["retry_after_s"]), (&"target_refused".into(), &serde_json::Value::Null));
    // Asking used nothing up.
    let _console = std::net::TcpListener::bind(("127.0.0.1", port)).expect("binds");
    let _socket = open(&broker).expect("a session");
    // Its client could come back, so the ticket would still let it in.
    assert_eq!(status(&broker.token).0, 200);
}

/// From another namespace, to a gateway with an IPv4 and an IPv6 address.
#[test]
fn clients_come_over_both_families_and_see_their_own_broker() {
    if !(require::kernel() && require::nft()) {
        return;
    }
    for backend in ["ebpf", "nft", "none"] {
        in_namespace(|| {
            let neighbour = Neighbour::new();
            let folder = tempfile::tempdir().expect("a folder");
            // One port: the same one on both addresses is two brokers.
            let range = ["range.first = 12345", "range.last = 12345"];
            let gateway = Gateway::start_by(folder.path(), &HERE, backend, &range, |command, _| command);
            let brokers = [gateway.open(Target::new().echo()), gateway.open(Target::new().echo())];
            assert_ne!(brokers[0].endpoint.ip(), brokers[1].endpoint.ip());
            neighbour.inside(|| {
                for (broker, other) in [(&brokers[0], &brokers[1]), (&brokers[1], &brokers[0])] {
                    let refused = open_with(broker.endpoint, Some(&other.token)).err();
                    assert_eq!(refused, Some((403, "wrong_ticket".into())));
                    echoes(&mut open(broker).expect("a session"), b"over this family");
                }
            });
            gateway.wait_metric("portcullis_connection_ends_total{end=\"client_gone\"}", 2.0);
        });
    }
}
