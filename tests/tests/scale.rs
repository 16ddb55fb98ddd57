//! Many sessions at once, and a good one beside bad ones: every byte arrives, each goes its own way, and
//! what the daemon holds in memory has a bound.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use futures_util::{SinkExt, StreamExt};
use portcullis_tests::gateway::{Broker, Gateway};
use portcullis_tests::process::{allow_descriptors, anonymous_memory, descriptors};
use portcullis_tests::target::{Target, connect};
use portcullis_tests::websocket::{Socket, bare, connect_from, echoes, frame, open, talk};
use portcullis_tests::{PATIENCE, behind_every_gate, pattern, wait_for};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;

behind_every_gate!(
    five_hundred_sessions_at_once_mix_no_byte,
    a_reader_that_stalls_is_waited_for,
    a_target_that_stalls_is_waited_for,
    two_hundred_slow_heads_are_in_nobodys_way,
    garbage_is_in_nobodys_way,
    frames_without_an_end_pass_as_they_come,
    messages_without_an_end_pass_as_they_come,
    who_pings_and_never_reads_is_waited_for,
);

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

// --- many good ones ---

const SESSIONS: u64 = 500;
/// A session has one buffer for each direction, of 64 KiB, while it waits for who is slow.
const CROWD_BOUND: u64 = SESSIONS * 2 * 65 * KIB + 8 * MIB;

/// Bytes that session `number` moves each way, 64 to 190 KiB: no two have the same.
const fn total(number: u64) -> u64 {
    64 * KIB + number * 257
}

fn five_hundred_sessions_at_once_mix_no_byte(backend: &str) {
    assert!(allow_descriptors() > 2 * SESSIONS + 256, "too few descriptors");
    let folder = tempfile::tempdir().expect("a folder");
    let gateway = Gateway::start(folder.path(), backend, &["session.reconnect_s = 1"]);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.set_nonblocking(true).expect("an option");
    gateway.add_instance("i-1", listener.local_addr().expect("an address").port());
    let quiet = descriptors(gateway.id());
    let api = gateway.api().clone().kept();
    let brokers: Vec<_> = (0..SESSIONS)
        .map(|_| Broker::read(api.post("/v1/brokers", &json!({ "instance_id": "i-1", "ttl_s": 600 })).1))
        .collect();
    let before = anonymous_memory(gateway.id());

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
        let consoles = tokio::spawn(serve_crowd(listener));
        let mut sockets = Vec::new();
        for broker in &brokers {
            let url = format!("ws://{}/websockify?token={}", broker.endpoint, broker.token);
            sockets.push(tokio_tungstenite::connect_async(url).await.expect("a session").0);
        }
        assert_eq!(gateway.metric("portcullis_connections_active"), SESSIONS as f64);
        let mut clients: JoinSet<_> =
            (0..).zip(sockets).map(|(number, socket)| visit(number, socket)).collect();
        while let Some(client) = clients.join_next().await {
            client.expect("every byte came down");
            let now = anonymous_memory(gateway.id());
            assert!(now < before + CROWD_BOUND, "{before} bytes became {now}");
        }
        consoles.await.expect("every byte came up");
    });

    gateway.wait_metric("portcullis_connection_ends_total{end=\"client_closed\"}", SESSIONS as f64);
    let moved: u64 = (0..SESSIONS).map(total).sum();
    for (direction, more) in [("up", 8 * SESSIONS), ("down", 0)] {
        let name = format!("portcullis_relay_bytes_total{{direction={direction:?}}}");
        assert_eq!(gateway.metric(&name), (moved + more) as f64, "{direction}");
    }
    drop(api);
    wait_for("all descriptors to be given back", || (descriptors(gateway.id()) <= quiet).then_some(()));
}

/// The consoles' side: each is told its number first.
async fn serve_crowd(listener: tokio::net::TcpListener) {
    let mut consoles = JoinSet::new();
    for _ in 0..SESSIONS {
        let (stream, _) = listener.accept().await.expect("a connection");
        consoles.spawn(console(stream));
    }
    while let Some(console) = consoles.join_next().await {
        console.expect("every byte came up");
    }
}

