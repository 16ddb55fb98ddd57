//! TLS from the outside: broker ports that speak it, may speak it or do not, API and metrics over
//! https, and what goes wrong on the way.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::{Duration, Instant};

use portcullis_tests::gateway::{ADDRESS, Broker, Gateway, agent, call, program};
use portcullis_tests::process::{anonymous_memory, run};
use portcullis_tests::target::{Target, connect};
use portcullis_tests::tls::{Authority, Stream, begin};
use portcullis_tests::websocket::{Socket, closed, echoes, frame, open, open_on, talk};
use portcullis_tests::{PATIENCE, behind_every_gate, require, transfer, wait_for};
use rustls::pki_types::ServerName;
use rustls::version::{TLS12, TLS13};
use serde_json::Value;
use tokio_tungstenite::tungstenite::Message;

behind_every_gate!(
    one_port_serves_tls_and_plain_clients,
    every_byte_of_4_mib_arrives_both_ways,
    a_port_that_requires_tls_says_so,
    a_port_without_tls_closes_with_an_alert,
    a_slow_handshake_ends_by_its_deadline_and_holds_nobody_up,
    handshakes_of_tls_are_bounded_by_source,
    a_client_that_does_not_trust_us_is_counted,
    an_end_over_tls_is_an_orderly_one,
    bytes_that_come_with_the_handshake_are_not_lost,
    a_client_that_does_not_read_takes_no_memory,
    api_and_metrics_speak_https,
    slow_clients_of_the_api_hold_nobody_up,
    beyond_loopback_the_api_has_tls_by_itself,
    the_command_line_trusts_a_named_authority,
    files_that_are_wrong_keep_it_from_starting,
    old_kinds_of_keys_are_taken,
);

struct Bench {
    folder: tempfile::TempDir,
    authority: Authority,
    gateway: Gateway,
}

fn bench(backend: &str, more: &[&str]) -> Bench {
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::new(folder.path());
    let files = authority.issue(&[ADDRESS, "127.0.0.1"]);
    let lines: Vec<&str> = files.iter().map(String::as_str).chain(more.iter().copied()).collect();
    let gateway = Gateway::start(folder.path(), backend, &lines).asked_by(authority.agent());
    Bench { folder, authority, gateway }
}

impl Bench {
    fn open(&self, broker: &Broker) -> Socket<Stream> {
        let stream = self.authority.connect(broker.endpoint);
        open_on(stream, broker.endpoint, Some(&broker.token)).expect("a session")
    }

    fn refused(&self, code: &str) -> f64 {
        self.gateway.metric(&format!("portcullis_handshake_refusals_total{{code={code:?}}}"))
    }
}

fn page(agent: &ureq::Agent, scheme: &str, endpoint: SocketAddr) -> (u16, String) {
    call(agent.get(format!("{scheme}://{endpoint}/")).call())
}

fn text<'a>(answer: &'a Value, name: &str) -> &'a str {
    answer[name].as_str().expect("text")
}

fn one_port_serves_tls_and_plain_clients(backend: &str) {
    let bench = bench(backend, &[]);
    let port = Target::new().echo();
    let broker = bench.gateway.open(port);
    assert!(text(&broker.answer, "ws_url").starts_with(&format!("wss://{}/websockify?", broker.endpoint)));
    assert!(text(&broker.answer, "console_url").starts_with(&format!("https://{}/#token=", broker.endpoint)));

    for version in [&TLS12, &TLS13] {
        let broker = bench.gateway.open(port);
        let mut config = Arc::unwrap_or_clone(bench.authority.client(&[version]));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let stream = begin(Arc::new(config), broker.endpoint);
        let mut socket = open_on(stream, broker.endpoint, Some(&broker.token)).expect("a session");
        let connection = &socket.get_ref().conn;
        assert_eq!(connection.protocol_version(), Some(version.version));
        assert_eq!(connection.alpn_protocol(), Some(&b"http/1.1"[..]));
        for size in [0, 1, 125, 65_536, 200_000] {
            echoes(&mut socket, &vec![7; size]);
        }
    }
    let mut plain = open(&broker).expect("a session");
    echoes(&mut plain, b"in the clear");
    // Refusals and pages are the same ones.
    let stream = bench.authority.connect(broker.endpoint);
    let refused = open_on(stream, broker.endpoint, Some("0000")).err();
    assert_eq!(refused, Some((403, "wrong_ticket".into())));
    let secure = page(&bench.authority.agent(), "https", broker.endpoint);
    assert_eq!(secure.0, 200);
    assert_eq!(secure, page(&agent(), "http", broker.endpoint));
    let response = bench.authority.agent().get(format!("https://{}/", broker.endpoint)).call();
    assert_eq!(response.expect("an answer").headers()["cross-origin-opener-policy"], "same-origin");
    assert!(!bench.gateway.log().contains(&broker.token), "a ticket is in the log");
}

