//! Port choice: a random free port of a broker address, never one that is open or resting.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rand::{RngExt, seq::IndexedRandom};

use super::lock;

/// Which ports may be lent.
#[derive(Clone, Debug)]
pub struct Ports {
    /// Broker addresses.
    pub addresses: Vec<IpAddr>,
    /// Broker ports.
    pub range: RangeInclusive<u16>,
    /// Ports of the range that are never lent.
    pub exclude: HashSet<u16>,
    /// How long a port rests after its broker closed, so that a viewer that reconnects never reaches
    /// someone else's machine.
    pub rest: Duration,
}

/// Lends ports.
#[derive(Clone, Debug)]
pub struct Allocator(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    ports: Ports,
    lent: HashSet<SocketAddr>,
    resting: HashMap<SocketAddr, Instant>,
}

/// No port is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no broker port is free")]
pub struct NoFreePort {
    /// When the first resting port is free again; `None` if none rests.
    pub retry_after: Option<Duration>,
}

impl Allocator {
    /// Nothing is lent, nothing rests.
    pub fn new(ports: Ports) -> Self {
        Self(Arc::new(Mutex::new(State { ports, lent: HashSet::new(), resting: HashMap::new() })))
    }

    /// Lends a random free port. It rests when the lease is dropped after [`Lease::used`], and is
    /// free at once otherwise.
    ///
    /// # Errors
    /// [`NoFreePort`]; a rest is never shortened.
    pub fn lease(&self, now: Instant) -> Result<Lease, NoFreePort> {
        let mut state = lock(&self.0);
        state.resting.retain(|_, until| *until > now);
        let Some(endpoint) = state.choose() else {
            let soonest = state.resting.values().min();
            return Err(NoFreePort { retry_after: soonest.map(|until| *until - now) });
        };
        state.lent.insert(endpoint);
        Ok(Lease { allocator: self.clone(), endpoint, used: false, foreign: false })
    }

    /// Lends one certain port, of a broker that was open before a restart. `None` if it is not one of
    /// the ports, or lent.
    pub fn lease_again(&self, endpoint: SocketAddr) -> Option<Lease> {
        let mut state = lock(&self.0);
        let known =
            state.ports.addresses.contains(&endpoint.ip()) && state.ports.range.contains(&endpoint.port());
        if !known || !state.is_free(&endpoint) {
            return None;
        }
        state.lent.insert(endpoint);
        Some(Lease { allocator: self.clone(), endpoint, used: true, foreign: false })
    }

    /// Lets a port rest for `rest`; what the store remembers of closed brokers is told so at start.
    pub fn rest(&self, endpoint: SocketAddr, rest: Duration, now: Instant) {
        lock(&self.0).resting.insert(endpoint, now + rest);
    }
}

/// Random picks before all ports are looked at. With half of them taken, one in 2^12 creations
/// looks at all.
const PICKS: usize = 12;

impl State {
    fn choose(&self) -> Option<SocketAddr> {
        let rng = &mut rand::rng();
        let pick = |_| {
            let ip = self.ports.addresses.choose(rng)?;
            let endpoint = SocketAddr::new(*ip, rng.random_range(self.ports.range.clone()));
            self.is_free(&endpoint).then_some(endpoint)
        };
        (0..PICKS).find_map(pick).or_else(|| self.all_free().choose(&mut rand::rng()).copied())
    }

    fn all_free(&self) -> Vec<SocketAddr> {
        let ports = self.ports.range.clone();
        let endpoints =
            ports.flat_map(|port| self.ports.addresses.iter().map(move |ip| SocketAddr::new(*ip, port)));
        endpoints.filter(|endpoint| self.is_free(endpoint)).collect()
    }

    fn is_free(&self, endpoint: &SocketAddr) -> bool {
        !self.ports.exclude.contains(&endpoint.port())
            && !self.lent.contains(endpoint)
            && !self.resting.contains_key(endpoint)
    }
}

/// A lent port.
#[derive(Debug)]
pub struct Lease {
    allocator: Allocator,
    endpoint: SocketAddr,
    used: bool,
    foreign: bool,
}

impl Lease {
    /// Address and port.
    pub const fn endpoint(&self) -> SocketAddr {
        self.endpoint
    }

    /// A client may know the port from now on: it rests when given back.
    pub fn used(&mut self) {
        self.used = true;
    }

    /// Somebody else's socket has the port: gives it back, and does not lend it for one rest.
    pub fn is_foreign(mut self) {
        self.foreign = true;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut state = lock(&self.allocator.0);
        state.lent.remove(&self.endpoint);
        if self.used || self.foreign {
            let until = Instant::now() + state.ports.rest;
            state.resting.insert(self.endpoint, until);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn allocator(addresses: &[&str], range: RangeInclusive<u16>, rest: Duration) -> Allocator {
        let addresses = addresses.iter().map(|ip| ip.parse().expect("an address")).collect();
        Allocator::new(Ports { addresses, range, exclude: HashSet::from([10_002]), rest })
    }

    proptest! {
        #[test]
        fn a_port_is_never_lent_twice(steps in prop::collection::vec(any::<(bool, prop::sample::Index)>(), 0..60)) {
            let allocator = allocator(&["127.0.80.1", "fd00::1"], 10_000..=10_009, Duration::ZERO);
            let mut held: Vec<Lease> = Vec::new();
            for (take, which) in steps {
                if take {
                    match allocator.lease(Instant::now()) {
                        Ok(lease) => {
                            prop_assert!(held.iter().all(|other| other.endpoint != lease.endpoint));
                            prop_assert!((10_000..=10_009).contains(&lease.endpoint.port()));
                            prop_assert_ne!(lease.endpoint.port(), 10_002);
                            held.push(lease);
                        }
                        Err(error) => {
                            prop_assert_eq!(held.len(), 18);
                            prop_assert_eq!(error.retry_after, None);
                        }
                    }
                } else if !held.is_empty() {
                    held.swap_remove(which.index(held.len()));
                }
            }
        }
    }

    #[test]
    fn a_used_port_rests() {
        let rest = Duration::from_secs(120);
        let allocator = allocator(&["127.0.80.1"], 10_000..=10_000, rest);
        let now = Instant::now();
        let mut lease = allocator.lease(now).expect("a free port");
        let endpoint = lease.endpoint();
        lease.used();
        drop(lease);
        let error = allocator.lease(now).expect_err("the only port rests");
        assert!(error.retry_after.is_some_and(|wait| wait >= rest));
        let later = Instant::now() + rest;
        assert_eq!(allocator.lease(later).map(|lease| lease.endpoint()), Ok(endpoint));
    }

    #[test]
    fn a_port_that_nobody_heard_of_is_free_at_once() {
        let allocator = allocator(&["127.0.80.1"], 10_000..=10_000, Duration::from_secs(120));
        let now = Instant::now();
        drop(allocator.lease(now).expect("a free port"));
        assert!(allocator.lease(now).is_ok());
    }

    #[test]
    fn a_foreign_port_is_left_alone_for_a_while() {
        let allocator = allocator(&["127.0.80.1"], 10_000..=10_000, Duration::from_secs(120));
        let now = Instant::now();
        allocator.lease(now).expect("a free port").is_foreign();
        assert!(allocator.lease(now).is_err());
    }
}