async fn console(mut stream: tokio::net::TcpStream) {
    let number = stream.read_u64().await.expect("a number");
    let (mut from, mut to) = stream.split();
    let sends = async {
        let mut at = 0;
        for size in [1_u64, 1_000, 30_000, 7, 100_003].into_iter().cycle() {
            let part = part_of(2 * number, at, size.min(total(number) - at));
            to.write_all(&part).await.expect("writes");
            at += part.len() as u64;
            if at == total(number) {
                break;
            }
        }
    };
    let receives = async {
        let mut part = vec![0; 20_011];
        let mut at = 0;
        loop {
            let len = from.read(&mut part).await.expect("reads");
            assert_eq!(pattern::differs(2 * number + 1, at, &part[..len]), None, "session {number}");
            at += len as u64;
            if len == 0 {
                break;
            }
        }
        assert_eq!(at, total(number), "session {number}");
    };
    tokio::join!(sends, receives);
}

type AsyncSocket =
    tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>;

/// The browser's side of session `number`: says it, moves all bytes both ways at once, and leaves.
async fn visit(number: u64, socket: AsyncSocket) {
    let (mut sink, mut stream) = socket.split();
    let sends = async {
        sink.send(Message::binary(number.to_be_bytes().to_vec())).await.expect("sends");
        let mut at = 0;
        for size in [1_u64, 125, 126, 4_096, 65_535, 65_536, 10].into_iter().cycle() {
            let part = part_of(2 * number + 1, at, size.min(total(number) - at));
            at += part.len() as u64;
            sink.send(Message::binary(part)).await.expect("sends");
            if at == total(number) {
                break;
            }
        }
    };
    let receives = async {
        let mut at = 0;
        while at < total(number) {
            match stream.next().await.expect("more to come").expect("a message") {
                Message::Binary(part) => {
                    assert_eq!(pattern::differs(2 * number, at, &part), None, "session {number}");
                    at += part.len() as u64;
                }
                Message::Ping(_) => {}
                other => panic!("session {number}: {other:?}"),
            }
        }
        assert_eq!(at, total(number), "session {number}");
    };
    tokio::join!(sends, receives);
    sink.close().await.expect("closes");
    while let Some(Ok(_)) = stream.next().await {}
}

fn part_of(seed: u64, at: u64, len: u64) -> Vec<u8> {
    let mut part = vec![0; len as usize];
    pattern::fill(seed, at, &mut part);
    part
}

// --- a good one beside bad ones ---

/// What an unbounded buffer would swallow.
const OFFER: u64 = 256 * MIB;
/// What is sent through where somebody takes it.
const STREAM: u64 = 8 * MIB;
const STREAMS: u64 = 8;
/// Round trips of the good session beside each bad one.
const TRIPS: usize = 200;

/// A gateway on one core, and a session on it that has to go on.
struct Scene {
    gateway: Gateway,
    good: Socket,
    /// Descriptors while nothing but the good session is there.
    quiet: usize,
    memory: u64,
    /// Bytes by which the daemon may grow.
    bound: u64,
    _folder: tempfile::TempDir,
}

impl Scene {
    fn new(backend: &str, bound: u64) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        // Nobody is taken for dead or slow here, however busy the machine is.
        let more = [
            "cores = 1",
            "session.peer_timeout_s = 3600",
            "session.header_s = 3600",
            "session.first_byte_s = 3600",
            "session.reconnect_s = 1",
        ];
        let gateway = Gateway::start(folder.path(), backend, &more);
        let mut good = open(&gateway.open(Target::new().echo())).expect("a session");
        // Warm: buffers that the core keeps are there.
        echoes(&mut good, &[7; 500_000]);
        let (quiet, memory) = (descriptors(gateway.id()), anonymous_memory(gateway.id()));
        Self { gateway, good, quiet, memory, bound, _folder: folder }
    }

    /// A round trip of the good session, and a look at the daemon's memory.
    fn trip(&mut self) {
        echoes(&mut self.good, b"there and back");
        let now = anonymous_memory(self.gateway.id());
        assert!(now < self.memory + self.bound, "{} bytes became {now}", self.memory);
    }

    /// Goes on until so much went through `floods` together, and at least [`TRIPS`] times.
    fn until(&mut self, bytes: u64, floods: &[Arc<Flood>]) {
        let began = Instant::now();
        let mut trips = 0;
        while trips < TRIPS || floods.iter().map(|flood| flood.poured()).sum::<u64>() < bytes {
            assert!(began.elapsed() < PATIENCE, "{trips} round trips in {PATIENCE:?}");
            self.trip();
            trips += 1;
        }
    }

    /// Goes on until nobody has taken anything of `flood` for so many round trips.
    fn until_still(&mut self, flood: &Flood) {
        let began = Instant::now();
        let (mut trips, mut poured) = (0, 0);
        while trips < TRIPS || poured == 0 {
            assert!(began.elapsed() < PATIENCE, "it does not come to a stop");
            self.trip();
            let now = flood.poured();
            trips = if now == poured { trips + 1 } else { 0 };
            poured = now;
        }
        assert!(poured < OFFER, "all of it was taken");
    }

    /// All that the bad ones had is given back, and the good session is still there.
    fn finish(mut self) {
        self.gateway.wait_metric("portcullis_connections_active", 1.0);
        let (id, quiet) = (self.gateway.id(), self.quiet);
        wait_for("all brokers of the bad to be closed", || {
            (self.gateway.metric("portcullis_brokers{state=\"open\"}") == 1.0).then_some(())
        });
        wait_for("all descriptors to be given back", || (descriptors(id) <= quiet).then_some(()));
        self.trip();
    }
}

