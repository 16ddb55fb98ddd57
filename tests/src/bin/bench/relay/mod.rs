//! The relays that are measured, one file each. A peer is a file and a line of [`RELAYS`].

mod configured;
mod direct;
mod haproxy;
mod lighttpd;
pub mod portcullis;
pub mod single;
pub mod splice;
mod websocat;
pub mod websockify;
mod websockify_py;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use portcullis_tests::{PATIENCE, target};
use rustls::ClientConfig;

/// How a relay is started in front of the console at a port of loopback.
pub struct Entry {
    /// Its name in the table.
    pub name: &'static str,
    /// Starts it; it ends when the value is dropped.
    pub start: fn(console: u16) -> Box<dyn Relay>,
    /// The rows it is part of.
    pub rows: &'static [&'static str],
    /// How many idle sessions it can be given on one machine.
    pub sessions_max: u64,
}

/// What a relay of sessions does.
const ALL: &[&str] = &["bulk-down", "bulk-up", "both", "small", "rtt", "connect", "idle", "slow"];
/// All that TLS changes.
const TLS: &[&str] = &["bulk-down", "bulk-up", "both", "small", "rtt", "connect", "idle"];
/// What a relay of two threads per session is a limit for.
const BYTES: &[&str] = &["bulk-down", "bulk-up", "both", "small"];
/// What is measured at the ends.
const ENDS: &[&str] = &["rtt", "slow"];

/// Of a relay with a process for each session, of three MiB.
const PROCESSES: u64 = 100;
/// Of one that keeps its buffers, 200 KiB a session.
const BUFFERS: u64 = 2_000;
/// Of one that accepts nobody while nine tenths of 20,000 descriptors are taken.
const DESCRIPTORS: u64 = 8_500;

/// All of them, ours first.
pub const RELAYS: [Entry; 9] = [
    Entry { name: "portcullis", start: portcullis::start, rows: ALL, sessions_max: u64::MAX },
    Entry { name: "portcullis-tls", start: portcullis::start_tls, rows: TLS, sessions_max: u64::MAX },
    Entry { name: "websockify", start: websockify::start, rows: ALL, sessions_max: PROCESSES },
    Entry { name: "websockify-py", start: websockify_py::start, rows: ALL, sessions_max: PROCESSES },
    Entry { name: "websocat", start: websocat::start, rows: ALL, sessions_max: BUFFERS },
    Entry { name: "lighttpd", start: lighttpd::start, rows: ALL, sessions_max: DESCRIPTORS },
    Entry { name: "haproxy", start: haproxy::start, rows: ALL, sessions_max: u64::MAX },
    Entry { name: "splice", start: splice::start, rows: BYTES, sessions_max: PROCESSES },
    Entry { name: "direct", start: direct::start, rows: ENDS, sessions_max: u64::MAX },
];

/// A relay that runs.
pub trait Relay {
    /// The process that all others of it descend from.
    fn id(&self) -> u32;

    /// A way for one more session: where, and its ticket.
    fn door(&mut self) -> (SocketAddr, Option<String>);

    /// Ways for so many more sessions.
    fn doors(&mut self, count: usize) -> Vec<(SocketAddr, Option<String>)> {
        (0..count).map(|_| self.door()).collect()
    }

    /// What its clients speak.
    fn wire(&self) -> Wire {
        Wire::Plain
    }
}

/// What a client speaks.
#[derive(Clone)]
pub enum Wire {
    /// WebSocket on TCP.
    Plain,
    /// WebSocket on TLS.
    Tls(Arc<ClientConfig>),
    /// Bytes on TCP.
    Raw,
}

/// Where programs are that no package of the distribution brings: `PORTCULLIS_PEERS`.
///
/// # Panics
/// It is not said.
fn installed(program: &str) -> std::path::PathBuf {
    let folder = std::env::var_os("PORTCULLIS_PEERS").expect("PORTCULLIS_PEERS");
    std::path::Path::new(&folder).join(program)
}

/// Connects as soon as somebody listens.
///
/// # Panics
/// Nobody does.
pub fn reach(endpoint: SocketAddr) {
    let began = Instant::now();
    while target::connect(endpoint, PATIENCE).is_err() {
        assert!(began.elapsed() < PATIENCE, "nobody listens on {endpoint}");
        // Without a pause it would take the CPU from what is waited for.
        std::thread::sleep(Duration::from_micros(200));
    }
}
