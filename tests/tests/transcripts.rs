//! What real peers said, word for word: the gateway understands it as it was meant, however it is cut.

use std::io::{Read, Write};
use std::net::TcpStream;

use portcullis::relay::console::rdp;
use portcullis::relay::console::spice::link::{Ask, Reply};
use portcullis::relay::sniff::{Kind, sniff};
use portcullis_tests::gateway::{Broker, Gateway};
use portcullis_tests::target::{Target, bounded};
use portcullis_tests::{behind_every_gate, transcript, websocket};
use serde_json::json;

behind_every_gate!(
    what_browsers_say_in_frames_reaches_the_console_as_bytes,
    a_console_hears_of_the_gateway_what_a_viewer_would_say,
    a_viewer_that_asks_its_proxy_for_something_else_hears_no,
);

/// The most bytes that tell what a client is.
const FIRST: usize = 12;

#[test]
fn who_is_who_is_told_by_the_first_bytes_and_never_otherwise() {
    for (name, kind) in [
        ("novnc.hex", Kind::Http),
        ("spice-html5.hex", Kind::Http),
        ("remote-viewer.hex", Kind::Spice),
        ("remote-viewer-connect.hex", Kind::Connect),
        ("tigervnc-viewer.hex", Kind::Rfb),
        ("xfreerdp-blob.hex", Kind::Rdp),
        ("xfreerdp-routing-token.hex", Kind::Rdp),
    ] {
        let said = transcript::read(name);
        for len in 1..said.len() {
            let told = sniff(&said[..len]);
            assert!(told == Some(kind) || told.is_none() && len < FIRST, "{name}, {len} bytes: {told:?}");
        }
    }
}

#[test]
fn links_of_spice_are_read_and_written_as_they_were() {
    let said = transcript::read("remote-viewer.hex");
    let (len, ask) = Ask::parse(&said).expect("SPICE").expect("whole");
    assert_eq!((ask.connection_id, ask.channel_type, ask.channel_id), (0, 1, 0));
    assert_eq!(ask.encode(), said[..len]);
    assert!((1..len).all(|part| Ask::parse(&said[..part]) == Ok(None)));
    // The way, and the password by a key of 1024 bits.
    assert_eq!(said[len..].len(), 4 + 128);

    let said = transcript::read("qemu-spice.hex");
    let (len, reply) = Reply::parse(&said).expect("SPICE").expect("whole");
    assert_eq!(reply.error, 0);
    assert_eq!(reply.encode(), said[..len]);
    assert!((1..len).all(|part| Reply::parse(&said[..part]) == Ok(None)));
}

#[test]
fn a_ticket_is_taken_out_of_an_opening_of_rdp() {
    let ticket = "5a".repeat(32);
    for (name, cookie) in [("xfreerdp-blob.hex", true), ("xfreerdp-routing-token.hex", false)] {
        let said = transcript::read(name);
        assert!((0..said.len()).all(|part| rdp::Opening::parse(&said[..part]) == Ok(None)), "{name}");
        let opening = rdp::Opening::parse(&said).expect("RDP").expect("whole");
        assert_eq!(opening.shown().collect::<Vec<_>>(), std::slice::from_ref(&ticket));
        assert_eq!(opening.without(None), said);
        let without = opening.without(Some(&ticket));
        let rest = rdp::Opening::parse(&without).expect("RDP").expect("whole");
        assert_eq!((rest.blob, rest.shown().next()), (None, None));
        assert_eq!(rest.request.user().is_some(), cookie);
        assert_eq!(rest.request.negotiation, opening.request.negotiation);
    }
}

/// A broker whose front end sends no tickets.
fn open_to_all(gateway: &Gateway, protocol: &str, port: u16) -> Broker {
    gateway.add_instance_speaking("i-1", protocol, port);
    let wish = json!({ "instance_id": "i-1", "tickets": "optional", "client": "127.0.0.0/8" });
    let (status, answer) = gateway.api().post("/v1/brokers", &wish);
    assert_eq!(status, 201, "{answer}");
    Broker::read(answer)
}

