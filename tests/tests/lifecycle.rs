//! Brokers from the outside: how they open, close, expire, and what is left of them.

use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use aya::programs::{SchedClassifier, TcAttachType};
use nix::sys::signal::Signal;
use portcullis_tests::gateway::{ADDRESS, Broker, Gateway};
use portcullis_tests::namespace::in_namespace;
use portcullis_tests::process::{Guarded, run};
use portcullis_tests::target::{Target, connect};
use portcullis_tests::websocket::{closed, echoes, open};
use portcullis_tests::{PATIENCE, behind_every_filter, require, wait_for};
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

behind_every_filter!(
    one_port_of_two_addresses_is_two_brokers,
    a_closed_broker_ends_its_sessions_and_its_port,
    an_unused_broker_expires,
    a_used_broker_closes_after_its_last_session,
    a_moved_instance_keeps_its_brokers,
    a_deleted_instance_loses_its_brokers,
    a_full_range_says_when_to_come_again,
    sigterm_ends_everything_in_order,
    a_stop_waits_for_nobody,
    a_killed_gateway_leaves_nothing_open,
    what_is_valid_goes_on_after_a_restart,
    a_slow_target_shows_nothing_after_the_delete,
    one_daemon_per_state_folder,
);

fn gateway(backend: &str, more: &[&str]) -> (tempfile::TempDir, Gateway) {
    let folder = tempfile::tempdir().expect("a folder");
    let gateway = Gateway::start(folder.path(), backend, more);
    (folder, gateway)
}

fn one_port_of_two_addresses_is_two_brokers(backend: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let more = ["range.first = 10000", "range.last = 10000"];
    let addresses = [ADDRESS, "127.0.80.2", "::1"];
    let gateway = Gateway::start_by(folder.path(), &addresses, backend, &more, |command, _| command);
    let brokers = [(); 3].map(|()| {
        let port = Target::new().named_echo();
        (gateway.open(port), port)
    });
    let mut open_on: Vec<_> = brokers.iter().map(|(broker, _)| broker.endpoint.to_string()).collect();
    open_on.sort_unstable();
    assert_eq!(open_on, ["127.0.80.1:10000", "127.0.80.2:10000", "[::1]:10000"]);
    for (broker, port) in &brokers {
        let mut session = open(broker).expect("a session");
        let Message::Binary(named) = session.read().expect("reads") else { panic!("no bytes") };
        assert_eq!(named, port.to_be_bytes()[..]);
    }
    // Closing one leaves its namesakes.
    assert_eq!(gateway.api().delete(&format!("/v1/brokers/{}", brokers[0].0.id)).0, 204);
    is_closed(&gateway, brokers[0].0.endpoint);
    for (broker, _) in &brokers[1..] {
        assert_eq!(gateway.api().get(&format!("/v1/brokers/{}", broker.id)).0, 200);
        assert!(connect(broker.endpoint, PATIENCE).is_ok());
    }
}

/// Waits until `endpoint` answers like a closed port: refused on plain listeners, silent behind the
/// filter.
fn is_closed(gateway: &Gateway, endpoint: SocketAddr) {
    if gateway.ready("backend") == "none" {
        return is_refused(endpoint);
    }
    let name = "portcullis_filter_packets_total{verdict=\"closed\"}";
    // The filter closes a moment after the broker is not listed any more.
    wait_for("the port to be closed", || {
        let before = gateway.metric(name);
        let error = TcpStream::connect_timeout(&endpoint, Duration::from_millis(300)).err()?;
        assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
        assert!(gateway.metric(name) > before, "something else than the filter kept {endpoint} silent");
        Some(())
    });
}

fn is_refused(endpoint: SocketAddr) {
    // The socket of a closed broker goes a moment after the answer to the call.
    wait_for("the port to be closed", || {
        let refused = TcpStream::connect_timeout(&endpoint, PATIENCE).err()?;
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
        Some(())
    });
}

fn is_gone(gateway: &Gateway, broker: &Broker) {
    wait_for("the broker to be closed", || {
        (gateway.api().get(&format!("/v1/brokers/{}", broker.id)).0 == 404).then_some(())
    });
    is_closed(gateway, broker.endpoint);
}

