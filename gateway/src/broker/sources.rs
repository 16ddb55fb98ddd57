//! What one source of connections may do before it has shown a ticket.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::{Refusal, lock};

/// Unfinished handshakes of one source.
pub const HANDSHAKES_PER_SOURCE: usize = 64;
/// Unfinished handshakes in all.
pub const HANDSHAKES: usize = 4_096;
/// Wrong tickets of one source in a [`MINUTE`].
pub const WRONG_TICKETS: usize = 20;
const MINUTE: Duration = Duration::from_secs(60);

/// Counts by source: an IPv4 address, or a /64 of IPv6, which is what one line gets.
#[derive(Debug, Default)]
pub struct Sources(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    unfinished: usize,
    by_source: HashMap<IpAddr, Source>,
}

#[derive(Debug, Default)]
struct Source {
    unfinished: usize,
    wrong: usize,
    /// Begin of the minute in which `wrong` is counted.
    since: Option<Instant>,
}

fn source_of(client: IpAddr) -> IpAddr {
    match client {
        IpAddr::V4(_) => client,
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64))),
    }
}

impl Source {
    fn is_blocked(&self, now: Instant) -> bool {
        self.wrong >= WRONG_TICKETS && self.is_recent(now)
    }

    fn is_recent(&self, now: Instant) -> bool {
        self.since.is_some_and(|since| now.saturating_duration_since(since) < MINUTE)
    }
}

impl Sources {
    /// Counts a handshake of `client` until the value is dropped.
    ///
    /// # Errors
    /// [`Refusal::TooMany`] of this source, [`Refusal::Full`] in all.
    pub fn handshake(self: &Arc<Self>, client: IpAddr) -> Result<Handshake, Refusal> {
        self.count(Some(source_of(client)))
    }

    /// The same of somebody behind a proxy, who is not known yet.
    ///
    /// # Errors
    /// [`Refusal::Full`] in all.
    pub fn handshake_of_somebody(self: &Arc<Self>) -> Result<Handshake, Refusal> {
        self.count(None)
    }

    fn count(self: &Arc<Self>, source: Option<IpAddr>) -> Result<Handshake, Refusal> {
        let mut state = lock(&self.0);
        if state.unfinished >= HANDSHAKES {
            return Err(Refusal::Full);
        }
        let Some(source) = source else {
            state.unfinished += 1;
            return Ok(Handshake { sources: self.clone(), source });
        };
        let counts = state.by_source.entry(source).or_default();
        if counts.unfinished >= HANDSHAKES_PER_SOURCE {
            return Err(Refusal::TooMany);
        }
        counts.unfinished += 1;
        state.unfinished += 1;
        Ok(Handshake { sources: self.clone(), source: Some(source) })
    }

    /// Whether `client` may show a ticket.
    ///
    /// # Errors
    /// [`Refusal::TooMany`] after too many wrong ones.
    pub fn may_try(&self, client: IpAddr, now: Instant) -> Result<(), Refusal> {
        let blocked =
            lock(&self.0).by_source.get(&source_of(client)).is_some_and(|source| source.is_blocked(now));
        if blocked { Err(Refusal::TooMany) } else { Ok(()) }
    }

    /// Counts a wrong ticket.
    pub fn wrong_ticket(&self, client: IpAddr, now: Instant) {
        let mut state = lock(&self.0);
        // What is remembered of a source that did nothing for a minute is forgotten here, so that the
        // map is bounded by what happens in a minute.
        if state.by_source.len() >= HANDSHAKES {
            state.by_source.retain(|_, source| source.unfinished > 0 || source.is_recent(now));
        }
        let counts = state.by_source.entry(source_of(client)).or_default();
        if !counts.is_recent(now) {
            (counts.wrong, counts.since) = (0, Some(now));
        }
        counts.wrong += 1;
    }
}

/// A handshake that is not finished.
#[derive(Debug)]
pub struct Handshake {
    sources: Arc<Sources>,
    /// `None` of somebody behind a proxy.
    source: Option<IpAddr>,
}

impl Drop for Handshake {
    fn drop(&mut self) {
        let mut state = lock(&self.sources.0);
        state.unfinished -= 1;
        let Some(source) = self.source else { return };
        if let Some(counts) = state.by_source.get_mut(&source) {
            counts.unfinished -= 1;
            if counts.unfinished == 0 && counts.wrong == 0 {
                state.by_source.remove(&source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn handshakes_are_counted_by_source_and_in_all() {
        let sources = Arc::new(Sources::default());
        let mut held: Vec<_> =
            (0..HANDSHAKES_PER_SOURCE).map(|_| sources.handshake(ip("2001:db8::1")).expect("room")).collect();
        // The same line, another address of it.
        assert_eq!(sources.handshake(ip("2001:db8::2")).err(), Some(Refusal::TooMany));
        assert!(sources.handshake(ip("2001:db8:0:1::1")).is_ok());
        held.pop();
        assert!(sources.handshake(ip("2001:db8::2")).is_ok());
        let mut number = 0_u32;
        while held.len() < HANDSHAKES {
            number += 1;
            held.push(sources.handshake(IpAddr::V4(number.into())).expect("room"));
        }
        assert_eq!(sources.handshake(ip("192.0.2.1")).err(), Some(Refusal::Full));
        drop(held);
        assert!(lock(&sources.0).by_source.is_empty());
    }

    #[test]
    fn wrong_tickets_are_counted_by_the_minute() {
        let sources = Arc::new(Sources::default());
        let (client, now) = (ip("192.0.2.1"), Instant::now());
        for _ in 0..WRONG_TICKETS {
            assert!(sources.may_try(client, now).is_ok());
            sources.wrong_ticket(client, now);
        }
        assert_eq!(sources.may_try(client, now), Err(Refusal::TooMany));
        assert!(sources.may_try(ip("192.0.2.2"), now).is_ok());
        assert!(sources.may_try(client, now + MINUTE).is_ok());
        sources.wrong_ticket(client, now + MINUTE);
        assert!(sources.may_try(client, now + MINUTE).is_ok());
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let sources = Arc::new(Sources::default());
        let now = Instant::now();
        for number in 0..HANDSHAKES as u32 {
            sources.wrong_ticket(IpAddr::V4(number.into()), now);
        }
        sources.wrong_ticket(ip("192.0.2.1"), now + MINUTE);
        assert_eq!(lock(&sources.0).by_source.len(), 1);
    }
}
