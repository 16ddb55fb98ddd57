//! Thousands of brokers at once.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use portcullis_tests::eye::Eye;
use portcullis_tests::gateway::{Broker, Gateway};
use portcullis_tests::process::{descriptors, run};
use portcullis_tests::target::Target;
use portcullis_tests::websocket::{echoes, open};
use portcullis_tests::{behind_every_gate, wait_for};
use serde_json::json;

behind_every_gate!(
    thousands_opened_at_once_neither_collide_nor_stop_a_session,
    a_port_with_a_foreign_socket_is_passed_over,
);

/// All ports of the default range.
const PORTS: usize = 5_001;
const CALLERS: usize = 16;

/// Lines of `ss -ltnH`, without the queues, which come and go.
fn listeners() -> Vec<String> {
    let list = run("ss", &["-ltnH"]);
    list.lines().filter_map(|line| line.split_whitespace().nth(3)).map(str::to_owned).collect()
}

fn thousands_opened_at_once_neither_collide_nor_stop_a_session(backend: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    // The session answers no ping while all else is looked at, however long that takes.
    let patient = ["broker.ttl_s = 86400", "session.peer_timeout_s = 3600"];
    let gateway = Gateway::start(folder.path(), backend, &patient);
    let port = Target::new().echo();
    gateway.add_instance("i-1", port);
    gateway.add_instance("i-2", port);
    let first = gateway.open_again("i-1");
    let mut session = open(&first).expect("a session");
    echoes(&mut session, b"hello");
    let (listening, quiet) = (listeners(), descriptors(gateway.id()));

    // One port is taken already. All callers go on until all ports are.
    let (opened, full) = (AtomicUsize::new(0), AtomicBool::new(false));
    let (brokers, trips) = thread::scope(|scope| {
        let callers: Vec<_> =
            (0..CALLERS).map(|_| scope.spawn(|| open_until_full(&gateway, &opened, &full))).collect();
        let mut trips = 0;
        // A session's bytes go their way meanwhile: no trip waits for the callers.
        let mut seen = 0;
        while !full.load(Ordering::Relaxed) {
            echoes(&mut session, b"there and back");
            let now = opened.load(Ordering::Relaxed);
            trips += usize::from(now > seen);
            seen = now;
        }
        let brokers: Vec<Broker> =
            callers.into_iter().flat_map(|caller| caller.join().expect("no panic")).collect();
        (brokers, trips)
    });
    assert_eq!(brokers.len(), PORTS - 1);
    let endpoints: BTreeSet<_> = brokers.iter().chain([&first]).map(|broker| broker.endpoint).collect();
    assert_eq!(endpoints.len(), PORTS, "two brokers have one port");
    // The session went on between the creations, and not only before and behind them.
    assert!(trips > 100, "{trips} round trips among {PORTS} creations");

    let mut eye = Eye::new(&gateway, folder.path());
    assert_eq!(eye.look().differences(backend), [""; 0]);
    if backend == "ebpf" {
        assert_eq!(listeners(), listening, "a socket per broker");
    }
    for broker in brokers.iter().step_by(500) {
        echoes(&mut open(broker).expect("every one leads to its console"), b"hello");
    }

    assert_eq!(gateway.api().delete("/v1/instances/i-2").0, 204);
    wait_for("all to be closed", || {
        let sight = eye.look();
        (sight.listed.len() == 1 && sight.differences(backend).is_empty()).then_some(())
    });
    drop(eye);
    echoes(&mut session, b"still here");
    wait_for("all descriptors to be given back", || (descriptors(gateway.id()) == quiet).then_some(()));
}

fn open_until_full(gateway: &Gateway, opened: &AtomicUsize, full: &AtomicBool) -> Vec<Broker> {
    let api = gateway.api().clone().kept();
    let mut brokers = Vec::new();
    loop {
        let (status, answer) = api.post("/v1/brokers", &json!({ "instance_id": "i-2" }));
        if status != 201 {
            assert_eq!((status, &answer["code"]), (503, &json!("no_free_port")));
            full.store(true, Ordering::Relaxed);
            return brokers;
        }
        opened.fetch_add(1, Ordering::Relaxed);
        brokers.push(Broker::read(answer));
    }
}

/// A service of somebody else keeps its port, whatever address it is bound to.
fn a_port_with_a_foreign_socket_is_passed_over(backend: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let more = ["range.first = 10000", "range.last = 10003"];
    let gateway = Gateway::start(folder.path(), backend, &more);
    gateway.add_instance("i-1", Target::new().echo());
    let foreign = ["127.0.80.1:10000", "0.0.0.0:10001", "[::]:10002"]
        .map(|address| std::net::TcpListener::bind(address).expect("a free port"));
    let broker = gateway.open_again("i-1");
    assert_eq!(broker.endpoint.port(), 10_003);
    let (status, problem) = gateway.api().post("/v1/brokers", &json!({ "instance_id": "i-1" }));
    assert_eq!((status, &problem["code"]), (503, &json!("no_free_port")));
    assert!(gateway.log().contains("another socket has this broker port"), "{}", gateway.log());
    drop(foreign);
}