fn a_closed_broker_ends_its_sessions_and_its_port(backend: &str) {
    let (_folder, gateway) = gateway(backend, &[]);
    let port = Target::new().echo();
    let (broker, other) = (gateway.open(port), gateway.open(port));
    let mut session = open(&broker).expect("a session");
    let mut other_session = open(&other).expect("a session");
    assert_eq!(gateway.api().delete(&format!("/v1/brokers/{}", broker.id)).0, 204);
    assert_eq!(closed(&mut session), Some((1001, "the console was closed".into())));
    is_gone(&gateway, &broker);
    assert_eq!(gateway.api().delete(&format!("/v1/brokers/{}", broker.id)).0, 404);
    echoes(&mut other_session, b"not my broker");
    gateway.wait_metric("portcullis_brokers{state=\"open\"}", 1.0);
}

fn an_unused_broker_expires(backend: &str) {
    let (_folder, gateway) = gateway(backend, &["broker.ttl_s = 1"]);
    let broker = gateway.open(Target::new().echo());
    is_gone(&gateway, &broker);
}

fn a_used_broker_closes_after_its_last_session(backend: &str) {
    let (_folder, gateway) = gateway(backend, &["session.reconnect_s = 1"]);
    let broker = gateway.open(Target::new().echo());
    let mut session = open(&broker).expect("a session");
    // Its time to live passes while it is used: another one that nobody uses goes, this one stays.
    let (_, unused) =
        gateway.api().post("/v1/brokers", &json!({ "instance_id": broker.instance(), "ttl_s": 1 }));
    is_gone(&gateway, &Broker::read(unused));
    echoes(&mut session, b"still here");
    session.close(None).expect("closes");
    assert_eq!(closed(&mut session), None);
    is_gone(&gateway, &broker);
}

fn a_moved_instance_keeps_its_brokers(backend: &str) {
    let (_folder, gateway) = gateway(backend, &[]);
    let (old, new) = (Target::new(), Target::new());
    gateway.add_instance("i-1", old.port());
    let broker = gateway.open_again("i-1");
    gateway.add_instance("i-1", new.port());
    let _session = open(&broker).expect("a session");
    let _console = new.accept();
}

fn a_deleted_instance_loses_its_brokers(backend: &str) {
    let (_folder, gateway) = gateway(backend, &[]);
    let target = Target::new();
    gateway.add_instance("i-1", target.port());
    let broker = gateway.open_again("i-1");
    let mut session = open(&broker).expect("a session");
    let mut console = target.accept();
    assert_eq!(gateway.api().delete("/v1/instances/i-1").0, 204);
    assert_eq!(closed(&mut session).map(|(code, _)| code), Some(1001));
    drop(session);
    assert_eq!(console.read(&mut [0; 1]).expect("an orderly end"), 0);
    is_gone(&gateway, &broker);
    assert_eq!(gateway.api().delete("/v1/instances/i-1").0, 404);
    assert_eq!(gateway.api().post("/v1/brokers", &json!({ "instance_id": "i-1" })).0, 404);
}

fn a_full_range_says_when_to_come_again(backend: &str) {
    let more = ["range.first = 10000", "range.last = 10001"];
    let (folder, gateway) = gateway(backend, &more);
    let port = Target::new().echo();
    let brokers = [gateway.open(port), gateway.open(port)];
    assert_ne!(brokers[0].endpoint, brokers[1].endpoint);
    let wish = json!({ "instance_id": brokers[0].instance() });
    let full = |gateway: &Gateway| {
        let (status, problem) = gateway.api().post("/v1/brokers", &wish);
        assert_eq!((status, &problem["code"]), (503, &json!("no_free_port")));
    };
    full(&gateway);
    // A closed port rests, also over a restart: the next viewer there would reach another machine.
    assert_eq!(gateway.api().delete(&format!("/v1/brokers/{}", brokers[0].id)).0, 204);
    full(&gateway);
    gateway.signal(Signal::SIGKILL);
    drop(gateway);
    let gateway = Gateway::start(folder.path(), backend, &more);
    full(&gateway);
    is_closed(&gateway, brokers[0].endpoint);
}

