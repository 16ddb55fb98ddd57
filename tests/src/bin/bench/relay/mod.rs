//! The relays that are measured, one file each. A peer is a file and a line of [`RELAYS`].

pub mod portcullis;
mod websockify;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use portcullis_tests::{PATIENCE, target};

/// How a relay is started in front of the console at a port of loopback.
pub struct Entry {
    /// Its name in the table.
    pub name: &'static str,
    /// Starts it; it ends when the value is dropped.
    pub start: fn(console: u16) -> Box<dyn Relay>,
    /// How many idle sessions it can be given on one machine.
    pub sessions_max: u64,
}

/// All of them, ours first.
pub const RELAYS: [Entry; 2] = [
    Entry { name: "portcullis", start: portcullis::start, sessions_max: u64::MAX },
    // A process each, of three MiB.
    Entry { name: "websockify", start: websockify::start, sessions_max: 100 },
];

/// A relay that runs.
pub trait Relay {
    /// The process that all others of it descend from.
    fn id(&self) -> u32;

    /// A way for one more session: where, and its ticket.
    fn door(&mut self) -> (SocketAddr, Option<String>);

    /// Opens a console as its operator does, and says how long it took until a client could connect.
    fn open(&mut self) -> Duration;

    /// Opens `count` consoles, or what is left of them while nobody uses them.
    fn fill(&mut self, count: usize);
}

/// Connects as soon as somebody listens.
///
/// # Panics
/// Nobody does.
fn reach(endpoint: SocketAddr) {
    let began = Instant::now();
    while target::connect(endpoint, PATIENCE).is_err() {
        assert!(began.elapsed() < PATIENCE, "nobody listens on {endpoint}");
        // Without a pause it would take the CPU from what is waited for.
        std::thread::sleep(Duration::from_micros(200));
    }
}