/// The client is tokio-tungstenite over tokio-rustls.
fn every_byte_of_4_mib_arrives_both_ways(backend: &str) {
    const TOTAL: u64 = 4 * 1024 * 1024;
    let bench = bench(backend, &["tls.broker_ports = \"required\""]);
    let target = Target::new();
    let broker = bench.gateway.open(target.port());
    let far_end = target.serve(|stream| transfer::far_end(stream, TOTAL));

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(broker.endpoint).await.expect("connects");
        let connector = tokio_rustls::TlsConnector::from(bench.authority.client(rustls::ALL_VERSIONS));
        let name = ServerName::from(broker.endpoint.ip());
        let stream = connector.connect(name, stream).await.expect("a handshake");
        let url = format!("ws://{}/websockify?token={}", broker.endpoint, broker.token);
        let (socket, _) = tokio_tungstenite::client_async(url, stream).await.expect("a session");
        let sizes = [1, 125, 126, 4_096, 16_383, 16_385, 65_536, 1_000_003];
        transfer::near_end(socket, TOTAL, &sizes).await;
    });
    far_end.join().expect("every byte arrived");

    bench.gateway.wait_metric("portcullis_connection_ends_total{end=\"client_closed\"}", 1.0);
    for direction in ["up", "down"] {
        let name = format!("portcullis_relay_bytes_total{{direction={direction:?}}}");
        assert_eq!(bench.gateway.metric(&name), TOTAL as f64);
    }
    if backend == "ebpf" {
        assert_eq!(bench.gateway.metric("portcullis_filter_packets_total{verdict=\"open\"}"), 1.0);
    }
}

fn a_port_that_requires_tls_says_so(backend: &str) {
    let bench = bench(backend, &["tls.broker_ports = \"required\"", "session.first_byte_s = 1"]);
    let broker = bench.gateway.open(Target::new().echo());
    assert_eq!(open(&broker).err(), Some((400, "tls_required".into())));
    let (status, body) = page(&agent(), "http", broker.endpoint);
    let message = "{\"code\":\"tls_required\",\"message\":\"this port speaks TLS only; use https\"}";
    assert_eq!((status, body.as_str()), (400, message));
    assert_eq!(bench.refused("tls_required"), 2.0);
    // What is no HTTP is told the same, and who says nothing is told in time.
    let mut stream = connect(broker.endpoint, PATIENCE).expect("connects");
    assert!(talk(&mut stream, b"RFB 003.008\n").ends_with(message.as_bytes()));
    let mut stream = connect(broker.endpoint, PATIENCE).expect("connects");
    assert!(talk(&mut stream, b"").starts_with(b"HTTP/1.1 408 "));
    // The ticket was not touched.
    echoes(&mut bench.open(&broker), b"by TLS");
}

fn a_port_without_tls_closes_with_an_alert(backend: &str) {
    let bench = bench(backend, &["tls.broker_ports = \"off\""]);
    let broker = bench.gateway.open(Target::new().echo());
    assert!(text(&broker.answer, "ws_url").starts_with("ws://"));
    assert!(text(&broker.answer, "console_url").starts_with("http://"));
    let error = bench.authority.connect(broker.endpoint).write_all(b"GET").expect_err("no TLS");
    assert!(error.to_string().contains("HandshakeFailure"), "{error}");
    assert_eq!(bench.refused("no_tls"), 1.0);
    echoes(&mut open(&broker).expect("a session"), b"in the clear");
}