fn sigterm_ends_everything_in_order(backend: &str) {
    let (_folder, mut gateway) = gateway(backend, &[]);
    let target = Target::new();
    let broker = gateway.open(target.port());
    let mut session = open(&broker).expect("a session");
    let mut console = target.accept();
    gateway.signal(Signal::SIGTERM);
    assert_eq!(closed(&mut session), Some((1001, "the gateway is stopping".into())));
    drop(session);
    assert_eq!(console.read(&mut [0; 1]).expect("an orderly end"), 0);
    assert!(gateway.ended().success(), "{}", gateway.log());
    is_refused(broker.endpoint);
    if require_kernel_of(backend) {
        assert_eq!(attached(), 0);
        assert!(!steered(), "sk_lookup is still attached");
    }
}

/// Connections that say nothing, or wait for a target, do not hold a stop up.
fn a_stop_waits_for_nobody(backend: &str) {
    let (_folder, mut gateway) = gateway(backend, &["stop_grace_s = 120"]);
    let broker = gateway.open(Target::new().echo());
    let mut silent = connect(broker.endpoint, PATIENCE).expect("connects");
    gateway.wait_metric("portcullis_brokers{state=\"open\"}", 1.0);
    gateway.signal(Signal::SIGTERM);
    let mut answer = String::new();
    silent.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("\"stopping\""), "{answer}");
    drop(silent);
    assert!(gateway.ended().success(), "{}", gateway.log());
}

fn a_killed_gateway_leaves_nothing_open(backend: &str) {
    let (_folder, mut gateway) = gateway(backend, &[]);
    let broker = gateway.open(Target::new().echo());
    gateway.signal(Signal::SIGKILL);
    gateway.ended();
    is_refused(broker.endpoint);
    if require_kernel_of(backend) {
        assert_eq!(attached(), 0);
        assert!(!steered(), "sk_lookup is still attached");
    }
}

/// By SIGTERM and by SIGKILL: brokers keep their ports, used tickets stay used, clients come back.
fn what_is_valid_goes_on_after_a_restart(backend: &str) {
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        let (folder, mut first) = gateway(backend, &[]);
        let port = Target::new().echo();
        let (used, unused, closed) = (first.open(port), first.open(port), first.open(port));
        let mut session = open(&used).expect("a session");
        echoes(&mut session, b"before");
        assert_eq!(first.api().delete(&format!("/v1/brokers/{}", closed.id)).0, 204);
        first.signal(signal);
        first.ended();
        let second = Gateway::start(folder.path(), backend, &[]);
        assert_eq!(second.metric("portcullis_brokers{state=\"open\"}"), 2.0);
        is_closed(&second, closed.endpoint);
        echoes(&mut open(&unused).expect("a first session"), b"hello");
        echoes(&mut open(&used).expect("comes back"), b"after");
        let (_, sessions) = second.api().get("/v1/sessions");
        let items = sessions["items"].as_array().expect("a list");
        assert_eq!(items.len(), 2, "{sessions}");
        let back =
            items.iter().find(|session| session["broker_id"] == used.id.as_str()).expect("its session");
        assert_eq!(back["connections"], 2, "{back}");
    }
}

/// The target is slow to accept; meanwhile its machine is deleted.
fn a_slow_target_shows_nothing_after_the_delete(backend: &str) {
    let (_folder, gateway) = gateway(backend, &[]);
    // A listener whose queue is full answers no SYN.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
    socket.bind(&any.into()).expect("binds");
    socket.listen(0).expect("listens");
    let target: std::net::TcpListener = socket.into();
    let address = target.local_addr().expect("an address");
    let _fills_the_queue = TcpStream::connect(address).expect("connects");
    gateway.add_instance("i-slow", address.port());
    let broker = gateway.open_again("i-slow");
    let waiting = std::thread::spawn(move || open(&broker).err());
    let established = format!("-tn state syn-sent dport = :{}", address.port());
    wait_for("the gateway to dial", || {
        let arguments: Vec<&str> = established.split(' ').collect();
        run("ss", &arguments).lines().nth(1).map(drop)
    });
    assert_eq!(gateway.api().delete("/v1/instances/i-slow").0, 204);
    assert_eq!(waiting.join().expect("an answer"), Some((404, "no_broker".into())));
}

