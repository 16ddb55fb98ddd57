//! The way of a browser to RDP: what comes in RDCleanPath's first message, and which server is believed. Here both
//! ends are the test's own.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use ironrdp_rdcleanpath::der::asn1::OctetString;
use ironrdp_rdcleanpath::{RDCleanPathErr, RDCleanPathPdu};
use portcullis::broker::target::tls::Fingerprint;
use portcullis_tests::behind_every_gate;
use portcullis_tests::gateway::{Broker, Gateway};
use portcullis_tests::target::Target;
use portcullis_tests::tls::Authority;
use portcullis_tests::websocket::{Socket, closed, open_with};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

behind_every_gate!(
    a_ticket_may_come_in_the_first_message,
    nothing_is_dialled_before_the_ticket_is_good,
    a_server_is_believed_for_the_reason_that_is_given,
    the_certificate_that_was_met_first_counts,
    a_server_that_is_none_is_told_in_the_words_of_rdp,
);

/// A connection request for TLS or CredSSP, and what confirms the first ([MS-RDPBCGR] sections 2.2.1.1 and 2.2.1.2).
const REQUEST: &[u8] = &[3, 0, 0, 19, 14, 0xe0, 0, 0, 0, 0, 0, 1, 0, 8, 0, 3, 0, 0, 0];
const CONFIRM: &[u8] = &[3, 0, 0, 19, 14, 0xd0, 0, 0, 0, 0, 0, 2, 0, 8, 0, 1, 0, 0, 0];
/// A server that asks for CredSSP, of a client that cannot do it.
const FAILURE: &[u8] = &[3, 0, 0, 19, 14, 0xd0, 0, 0, 0, 0, 0, 3, 0, 8, 0, 5, 0, 0, 0];
/// One that knows RDP's own security only.
const PLAIN: &[u8] = &[3, 0, 0, 11, 6, 0xd0, 0, 0, 0, 0, 0];

fn pdu(ticket: Option<&str>) -> RDCleanPathPdu {
    RDCleanPathPdu {
        destination: Some("elsewhere:1".to_owned()),
        proxy_auth: ticket.map(str::to_owned),
        x224_connection_pdu: Some(OctetString::new(REQUEST).expect("short")),
        ..RDCleanPathPdu::default()
    }
}

fn der(pdu: &RDCleanPathPdu) -> Vec<u8> {
    pdu.to_der().expect("short")
}

