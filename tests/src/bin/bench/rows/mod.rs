//! The rows, each a function that takes one sample of its figures, of one peer, in a fresh namespace. Those
//! of relays are here, that of filters is in `filter`.

mod brokers;
mod bulk;
mod connect;
mod consoles;
mod idle;
mod rtt;
mod slow;

use std::time::Duration;

use crate::filter;
use crate::relay::{Entry, RELAYS};

/// Names and values of figures. Units: seconds, bytes, bytes a second, times a second.
pub type Figures = Vec<(String, f64)>;

/// Takes one sample of all figures of a row.
pub type Sample = Box<dyn Fn(&Scale) -> Figures + Sync>;

/// How much is done.
pub struct Scale {
    /// Samples of each figure.
    pub repeats: u32,
    /// Pieces that bulk rows move.
    pieces: u64,
    /// Sessions that idle, unless the relay or the descriptors permit fewer.
    sessions: u64,
    /// Sessions that come and go, unless the relay permits fewer.
    visits: usize,
    /// Messages that go there and back.
    messages: usize,
    /// For a browser that is slow.
    slow: Duration,
    /// Consoles that are opened, and the median of their times taken.
    opened: usize,
    /// How often the kernel runs the filter on a packet for one figure.
    pub runs: u32,
    /// For packets of one kind, and for changes of a set.
    pub moment: Duration,
    /// For the bytes of a session.
    pub stretch: Duration,
}

impl Scale {
    /// For three minutes.
    pub const fn quick() -> Self {
        Self {
            repeats: 5,
            pieces: 4 * 1024,
            sessions: 2_000,
            visits: 1_000,
            messages: 600,
            slow: Duration::from_millis(600),
            opened: 5,
            runs: 200_000,
            moment: Duration::from_millis(40),
            stretch: Duration::from_millis(250),
        }
    }

    /// For figures that are written down.
    pub const fn full() -> Self {
        Self {
            repeats: 9,
            pieces: 32 * 1024,
            sessions: 9_000,
            visits: 10_000,
            messages: 2_000,
            slow: Duration::from_secs(2),
            opened: 21,
            runs: 1_000_000,
            moment: Duration::from_millis(150),
            stretch: Duration::from_millis(700),
        }
    }
}

/// Takes a sample of a row of relays.
type Measure = fn(&Entry, &Scale) -> Figures;

/// The rows of relays.
const ROWS: [(&str, Measure); 8] = [
    ("bulk-down", bulk::down),
    ("bulk-up", bulk::up),
    ("both", bulk::both),
    ("small", bulk::small),
    ("rtt", rtt::rtt),
    ("connect", connect::connect),
    ("idle", idle::idle),
    ("slow", slow::slow),
];

/// Who is measured in `row`, and how; `None` where there is no such row.
pub fn peers(row: &str) -> Option<Vec<(&'static str, Sample)>> {
    match row {
        "filter" => Some(listed(&filter::PEERS)),
        "open" => Some(listed(&consoles::OPEN)),
        "brokers" => Some(listed(&brokers::BROKERS)),
        _ => relays(row),
    }
}

/// Whether anybody of this name is in any row.
pub fn is_known(peer: &str) -> bool {
    let consoles = [consoles::OPEN, brokers::BROKERS].concat();
    let listed = filter::PEERS.iter().chain(&consoles).map(|(name, _)| *name);
    RELAYS.iter().map(|entry| entry.name).chain(listed).any(|name| name == peer)
}

/// A peer, and how its sample is taken.
pub type Peer = (&'static str, fn(&Scale) -> Figures);

fn listed(peers: &[Peer]) -> Vec<(&'static str, Sample)> {
    peers.iter().map(|(peer, take)| (*peer, Box::new(*take) as Sample)).collect()
}

fn relays(row: &str) -> Option<Vec<(&'static str, Sample)>> {
    let (name, measure) = ROWS.iter().find(|(name, _)| *name == row)?;
    let relays = RELAYS.iter().filter(|entry| entry.rows.contains(name));
    Some(
        relays.map(|entry| (entry.name, Box::new(|scale: &Scale| measure(entry, scale)) as Sample)).collect(),
    )
}
