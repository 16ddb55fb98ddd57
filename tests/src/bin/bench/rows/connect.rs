//! New sessions a second, and seconds of CPU of each: connection, handshake, ticket, dial, the console's first
//! byte at the client, the client's farewell, and the end at both.
//!
//! Tickets and requests are made beforehand. Eight clients keep every core busy, and each has four system calls
//! besides connecting; consoles have three. `haproxy` has the same ends without the handshake: what it reaches
//! these ends can do, and CPU per session does not depend on them. Of TLS, each handshake is a whole one.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use portcullis_tests::PATIENCE;
use portcullis_tests::target::{self, Target};

use super::bulk::seconds_since;
use super::{Figures, Scale};
use crate::ends::Stream;
use crate::relay::{Entry, Wire};
use crate::usage::cpu_ns;

/// Clients at a time.
const CLIENTS: usize = 8;
/// Consoles: more, for those whose client is gone and that do not know it yet.
const CONSOLES: usize = 16;
/// What a console says first.
const BYTE: u8 = 0x52;
/// The same as a server's frame.
const FRAME: [u8; 3] = [0x82, 1, BYTE];
/// A client's Close frame (RFC 6455 section 5.5.1), going away, under a mask of zeros.
const FAREWELL: [u8; 8] = [0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe9];

pub fn connect(entry: &Entry, scale: &Scale) -> Figures {
    let target = Target::new();
    let mut relay = (entry.start)(target.port());
    let count = scale.visits.min(entry.sessions_max as usize);
    let warm = count / 10;
    let wire = relay.wire();
    let doors = relay.doors(warm + count);
    let visits: Vec<_> = doors.into_iter().map(|(endpoint, token)| Visit::new(endpoint, token)).collect();
    let (warm, visits) = visits.split_at(warm);
    play(warm, &wire, &target);
    let (before, began) = (cpu_ns(relay.id()), Instant::now());
    play(visits, &wire, &target);
    let (took, used) = (began.elapsed().as_secs_f64(), seconds_since(before, relay.id()));
    vec![("connect".into(), count as f64 / took), ("connect/cpu".into(), used / count as f64)]
}

/// All of them, to the end at both ends.
fn play(visits: &[Visit], wire: &Wire, target: &Target) {
    let (visited, served) = (AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..CONSOLES {
            scope.spawn(|| {
                while served.fetch_add(1, Ordering::Relaxed) < visits.len() {
                    serve(target);
                }
            });
        }
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                while let Some(visit) = visits.get(visited.fetch_add(1, Ordering::Relaxed)) {
                    visit.pay(wire);
                }
            });
        }
    });
}

/// A console that speaks first, and then waits for the end.
fn serve(target: &Target) {
    let mut console = target.accept();
    console.write_all(&[BYTE]).expect("the console writes");
    let len = console.read(&mut [0; 16]).expect("an orderly end");
    assert_eq!(len, 0, "the client said nothing");
}

/// A session that is to come.
struct Visit {
    endpoint: SocketAddr,
    request: String,
}

impl Visit {
    fn new(endpoint: SocketAddr, token: Option<String>) -> Self {
        let ticket = token.map_or_else(String::new, |token| format!(", ticket.{token}"));
        let request = format!(
            "GET /websockify HTTP/1.1\r\nHost: {endpoint}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Sec-WebSocket-Protocol: binary{ticket}\r\n\r\n"
        );
        Self { endpoint, request }
    }

    fn pay(&self, wire: &Wire) {
        let socket = target::connect(self.endpoint, PATIENCE).expect("the port is open");
        match wire {
            Wire::Raw => pay_raw(socket),
            Wire::Plain => self.pay_on(Stream::Plain(socket)),
            Wire::Tls(config) => self.pay_on(Stream::tls(config.clone(), self.endpoint, socket)),
        }
    }

    fn pay_on(&self, mut stream: Stream) {
        stream.write_all(self.request.as_bytes()).expect("the client writes");
        let mut buffer = [0; 1024];
        let mut len = 0;
        while !buffer[..len].ends_with(&FRAME) {
            let more = stream.read(&mut buffer[len..]).expect("the client reads");
            assert_ne!(more, 0, "no first byte: {}", String::from_utf8_lossy(&buffer[..len]));
            len += more;
        }
        assert!(buffer.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&buffer[..len]));
        stream.write_all(&FAREWELL).expect("the client writes");
        // Its answer, and the end.
        while stream.read(&mut buffer).expect("an orderly end") > 0 {}
    }
}

/// The same with bytes alone.
fn pay_raw(mut socket: std::net::TcpStream) {
    let mut byte = [0];
    socket.read_exact(&mut byte).expect("a first byte");
    assert_eq!(byte, [BYTE]);
    socket.shutdown(Shutdown::Write).expect("the client ends");
    assert_eq!(socket.read(&mut byte).expect("an orderly end"), 0, "the console said nothing");
}