/// A client hello that announces more than it sends.
const BEGUN: [u8; 9] = [0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc];

fn a_slow_handshake_ends_by_its_deadline_and_holds_nobody_up(backend: &str) {
    let bench = bench(backend, &["session.tls_s = 2", "cores = 1"]);
    let broker = bench.gateway.open(Target::new().echo());
    let slow: Vec<_> = (0..50)
        .map(|number| {
            let mut stream = connect(broker.endpoint, PATIENCE).expect("connects");
            stream.write_all(&BEGUN[..1 + number % BEGUN.len()]).expect("writes");
            stream
        })
        .collect();
    let began = Instant::now();
    echoes(&mut bench.open(&broker), b"others are served");
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    for mut stream in slow {
        // Nothing is said in the clear to a client that speaks TLS.
        let mut answer = Vec::new();
        match stream.read_to_end(&mut answer) {
            Ok(_) => assert_eq!(answer, b""),
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        }
    }
    assert!(began.elapsed() >= Duration::from_secs(1), "{:?}", began.elapsed());
    bench.gateway.wait_metric("portcullis_handshake_refusals_total{code=\"slow\"}", 50.0);
    // One that leaves in the middle is nobody's refusal.
    let mut stream = connect(broker.endpoint, PATIENCE).expect("connects");
    stream.write_all(&BEGUN).expect("writes");
    drop(stream);
    let mut stream = connect(broker.endpoint, PATIENCE).expect("connects");
    let mut garbage = BEGUN.to_vec();
    garbage.extend([0xff; 600]);
    // An alert, or nothing more than the end.
    let answer = talk_until_reset(&mut stream, &garbage);
    assert!(answer.is_empty() || answer[0] == 0x15, "{answer:?}");
    bench.gateway.wait_metric("portcullis_handshake_refusals_total{code=\"tls_failed\"}", 1.0);
    assert_eq!(bench.refused("slow"), 50.0);
}

fn handshakes_of_tls_are_bounded_by_source(backend: &str) {
    let bench = bench(backend, &["tls.broker_ports = \"required\"", "session.tls_s = 600"]);
    let broker = bench.gateway.open(Target::new().echo());
    let mut slow = Vec::new();
    let refused = wait_for("one that is too many", || {
        let mut stream = connect(broker.endpoint, PATIENCE).expect("connects");
        stream.write_all(&BEGUN).expect("writes");
        stream.set_read_timeout(Some(Duration::from_millis(10))).expect("an option");
        let mut first = [0; 13];
        let answered = stream.read_exact(&mut first).is_ok();
        slow.push(stream);
        answered.then_some(first)
    });
    // It is not worth a handshake: it is told at once, in the clear.
    assert_eq!(&refused, b"HTTP/1.1 429 ");
    assert!(slow.len() > 64, "{} are too many", slow.len());
    drop(slow);
    wait_for("places that are given back", || {
        let mut stream = bench.authority.connect(broker.endpoint);
        stream.write_all(b"GET /status HTTP/1.1\r\n\r\n").ok()
    });
    assert_eq!(bench.refused("slow"), 0.0);
}

fn talk_until_reset(stream: &mut std::net::TcpStream, bytes: &[u8]) -> Vec<u8> {
    stream.write_all(bytes).expect("writes");
    let mut answer = Vec::new();
    // What came before a reset is kept.
    let _ = stream.read_to_end(&mut answer);
    answer
}

fn a_client_that_does_not_trust_us_is_counted(backend: &str) {
    let bench = bench(backend, &[]);
    let broker = bench.gateway.open(Target::new().echo());
    let elsewhere = tempfile::tempdir().expect("a folder");
    let stranger = Authority::new(elsewhere.path());
    let error = stranger.connect(broker.endpoint).write_all(b"GET").expect_err("no trust");
    assert!(error.to_string().contains("invalid peer certificate"), "{error}");
    bench.gateway.wait_metric("portcullis_handshake_refusals_total{code=\"tls_failed\"}", 1.0);
    echoes(&mut bench.open(&broker), b"the ticket is still good");
}

