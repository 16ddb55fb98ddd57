//! Where API and metrics listen: on a Unix socket too, and whatever slow clients do.

use std::fs;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use nix::sys::signal::Signal;
use portcullis_tests::events::Listener;
use portcullis_tests::gateway::{ADDRESS, Gateway, agent, call};
use portcullis_tests::process::descriptors;
use portcullis_tests::target::{Target, connect};
use portcullis_tests::tls::Authority;
use portcullis_tests::websocket::{closed, echoes, open_with, talk};
use portcullis_tests::{PATIENCE, behind_every_gate, wait_for};
use serde_json::{Value, json};

behind_every_gate!(
    the_command_line_works_over_a_unix_socket,
    a_stale_socket_is_replaced_and_nothing_else,
    slow_clients_hold_nobody_up,
    a_slow_body_is_408,
    who_comes_while_there_are_too_many_waits,
    it_stops_with_clients_that_hang,
);

/// The harness has given `api.listen` already; the environment goes before the file.
fn start_on(folder: &Path, socket: &Path, backend: &str, more: &[&str]) -> Gateway {
    Gateway::start_by(folder, &[ADDRESS], backend, more, |command, _| on(command, socket))
}

fn on(mut command: Command, socket: &Path) -> Command {
    command.env("PORTCULLIS_API_LISTEN", format!("unix:{}", socket.display()));
    command
}

