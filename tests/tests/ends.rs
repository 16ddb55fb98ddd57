//! Every end of a session has a reason, and it is the same in record, metric and log.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use portcullis_tests::gateway::{Broker, Gateway};
use portcullis_tests::namespace::{Neighbour, THERE, in_namespace};
use portcullis_tests::process::run;
use portcullis_tests::target::Target;
use portcullis_tests::websocket::{Socket, closed, echoes, open, open_with};
use portcullis_tests::{behind_every_gate, require, wait_for};
use serde_json::{Value, json};
use socket2::SockRef;
use tokio_tungstenite::tungstenite::Message;

behind_every_gate!(
    who_leaves_and_how_is_told,
    what_the_gateway_ends_is_told,
    what_a_stop_ends_is_told_by_the_next_daemon,
);

/// Nobody is waited for, so that a session is over with its connection.
const AT_ONCE: &str = "session.reconnect_s = 0";

struct Bench {
    folder: tempfile::TempDir,
    gateway: Gateway,
}

/// A session: its client, and its console.
struct Session {
    broker: Broker,
    id: String,
    client: Socket,
    console: TcpStream,
    /// Where the console listens, for whoever comes next.
    _target: Target,
}

fn bench(backend: &str, more: &[&str]) -> Bench {
    let folder = tempfile::tempdir().expect("a folder");
    let gateway = Gateway::start(folder.path(), backend, &[&[AT_ONCE], more].concat());
    Bench { folder, gateway }
}

impl Bench {
    fn session(&self) -> Session {
        let target = Target::new();
        let broker = self.gateway.open(target.port());
        let mut client = open(&broker).expect("a session");
        let mut console = target.accept();
        // What was sent was read: nothing is left that would make an end a reset.
        client.send(Message::binary(b"hello".to_vec())).expect("sends");
        let mut said = [0; 5];
        console.read_exact(&mut said).expect("reads");
        Session { id: self.live(), broker, client, console, _target: target }
    }

    /// The id of the one session that is live.
    fn live(&self) -> String {
        let (_, live) = self.gateway.api().get("/v1/sessions?state=live");
        live["items"][0]["session_id"].as_str().expect("a session").to_owned()
    }

    /// The session `id` ended so, and all places say it.
    fn is_told(&self, id: &str, end: &str, count: f64) {
        is_recorded(&self.gateway, id, end);
        self.gateway.wait_metric(&format!("portcullis_connection_ends_total{{end={end:?}}}"), count);
        let ends = format!("portcullis_session_ends_total{{protocol=\"vnc\",end={end:?}}}");
        self.gateway.wait_metric(&ends, count);
        wait_for("a line in the log", || {
            let log = self.gateway.log();
            let mut lines = log.lines().filter(|line| line.contains("session ended") && line.contains(id));
            lines.any(|line| line.contains(&format!("end={end:?}"))).then_some(())
        });
    }
}

fn is_recorded(gateway: &Gateway, id: &str, end: &str) {
    let session = wait_for("the end to be recorded", || {
        let (_, session) = gateway.api().get(&format!("/v1/sessions/{id}"));
        (!session["ended_at"].is_null()).then_some(session)
    });
    assert_eq!(session["end_reason"], end, "{session}");
}

/// Ends a connection as a program does that is killed with something unread: by a reset.
fn reset(stream: &TcpStream) {
    SockRef::from(stream).set_linger(Some(Duration::ZERO)).expect("an option");
}

/// What is left of a session when one side has gone: it stays until the end was told.
type Rest = (Option<Socket>, Option<TcpStream>);

fn who_leaves_and_how_is_told(backend: &str) {
    let bench = bench(backend, &[]);
    type Leave = fn(Session) -> Rest;
    let ways: [(&str, f64, Leave); 6] = [
        ("client_closed", 1.0, |Session { mut client, console, .. }| {
            client.close(None).expect("closes");
            assert_eq!(closed(&mut client), None);
            (Some(client), Some(console))
        }),
        ("client_gone", 1.0, |Session { client, console, .. }| {
            drop(client);
            (None, Some(console))
        }),
        ("client_gone", 2.0, |Session { client, console, .. }| {
            reset(client.get_ref());
            drop(client);
            (None, Some(console))
        }),
        ("protocol_error", 1.0, |Session { mut client, console, .. }| {
            client.get_mut().write_all(&RESERVED_BIT).expect("writes");
            assert_eq!(closed(&mut client), Some((1002, "reserved bit set".into())));
            (Some(client), Some(console))
        }),
        ("target_closed", 1.0, |Session { mut client, console, .. }| {
            drop(console);
            assert_eq!(closed(&mut client), Some((1000, "target closed".into())));
            (Some(client), None)
        }),
        ("target_gone", 1.0, |Session { mut client, console, .. }| {
            reset(&console);
            drop(console);
            assert_eq!(closed(&mut client), Some((1011, "target connection lost".into())));
            (Some(client), None)
        }),
    ];
    for (end, count, leave) in ways {
        let session = bench.session();
        let id = session.id.clone();
        let (client, console) = leave(session);
        // A client that was told leaves.
        drop(client);
        bench.is_told(&id, end, count);
        drop(console);
    }
}

/// A text frame, masked, with a bit that no extension was agreed on for.
const RESERVED_BIT: [u8; 6] = [0xc1, 0x80, 0, 0, 0, 0];