/// Waits for a message of RDCleanPath.
fn answer(socket: &mut Socket) -> RDCleanPathPdu {
    loop {
        match socket.read().expect("an answer") {
            Message::Binary(bytes) => return RDCleanPathPdu::from_der(&bytes).expect("RDCleanPath"),
            Message::Ping(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

/// What is answered to `first`, on a connection that showed no ticket at the upgrade.
fn ask(broker: &Broker, first: Vec<u8>) -> (Socket, RDCleanPathPdu) {
    let mut socket = open_with(broker.endpoint, None).expect("an upgrade");
    socket.send(Message::binary(first)).expect("sends");
    let answer = answer(&mut socket);
    (socket, answer)
}

/// The error that `first` is answered with, and the code of the close frame behind it.
fn refused(broker: &Broker, first: Vec<u8>) -> (RDCleanPathErr, u16) {
    let (mut socket, answer) = ask(broker, first);
    let (code, _) = closed(&mut socket).expect("a close frame that says something");
    (answer.error.expect("an error"), code)
}

/// A server that confirms TLS, shows the certificate of `folder`, and says everything back, for so many connections.
fn server(folder: &Path, connections: usize) -> (u16, JoinHandle<()>) {
    let (certificate, key) = (folder.join("certificate"), folder.join("key"));
    let config = ServerConfig::builder_with_provider(portcullis::tls::provider())
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from_pem_file(certificate).expect("a certificate")],
            PrivateKeyDer::from_pem_file(key).expect("a key"),
        )
        .expect("a certificate with its key");
    let (target, config) = (Target::new(), Arc::new(config));
    let port = target.port();
    let serving = std::thread::spawn(move || {
        let connections: Vec<_> = (0..connections)
            .map(|_| {
                let (stream, config) = (target.accept(), config.clone());
                std::thread::spawn(move || serve(stream, config))
            })
            .collect();
        connections.into_iter().for_each(|connection| connection.join().expect("a server"));
    });
    (port, serving)
}

fn serve(mut stream: TcpStream, config: Arc<ServerConfig>) {
    let mut asked = [0; REQUEST.len()];
    stream.read_exact(&mut asked).expect("a request");
    assert_eq!(asked, REQUEST);
    stream.write_all(CONFIRM).expect("writes");
    let mut stream = StreamOwned::new(ServerConnection::new(config).expect("a server"), stream);
    let mut part = [0; 1024];
    // Who is not believed is left in the middle.
    while let Ok(len @ 1..) = stream.read(&mut part) {
        stream.write_all(&part[..len]).expect("writes");
    }
}

/// Bytes go to the server and come back.
fn echoes(socket: &mut Socket, text: &[u8]) {
    socket.send(Message::binary(text.to_vec())).expect("sends");
    let mut back = Vec::new();
    while back.len() < text.len() {
        match socket.read().expect("reads") {
            Message::Binary(part) => back.extend_from_slice(&part),
            Message::Ping(_) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(back, text);
}

struct Bench {
    folder: tempfile::TempDir,
    gateway: Gateway,
    authority: Authority,
}

fn bench(backend: &str) -> Bench {
    bench_with(backend, &[])
}

fn bench_with(backend: &str, more: &[&str]) -> Bench {
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::new(folder.path());
    authority.issue(&["desk.example"]);
    let ca = format!("targets.ca = {:?}", authority.file());
    let gateway = Gateway::start(folder.path(), backend, &[&[&ca, "session.dial_s = 2"], more].concat());
    Bench { folder, gateway, authority }
}

impl Bench {
    fn pin(&self) -> String {
        let certificate = CertificateDer::from_pem_file(self.folder.path().join("certificate"));
        Fingerprint::of(&certificate.expect("a certificate")).to_string()
    }

    /// A broker for the server at `port`, whose instance says `tls` of it.
    fn broker(&self, port: u16, tls: &Value) -> Broker {
        let mut instance = json!({ "host": "127.0.0.1", "graphics_port": port, "graphics_protocol": "rdp" });
        instance.as_object_mut().expect("an object").extend(tls.as_object().expect("an object").clone());
        let (status, answer) = self.gateway.api().put("/v1/instances/i-desk", &instance);
        assert!(matches!(status, 200 | 201), "{answer}");
        self.gateway.open_again("i-desk")
    }

    /// The status that a server with the certificate of now is refused with, told by the metric of `code`.
    fn refuses(&self, broker: &Broker, code: &str) -> RDCleanPathErr {
        let metric = format!("portcullis_handshake_refusals_total{{code=\"{code}\"}}");
        let before = self.gateway.metric(&metric);
        let (error, close) = refused(broker, der(&pdu(Some(&broker.token))));
        assert_eq!(close, 1011, "{code}");
        self.gateway.wait_metric(&metric, before + 1.0);
        error
    }
}

fn a_ticket_may_come_in_the_first_message(backend: &str) {
    let bench = bench(backend);
    let (port, serving) = server(bench.folder.path(), 3);
    let broker = bench.broker(port, &json!({}));
    let (mut one, answer) = ask(&broker, der(&pdu(Some(&broker.token))));
    assert_eq!(answer.error, None);
    assert_eq!(answer.x224_connection_pdu.expect("a confirm").as_bytes(), CONFIRM);
    assert_eq!(answer.server_addr, Some(broker.endpoint.to_string()), "nothing else is told of where it is");
    let chain = answer.server_cert_chain.expect("certificates");
    assert_eq!(Fingerprint::of(chain[0].as_bytes()).to_string(), bench.pin());
    echoes(&mut one, b"first");
    // A start of RDP may connect twice, and the ticket may come with the upgrade; in pieces, and with a ping between.
    let mut two = open_with(broker.endpoint, Some(&broker.token)).expect("an upgrade");
    let first = der(&pdu(None));
    two.send(Message::Ping(vec![7].into())).expect("sends");
    for piece in first.chunks(20) {
        two.send(Message::binary(piece.to_vec())).expect("sends");
    }
    assert_eq!(two.read().expect("reads"), Message::Pong(vec![7].into()));
    assert_eq!(self::answer(&mut two).error, None);
    echoes(&mut two, b"second");
    let (mut three, _) = ask(&broker, der(&pdu(Some(&broker.token))));
    for (socket, text) in [(&mut one, b"1"), (&mut two, b"2"), (&mut three, b"3")] {
        echoes(socket, text);
    }
    let sessions = bench.gateway.api().get("/v1/sessions?state=live").1["items"].clone();
    let sessions = sessions.as_array().expect("a list");
    assert_eq!(sessions.len(), 1, "{sessions:?}");
    assert_eq!((&sessions[0]["connections"], &sessions[0]["graphics_protocol"]), (&json!(3), &json!("rdp")));
    drop((one, two, three));
    bench.gateway.wait_metric("portcullis_connection_ends_total{end=\"client_gone\"}", 3.0);
    serving.join().expect("a server");
}

fn nothing_is_dialled_before_the_ticket_is_good(backend: &str) {
    let bench = bench_with(backend, &["session.header_s = 3"]);
    let target = Target::new();
    let other = bench.broker(target.port(), &json!({}));
    let broker = bench.gateway.open_again("i-desk");
    let good = der(&pdu(Some(&broker.token)));
    let spoiled = |change: fn(&mut RDCleanPathPdu)| {
        let mut pdu = pdu(Some(&broker.token));
        change(&mut pdu);
        der(&pdu)
    };
    for (what, first, status, close) in [
        ("no ticket", der(&pdu(None)), 401, 1008),
        ("a wrong ticket", der(&pdu(Some("nobody's"))), 403, 1008),
        ("another broker's ticket", der(&pdu(Some(&other.token))), 403, 1008),
        ("more behind it", [good.as_slice(), b"0"].concat(), 400, 1002),
        ("another version", spoiled(|pdu| pdu.version = 3391), 400, 1002),
        ("no request of RDP", spoiled(|pdu| pdu.x224_connection_pdu = None), 400, 1002),
        ("no destination", spoiled(|pdu| pdu.destination = None), 400, 1002),
        ("too much", spoiled(|pdu| pdu.server_auth = Some("x".repeat(9000))), 431, 1002),
        ("no DER", b"\x03\0\0\x13\x0e\xe0".to_vec(), 400, 1002),
    ] {
        let (error, code) = refused(&broker, first);
        assert_eq!((error.error_code, error.http_status_code, code), (1, Some(status), close), "{what}");
    }
    // Text is no DER, and a wrong ticket at the upgrade is told in HTTP.
    let mut socket = open_with(broker.endpoint, None).expect("an upgrade");
    socket.send(Message::text("hello")).expect("sends");
    assert_eq!(answer(&mut socket).error.and_then(|error| error.http_status_code), Some(400));
    // Who says nothing, or not all of it, is not waited for.
    for part in [0, 20] {
        let mut socket = open_with(broker.endpoint, None).expect("an upgrade");
        if part > 0 {
            socket.send(Message::binary(good[..part].to_vec())).expect("sends");
        }
        assert_eq!(answer(&mut socket).error.and_then(|error| error.http_status_code), Some(408));
    }
    let refusal = open_with(broker.endpoint, Some("nobody's")).expect_err("no upgrade");
    assert_eq!(refusal, (403, "wrong_ticket".to_owned()));
    bench.gateway.wait_metric("portcullis_handshake_refusals_total{code=\"wrong_ticket\"}", 3.0);
    assert!(target.is_unvisited(), "somebody was dialled");
}

fn a_server_is_believed_for_the_reason_that_is_given(backend: &str) {
    let bench = bench(backend);
    let (port, serving) = server(bench.folder.path(), 5);
    for (tls, alert) in [
        (json!({ "tls": "ca", "tls_server_name": "desk.example" }), None),
        (json!({ "tls": "pin", "tls_pin": bench.pin() }), None),
        // What is wrong with it is told by the alert that the server had.
        (json!({ "tls": "ca" }), Some(42)),
        (json!({ "tls": "pin", "tls_pin": "00".repeat(32) }), Some(46)),
    ] {
        let broker = bench.broker(port, &tls);
        if alert.is_some() {
            assert_eq!(bench.refuses(&broker, "target_tls").tls_alert_code, alert, "{tls}");
        } else {
            let (mut socket, answer) = ask(&broker, der(&pdu(Some(&broker.token))));
            assert_eq!(answer.error, None, "{tls}");
            echoes(&mut socket, b"hello");
        }
    }
    // Nobody is believed unseen without permission.
    let broker = bench.broker(port, &json!({ "tls": "insecure" }));
    assert_eq!(bench.refuses(&broker, "target_tls").http_status_code, Some(502));
    serving.join().expect("a server");
}

fn the_certificate_that_was_met_first_counts(backend: &str) {
    let bench = bench(backend);
    let shown = |gateway: &Gateway| gateway.api().get("/v1/instances/i-desk").1["tls_seen"].clone();
    let enters = |broker: &Broker| {
        let (mut socket, answer) = ask(broker, der(&pdu(Some(&broker.token))));
        assert_eq!(answer.error, None);
        echoes(&mut socket, b"hello");
    };
    let (port, serving) = server(bench.folder.path(), 2);
    let broker = bench.broker(port, &json!({}));
    assert_eq!(shown(&bench.gateway), Value::Null);
    let first = bench.pin();
    for _ in 0..2 {
        enters(&broker);
        assert_eq!(shown(&bench.gateway), first.as_str());
    }
    serving.join().expect("a server");

    // The machine, or somebody else, shows another one.
    bench.authority.issue(&["desk.example"]);
    let (port, serving) = server(bench.folder.path(), 2);
    let broker = bench.broker(port, &json!({ "tls": "first-use" }));
    assert_eq!(bench.refuses(&broker, "target_changed").http_status_code, Some(502));
    assert_eq!(shown(&bench.gateway), first.as_str());
    assert!(bench.gateway.log().contains("another certificate than it did first"));
    let mut forget = bench.gateway.command_line();
    let status = forget.args(["instance", "forget-certificate", "i-desk"]).status().expect("runs");
    assert!(status.success());
    assert_eq!(shown(&bench.gateway), Value::Null);
    let audit = std::fs::read_to_string(bench.gateway.state_dir().join("audit.log")).expect("a log");
    assert!(audit.contains("\"certificate.forgotten\""), "{audit}");
    enters(&broker);
    assert_eq!(shown(&bench.gateway), bench.pin().as_str());
    serving.join().expect("a server");
    assert_eq!(bench.gateway.api().delete("/v1/instances/i-nobody/certificate").0, 404);
}

fn a_server_that_is_none_is_told_in_the_words_of_rdp(backend: &str) {
    let bench = bench(backend);
    for (says, code, status) in [
        (FAILURE, "target_security", None),
        (PLAIN, "target_security", None),
        (b"RFB 003.008\n".as_slice(), "target_not_rdp", Some(502)),
        (&[CONFIRM, b"x"].concat(), "target_not_rdp", Some(502)),
        (&CONFIRM[..12], "target_not_rdp", Some(502)),
        // Without end, and without an end.
        (&[3, 0, 0xff, 0xff], "target_not_rdp", Some(502)),
    ] {
        let target = Target::new();
        let broker = bench.broker(target.port(), &json!({}));
        let says = says.to_vec();
        let server = target.serve(move |mut stream| {
            let mut asked = [0; REQUEST.len()];
            stream.read_exact(&mut asked).expect("a request");
            stream.write_all(&says).expect("writes");
            stream.shutdown(std::net::Shutdown::Write).expect("ends");
            // Until the gateway has read it.
            let _ = stream.read(&mut asked);
        });
        let error = bench.refuses(&broker, code);
        assert_eq!(error.http_status_code, status, "{code}");
        assert_eq!(error.error_code, if status.is_some() { 1 } else { 2 });
        server.join().expect("a server");
    }
    let silent = Target::new();
    let broker = bench.broker(silent.port(), &json!({}));
    assert_eq!(bench.refuses(&broker, "target_timeout").http_status_code, Some(504));
    drop(silent);
    assert_eq!(bench.refuses(&broker, "target_refused").http_status_code, Some(502));
    // A page asks why.
    let url = format!("http://{}/status?token={}", broker.endpoint, broker.token);
    let (_, told) = portcullis_tests::gateway::call(portcullis_tests::gateway::agent().get(url).call());
    assert!(told.contains("\"target_refused\""), "{told}");
}
