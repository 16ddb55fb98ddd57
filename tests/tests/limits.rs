//! Sessions that are held to a rate: nothing is lost, nothing is faster, and nothing else waits for it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use portcullis_tests::gateway::Gateway;
use portcullis_tests::target::Target;
use portcullis_tests::websocket::{Socket, closed, open};
use portcullis_tests::{behind_every_gate, pattern};
use tokio_tungstenite::tungstenite::Message;

behind_every_gate!(
    every_byte_arrives_and_none_too_early,
    the_channels_of_a_desktop_share_one_rate,
    who_is_held_is_answered_and_may_leave,
    a_stop_does_not_wait_for_the_rate,
);

fn gateway(backend: &str, more: &[&str]) -> (tempfile::TempDir, Gateway) {
    let folder = tempfile::tempdir().expect("a folder");
    let gateway = Gateway::start(folder.path(), backend, more);
    (folder, gateway)
}

const KIB: u32 = 1024;
/// In bytes a second.
const RATE: u32 = 256 * KIB;
const RATE_LINE: &str = "session.bytes_per_s = 262144";
/// The lowest rate: what is sent in these tests would take hours.
const CRAWL: &str = "session.bytes_per_s = 4096";

/// The least time for `bytes`: a quarter of a second's are free, and the last portion of each connection
/// is waited for by the next.
fn least(bytes: u32, connections: u32) -> Duration {
    Duration::from_secs(1) * (bytes - RATE / 4 - connections * RATE / 16) / RATE
}

/// Sends pattern `seed`, `total` bytes of it.
fn send(stream: &mut TcpStream, seed: u64, total: u32) {
    let mut part = vec![0; total as usize];
    pattern::fill(seed, 0, &mut part);
    stream.write_all(&part).expect("writes");
}

/// Reads as many bytes of pattern `seed` from messages.
fn check(socket: &mut Socket, seed: u64, total: u32) {
    let mut at = 0;
    while at < u64::from(total) {
        let Message::Binary(part) = socket.read().expect("reads") else { panic!("no bytes") };
        assert_eq!(pattern::differs(seed, at, &part), None);
        at += part.len() as u64;
    }
    assert_eq!(at, u64::from(total));
}

fn every_byte_arrives_and_none_too_early(backend: &str) {
    const TOTAL: u32 = 1024 * KIB;
    let (_folder, gateway) = gateway(backend, &[RATE_LINE]);
    let target = Target::new();
    let broker = gateway.open(target.port());
    let began = Instant::now();
    let far_side = target.serve(move |mut stream| {
        let mut writer = stream.try_clone().expect("a descriptor");
        let writes = thread::spawn(move || send(&mut writer, 2, TOTAL));
        let mut bytes = vec![0; TOTAL as usize];
        stream.read_exact(&mut bytes).expect("reads");
        assert_eq!(pattern::differs(1, 0, &bytes), None);
        writes.join().expect("writes all");
        // Its connection stays: who leaves first is the client.
        (began.elapsed(), stream)
    });
    let mut socket = open(&broker).expect("a session");
    // The console's bytes have to be read meanwhile, and tungstenite does one at a time.
    let mut writer = socket.get_ref().try_clone().expect("a descriptor");
    let sends = thread::spawn(move || {
        let mut bytes = vec![0; TOTAL as usize];
        pattern::fill(1, 0, &mut bytes);
        writer.write_all(&portcullis_tests::websocket::frame(0x82, &bytes)).expect("writes");
    });
    check(&mut socket, 2, TOTAL);
    let down = began.elapsed();
    let (up, _console) = far_side.join().expect("every byte arrived");
    sends.join().expect("sends all");
    assert!(down >= least(TOTAL, 1) && up >= least(TOTAL, 1), "down in {down:?}, up in {up:?}");
    socket.close(None).expect("closes");
    assert_eq!(closed(&mut socket), None);
    drop(socket);
    gateway.wait_metric("portcullis_connections_active", 0.0);
    for direction in ["up", "down"] {
        let bytes = gateway.metric(&format!("portcullis_relay_bytes_total{{direction={direction:?}}}"));
        assert_eq!(bytes, f64::from(TOTAL));
        let held = gateway.metric(&format!("portcullis_throttled_seconds_total{{direction={direction:?}}}"));
        assert!(held > 0.0, "{direction} was not held");
    }
}

fn the_channels_of_a_desktop_share_one_rate(backend: &str) {
    const TOTAL: u32 = 256 * KIB;
    // On two cores, if connections happen to come to both.
    let (_folder, gateway) = gateway(backend, &[RATE_LINE, "cores = 2"]);
    let target = Target::new();
    let broker = gateway.open_speaking("spice", target.port());
    let began = Instant::now();
    let channels: Vec<_> = (0..4)
        .map(|seed| {
            let mut socket = open(&broker).expect("a channel");
            let mut stream = target.accept();
            let sends = thread::spawn(move || send(&mut stream, seed, TOTAL));
            let checks = thread::spawn(move || {
                check(&mut socket, seed, TOTAL);
                socket
            });
            (sends, checks)
        })
        .collect();
    for (sends, checks) in channels {
        sends.join().expect("sends all");
        drop(checks.join().expect("every byte arrives"));
    }
    let took = began.elapsed();
    assert!(took >= least(4 * TOTAL, 4), "{took:?}");
}

/// A console that says more than any test waits for, until its connection ends.
fn flood(target: Target) -> thread::JoinHandle<()> {
    target.serve(|mut stream| while stream.write_all(&[7; 64 * 1024]).is_ok() {})
}

fn who_is_held_is_answered_and_may_leave(backend: &str) {
    let (_folder, gateway) = gateway(backend, &[CRAWL]);
    let target = Target::new();
    let broker = gateway.open(target.port());
    let console = flood(target);
    let mut socket = open(&broker).expect("a session");
    // More than a burst: from here on there is always something that waits.
    let mut read = 0;
    while read < 4096 {
        read += socket.read().expect("reads").len();
    }
    socket.send(Message::Ping("still there?".into())).expect("sends");
    let pong = loop {
        match socket.read().expect("reads") {
            Message::Pong(payload) => break payload,
            Message::Binary(_) => {}
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(pong, "still there?");
    socket.close(None).expect("closes");
    assert_eq!(closed(&mut socket), None);
    console.join().expect("its connection ends");
    gateway.wait_metric("portcullis_connection_ends_total{end=\"client_closed\"}", 1.0);
}

fn a_stop_does_not_wait_for_the_rate(backend: &str) {
    let (_folder, mut gateway) = gateway(backend, &[CRAWL, "stop_grace_s = 600"]);
    let (target, sink) = (Target::new(), Target::new());
    let (broker, other) = (gateway.open(target.port()), gateway.open(sink.port()));
    let console = flood(target);
    let mut socket = open(&broker).expect("a session");
    // Another one is held the other way.
    let mut talker = open(&other).expect("a session").get_ref().try_clone().expect("a descriptor");
    let mut deaf = sink.accept();
    let talks = thread::spawn(move || {
        let frame = portcullis_tests::websocket::frame(0x82, &[7; 64 * 1024]);
        while talker.write_all(&frame).is_ok() {}
    });
    deaf.read_exact(&mut [0; 4096]).expect("reads");
    gateway.signal(Signal::SIGTERM);
    assert_eq!(closed(&mut socket), Some((1001, "the gateway is stopping".into())));
    drop(socket);
    assert!(gateway.ended().success(), "{}", gateway.log());
    console.join().expect("its connection ends");
    talks.join().expect("its connection ends");
}