fn an_end_over_tls_is_an_orderly_one(backend: &str) {
    let bench = bench(backend, &[]);
    let target = Target::new();
    let broker = bench.gateway.open(target.port());
    let far_side = target.serve(|mut stream| stream.write_all(&[7; 100_000]).expect("writes"));
    let mut socket = bench.open(&broker);
    let mut received = 0;
    let reason = loop {
        match socket.read().expect("reads") {
            Message::Binary(part) => received += part.len(),
            Message::Close(frame) => break frame.expect("a code"),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!((received, u16::from(reason.code)), (100_000, 1000));
    far_side.join().expect("writes");
    socket.flush().expect("answers");
    // Behind the close frame there is TLS's own end, which nobody can forge.
    assert_eq!(socket.get_mut().read(&mut [0; 1]).expect("close_notify"), 0);
    drop(socket);
    bench.gateway.wait_metric("portcullis_connection_ends_total{end=\"target_closed\"}", 1.0);

    let port = Target::new().echo();
    let mut socket = bench.open(&bench.gateway.open(port));
    socket.close(None).expect("closes");
    assert_eq!(closed(&mut socket), None);
    bench.gateway.wait_metric("portcullis_connection_ends_total{end=\"client_closed\"}", 1.0);

    // Gone with TLS's farewell, and without.
    let mut socket = bench.open(&bench.gateway.open(port));
    socket.get_mut().conn.send_close_notify();
    socket.get_mut().flush().expect("writes");
    bench.gateway.wait_metric("portcullis_connection_ends_total{end=\"client_gone\"}", 1.0);
    drop(bench.open(&bench.gateway.open(port)));
    bench.gateway.wait_metric("portcullis_connection_ends_total{end=\"client_gone\"}", 2.0);
    bench.gateway.wait_metric("portcullis_connections_active", 0.0);
}

/// The request and a frame behind it are in one flight with the end of the TLS handshake.
fn bytes_that_come_with_the_handshake_are_not_lost(backend: &str) {
    let bench = bench(backend, &[]);
    let Broker { endpoint, token, .. } = bench.gateway.open(Target::new().echo());
    let mut stream = bench.authority.connect(endpoint);
    let request = format!(
        "GET /?token={token} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    // What is written before the handshake goes out with its end.
    stream.conn.writer().write_all(request.as_bytes()).expect("room");
    stream.conn.writer().write_all(&frame(0x82, b"early")).expect("room");
    stream.flush().expect("a handshake");
    let mut answer = Vec::new();
    wait_for("the echo", || {
        let mut part = [0; 1024];
        let len = stream.read(&mut part).expect("reads");
        answer.extend_from_slice(&part[..len]);
        answer.ends_with(b"\r\n\r\n\x82\x05early").then_some(())
    });
}

fn a_client_that_does_not_read_takes_no_memory(backend: &str) {
    const MIB: usize = 1024 * 1024;
    const TOTAL: usize = 64 * MIB;
    let bench = bench(backend, &["session.peer_timeout_s = 0"]);
    let target = Target::new();
    let broker = bench.gateway.open(target.port());
    let far_side = target.serve(|mut stream| {
        stream.set_write_timeout(Some(Duration::from_millis(500))).expect("an option");
        let part = vec![7; MIB];
        let mut sent = 0;
        loop {
            match stream.write(&part) {
                Ok(len) => sent += len,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("{error}"),
            }
            assert!(sent < TOTAL, "all of it went somewhere");
        }
        // Now the client reads, and gets all of it.
        drop(stream);
        sent
    });
    let mut socket = bench.open(&broker);
    let before = anonymous_memory(bench.gateway.id());
    let sent = far_side.join().expect("writes");
    let now = anonymous_memory(bench.gateway.id());
    assert!(now < before + 2 * MIB as u64, "{before} bytes became {now}");
    let mut received = 0;
    while let Message::Binary(part) = socket.read().expect("reads") {
        received += part.len();
    }
    assert_eq!(received, sent);
}

const BOTH: [&str; 2] = ["api.tls = true", "metrics.tls = true"];

fn api_and_metrics_speak_https(backend: &str) {
    let Bench { gateway, authority, .. } = bench(backend, &BOTH);
    for name in ["api", "metrics"] {
        assert!(gateway.ready(name).starts_with("https://127.0.0.1:"), "{}", gateway.ready(name));
    }
    gateway.add_instance("i-1", 5_900);
    assert_eq!(gateway.api().get("/v1/instances/i-1").1["host"], "127.0.0.1");
    assert_eq!(gateway.metric("portcullis_brokers{state=\"open\"}"), 0.0);
    let url = format!("{}/v1/brokers", gateway.ready("api"));
    assert_eq!(call(authority.agent().get(&url).call()).0, 401);

    // In the clear there is an answer, but not of the API.
    for name in ["api", "metrics"] {
        let plain = gateway.ready(name).replace("https", "http");
        let url = format!("{plain}/v1/brokers");
        let (status, problem) = call(agent().get(url).header("X-API-Key", &gateway.api().key).call());
        let problem: Value = serde_json::from_str(&problem).expect("a problem document");
        assert_eq!((status, text(&problem, "code")), (400, "tls_required"), "{problem}");
        assert_eq!(text(&problem, "detail"), "this port speaks TLS only; use https");
    }
    let elsewhere = tempfile::tempdir().expect("a folder");
    let stranger = Authority::new(elsewhere.path()).agent();
    assert!(stranger.get(gateway.ready("api")).call().is_err(), "a stranger's word is taken");
    assert!(gateway.stop().success());
}

fn slow_clients_of_the_api_hold_nobody_up(backend: &str) {
    let bench = bench(backend, &["api.tls = true", "session.tls_s = 1"]);
    let address: SocketAddr =
        bench.gateway.ready("api").strip_prefix("https://").expect("a scheme").parse().expect("an address");
    let slow: Vec<_> = (0..100)
        .map(|number| {
            let mut stream = connect(address, PATIENCE).expect("connects");
            stream.write_all(&BEGUN[..number % BEGUN.len()]).expect("writes");
            stream
        })
        .collect();
    assert_eq!(bench.gateway.api().get("/v1/brokers").0, 200);
    for mut stream in slow {
        assert!(talk_until_reset(&mut stream, b"").is_empty());
    }
    // So many silent ones that the rest waits: until the first are sent away, and no longer.
    let silent: Vec<_> = (0..300).map(|_| connect(address, PATIENCE).expect("connects")).collect();
    assert_eq!(bench.gateway.api().get("/v1/brokers").0, 200);
    drop(silent);
}

fn beyond_loopback_the_api_has_tls_by_itself(backend: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    // The harness has given these keys already; the environment goes before the file.
    let outside = |mut command: Command| {
        command.env("PORTCULLIS_API_LISTEN", "0.0.0.0:0").env("PORTCULLIS_METRICS_LISTEN", "0.0.0.0:0");
        command
    };
    let start = |more: &[&str]| {
        Gateway::start_by(folder.path(), &[ADDRESS], backend, more, |command, _| outside(command))
    };
    let authority = Authority::new(folder.path());
    let files = authority.issue(&["127.0.0.1"]);
    let lines: Vec<&str> = files.iter().map(String::as_str).collect();
    let gateway = start(&lines);
    for (name, path) in [("api", "/v1/brokers"), ("metrics", "/metrics")] {
        let url = gateway.ready(name);
        let port = url.strip_prefix("https://0.0.0.0:").expect("https on every address");
        let url = format!("https://127.0.0.1:{port}{path}");
        let key = &gateway.api().key;
        assert_eq!(call(authority.agent().get(url).header("X-API-Key", key).call()).0, 200);
    }
    drop(gateway);

    let command = Gateway::command(folder.path(), &[ADDRESS], backend, &["api.allow_plain = true"]);
    let (code, said) = failed(outside(command));
    assert_eq!(code, Some(1));
    assert!(said.contains("metrics.listen = 0.0.0.0:0: beyond loopback metrics need TLS"), "{said}");
    let gateway = start(&["api.allow_plain = true", "metrics.allow_plain = true"]);
    assert!(gateway.ready("api").starts_with("http://0.0.0.0:"), "{}", gateway.ready("api"));
}

/// Exit code and what was said.
fn failed(mut command: Command) -> (Option<i32>, String) {
    let output = command.stderr(std::process::Stdio::piped()).output().expect("runs");
    assert!(output.stdout.is_empty(), "it is ready");
    (output.status.code(), String::from_utf8(output.stderr).expect("text"))
}

fn the_command_line_trusts_a_named_authority(backend: &str) {
    let bench = bench(backend, &BOTH);
    let ask = |set: &dyn Fn(&mut Command) -> &mut Command| -> (Option<i32>, String) {
        let mut command = Command::new(program());
        command.args(["instance", "list"]).env("PORTCULLIS_URL", bench.gateway.ready("api"));
        command.env("PORTCULLIS_KEY_FILE", bench.folder.path().join("state/api.key"));
        set(&mut command);
        let Output { status, stderr, .. } = command.output().expect("runs");
        (status.code(), String::from_utf8(stderr).expect("text"))
    };
    let file = bench.authority.file();
    assert_eq!(ask(&|command| command.arg("--ca-file").arg(&file)), (Some(0), String::new()));
    assert_eq!(ask(&|command| command.env("PORTCULLIS_CA_FILE", &file)), (Some(0), String::new()));

    let (code, said) = ask(&|command| command);
    assert_eq!(code, Some(1));
    assert!(said.contains("invalid peer certificate") && said.contains("--ca-file"), "{said}");
    let (code, said) = ask(&|command| command.args(["--ca-file", "/nowhere"]));
    assert_eq!((code, said.contains("--ca-file: read /nowhere: No such file")), (Some(1), true), "{said}");
    let plain = bench.gateway.ready("api").replace("https", "http");
    let (code, said) = ask(&|command| command.env("PORTCULLIS_URL", &plain));
    assert_eq!((code, said.contains("use https (400 Bad Request)")), (Some(3), true), "{said}");
}

fn files_that_are_wrong_keep_it_from_starting(backend: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::new(folder.path());
    let [certificate, key] = authority.issue(&[ADDRESS]);
    let other = folder.path().join("other");
    std::fs::create_dir(&other).expect("a folder");
    let [_, strange_key] = Authority::new(&other).issue(&[ADDRESS]);
    let swapped = key.replace("tls.key", "tls.certificate");
    for (certificate, key, said) in [
        ("tls.certificate = \"/nowhere/crt\"", key.as_str(), "TLS: read /nowhere/crt: No such file"),
        (&certificate, "tls.key = \"/nowhere/key\"", "TLS: read /nowhere/key: No such file"),
        (&certificate, &strange_key, "does not belong to the certificate in "),
        (&swapped, &key, "TLS: there is no certificate in "),
        (&certificate, "", "tls.key = \"\": name the file with the key of tls.certificate"),
    ] {
        let command = Gateway::command(folder.path(), &[ADDRESS], backend, &[certificate, key]);
        let (code, answer) = failed(command);
        assert_eq!((code, answer.contains(said)), (Some(1), true), "{said}: {answer}");
        assert!(!answer.contains("PRIVATE KEY"), "{answer}");
    }
}

fn old_kinds_of_keys_are_taken(backend: &str) {
    const OPENSSL: &str = "/usr/bin/openssl";
    if !require::file(OPENSSL, "openssl") {
        return;
    }
    for kind in [&["genrsa", "-traditional", "2048"][..], &["ecparam", "-genkey", "-name", "secp384r1"]] {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name).to_str().expect("text").to_owned();
        let old = run(OPENSSL, kind);
        std::fs::write(at("old"), &old).expect("writes");
        let authority = Authority::new(folder.path());
        // The certificate's maker reads the new kind only.
        let new = run(OPENSSL, &["pkcs8", "-topk8", "-nocrypt", "-in", &at("old")]);
        let [certificate, key] = authority.issue_for(&[ADDRESS], &new);
        std::fs::write(at("key"), old).expect("writes");

        let gateway = Gateway::start(folder.path(), backend, &[&certificate, &key]);
        let broker = gateway.open(Target::new().echo());
        let stream = authority.connect(broker.endpoint);
        let mut socket = open_on(stream, broker.endpoint, Some(&broker.token)).expect("a session");
        echoes(&mut socket, b"signed with an old kind of key");
    }
}