fn unix(socket: &Path) -> UnixStream {
    let stream = UnixStream::connect(socket).expect("somebody listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("an option");
    stream
}

fn endpoint(gateway: &Gateway, name: &str) -> SocketAddr {
    let url = gateway.ready(name);
    url.split_once("://").expect("a URL").1.parse().expect("an address")
}

fn the_command_line_works_over_a_unix_socket(backend: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("api.sock");
    let gateway = start_on(folder.path(), &socket, backend, &[]);
    assert_eq!(gateway.ready("api"), format!("unix:{}", socket.display()));
    assert_eq!(fs::metadata(&socket).expect("a file").permissions().mode() & 0o777, 0o600);
    let mut listener = Listener::on(unix(&socket), &gateway.api().key);
    let ask = |arguments: &[&str]| -> (Option<i32>, String, String) {
        let Output { status, stdout, stderr } =
            gateway.command_line().args(arguments).output().expect("runs");
        let text = |bytes| String::from_utf8(bytes).expect("text");
        (status.code(), text(stdout), text(stderr))
    };
    let done = |arguments: &[&str]| {
        let (code, text, said) = ask(arguments);
        assert_eq!(code, Some(0), "{arguments:?}: {said}");
        text
    };

    let rows: String = (0..1_500)
        .map(|n| format!("{{\"instance_id\":\"i-{n}\",\"host\":\"h\",\"graphics_port\":1,\"graphics_protocol\":\"vnc\"}}\n"))
        .collect();
    let file = folder.path().join("many.jsonl");
    fs::write(&file, rows).expect("writes");
    assert_eq!(done(&["instance", "import", file.to_str().expect("a path")]), "1500 created, 0 updated\n");
    let port = Target::new().echo().to_string();
    done(&["instance", "add", "i-1", "--host", "127.0.0.1", "--port", &port]);
    // In two parts.
    assert_eq!(done(&["instance", "list"]).lines().count(), 1_500);
    let created: Value = serde_json::from_str(&done(&["broker", "create", "i-1", "--json"])).expect("JSON");
    let broker = portcullis_tests::gateway::Broker::read(created);
    assert!(done(&["open", "i-1"]).contains("/#token="));
    assert!(done(&["broker", "list"]).contains(&broker.id));
    let mut session = open_with(broker.endpoint, Some(&broker.token)).expect("a session");
    echoes(&mut session, b"hello");
    let sessions: Value = serde_json::from_str(&done(&["session", "list", "--json"])).expect("JSON");
    done(&["session", "kill", sessions[0]["session_id"].as_str().expect("an id")]);
    assert!(closed(&mut session).is_some());
    done(&["broker", "close", &broker.id]);
    done(&["instance", "remove", "i-1"]);
    let (code, _, said) = ask(&["instance", "show", "i-1"]);
    assert_eq!((code, said.contains("there is no instance")), (Some(3), true), "{said}");
    // The key is needed here too.
    let without =
        talk(&mut unix(&socket), b"GET /v1/brokers HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert!(String::from_utf8_lossy(&without).contains("no_key"), "{}", String::from_utf8_lossy(&without));

    wait_for("the event of the removal", || (listener.named().0 == "instance.removed").then_some(()));
    let command = gateway.command_line();
    assert!(gateway.stop().success());
    assert!(!socket.exists(), "the socket is still there");
    let (code, said) = failed({ command }.args(["broker", "list"]));
    assert_eq!(code, Some(1));
    assert!(said.contains(&format!("ask the daemon at unix:{}", socket.display())), "{said}");
}

fn failed(command: &mut Command) -> (Option<i32>, String) {
    let output = command.stdin(Stdio::null()).stderr(Stdio::piped()).output().expect("runs");
    assert!(output.stdout.is_empty(), "it did not fail");
    (output.status.code(), String::from_utf8(output.stderr).expect("text"))
}

fn a_stale_socket_is_replaced_and_nothing_else(backend: &str) {
    let (folder, other) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let socket = folder.path().join("api.sock");
    let refused = |socket: &Path, why: &str| {
        let command = Gateway::command(other.path(), &[ADDRESS], backend, &[]);
        let (code, said) = failed(&mut on(command, socket));
        assert_eq!((code, said.contains(why)), (Some(1), true), "{said}");
    };
    let mut first = start_on(folder.path(), &socket, backend, &["api.socket_mode = \"0660\""]);
    assert_eq!(fs::metadata(&socket).expect("a file").permissions().mode() & 0o777, 0o660);
    refused(&socket, "another process listens there");
    let listed = |gateway: &Gateway| {
        let output = gateway.command_line().args(["broker", "list"]).output().expect("runs");
        assert!(output.status.success(), "{output:?}");
    };
    listed(&first);
    first.signal(Signal::SIGKILL);
    first.ended();
    assert!(socket.exists(), "a daemon that was killed removed its socket");
    let second = start_on(folder.path(), &socket, backend, &[]);
    listed(&second);
    // A socket that took the place of its own is not removed.
    fs::remove_file(&socket).expect("removes");
    let foreign = UnixListener::bind(&socket).expect("binds");
    assert!(second.stop().success());
    UnixStream::connect(&socket).expect("it is still there");
    drop(foreign);

    let file = folder.path().join("notes");
    fs::write(&file, "kept").expect("writes");
    refused(&file, "there is a file of that name that is no socket");
    assert_eq!(fs::read(&file).expect("a file"), b"kept");
    refused(&folder.path().join("nowhere/api.sock"), "nowhere: No such file or directory");
    refused(&folder.path().join("x".repeat(108)), "unix:/path of at most 107 bytes");
    refused(Path::new("api.sock"), "unix:/path of at most 107 bytes");
}

/// What slow clients send: nothing, or a part of a request's head.
const BEGUN: &[u8] = b"GET /v1/brokers HTTP/1.1\r\nHost: x\r\nX-Slow: ";

/// `count` clients that begin a request, each a little further than the one before.
fn slow<S: Write>(count: usize, connect: impl Fn() -> S) -> Vec<S> {
    let client = |number| {
        let mut stream = connect();
        stream.write_all(&BEGUN[..number % BEGUN.len()]).expect("writes");
        stream
    };
    (0..count).map(client).collect()
}

/// Each is told that it was slow, if it had said anything.
fn are_told(clients: Vec<impl Read>) {
    for (number, mut stream) in clients.into_iter().enumerate() {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an orderly end");
        let told = answer.starts_with("HTTP/1.1 408 ") && answer.contains("\"slow\"");
        assert_eq!(told, !number.is_multiple_of(BEGUN.len()), "{number}: {answer:?}");
    }
}

fn slow_clients_hold_nobody_up(backend: &str) {
    let times = ["api.request_s = 3", "metrics.request_s = 3"];
    let folder = tempfile::tempdir().expect("a folder");
    let gateway = Gateway::start(folder.path(), backend, &times);
    let mut listener = Listener::new(&gateway);
    let before = descriptors(gateway.id());
    for name in ["api", "metrics"] {
        let clients = slow(200, || connect(endpoint(&gateway, name), PATIENCE).expect("connects"));
        assert_eq!(gateway.api().get("/v1/brokers").0, 200);
        assert_eq!(gateway.metric("portcullis_brokers{state=\"open\"}"), 0.0);
        are_told(clients);
    }
    // Who listens to events asked long ago, and is not cut.
    gateway.add_instance("i-1", 5_900);
    assert_eq!(listener.event()["event"], "instance.put");
    wait_for("descriptors to be given back", || (descriptors(gateway.id()) <= before).then_some(()));
    drop(gateway);

    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("api.sock");
    let gateway = start_on(folder.path(), &socket, backend, &times);
    let clients = slow(200, || unix(&socket));
    let listed = gateway.command_line().args(["broker", "list"]).output().expect("runs");
    assert!(listed.status.success(), "{listed:?}");
    are_told(clients);
    drop(gateway);

    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::new(folder.path());
    let files = authority.issue(&["127.0.0.1"]);
    let lines: Vec<&str> = files.iter().map(String::as_str).chain(times).chain(["api.tls = true"]).collect();
    let gateway = Gateway::start(folder.path(), backend, &lines).asked_by(authority.agent());
    let clients = slow(50, || {
        let mut stream = authority.connect(endpoint(&gateway, "api"));
        stream.flush().expect("a handshake");
        stream
    });
    assert_eq!(gateway.api().get("/v1/brokers").0, 200);
    are_told(clients);
}

fn a_slow_body_is_408(backend: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let gateway = Gateway::start(folder.path(), backend, &["api.request_s = 1"]);
    for (path, kind) in [
        ("/v1/brokers", "application/json"),
        ("/v1/instances", "application/json"),
        ("/iaas/?action=CreateBrokers", "application/x-www-form-urlencoded"),
    ] {
        let mut stream = connect(endpoint(&gateway, "api"), PATIENCE).expect("connects");
        let key = &gateway.api().key;
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\nContent-Type: {kind}\r\nContent-Length: 100\r\n\r\n{{"
        );
        let answer = talk(&mut stream, head.as_bytes());
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("\"slow\""), "{path}: {answer}");
    }
}

fn who_comes_while_there_are_too_many_waits(backend: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let more =
        ["api.connections = 4", "api.request_s = 1", "metrics.connections = 4", "metrics.request_s = 1"];
    let gateway = Gateway::start(folder.path(), backend, &more);
    let before = descriptors(gateway.id());
    for name in ["api", "metrics"] {
        let silent = slow(12, || connect(endpoint(&gateway, name), PATIENCE).expect("connects"));
        let url = format!("{}/openapi.json", gateway.ready(name));
        assert!(matches!(call(agent().get(url).call()).0, 200 | 404));
        // Between the answer and this look further ones may have come in.
        assert!(descriptors(gateway.id()) <= before + 5, "more than four are in");
        drop(silent);
    }
    wait_for("descriptors to be given back", || (descriptors(gateway.id()) <= before).then_some(()));
}

fn it_stops_with_clients_that_hang(backend: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::new(folder.path());
    let files = authority.issue(&["127.0.0.1"]);
    let late = ["api.tls = true", "session.tls_s = 3000", "api.request_s = 3000", "metrics.request_s = 3000"];
    let lines: Vec<&str> = files.iter().map(String::as_str).chain(late).collect();
    let gateway = Gateway::start(folder.path(), backend, &lines).asked_by(authority.agent());
    let (api, metrics) = (endpoint(&gateway, "api"), endpoint(&gateway, "metrics"));
    let _in_the_handshake = slow(50, || connect(api, PATIENCE).expect("connects"));
    let _in_the_head = slow(50, || connect(metrics, PATIENCE).expect("connects"));
    let mut asked = authority.connect(api);
    let key = &gateway.api().key;
    let body = format!(
        "POST /v1/brokers HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n"
    );
    asked.write_all(body.as_bytes()).expect("writes");
    let _listener = Listener::on(authority.connect(api), key);
    assert_eq!(gateway.api().post("/v1/brokers", &json!({ "instance_id": "i-1" })).0, 404);
    // None of them is done before the harness loses its patience.
    assert!(gateway.stop().success());
}
