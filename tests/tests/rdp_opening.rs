//! The opening of a native RDP client: what is taken for a ticket, what goes on to the target, and who is refused.
//! The clients and the target are the test's own; those of others are in `rdp`.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use portcullis::relay::console::rdp::Opening;
use portcullis::relay::console::rdp::blob::Blob;
use portcullis_tests::gateway::{Broker, Gateway};
use portcullis_tests::namespace::in_namespace;
use portcullis_tests::rdp;
use portcullis_tests::target::{Target, bounded};
use portcullis_tests::viewer::Desk;
use portcullis_tests::websocket::connect_from;
use portcullis_tests::{behind_every_gate, require, transcript, wait_for};
use serde_json::{Value, json};

behind_every_gate!(
    the_target_hears_everything_but_the_ticket,
    a_double_connect_is_one_session,
    who_may_not_come_in_is_told_so_and_nothing_is_dialled,
    hostile_openings_are_refused,
);

/// X.224's disconnect request.
const GOODBYE: [u8; 11] = [3, 0, 0, 11, 6, 0x80, 0, 0, 0, 0, 0];
/// A server's answer: TLS.
const CONFIRM: &[u8] = b"\x03\0\0\x13\x0e\xd0\0\0\x12\x34\0\x02\x1f\x08\0\x01\0\0\0";

fn gateway(backend: &str, more: &[&str]) -> (tempfile::TempDir, Gateway) {
    let folder = tempfile::tempdir().expect("a folder");
    let gateway = Gateway::start(folder.path(), backend, more);
    (folder, gateway)
}

/// A connection request with this line, which asks for TLS and CredSSP.
fn request(line: &str) -> Vec<u8> {
    let length = 19 + line.len() as u8;
    let head = [3, 0, 0, length, length - 5, 0xe0, 0, 0, 0, 0, 0];
    [&head[..], line.as_bytes(), &[1, 0, 8, 0, 3, 0, 0, 0]].concat()
}

fn token_line(ticket: &str) -> String {
    format!("Cookie: msts={ticket}\r\n")
}

/// Says `opening` and nothing else.
fn call(broker: &Broker, opening: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(broker.endpoint).expect("connects");
    bounded(&stream);
    stream.write_all(opening).expect("writes");
    stream
}

fn told(mut stream: TcpStream) -> Vec<u8> {
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an answer");
    answer
}

fn reads(stream: &mut TcpStream, expected: &[u8]) {
    let mut bytes = vec![0; expected.len()];
    stream.read_exact(&mut bytes).expect("reads");
    assert_eq!(bytes, expected);
}

/// Client and target talk as if nothing was between them.
fn carries(client: &mut TcpStream, target: &mut TcpStream) {
    target.write_all(CONFIRM).expect("writes");
    reads(client, CONFIRM);
    client.write_all(b"\x16\x03\x01 upstream").expect("writes");
    reads(target, b"\x16\x03\x01 upstream");
}

fn the_target_hears_everything_but_the_ticket(backend: &str) {
    let (_folder, gateway) = gateway(backend, &[]);
    let target = Target::new();
    gateway.add_instance_speaking("i-desk", "rdp", target.port());
    let cookie = request("Cookie: mstshash=someone\r\n");
    let foreign = Blob::encode(7, "d6a2c8e0-1f0e-4f5b-8a57-6f4c1f9d3f00;EnhancedMode=1");
    let ways: [fn(&str) -> Vec<u8>; 4] = [
        |ticket| [Blob::encode(0, ticket), request("Cookie: mstshash=someone\r\n")].concat(),
        |ticket| request(&token_line(ticket)),
        |ticket| [Blob::encode(0, ticket), request(&token_line("3640205228.15629.0000"))].concat(),
        |ticket| {
            let foreign = Blob::encode(7, "d6a2c8e0-1f0e-4f5b-8a57-6f4c1f9d3f00;EnhancedMode=1");
            [foreign, request(&token_line(ticket))].concat()
        },
    ];
    let heard = [
        cookie.clone(),
        request(""),
        request(&token_line("3640205228.15629.0000")),
        [&foreign[..], &request("")].concat(),
    ];
    for (way, heard) in ways.iter().zip(heard) {
        let broker = gateway.open_again("i-desk");
        let opening = way(&broker.token);
        // In one piece, and in two, the second of which comes when the first was read.
        for at in [opening.len(), 15, opening.len() - 1] {
            let mut client = call(&broker, &opening[..at]);
            client.set_nodelay(true).expect("an option");
            client.write_all(&opening[at..]).expect("writes");
            let mut inside = target.accept();
            reads(&mut inside, &heard);
            carries(&mut client, &mut inside);
        }
    }
    // By its address, everything goes on.
    let opening = [&foreign[..], &cookie].concat();
    let native = gateway.open_native("i-desk");
    let mut client = call(&native, &opening);
    let mut inside = target.accept();
    reads(&mut inside, &opening);
    carries(&mut client, &mut inside);
}

