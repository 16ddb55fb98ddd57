//! The rows, each a function that takes one sample of its figures, of one peer, in a fresh namespace. Those
//! of relays are here, that of filters is in `filter`.

use std::time::Duration;

use portcullis_tests::process::allow_descriptors;
use portcullis_tests::target::Target;

use crate::content::{Content, PIECE};
use crate::ends::Session;
use crate::filter;
use crate::relay::{Entry, RELAYS, Relay};
use crate::usage::{cpu_ns, median, pss};

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
            pieces: 8 * 1024,
            sessions: 2_000,
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
const ROWS: [(&str, Measure); 4] =
    [("bulk-down", bulk_down), ("bulk-up", bulk_up), ("idle", idle), ("open", open)];

/// Who is measured in `row`, and how; `None` where there is no such row.
pub fn peers(row: &str) -> Option<Vec<(&'static str, Sample)>> {
    if row == "filter" {
        return Some(filter::PEERS.iter().map(|(peer, take)| (*peer, Box::new(take) as Sample)).collect());
    }
    let (_, measure) = ROWS.iter().find(|(name, _)| *name == row)?;
    let relays = RELAYS.iter();
    Some(
        relays.map(|entry| (entry.name, Box::new(|scale: &Scale| measure(entry, scale)) as Sample)).collect(),
    )
}

/// Pieces before the clock runs: windows and buffers have grown then.
const WARM: u64 = 256;
const GIB: f64 = (1_u64 << 30) as f64;

fn bulk_down(entry: &Entry, scale: &Scale) -> Figures {
    vec![("bulk-down".into(), bulk(entry, scale, Session::down))]
}

fn bulk_up(entry: &Entry, scale: &Scale) -> Figures {
    vec![("bulk-up".into(), bulk(entry, scale, Session::up))]
}

/// Seconds of CPU that the relay takes per GiB.
fn bulk(entry: &Entry, scale: &Scale, go: fn(&mut Session, &Content, std::ops::Range<u64>)) -> f64 {
    let content = Content::new(1);
    let target = Target::new();
    let mut relay = (entry.start)(target.port());
    let mut session = Session::open(&mut *relay, &target);
    go(&mut session, &content, 0..WARM);
    let before = cpu_ns(relay.id());
    go(&mut session, &content, WARM..WARM + scale.pieces);
    let used = (cpu_ns(relay.id()) - before) as f64 / 1e9;
    used / (scale.pieces as f64 * PIECE as f64 / GIB)
}

/// Bytes of memory per idle session, before and after each had a burst.
fn idle(entry: &Entry, scale: &Scale) -> Figures {
    let content = Content::new(1);
    let target = Target::new();
    let mut relay = (entry.start)(target.port());
    // Warm: what the first session leaves for good is no session's own.
    let mut first = Session::open(&mut *relay, &target);
    first.down(&content, 0..WARM);
    let alone = pss(relay.id());
    // Two descriptors each, here as in the relay.
    let count = scale.sessions.min(entry.sessions_max).min((allow_descriptors() - 512) / 2);
    let each = |relay: &dyn Relay| (pss(relay.id()) as f64 - alone as f64) / count as f64;
    let mut sessions: Vec<_> = (0..count).map(|_| Session::open(&mut *relay, &target)).collect();
    let before = each(&*relay);
    for session in &mut sessions {
        session.down(&content, 0..1);
    }
    vec![("idle".into(), before), ("idle/burst".into(), each(&*relay))]
}

/// Seconds from the wish for a console until a client can connect, with none and with all others open.
fn open(entry: &Entry, scale: &Scale) -> Figures {
    let target = Target::new();
    let mut relay = (entry.start)(target.port());
    let empty = median_open(&mut *relay, scale);
    relay.fill(5_000 - 2 * scale.opened);
    vec![("open".into(), empty), ("open/5000".into(), median_open(&mut *relay, scale))]
}

fn median_open(relay: &mut dyn Relay, scale: &Scale) -> f64 {
    let mut times: Vec<_> = (0..scale.opened).map(|_| relay.open().as_secs_f64()).collect();
    median(&mut times)
}
