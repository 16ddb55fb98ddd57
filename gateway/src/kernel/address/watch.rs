//! Looks after the addresses that we put on an interface: what is taken away is put back, and whoever comes
//! to know the link anew is told of them.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::{FutureExt, Stream, StreamExt};
use rtnetlink::packet_route::address::AddressMessage;
use tokio::time::{Instant, sleep_until};
use tracing::{error, info, warn};

use super::claim::Hold;
use super::look::{Spot, spot};
use super::{AddressError, Change};
use crate::kernel::netlink::Event;

/// Between two announcements (RFC 5227 section 1.1, ANNOUNCE_INTERVAL).
const ANNOUNCE_AGAIN: Duration = Duration::from_secs(2);
/// The pause after an attempt to restore an address, which doubles with each until it is the longest, so that
/// two programs that want it differently do not keep each other busy.
const PAUSE: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// After this the pauses begin anew. It is longer than the longest.
const CALM: Duration = Duration::from_secs(60);

/// The watcher of one interface's addresses.
pub struct Watch {
    hold: Arc<Hold>,
    ours: Vec<Ours>,
    /// Whether the interface was up, with a carrier.
    was_ready: bool,
}

struct Ours {
    address: IpAddr,
    attempts: Attempts,
    /// When it is to be announced once more.
    announce_at: Option<Instant>,
}

impl Watch {
    /// `adopted` are there, and were not announced by us yet; `put` were, once.
    pub(super) fn new(hold: Arc<Hold>, adopted: &[IpAddr], put: &[IpAddr]) -> Self {
        let now = Instant::now();
        let adopted = adopted.iter().map(|address| (*address, now));
        let put = put.iter().map(|address| (*address, now + ANNOUNCE_AGAIN));
        let ours = adopted.chain(put).map(|(address, announce_at)| Ours {
            address,
            attempts: Attempts::default(),
            announce_at: Some(announce_at),
        });
        Self { ours: ours.collect(), hold, was_ready: true }
    }

    /// Watches until it is dropped. `events` began before this.
    pub(super) async fn run(mut self, mut events: impl Stream<Item = Event> + Unpin) {
        loop {
            let next = self.look().await.unwrap_or_else(|error| {
                warn!(%error, "broker addresses not looked after; tried again");
                Some(Instant::now() + PAUSE_MAX)
            });
            tokio::select! {
                () = self.heard(&mut events) => {}
                () = at(next) => {}
            }
        }
    }

    /// Waits for an event that is about one of ours.
    async fn heard(&self, events: &mut (impl Stream<Item = Event> + Unpin)) {
        while let Some(event) = events.next().await {
            let about_ours = match event {
                Event::Address { address, .. } => self.ours.iter().any(|ours| ours.address == address),
                Event::Link { name, .. } => name == self.hold.interface,
                Event::Lost => true,
            };
            if about_ours {
                break;
            }
        }
        // All that has come meanwhile is seen by the same look.
        while let Some(Some(_)) = events.next().now_or_never() {}
    }

    /// Does what is due, and says when something will be.
    async fn look(&mut self) -> Result<Option<Instant>, AddressError> {
        let ready = self.hold.link().await?.is_some_and(|link| link.ready);
        let present = self.hold.netlink.addresses().await?;
        let now = Instant::now();
        if ready && !self.was_ready {
            // Switches may have forgotten where it was, or it may be another port now.
            self.ours.iter_mut().for_each(|ours| ours.announce_at = Some(now));
        } else if !ready && self.was_ready {
            warn!(interface = self.hold.interface, "the interface of the broker addresses is gone or down");
        }
        self.was_ready = ready;
        if !ready {
            return Ok(None);
        }
        let hold = &self.hold;
        let next = join_all(self.ours.iter_mut().map(|ours| ours.look_after(hold, &present, now)));
        Ok(next.await.into_iter().flatten().min())
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

impl Ours {
    /// What one address needs at `now`, and when it will need something.
    async fn look_after(&mut self, hold: &Hold, present: &[AddressMessage], now: Instant) -> Option<Instant> {
        let spot = spot(present, self.address);
        if !spot.is_there() {
            let due = self.attempts.next();
            if due.is_some_and(|due| due > now) {
                return due;
            }
            self.attempts.made(now);
            return self.restore(hold, matches!(spot, Spot::Duplicate(_))).await;
        }
        if self.announce_at.is_some_and(|due| due <= now) {
            self.announce_at = None;
            // What is somebody else's by now is theirs to announce.
            if matches!(spot, Spot::Ours(_)) {
                hold.announce(self.address);
            }
        }
        self.announce_at
    }

    async fn restore(&mut self, hold: &Hold, duplicate: bool) -> Option<Instant> {
        let address = self.address;
        if duplicate {
            hold.take_off(&[address]).await;
        }
        match hold.put(address).await {
            Ok(()) => {
                hold.tally.count(Change::Restored);
                info!(%address, interface = hold.interface, "broker address restored");
                self.announce_at = Some(Instant::now() + ANNOUNCE_AGAIN);
                self.announce_at
            }
            Err(error) => {
                error!(%error, "broker address not restored");
                self.attempts.next()
            }
        }
    }
}

/// Attempts to restore one address.
#[derive(Default)]
struct Attempts {
    last: Option<Instant>,
    pause: Duration,
}

impl Attempts {
    /// The earliest time for another; `None` for any.
    fn next(&self) -> Option<Instant> {
        self.last.map(|last| last + self.pause)
    }

    /// One is made at `now`.
    fn made(&mut self, now: Instant) {
        let calm = self.last.is_none_or(|last| now - last > CALM);
        self.pause = if calm { PAUSE } else { PAUSE_MAX.min(self.pause * 2) };
        self.last = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_while_somebody_insists() {
        let mut attempts = Attempts::default();
        assert_eq!(attempts.next(), None, "the first is made at once");
        let mut now = Instant::now();
        let mut pauses = Vec::new();
        for _ in 0..9 {
            attempts.made(now);
            let next = attempts.next().expect("a pause");
            pauses.push((next - now).as_millis());
            now = next;
        }
        assert_eq!(pauses, [250, 500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]);
        let last = attempts.last.expect("one was made");
        attempts.made(last + CALM);
        assert_eq!(attempts.pause, PAUSE_MAX, "it may still go on");
        attempts.made(last + CALM + CALM + Duration::from_secs(1));
        assert_eq!(attempts.pause, PAUSE);
    }
}
