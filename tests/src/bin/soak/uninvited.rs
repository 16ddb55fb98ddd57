//! Those who are not let in: wrong tickets, halves of a handshake, garbage, a console that is off, and who does not
//! wait for the answer.

use std::io::{Read, Write};
use std::time::Duration;

use portcullis_tests::ends::Stream;
use portcullis_tests::gateway::Broker;
use portcullis_tests::pattern;
use serde_json::json;
use socket2::SockRef;

use crate::churn::{Guest, Visit};
use crate::console::{Console, close};

/// All of them.
pub const VISITS: [Visit; 7] =
    [guesses, stops_in_the_head, sends_garbage, stops_in_tls, breaks_tls, finds_it_off, does_not_wait];

impl Guest<'_> {
    /// A broker of `console` until `body` is done.
    fn while_open(&self, console: &Console, body: impl FnOnce(&Broker)) {
        let broker = console.open(self.api);
        body(&broker);
        close(self.api, &broker);
    }
}

fn guesses(guest: &Guest) {
    guest.while_open(guest.echo, |broker| {
        let wrong = guest.scene.try_enter(broker, guest.wire, guest.scene.guesser(), Some("0000")).err();
        assert_eq!(wrong, Some((403, "wrong_ticket".into())));
        guest.scene.tally.refusal("wrong_ticket");
    });
}

fn stops_in_the_head(guest: &Guest) {
    guest.while_open(guest.echo, |broker| {
        let mut stream = guest.scene.connect(broker, guest.wire, guest.client);
        stream.write_all(b"GET /websockify HTTP/1.1\r\nHost: x\r\nUpgr").expect("writes");
    });
}

fn sends_garbage(guest: &Guest) {
    guest.while_open(guest.echo, |broker| {
        let mut stream = guest.scene.connect(broker, guest.wire, guest.client);
        let mut garbage = *b"X123456789012345678901234567890123456789\r\n\r\n";
        pattern::fill(u64::from(guest.client.to_bits()), 0, &mut garbage[1..40]);
        stream.write_all(&garbage).expect("writes");
        assert_eq!(answer(stream).get(9..12), Some(&b"400"[..]));
        guest.scene.tally.refusal("bad_handshake");
    });
}

/// All that comes, to whatever end.
fn answer(mut stream: Stream) -> Vec<u8> {
    let mut bytes = Vec::new();
    // An end of TLS without a farewell is an end, too.
    let _ = stream.read_to_end(&mut bytes);
    bytes
}

/// The first bytes of a hello (RFC 8446 section 5.1).
const HALF_HELLO: [u8; 9] = [0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc];
/// A record whose handshake message is of no kind.
const NO_HELLO: [u8; 9] = [0x16, 3, 1, 0, 4, 0xff, 0, 0, 0];

fn stops_in_tls(guest: &Guest) {
    guest.while_open(guest.echo, |broker| {
        guest.scene.dial(broker, guest.client).write_all(&HALF_HELLO).expect("writes");
    });
}

fn breaks_tls(guest: &Guest) {
    guest.while_open(guest.echo, |broker| {
        let mut socket = guest.scene.dial(broker, guest.client);
        socket.write_all(&NO_HELLO).expect("writes");
        // An alert.
        assert_eq!(answer(socket.into()).first(), Some(&0x15));
        guest.scene.tally.refusal("tls_failed");
    });
}

fn finds_it_off(guest: &Guest) {
    guest.while_open(guest.off, |broker| {
        let refused = guest.scene.try_enter(broker, guest.wire, guest.client, Some(&broker.token)).err();
        assert_eq!(refused, Some((502, "target_refused".into())));
        guest.scene.tally.refusal("target_refused");
    });
}

/// Gone as soon as the request is sent: a session that ends at once, or one that never was.
fn does_not_wait(guest: &Guest) {
    let broker = guest.echo.open_with(guest.api, json!({ "ttl_s": 2 }));
    let mut stream = guest.scene.connect(&broker, guest.wire, guest.client);
    let request = format!(
        "GET /websockify HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Protocol: binary, ticket.{}\r\n\r\n",
        broker.endpoint, broker.token
    );
    stream.write_all(request.as_bytes()).expect("writes");
    guest.scene.tally.may_end("client_gone");
    guest.scene.tally.may_refuse("slow");
    SockRef::from(stream.socket()).set_linger(Some(Duration::ZERO)).expect("an option");
}