/// Somebody who sends more than anybody takes: pattern 1, wrapped in whatever.
#[derive(Default)]
struct Flood {
    poured: AtomicU64,
    over: AtomicBool,
}

impl Flood {
    /// Bytes of the pattern that were written so far.
    fn poured(&self) -> u64 {
        self.poured.load(Ordering::Relaxed)
    }

    fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    /// Pours parts of `len` bytes into `stream` until the connection ends, or somebody says that it is
    /// over, or [`OFFER`] is reached. Returns the stream and the bytes that went in.
    fn pour(
        self: &Arc<Self>,
        mut stream: TcpStream,
        len: u64,
        mut wrap: impl FnMut(Vec<u8>) -> Vec<u8> + Send + 'static,
    ) -> JoinHandle<(TcpStream, u64)> {
        let flood = Arc::clone(self);
        thread::spawn(move || {
            let mut at = 0;
            while at < OFFER && !flood.over.load(Ordering::Relaxed) {
                if stream.write_all(&wrap(part_of(1, at, len))).is_err() {
                    break;
                }
                at += len;
                flood.poured.store(at, Ordering::Relaxed);
            }
            (stream, at)
        })
    }
}

/// Reads pattern 1 to the end of the stream.
fn check_to_end(mut stream: TcpStream) -> u64 {
    let mut part = vec![0; 128 * KIB as usize];
    let mut at = 0;
    loop {
        let len = stream.read(&mut part).expect("reads");
        assert_eq!(pattern::differs(1, at, &part[..len]), None);
        at += len as u64;
        if len == 0 {
            return at;
        }
    }
}

/// Its target floods it.
fn a_reader_that_stalls_is_waited_for(backend: &str) {
    let mut scene = Scene::new(backend, 2 * MIB);
    let target = Target::new();
    let mut reader = open(&scene.gateway.open(target.port())).expect("a session");
    let flood = Arc::new(Flood::default());
    let console = flood.pour(target.accept(), 64 * KIB, |part| part);
    scene.until_still(&flood);
    // It reads again, and nothing was lost.
    let (mut at, until) = (0, flood.poured() + MIB);
    while at < until {
        let Message::Binary(part) = reader.read().expect("reads") else { panic!("no bytes") };
        assert_eq!(pattern::differs(1, at, &part), None);
        at += part.len() as u64;
    }
    drop(reader);
    flood.end();
    console.join().expect("its connection ends");
    scene.finish();
}

/// Its client floods it.
fn a_target_that_stalls_is_waited_for(backend: &str) {
    let mut scene = Scene::new(backend, 2 * MIB);
    let target = Target::new();
    let client = bare(&scene.gateway.open(target.port()));
    let console = target.accept();
    let flood = Arc::new(Flood::default());
    let client = flood.pour(client, 64 * KIB, |part| frame(0x82, &part));
    scene.until_still(&flood);
    // It reads again, and nothing was lost.
    flood.end();
    let console = thread::spawn(move || check_to_end(console));
    let (client, poured) = client.join().expect("writes the last part");
    drop(client);
    assert_eq!(console.join().expect("reads"), poured);
    scene.finish();
}

fn two_hundred_slow_heads_are_in_nobodys_way(backend: &str) {
    // A head has at most 16 KiB, and may have as much set aside for it again.
    let mut scene = Scene::new(backend, 200 * 32 * KIB + 2 * MIB);
    let broker = scene.gateway.open(Target::new().echo());
    // One address may have 64 that are not finished.
    let mut heads: Vec<_> = (0..200)
        .map(|number| connect_from(&format!("127.0.0.{}", 2 + number % 4), broker.endpoint))
        .collect();
    for head in &mut heads {
        let begun = format!("GET /nothing HTTP/1.1\r\nX: {}", "x".repeat(15 * KIB as usize));
        head.write_all(begun.as_bytes()).expect("writes");
    }
    for trip in 0..TRIPS {
        for head in heads.iter_mut().skip(trip % 4).step_by(4) {
            head.write_all(b"x").expect("writes");
        }
        scene.trip();
    }
    // Slow as they are, each is answered when it has asked.
    for head in &mut heads {
        let answer = talk(head, b"\r\n\r\n");
        assert!(answer.starts_with(b"HTTP/1.1 404 "), "{:?}", String::from_utf8_lossy(&answer));
    }
    drop(heads);
    let path = format!("/v1/brokers/{}", broker.id);
    assert_eq!(scene.gateway.api().delete(&path).0, 204);
    scene.finish();
}

