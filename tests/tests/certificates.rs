//! Certificates while the daemon runs: renewed ones, several, those of clients; and what a scanner finds.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::Arc;

use portcullis_tests::gateway::{ADDRESS, Broker, Gateway};
use portcullis_tests::target::Target;
use portcullis_tests::tls::{Authority, Stream, begin, begin_named};
use portcullis_tests::websocket::{Socket, echoes, open_on};
use portcullis_tests::{behind_every_gate, require, wait_for};
use rustls::pki_types::CertificateDer;

behind_every_gate!(
    a_renewed_certificate_is_shown_and_sessions_go_on,
    a_client_is_shown_the_certificate_for_its_name,
    clients_show_certificates_where_they_have_to,
    a_scanner_finds_nothing,
);

/// The certificate that is shown to somebody who asks for `name`.
fn shown(authority: &Authority, endpoint: SocketAddr, name: &str) -> CertificateDer<'static> {
    let mut stream = begin_named(authority.client(rustls::ALL_VERSIONS), endpoint, name);
    stream.flush().expect("a handshake");
    let chain = stream.conn.peer_certificates().expect("certificates");
    chain[0].clone().into_owned()
}

fn enter(authority: &Authority, broker: &Broker) -> Socket<Stream> {
    open_on(authority.connect(broker.endpoint), broker.endpoint, Some(&broker.token)).expect("a session")
}

fn reloads(gateway: &Gateway, outcome: &str) -> f64 {
    gateway.metric(&format!("portcullis_certificate_reloads_total{{outcome={outcome:?}}}"))
}

fn a_renewed_certificate_is_shown_and_sessions_go_on(backend: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::new(folder.path());
    let names = [ADDRESS, "127.0.0.1"];
    let lines = authority.issue(&names);
    let lines = [lines[0].as_str(), lines[1].as_str(), "api.tls = true"];
    let gateway = Gateway::start(folder.path(), backend, &lines).asked_by(authority.agent());
    let broker = gateway.open(Target::new().echo());
    let first = shown(&authority, broker.endpoint, ADDRESS);
    let mut session = enter(&authority, &broker);
    echoes(&mut session, b"before");

    // Two places speak TLS, broker ports and the API, and both take it over.
    authority.issue(&names);
    wait_for("the renewed certificate", || (reloads(&gateway, "loaded") >= 2.0).then_some(()));
    let second = shown(&authority, broker.endpoint, ADDRESS);
    assert_ne!(first, second);
    echoes(&mut session, b"renewed");
    let api: SocketAddr = gateway.ready("api").trim_start_matches("https://").parse().expect("an address");
    assert_eq!(shown(&authority, api, "127.0.0.1"), second);

    let failed = reloads(&gateway, "failed");
    std::fs::write(folder.path().join("certificate"), "-----BEGIN CERTIFICATE-----\n").expect("writes");
    wait_for("a file that is no good", || (reloads(&gateway, "failed") >= failed + 2.0).then_some(()));
    assert_eq!(shown(&authority, broker.endpoint, ADDRESS), second);
    assert!(gateway.log().contains("certificates changed and are no good: the old ones stay"));
    echoes(&mut session, b"broken");

    let loaded = reloads(&gateway, "loaded");
    authority.issue(&names);
    wait_for("a good one again", || (reloads(&gateway, "loaded") >= loaded + 2.0).then_some(()));
    assert_ne!(shown(&authority, broker.endpoint, ADDRESS), second);
    echoes(&mut session, b"after");
    assert_eq!(gateway.metric("portcullis_connections_total"), 1.0);
}

fn a_client_is_shown_the_certificate_for_its_name(backend: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::new(folder.path());
    let lines = authority.issue(&[ADDRESS, "first.example"]);
    let more = ["second.example", "*.third.example"].map(|name| {
        let [certificate, key] = authority.issue_as(name.trim_start_matches("*."), &[name]);
        format!("{{ certificate = {certificate:?}, key = {key:?} }}")
    });
    let more = format!("tls.more = [{}]", more.join(", "));
    let gateway = Gateway::start(folder.path(), backend, &[&lines[0], &lines[1], &more]);
    let broker = gateway.open(Target::new().echo());
    let names = [ADDRESS, "first.example", "second.example", "a.third.example"];
    let [address, first, second, third] = names.map(|name| shown(&authority, broker.endpoint, name));
    assert_eq!(address, first);
    assert!(first != second && second != third && third != first);
    assert_eq!(shown(&authority, broker.endpoint, "b.third.example"), third);
    // Who asks for a name that nobody has is shown the first, and does not take it.
    let config = authority.client(rustls::ALL_VERSIONS);
    let mut stream = begin_named(config, broker.endpoint, "fourth.example");
    assert_eq!(stream.flush().expect_err("another name").kind(), ErrorKind::InvalidData);
}

