//! Bytes a second of a relay session, before and while one core floods SYNs at closed ports. Both ends and the
//! relay have the other cores, so what is lost is lost to the flood's packets and to the filter.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use portcullis_tests::gateway::Broker;
use portcullis_tests::namespace::Neighbour;
use portcullis_tests::target::Target;
use portcullis_tests::wait_for;
use portcullis_tests::websocket::open;

use super::gate::Start;
use super::sender::Sender;
use super::{ADDRESS, FIRST, LAST};
use crate::content::{Content, PIECE};
use crate::cores::{Cores, pin};
use crate::ends::Session;
use crate::fresh;
use crate::relay::portcullis::Portcullis;
use crate::rows::{Figures, Scale};

/// Pieces between two looks at the clock.
const TURN: u64 = 64;

/// Behind the daemon's own filter.
pub fn ours(scale: &Scale) -> Figures {
    fresh(|| with_ours(scale))
}

/// Behind somebody else's filter, the relay being ours.
pub fn behind(start: Start, scale: &Scale) -> Figures {
    fresh(|| with_other(start, scale))
}

fn with_ours(scale: &Scale) -> Figures {
    let Some(stage) = Stage::new("ebpf") else { return Vec::new() };
    let brokers = stage.relay.brokers(usize::from(LAST - FIRST) - 1);
    let open: Vec<_> = brokers.iter().chain([&stage.broker]).map(|broker| broker.endpoint.port()).collect();
    let closed: Vec<_> = (FIRST..=LAST).filter(|port| !open.contains(port)).collect();
    let figures = stage.play(&closed, scale);
    let dropped = stage.relay.gateway.metric("portcullis_filter_packets_total{verdict=\"closed\"}");
    assert!(dropped > 0.0, "the flood did not come to our filter");
    figures
}

fn with_other(start: Start, scale: &Scale) -> Figures {
    let Some(stage) = Stage::new("none") else { return Vec::new() };
    let mut gate = start();
    let port = stage.broker.endpoint.port();
    // Everybody's newest rule is their last.
    gate.fill(FIRST..LAST);
    gate.close(port);
    gate.open(port);
    stage.play(&[LAST], scale)
}

/// A daemon at the gateway's end of a veth pair, with one broker.
struct Stage {
    neighbour: Neighbour,
    target: Target,
    relay: Portcullis,
    broker: Broker,
    /// Looked up before this thread was kept to some of them.
    flood: usize,
}

impl Stage {
    /// `None` where the flood cannot have a core of its own.
    fn new(backend: &str) -> Option<Self> {
        let Cores { sender, others } = Cores::look();
        if others.is_empty() {
            eprintln!("one core is not enough for a flood and a session");
            return None;
        }
        pin(&others);
        let (neighbour, target) = (Neighbour::new(), Target::new());
        let relay = Portcullis::at(ADDRESS, backend, target.port());
        // The last port is the one that stays closed.
        let mut brokers = std::iter::repeat_with(|| relay.broker());
        let broker = brokers.find(|broker| broker.endpoint.port() != LAST).expect("another port");
        Some(Self { neighbour, target, relay, broker, flood: sender })
    }

    /// Flooded are the ports of `closed`.
    fn play(&self, closed: &[u16], scale: &Scale) -> Figures {
        let content = Content::new(1);
        let answer = self.neighbour.inside(|| open(&self.broker));
        let mut session = Session::through(answer, &self.target);
        let mut pieces = 0..u64::MAX;
        let mut goodput = || goodput(&mut session, &content, &mut pieces, scale.stretch);
        // Warm: windows and buffers grow for a while.
        goodput();
        let sender = Sender::new(&self.neighbour, self.flood);
        // Before and after, so that what only drifts is no difference.
        let before = goodput();
        let (flooded, rate) = under(&sender, closed, &mut goodput);
        let calm = f64::midpoint(before, goodput());
        vec![("filter/calm".into(), calm), ("filter/flooded".into(), flooded), ("filter/flood".into(), rate)]
    }
}

/// What `body` says while SYNs come in to `ports`, and how many of these came in a second.
fn under(sender: &Sender<'_>, ports: &[u16], body: impl FnOnce() -> f64) -> (f64, f64) {
    assert!(!ports.is_empty(), "no port is closed");
    let (stop, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        scope.spawn(|| sender.flood(ports, &stop, &sent));
        let _stops = Stop(&stop);
        let so_far = || sent.load(Ordering::Relaxed);
        wait_for("the flood", || (so_far() > 0).then_some(()));
        let (before, began) = (so_far(), Instant::now());
        let value = body();
        let rate = (so_far() - before) as f64 / began.elapsed().as_secs_f64();
        assert!(rate > 0.0, "the flood stopped early");
        (value, rate)
    })
}

/// Stops a flood when dropped, also where its session fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Bytes a second to the client for about `stretch`.
fn goodput(session: &mut Session, content: &Content, pieces: &mut Range<u64>, stretch: Duration) -> f64 {
    let (from, began) = (pieces.start, Instant::now());
    while began.elapsed() < stretch {
        session.down(content, take(pieces));
    }
    ((pieces.start - from) * PIECE as u64) as f64 / began.elapsed().as_secs_f64()
}

/// The next of `pieces`.
fn take(pieces: &mut Range<u64>) -> Range<u64> {
    let from = pieces.start;
    pieces.start += TURN;
    from..pieces.start
}