fn what_the_gateway_ends_is_told(backend: &str) {
    type End = fn(&Bench, &mut Session);
    let ends: [(&str, &[&str], u16, &str, End); 5] = [
        ("idle", &["session.idle_s = 1"], 1001, "idle", |_, _| {}),
        ("too_long", &["session.max_s = 1"], 1001, "time is over", |_, _| {}),
        ("killed", &[], 4001, "ended by an operator", |bench, session| {
            assert_eq!(bench.gateway.api().delete(&format!("/v1/sessions/{}", session.id)).0, 204);
        }),
        ("closed", &[], 1001, "the console was closed", |bench, session| {
            assert_eq!(bench.gateway.api().delete(&format!("/v1/brokers/{}", session.broker.id)).0, 204);
        }),
        ("replaced", &[], 4000, "replaced by a newer connection", |bench, session| {
            // The session goes on in it; its connection is what ends.
            drop(open(&session.broker).expect("a session"));
            bench.gateway.wait_metric("portcullis_connection_ends_total{end=\"replaced\"}", 1.0);
        }),
    ];
    for (end, more, code, reason, act) in ends {
        let bench = bench(backend, more);
        let mut session = bench.session();
        act(&bench, &mut session);
        assert_eq!(closed(&mut session.client), Some((code, reason.to_owned())), "{end}");
        if end != "replaced" {
            bench.is_told(&session.id, end, 1.0);
        }
        drop(bench.folder);
    }
}

fn what_a_stop_ends_is_told_by_the_next_daemon(backend: &str) {
    let Bench { folder, mut gateway } = bench(backend, &[]);
    let target = Target::new();
    let broker = gateway.open(target.port());
    let mut client = open(&broker).expect("a session");
    let (_, live) = gateway.api().get("/v1/sessions?state=live");
    let id = live["items"][0]["session_id"].as_str().expect("a session").to_owned();
    gateway.signal(Signal::SIGTERM);
    assert_eq!(closed(&mut client), Some((1001, "the gateway is stopping".into())));
    drop(client);
    assert!(gateway.ended().success());
    assert!(gateway.log().contains("end=\"stopping\""), "{}", gateway.log());
    let next = Gateway::start(folder.path(), backend, &[AT_ONCE]);
    is_recorded(&next, &id, "stopping");
}

/// A pulled cable: nothing comes through any more, and nobody says so.
fn pull(neighbour: &Neighbour) {
    neighbour.inside(|| {
        run("nft", &["add", "table", "inet", "cable"]);
        for hook in ["prerouting", "output"] {
            let chain = format!("{{ type filter hook {hook} priority -300; policy drop; }}");
            run("nft", &["add", "chain", "inet", "cable", hook, &chain]);
        }
    });
}

/// Seconds within which the other side of the cable is missed.
const PEER: u64 = 2;

/// By default TCP itself takes a quarter of an hour, and an idle one notices never.
const SOON: Duration = Duration::from_secs(30);

#[test]
fn a_client_behind_a_pulled_cable_is_missed() {
    if require::nft() {
        for busy in [false, true] {
            in_namespace(|| a_client_is_missed(busy));
        }
    }
}

fn a_client_is_missed(busy: bool) {
    let (folder, neighbour) = (tempfile::tempdir().expect("a folder"), Neighbour::new());
    let lines = [format!("session.peer_timeout_s = {PEER}"), AT_ONCE.to_owned()];
    let lines: Vec<_> = lines.iter().map(String::as_str).collect();
    let gateway = Gateway::start_by(folder.path(), &["10.77.0.1"], "none", &lines, |command, _| command);
    let target = Target::new();
    let broker = gateway.open(target.port());
    let mut client = neighbour.inside(|| open_with(broker.endpoint, Some(&broker.token))).expect("a session");
    let mut console = target.accept();
    client.send(Message::binary(b"hello".to_vec())).expect("sends");
    console.read_exact(&mut [0; 5]).expect("reads");
    pull(&neighbour);
    let began = Instant::now();
    if busy {
        // More than any buffer on the way holds: the gateway has something for the client all along.
        std::thread::spawn(move || while console.write_all(&[7; 65536]).is_ok() {});
    }
    gateway.wait_metric("portcullis_connection_ends_total{end=\"client_silent\"}", 1.0);
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    is_ended(&gateway, "client_silent");
    drop(client);
}

#[test]
fn a_console_behind_a_pulled_cable_is_missed() {
    if require::nft() {
        for busy in [false, true] {
            in_namespace(|| a_console_is_missed(busy));
        }
    }
}

fn a_console_is_missed(busy: bool) {
    let (folder, neighbour) = (tempfile::tempdir().expect("a folder"), Neighbour::new());
    let lines = [format!("session.peer_timeout_s = {PEER}"), AT_ONCE.to_owned()];
    let gateway = Gateway::start(folder.path(), "none", &lines.each_ref().map(String::as_str));
    let port = neighbour.inside(|| Target::at(&format!("{}:0", THERE[0])).echo());
    let instance = json!({ "host": THERE[0], "graphics_port": port, "graphics_protocol": "vnc" });
    assert_eq!(gateway.api().put("/v1/instances/i-1", &instance).0, 201);
    let mut client = open(&gateway.open_again("i-1")).expect("a session");
    echoes(&mut client, b"hello");
    pull(&neighbour);
    let began = Instant::now();
    if busy {
        client.send(Message::binary(b"are you there?".to_vec())).expect("sends");
    }
    assert_eq!(closed(&mut client), Some((1011, "target connection lost".into())));
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    drop(client);
    gateway.wait_metric("portcullis_connection_ends_total{end=\"target_silent\"}", 1.0);
    is_ended(&gateway, "target_silent");
}

/// The one session that there was ended so, by its record.
fn is_ended(gateway: &Gateway, end: &str) {
    let ended: Value = wait_for("the end to be recorded", || {
        let (_, ended) = gateway.api().get("/v1/sessions?state=ended");
        (!ended["items"][0].is_null()).then_some(ended)
    });
    assert_eq!(ended["items"][0]["end_reason"], end, "{ended}");
}
