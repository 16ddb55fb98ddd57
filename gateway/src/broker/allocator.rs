//! Port choice: a random free port of a broker address, never one that is open or resting.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::free::Free;
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

/// Endpoints have numbers: those of the first address come first, each address's in the order of its ports.
#[derive(Debug)]
struct State {
    ports: Ports,
    free: Free,
    /// Neither free nor lent, until then.
    resting: HashMap<u32, Instant>,
    /// The same, by their ends.
    ends: BTreeSet<(Instant, u32)>,
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
        Self(Arc::new(Mutex::new(State::new(ports))))
    }

    /// Lends a random free port. It rests when the lease is dropped after [`Lease::used`], and is
    /// free at once otherwise.
    ///
    /// # Errors
    /// [`NoFreePort`]; a rest is never shortened.
    pub fn lease(&self, now: Instant) -> Result<Lease, NoFreePort> {
        let mut state = lock(&self.0);
        state.wake(now);
        let Some(number) = state.free.take_any(&mut rand::rng()) else {
            let soonest = state.ends.first();
            return Err(NoFreePort { retry_after: soonest.map(|(until, _)| *until - now) });
        };
        Ok(self.lease_of(number, false))
    }

    /// Lends one certain port, of a broker that was open before a restart. `None` if it is not one of
    /// the ports, or lent.
    pub fn lease_again(&self, endpoint: SocketAddr) -> Option<Lease> {
        let mut state = lock(&self.0);
        let number = state.number(endpoint).filter(|number| state.free.take(*number))?;
        Some(self.lease_of(number, true))
    }

    fn lease_of(&self, number: u32, used: bool) -> Lease {
        Lease { allocator: self.clone(), number, used, foreign: false }
    }

    /// Lets a port rest for `rest`; what the store remembers of closed brokers is told so at start.
    pub fn rest(&self, endpoint: SocketAddr, rest: Duration, now: Instant) {
        let mut state = lock(&self.0);
        if let Some(number) = state.number(endpoint)
            && (state.free.take(number) || state.resting.contains_key(&number))
        {
            state.rest(number, now + rest);
        }
    }
}

impl State {
    fn new(ports: Ports) -> Self {
        let free = Free::new(count(ports.addresses.len() * ports.range.len()));
        let mut state = Self { ports, free, resting: HashMap::new(), ends: BTreeSet::new() };
        for ip in &state.ports.addresses {
            for port in &state.ports.exclude {
                if let Some(number) = state.number(SocketAddr::new(*ip, *port)) {
                    state.free.take(number);
                }
            }
        }
        state
    }

    fn number(&self, endpoint: SocketAddr) -> Option<u32> {
        let address = self.ports.addresses.iter().position(|ip| *ip == endpoint.ip())?;
        let port = self
            .ports
            .range
            .contains(&endpoint.port())
            .then(|| endpoint.port() - self.ports.range.start())?;
        Some(count(address * self.ports.range.len()) + u32::from(port))
    }

    fn endpoint(&self, number: u32) -> SocketAddr {
        let (number, ports) = (number as usize, self.ports.range.len());
        let port = u16::try_from(number % ports).expect("less than there are ports");
        SocketAddr::new(self.ports.addresses[number / ports], self.ports.range.start() + port)
    }

    /// One that is taken rests, whatever rest it has had.
    fn rest(&mut self, number: u32, until: Instant) {
        if let Some(before) = self.resting.insert(number, until) {
            self.ends.remove(&(before, number));
        }
        self.ends.insert((until, number));
    }

    /// Frees those whose rest is over.
    fn wake(&mut self, now: Instant) {
        while let Some(&(until, number)) = self.ends.first()
            && until <= now
        {
            self.ends.pop_first();
            self.resting.remove(&number);
            self.free.give(number);
        }
    }
}

/// Of addresses there are few, and of ports not 2^16.
fn count(endpoints: usize) -> u32 {
    u32::try_from(endpoints).expect("fewer than 2^32 endpoints")
}

/// A lent port.
#[derive(Debug)]
pub struct Lease {
    allocator: Allocator,
    number: u32,
    used: bool,
    foreign: bool,
}

impl Lease {
    /// Address and port.
    pub fn endpoint(&self) -> SocketAddr {
        lock(&self.allocator.0).endpoint(self.number)
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
        if self.used || self.foreign {
            let until = Instant::now() + state.ports.rest;
            state.rest(self.number, until);
        } else {
            state.free.give(self.number);
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
                            prop_assert!(held.iter().all(|other| other.endpoint() != lease.endpoint()));
                            prop_assert!((10_000..=10_009).contains(&lease.endpoint().port()));
                            prop_assert_ne!(lease.endpoint().port(), 10_002);
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