fn one_daemon_per_state_folder(backend: &str) {
    let (folder, gateway) = gateway(backend, &[]);
    let mut second = Guarded::start(&mut Gateway::command(folder.path(), &[ADDRESS], backend, &[]));
    assert_eq!(second.ended().code(), Some(1));
    assert!(gateway.log().contains("another daemon uses the state folder"), "{}", gateway.log());
    gateway.open(Target::new().echo());
}

const fn require_kernel_of(backend: &str) -> bool {
    // Behind plain listeners there is nothing to be attached, and perhaps no privilege to look.
    matches!(backend.as_bytes(), b"ebpf")
}

/// Programs at tc ingress of `lo` in this namespace.
fn attached() -> usize {
    let (_, programs) = SchedClassifier::query_tcx("lo", TcAttachType::Ingress).expect("answers");
    programs.len()
}

/// Whether a program steers sockets of this namespace.
fn steered() -> bool {
    use std::os::unix::fs::MetadataExt;
    let namespace = std::fs::metadata("/proc/thread-self/ns/net").expect("a namespace").ino();
    let links: serde_json::Value =
        serde_json::from_str(&run("bpftool", &["--json", "link", "show"])).expect("JSON");
    links.as_array().expect("a list").iter().any(|link| link["netns_ino"] == namespace)
}

#[test]
fn no_listener_stands_in_the_range() {
    if !require::kernel() {
        return;
    }
    in_namespace(|| {
        let (_folder, gateway) = gateway("ebpf", &[]);
        let target = Target::new();
        let rules = || (run("iptables-save", &[]), run("nft", &["list", "ruleset"]));
        let listeners = || -> Vec<String> {
            let list = run("ss", &["-ltnH"]);
            list.lines().filter_map(|line| line.split_whitespace().nth(3)).map(str::to_owned).collect()
        };
        let (listening, before) = (listeners(), rules());
        let sessions: Vec<_> =
            (0..20).map(|_| open(&gateway.open(target.port())).expect("a session")).collect();
        assert_eq!(listeners(), listening);
        assert!(rules() == before, "a rule was added");
        assert_eq!((attached(), steered()), (1, true));
        drop(sessions);
    });
}

#[test]
fn without_the_privileges_it_runs_on_plain_listeners_and_says_so() {
    if !require::root() {
        return;
    }
    in_namespace(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let wanted = Gateway::command(folder.path(), &[ADDRESS], "ebpf", &[]);
        let mut refused = Guarded::start(&mut without_capabilities(wanted, folder.path()));
        assert_eq!(refused.ended().code(), Some(1));
        let gateway = Gateway::start_by(folder.path(), &[ADDRESS], "auto", &[], without_capabilities);
        assert_eq!((gateway.ready("backend"), gateway.ready("steering")), ("none".into(), "ports".into()));
        assert!(gateway.log().contains("no filter: broker ports are plain listeners"), "{}", gateway.log());
        let about = "portcullis_backend_info{backend=\"none\",hook=\"-\",steering=\"ports\"}";
        assert_eq!(gateway.metric(about), 1.0);
        let mut session = open(&gateway.open(Target::new().echo())).expect("a session");
        echoes(&mut session, b"hello");
    });
}

/// The same command as an ordinary user.
fn without_capabilities(command: std::process::Command, folder: &std::path::Path) -> std::process::Command {
    const NOBODY: &str = "65534";
    run("chown", &["-R", NOBODY, folder.to_str().expect("a path")]);
    let mut wrapped = std::process::Command::new("setpriv");
    wrapped.args([
        "--reuid",
        NOBODY,
        "--regid",
        NOBODY,
        "--clear-groups",
        "--bounding-set=-all",
        "--inh-caps=-all",
    ]);
    wrapped.arg(command.get_program()).args(command.get_args());
    wrapped
}