/// The broker's one live session. What began or ended a moment ago may not be written down yet.
fn one_session(gateway: &Gateway, broker: &Broker) -> Value {
    wait_for("the broker's session", || {
        let sessions = gateway.api().get("/v1/sessions?state=live").1["items"].clone();
        let of_broker = |session: &&Value| session["broker_id"] == broker.id.as_str();
        let mut own = sessions.as_array().expect("a list").iter().filter(of_broker);
        let one = own.next()?;
        assert!(own.next().is_none(), "another beside {one}");
        Some(one.clone())
    })
}

fn a_double_connect_is_one_session(backend: &str) {
    let (_folder, gateway) = gateway(backend, &[]);
    let target = Target::new();
    gateway.add_instance_speaking("i-desk", "rdp", target.port());
    for native in [false, true] {
        let (broker, opening) = if native {
            (gateway.open_native("i-desk"), request("Cookie: mstshash=someone\r\n"))
        } else {
            let broker = gateway.open_again("i-desk");
            let opening = request(&token_line(&broker.token));
            (broker, opening)
        };
        let (mut first, mut first_inside) = (call(&broker, &opening), target.accept());
        let (mut second, mut second_inside) = (call(&broker, &opening), target.accept());
        let answer = if native { request("Cookie: mstshash=someone\r\n") } else { request("") };
        reads(&mut first_inside, &answer);
        reads(&mut second_inside, &answer);
        // The second takes nothing from the first.
        carries(&mut first, &mut first_inside);
        carries(&mut second, &mut second_inside);
        // Nobody else comes along.
        let mut stranger = connect_from("127.0.0.9", broker.endpoint);
        bounded(&stranger);
        stranger.write_all(&opening).expect("writes");
        assert_eq!(told(stranger), GOODBYE);
        let session = one_session(&gateway, &broker);
        assert_eq!(session["connections"], 2, "{session}");
        // Both end, and a third is in time.
        drop((first, second));
        gateway.wait_metric("portcullis_connections_active", 0.0);
        let (mut third, mut third_inside) = (call(&broker, &opening), target.accept());
        reads(&mut third_inside, &answer);
        carries(&mut third, &mut third_inside);
        let again = one_session(&gateway, &broker);
        assert_eq!((&again["session_id"], &again["connections"]), (&session["session_id"], &json!(3)));
        drop(third);
        gateway.wait_metric("portcullis_connections_active", 0.0);
    }
    assert_eq!(gateway.metric("portcullis_sessions_total{protocol=\"rdp\"}"), 2.0);
    assert_eq!(refusals(&gateway, "ticket_used"), 2.0);
}

/// How often `code` was a reason to refuse.
fn refusals(gateway: &Gateway, code: &str) -> f64 {
    gateway.metric(&format!("portcullis_handshake_refusals_total{{code=\"{code}\"}}"))
}

fn who_may_not_come_in_is_told_so_and_nothing_is_dialled(backend: &str) {
    let (_folder, gateway) = gateway(backend, &[]);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.set_nonblocking(true).expect("an option");
    let port = listener.local_addr().expect("an address").port();
    for id in ["i-desk", "i-other"] {
        gateway.add_instance_speaking(id, "rdp", port);
    }
    let (broker, other) = (gateway.open_again("i-desk"), gateway.open_again("i-other"));
    let (cookie, wrong) = (request("Cookie: mstshash=someone\r\n"), "5a".repeat(32));
    for (opening, code) in [
        (request(&token_line(&wrong)), "wrong_ticket"),
        ([Blob::encode(0, &wrong), cookie.clone()].concat(), "wrong_ticket"),
        (request(&token_line(&other.token)), "wrong_ticket"),
        ([Blob::encode(0, &other.token), cookie.clone()].concat(), "wrong_ticket"),
        // A good one behind a wrong one: one try is one ticket.
        ([Blob::encode(0, &wrong), request(&token_line(&broker.token))].concat(), "wrong_ticket"),
        ([Blob::encode(0, "another machine"), cookie.clone()].concat(), "wrong_ticket"),
        (request(&token_line("3640205228.15629.0000")), "wrong_ticket"),
        (cookie.clone(), "no_ticket"),
        (request(&format!("Cookie: mstshash={}\r\n", broker.token)), "no_ticket"),
        (request(""), "no_ticket"),
    ] {
        let before = refusals(&gateway, code);
        assert_eq!(told(call(&broker, &opening)), GOODBYE, "{opening:x?}");
        wait_for("the refusal", || (refusals(&gateway, code) == before + 1.0).then_some(()));
    }
    let accepted = listener.accept().map(|(_, client)| client);
    assert!(accepted.is_err(), "{accepted:?} was dialled");
}