fn garbage_is_in_nobodys_way(backend: &str) {
    // Closed brokers are kept in mind too, for as long as their ports rest.
    let mut scene = Scene::new(backend, 4 * MIB);
    let port = Target::new().echo();
    for seed in 0..100 {
        let broker = scene.gateway.open(port);
        let garbage = part_of(seed, 0, 64 * KIB);
        // As a head, as a head without an end, and as frames.
        let head = connect(broker.endpoint, PATIENCE).expect("connects");
        throw(head, &garbage);
        let mut long = connect(broker.endpoint, PATIENCE).expect("connects");
        long.write_all(b"GET / HTTP/1.1\r\nX: ").expect("writes");
        throw(long, &[b'x'; 64 * KIB as usize]);
        throw(bare(&broker), &garbage);
        scene.trip();
    }
    scene.finish();
}

/// Writes as much as is taken and waits for the end.
fn throw(mut stream: TcpStream, bytes: &[u8]) {
    // Who is refused may be so before all of it is written.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    let mut part = [0; 4096];
    loop {
        match stream.read(&mut part) {
            Ok(1..) => {}
            // With bytes unread, the end is a reset.
            Ok(0) => return,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return,
            Err(error) => panic!("no end: {error}"),
        }
    }
}

/// Eight sessions at once send `begun`, and then parts that `wrap` makes.
fn streams(backend: &str, begun: &[u8], wrap: impl Fn(Vec<u8>) -> Vec<u8> + Clone + Send + 'static) {
    // What one read brings is all that a session holds.
    let mut scene = Scene::new(backend, STREAMS * 256 * KIB + 2 * MIB);
    let (mut floods, mut clients, mut consoles) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..STREAMS {
        let target = Target::new();
        let mut client = bare(&scene.gateway.open(target.port()));
        let console = target.accept();
        client.write_all(begun).expect("writes");
        let flood = Arc::new(Flood::default());
        clients.push(flood.pour(client, 1_000 + number * 10_007, wrap.clone()));
        consoles.push(thread::spawn(move || check_to_end(console)));
        floods.push(flood);
    }
    scene.until(STREAMS * STREAM, &floods);
    floods.iter().for_each(|flood| flood.end());
    for (client, console) in clients.into_iter().zip(consoles) {
        let (client, poured) = client.join().expect("writes");
        drop(client);
        assert_eq!(console.join().expect("reads"), poured);
    }
    scene.finish();
}

/// Each declares all that a frame can have.
fn frames_without_an_end_pass_as_they_come(backend: &str) {
    let mut header = vec![0x82, 0xff];
    header.extend((u64::MAX / 2).to_be_bytes());
    header.extend([0; 4]);
    streams(backend, &header, |part| part);
}

/// The first fragment is empty, all others say that there is more.
fn messages_without_an_end_pass_as_they_come(backend: &str) {
    streams(backend, &frame(0x02, b""), |part| frame(0x00, &part));
}

fn who_pings_and_never_reads_is_waited_for(backend: &str) {
    const PING: usize = 125;
    let mut scene = Scene::new(backend, 2 * MIB);
    let target = Target::new();
    let mut client = bare(&scene.gateway.open(target.port()));
    let silent = target.accept();
    let flood = Arc::new(Flood::default());
    let pings = flood.pour(client.try_clone().expect("a descriptor"), 512 * PING as u64, |part| {
        part.chunks(PING).flat_map(|payload| frame(0x89, payload)).collect()
    });
    scene.until_still(&flood);
    // It reads again: each ping has its pong, in order.
    flood.end();
    let mut at = 0;
    while at < flood.poured() {
        let mut pong = [0; 2 + PING];
        client.read_exact(&mut pong).expect("reads");
        assert_eq!(pong[..2], [0x8a, PING as u8]);
        assert_eq!(pattern::differs(1, at, &pong[2..]), None);
        at += PING as u64;
    }
    client.shutdown(Shutdown::Both).expect("ends");
    drop(pings.join().expect("writes the last part"));
    drop((client, silent));
    scene.finish();
}