/// The request in front, and what was in the frames behind it (RFC 6455 section 5.2).
fn parts(said: &[u8]) -> (&[u8], Vec<u8>) {
    let end = said.windows(4).position(|part| part == b"\r\n\r\n").expect("a head") + 4;
    let (mut frames, mut payload) = (&said[end..], Vec::new());
    while let [first, second, rest @ ..] = frames {
        assert_eq!((first, second & 0x80), (&0x82, 0x80), "whole, binary and masked");
        let (len, rest) = match second & 0x7f {
            126 => (usize::from(u16::from_be_bytes([rest[0], rest[1]])), &rest[2..]),
            len => (usize::from(len), rest),
        };
        let (mask, rest) = rest.split_at(4);
        payload.extend(rest[..len].iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        frames = &rest[len..];
    }
    (&said[..end], payload)
}

fn what_browsers_say_in_frames_reaches_the_console_as_bytes(backend: &str) {
    for (name, protocol, subprotocol) in [("novnc.hex", "vnc", false), ("spice-html5.hex", "spice", true)] {
        for piece in [1, 7, 4096] {
            let folder = tempfile::tempdir().expect("a folder");
            let gateway = Gateway::start(folder.path(), backend, &[]);
            let target = Target::new();
            let broker = open_to_all(&gateway, protocol, target.port());
            let said = transcript::read(name);
            let (head, payload) = parts(&said);
            let mut client = TcpStream::connect(broker.endpoint).expect("connects");
            bounded(&client);
            client.set_nodelay(true).expect("an option");
            for part in said.chunks(piece) {
                client.write_all(part).expect("writes");
            }
            let mut console = target.accept();
            bounded(&console);
            let mut heard = vec![0; payload.len()];
            console.read_exact(&mut heard).expect("reads");
            assert_eq!(heard, payload, "{name} in pieces of {piece}");
            let mut answer = vec![0; 12];
            client.read_exact(&mut answer).expect("an answer");
            assert_eq!(answer, b"HTTP/1.1 101");
            while !answer.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                client.read_exact(&mut byte).expect("an answer");
                answer.extend(byte);
            }
            let answer = String::from_utf8(answer).expect("text").to_lowercase();
            assert_eq!(answer.contains("sec-websocket-protocol: binary\r\n"), subprotocol, "{answer}");
            assert!(!answer.contains("extensions"), "{answer} to {}", String::from_utf8_lossy(head));
        }
    }
}

/// QEMU asks TigerVNC's viewer and the gateway the same, and gets the same answers.
fn a_console_hears_of_the_gateway_what_a_viewer_would_say(backend: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let gateway = Gateway::start(folder.path(), backend, &[]);
    let target = Target::new();
    let instance = json!({
        "host": "127.0.0.1", "graphics_port": target.port(), "graphics_protocol": "vnc",
        "graphics_passwd": "inside12",
    });
    let broker = gateway.open_as("i-1", &instance);
    let (console, viewer) = (transcript::read("qemu-vnc.hex"), transcript::read("tigervnc-viewer.hex"));
    let qemu = std::thread::spawn(move || {
        let mut stream = target.accept();
        bounded(&stream);
        let (mut said, mut heard) = (console.as_slice(), viewer.as_slice());
        // Version, type, challenge; version, type, answer.
        for (says, hears) in [(12, 12), (2, 1), (16, 16)] {
            stream.write_all(&said[..says]).expect("writes");
            let mut answer = vec![0; hears];
            stream.read_exact(&mut answer).expect("an answer");
            assert_eq!(answer, heard[..hears]);
            (said, heard) = (&said[says..], &heard[hears..]);
        }
        stream.write_all(&said[..4]).expect("writes");
        stream
    });
    let _session = websocket::open(&broker).expect("the console takes the answer");
    qemu.join().expect("all was as it was");
}

fn a_viewer_that_asks_its_proxy_for_something_else_hears_no(backend: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let gateway = Gateway::start(folder.path(), backend, &[]);
    let broker = gateway.open_speaking("spice", 5900);
    for piece in [1, 4096] {
        let mut client = TcpStream::connect(broker.endpoint).expect("connects");
        bounded(&client);
        for part in transcript::read("remote-viewer-connect.hex").chunks(piece) {
            client.write_all(part).expect("writes");
        }
        let mut answer = String::new();
        client.read_to_string(&mut answer).expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 403 ") && answer.contains("wrong_name"), "{answer}");
    }
}
