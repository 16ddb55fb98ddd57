//! Defects of peers, one test each. Those that are not here have theirs where they belong: reserved bits, close
//! codes and long pings in `autobahn.rs`; an unfinished head in `relay.rs`; security types of VNC in `vnc.rs`; a
//! verdict that is thrown away in `verdicts.rs`; a console's certificate in `target_tls.rs`; used tickets after a
//! crash in `crash.rs`.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;

use portcullis_tests::gateway::Gateway;
use portcullis_tests::target::{Target, connect};
use portcullis_tests::websocket::{bare, echoes, frame, open};
use portcullis_tests::{PATIENCE, behind_every_gate};

behind_every_gate!(
    an_empty_first_fragment_begins_a_message,
    fragments_with_a_ping_between_arrive_as_one,
    an_empty_message_is_no_end,
    one_frame_of_256_mib_takes_its_time_and_no_more,
    who_does_not_finish_a_handshake_holds_nobody_up,
    any_list_of_subprotocols_is_taken,
);

const CONTINUATION: u8 = 0x00;
const BINARY: u8 = 0x02;
const PING: u8 = 0x89;
const FIN: u8 = 0x80;

/// A session with the bytes on both sides under the test's own hand.
fn session(gateway: &Gateway) -> (TcpStream, TcpStream) {
    let target = Target::new();
    let broker = gateway.open(target.port());
    (bare(&broker), target.accept())
}

fn reads(stream: &mut TcpStream, expected: &[u8]) {
    let mut bytes = vec![0; expected.len()];
    stream.read_exact(&mut bytes).expect("reads");
    assert_eq!(bytes, expected);
}

fn gateway(backend: &str, more: &[&str]) -> (tempfile::TempDir, Gateway) {
    let folder = tempfile::tempdir().expect("a folder");
    let gateway = Gateway::start(folder.path(), backend, more);
    (folder, gateway)
}

/// websockify refuses it.
fn an_empty_first_fragment_begins_a_message(backend: &str) {
    let (_folder, gateway) = gateway(backend, &[]);
    let (mut client, mut console) = session(&gateway);
    let frames = [frame(BINARY, b""), frame(CONTINUATION | FIN, b"hello")];
    client.write_all(&frames.concat()).expect("writes");
    reads(&mut console, b"hello");
}

/// Proxmox dies of the first one.
fn fragments_with_a_ping_between_arrive_as_one(backend: &str) {
    let (_folder, gateway) = gateway(backend, &[]);
    let (mut client, mut console) = session(&gateway);
    let frames = [
        frame(BINARY, b"he"),
        frame(PING, b"?"),
        frame(CONTINUATION, b"ll"),
        frame(CONTINUATION | FIN, b"o"),
    ];
    client.write_all(&frames.concat()).expect("writes");
    reads(&mut console, b"hello");
    reads(&mut client, b"\x8a\x01?");
}

/// Two wrappers that make a stream of a WebSocket take it for the end.
fn an_empty_message_is_no_end(backend: &str) {
    let (_folder, gateway) = gateway(backend, &[]);
    let (mut client, mut console) = session(&gateway);
    client.write_all(&[frame(BINARY | FIN, b""), frame(BINARY | FIN, b"more")].concat()).expect("writes");
    reads(&mut console, b"more");
    console.write_all(b"and back").expect("writes");
    reads(&mut client, b"\x82\x08and back");
}

/// websockify takes quadratic time: 28 seconds for the first 11 MiB.
fn one_frame_of_256_mib_takes_its_time_and_no_more(backend: &str) {
    const LEN: usize = 256 << 20;
    let (_folder, gateway) = gateway(backend, &[]);
    let (mut client, mut console) = session(&gateway);
    let header = [&[BINARY | FIN, 0x80 | 127][..], &(LEN as u64).to_be_bytes(), &[0; 4]].concat();
    let sends = thread::spawn(move || {
        client.write_all(&header).expect("writes");
        for _ in 0..LEN >> 20 {
            client.write_all(&[7; 1 << 20]).expect("writes in time");
        }
        client
    });
    let (mut part, mut left) = (vec![0; 1 << 20], LEN);
    while left > 0 {
        let len = console.read(&mut part).expect("reads in time");
        assert!(len > 0 && part[..len].iter().all(|byte| *byte == 7));
        left -= len;
    }
    drop(sends.join().expect("all was sent"));
}

/// rathole waits for a handshake where it accepts.
fn who_does_not_finish_a_handshake_holds_nobody_up(backend: &str) {
    let (_folder, gateway) = gateway(backend, &["cores = 1"]);
    let broker = gateway.open(Target::new().echo());
    let begun: Vec<_> = (0..32)
        .map(|number| {
            let mut stream = connect(broker.endpoint, PATIENCE).expect("the port is open");
            stream.write_all(&b"GET / HTTP/1.1\r\nHost: x\r\n"[..number % 25]).expect("writes");
            stream
        })
        .collect();
    echoes(&mut open(&broker).expect("a session"), b"hello");
    drop(begun);
}

/// websockify refuses `base64, binary`, for its space.
fn any_list_of_subprotocols_is_taken(backend: &str) {
    let (_folder, gateway) = gateway(backend, &["session.reconnect_s = 0"]);
    for (offer, answered) in [("base64, binary", true), ("base64,binary", true), ("chat", false)] {
        let broker = gateway.open(Target::new().echo());
        let mut stream = connect(broker.endpoint, PATIENCE).expect("the port is open");
        write!(
            stream,
            "GET /?token={} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Sec-WebSocket-Protocol: {offer}\r\n\r\n",
            broker.token
        )
        .expect("writes");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("an answer");
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).expect("text").to_ascii_lowercase();
        assert!(head.starts_with("http/1.1 101 "), "{offer}: {head}");
        assert_eq!(head.contains("sec-websocket-protocol: binary\r\n"), answered, "{offer}: {head}");
    }
}