fn hostile_openings_are_refused(backend: &str) {
    let (_folder, gateway) = gateway(backend, &["session.header_s = 2"]);
    gateway.add_instance_speaking("i-desk", "rdp", Target::new().echo());
    let broker = gateway.open_again("i-desk");
    let good = request(&token_line(&broker.token));
    let blob = Blob::encode(0, &broker.token);
    let changed = |bytes: &[u8], changes: &[(usize, u8)]| {
        let mut bytes = bytes.to_vec();
        changes.iter().for_each(|(at, byte)| bytes[*at] = *byte);
        bytes
    };
    let hostile = [
        // Lengths that lie, in TPKT and X.224: too long, too short, and not the same.
        changed(&good, &[(2, 1), (3, 0)]),
        changed(&good, &[(2, 0xff), (3, 0xff)]),
        changed(&good, &[(3, 10), (4, 5)]),
        changed(&good, &[(4, 0xff)]),
        changed(&good, &[(4, good[4] - 1)]),
        // Parts in another order, twice, or of nobody.
        request(&token_line(&format!("{}\r\n{}", broker.token, "Cookie: mstshash=x"))),
        changed(&good, &[(good.len() - 8, 9)]),
        changed(&good, &[(good.len() - 6, 7)]),
        changed(&good, &[(20, 0)]),
        // Blobs that lie, and two of them.
        [changed(&blob, &[(0, 0x20)]), good.clone()].concat(),
        [changed(&blob, &[(16, 0xff)]), good.clone()].concat(),
        [changed(&blob, &[(17, 0xff)]), good.clone()].concat(),
        [changed(&blob, &[(8, 1)]), good.clone()].concat(),
        [&blob[..], &blob, &good].concat(),
        [&blob[..], b"GET / HTTP/1.1\r\n\r\n"].concat(),
    ];
    for opening in &hostile {
        assert_eq!(told(call(&broker, opening)), GOODBYE, "{opening:x?}");
    }
    gateway.wait_metric("portcullis_handshake_refusals_total{code=\"bad_handshake\"}", hostile.len() as f64);
    // What never becomes whole: it is told when its time is over, or leaves and is told nothing.
    for part in [&good[..good.len() - 1], &blob[..], &blob[..40], &good[..6]] {
        let stream = call(&broker, part);
        stream.shutdown(Shutdown::Write).expect("an option");
        assert_eq!(told(stream), b"", "{part:x?}");
    }
    assert_eq!(told(call(&broker, &good[..good.len() - 1])), GOODBYE);
    gateway.wait_metric("portcullis_handshake_refusals_total{code=\"slow\"}", 1.0);
    // None of it was a use of the ticket.
    let mut client = call(&broker, &good);
    reads(&mut client, &request(""));
}

#[test]
fn what_freerdp_says_is_what_was_written_down() {
    if !require::root() || !rdp::is_here() {
        return;
    }
    in_namespace(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let desk = Desk::start(folder.path());
        let ticket = "5a".repeat(32);
        for (argument, name) in [
            (format!("/pcb:{ticket}"), "xfreerdp-blob.hex"),
            (format!("/load-balance-info:Cookie: msts={ticket}"), "xfreerdp-routing-token.hex"),
        ] {
            let target = Target::new();
            let at = format!("/v:{}", target.address());
            let mut viewer =
                desk.open("xfreerdp", &[&at, "/u:someone", "/p:secret34", "/cert:ignore", &argument]);
            let mut client = target.accept();
            let written = transcript::read(name);
            reads(&mut client, &written);
            let opening = Opening::parse(&written).expect("an opening").expect("all of it");
            assert_eq!(opening.shown().collect::<Vec<_>>(), std::slice::from_ref(&ticket));
            // It takes the disconnect for an answer, and does not try again.
            client.write_all(&GOODBYE).expect("writes");
            drop(client);
            assert!(!viewer.ended().success());
        }
    });
}