fn clients_show_certificates_where_they_have_to(backend: &str) {
    for (rule, without) in [("optional", true), ("required", false)] {
        let folder = tempfile::tempdir().expect("a folder");
        let authority = Authority::new(folder.path());
        let other = tempfile::tempdir().expect("a folder");
        let stranger = Authority::new(other.path()).client_with("stranger", &authority);
        let lines = authority.issue(&[ADDRESS, "127.0.0.1"]);
        let gateway = Gateway::start(
            folder.path(),
            backend,
            &[
                &lines[0],
                &lines[1],
                &format!("tls.client_ca = {:?}", authority.file()),
                "tls.broker_ports = \"required\"",
                &format!("tls.client_certificates = {rule:?}"),
                "metrics.tls = true",
                &format!("metrics.client_certificates = {rule:?}"),
            ],
        );
        let broker = gateway.open(Target::new().echo());
        let metrics = gateway.ready("metrics");
        let metrics: SocketAddr = metrics.trim_start_matches("https://").parse().expect("an address");
        let known = authority.client_with("client", &authority);
        for (client, good) in
            [(known, true), (stranger, false), (authority.client(rustls::ALL_VERSIONS), without)]
        {
            assert_eq!(is_answered(client.clone(), broker.endpoint), good, "{rule}");
            assert_eq!(is_answered(client, metrics), good, "{rule}");
        }
        let known = authority.client_with("client", &authority);
        let mut session = open_on(begin(known, broker.endpoint), broker.endpoint, Some(&broker.token));
        echoes(session.as_mut().expect("a session"), b"hello");
    }
}

/// Whether a request is answered at all. In TLS 1.3 a client hears only then that its certificate is not taken.
fn is_answered(config: Arc<rustls::ClientConfig>, endpoint: SocketAddr) -> bool {
    let mut stream = begin(config, endpoint);
    let asked = write!(stream, "GET / HTTP/1.1\r\nHost: {endpoint}\r\nConnection: close\r\n\r\n");
    let mut first = [0; 5];
    asked.and_then(|()| stream.read_exact(&mut first)).is_ok_and(|()| &first == b"HTTP/")
}

/// sslscan looks for old versions, weak ciphers and known holes.
fn a_scanner_finds_nothing(backend: &str) {
    const SSLSCAN: &str = "/usr/bin/sslscan";
    if !require::file(SSLSCAN, "sslscan") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::new(folder.path());
    let lines = authority.issue(&[ADDRESS, "127.0.0.1"]);
    let lines = [lines[0].as_str(), lines[1].as_str(), "api.tls = true", "metrics.tls = true"];
    let gateway = Gateway::start(folder.path(), backend, &lines).asked_by(authority.agent());
    let broker = gateway.open(Target::new().echo());
    let address = |name: &str| gateway.ready(name).trim_start_matches("https://").to_owned();
    for endpoint in [broker.endpoint.to_string(), address("api"), address("metrics")] {
        let mut scan = Command::new(SSLSCAN);
        scan.args(["--no-colour", "--xml=-", &endpoint]).stdin(Stdio::null());
        let said = scan.output().expect("sslscan runs").stdout;
        let said = String::from_utf8(said).expect("text");
        scanned(&said);
    }
}

/// What is in a report of sslscan.
fn scanned(report: &str) {
    let elements = |name: &str| -> Vec<&str> {
        let start = format!("<{name} ");
        report.split(&start).skip(1).filter_map(|rest| rest.split('>').next()).collect()
    };
    let protocols: Vec<_> =
        elements("protocol").into_iter().filter(|one| one.contains("enabled=\"1\"")).collect();
    assert!(protocols.len() == 2, "{report}");
    assert!(protocols.iter().all(|one| one.contains("\"1.2\"") || one.contains("\"1.3\"")), "{report}");
    let ciphers = elements("cipher");
    assert!(ciphers.len() >= 5, "{report}");
    for cipher in ciphers {
        // AES with 128 bits is "acceptable" to it.
        let is_good =
            ["strong", "acceptable"].iter().any(|word| cipher.contains(&format!("strength=\"{word}\"")));
        assert!(is_good, "{cipher}");
        // Forward secrecy and authenticated encryption.
        let sound = ["TLS_AES", "TLS_CHACHA20", "ECDHE-"].iter().any(|name| cipher.contains(name));
        assert!(sound && !cipher.contains("CBC") && !cipher.contains("SHA1"), "{cipher}");
    }
    // Debian's cannot ask for compression; another may.
    assert!(elements("compression").iter().all(|one| one.contains("supported=\"0\"")), "{report}");
    assert!(elements("heartbleed").iter().all(|one| one.contains("vulnerable=\"0\"")), "{report}");
    let renegotiation = elements("renegotiation");
    let is_safe = |one: &str| one.contains("supported=\"0\"") || one.contains("secure=\"1\"");
    assert!(!renegotiation.is_empty() && renegotiation.into_iter().all(is_safe), "{report}");
}
