//! The clock of a connection: who is silent, what idles, what takes too long. Its core looks at all of its
//! connections at each tick, so that none needs a timer of its own.

use std::cell::Cell;
use std::task::{Context, Waker};
use std::time::Duration;

use tokio::time::Instant;

use super::traffic::Traffic;

/// The times of a session; zero switches one off.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// A client that is silent for so long, pings unanswered, is gone.
    pub peer: Duration,
    /// Longest time without payload either way.
    pub idle: Duration,
    /// Longest time in all.
    pub longest: Duration,
}

impl Pace {
    /// How often to look: a quarter of the shortest of the three. `None` where all are off.
    pub fn tick(&self) -> Option<Duration> {
        let times = [self.peer, self.idle, self.longest];
        times.into_iter().filter(|time| !time.is_zero()).min().map(|time| time / 4)
    }
}

/// Which time is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// [`Pace::peer`].
    Peer,
    /// [`Pace::idle`].
    Idle,
    /// [`Pace::longest`].
    Longest,
}

/// What pump and clock of a connection tell each other. They run on one thread.
pub struct Pulse {
    /// Bytes came from the client since the last tick.
    heard: Cell<bool>,
    /// The target does not take what the client sent.
    pub target_stuck: Cell<bool>,
    /// The client does not take what is meant for it.
    pub client_stuck: Cell<bool>,
    /// The client is to be asked whether it is there.
    ping: Cell<bool>,
    over: Cell<Option<Over>>,
    pump: Cell<Option<Waker>>,
    began: Instant,
    heard_at: Cell<Instant>,
    moved_at: Cell<Instant>,
    bytes: Cell<u64>,
}

impl Default for Pulse {
    /// It begins now.
    fn default() -> Self {
        let now = Instant::now();
        Self {
            heard: Cell::default(),
            target_stuck: Cell::default(),
            client_stuck: Cell::default(),
            ping: Cell::default(),
            over: Cell::default(),
            pump: Cell::default(),
            began: now,
            heard_at: Cell::new(now),
            moved_at: Cell::new(now),
            bytes: Cell::default(),
        }
    }
}

impl Pulse {
    /// Bytes came from the client.
    pub fn heard(&self) {
        self.heard.set(true);
    }

    /// The client is to be pinged.
    pub fn ping(&self) {
        self.ping.set(true);
        if let Some(pump) = self.pump.take() {
            pump.wake();
        }
    }

    /// Whether the client is to be pinged; asked once.
    pub fn wants_ping(&self) -> bool {
        self.ping.take()
    }

    /// Which time is over. The task is woken when one is, or a ping is due.
    pub fn over(&self, cx: &Context<'_>) -> Option<Over> {
        let pump = self.pump.take().filter(|pump| pump.will_wake(cx.waker()));
        self.pump.set(Some(pump.unwrap_or_else(|| cx.waker().clone())));
        self.over.get()
    }

    /// Looks at the clock.
    pub fn tick(&self, pace: &Pace, traffic: &Traffic, now: Instant) {
        let over = |since: Instant, limit: Duration| !limit.is_zero() && now - since >= limit;
        // A session that waits for its target, or for its rate, does not read the client, and one that waits
        // for its client cannot ping it: silence proves nothing then, and TCP_USER_TIMEOUT sees to it.
        let deaf = self.target_stuck.get() || self.client_stuck.get() || traffic.up.is_held();
        if self.heard.take() || deaf {
            self.heard_at.set(now);
        }
        let bytes = traffic.up.bytes() + traffic.down.bytes();
        if self.bytes.replace(bytes) != bytes {
            self.moved_at.set(now);
        }
        if over(self.heard_at.get(), pace.peer) {
            self.over.set(Some(Over::Peer));
        } else if over(self.moved_at.get(), pace.idle) {
            self.over.set(Some(Over::Idle));
        } else if over(self.began, pace.longest) {
            self.over.set(Some(Over::Longest));
        } else if over(self.heard_at.get(), pace.peer / 4) {
            self.ping.set(true);
        } else {
            return;
        }
        if let Some(pump) = self.pump.take() {
            pump.wake();
        }
    }
}
