//! The port filter: one trait for every mechanism. The keeper owns the one in use.

pub mod ebpf;
mod keeper;
pub mod nft;
pub mod none;

use std::net::SocketAddr;
use std::time::Duration;

use ipnet::IpNet;
#[cfg(doc)]
use portcullis_ebpf::layout::OPEN;
use portcullis_ebpf::verdict::Verdict;

pub use keeper::{Gate, LEASE};

/// A broker as the kernel sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Broker address and port.
    pub endpoint: SocketAddr,
    /// [`OPEN`] or `DRAINING`.
    pub state: u32,
    /// Tells brokers apart that had this address and port one after the other.
    pub generation: u32,
    /// New connections come from here; `None` for anywhere.
    pub client: Option<IpNet>,
    /// New connections are refused from then on, unless the keeper renews it.
    pub deadline: Deadline,
}

/// A point of CLOCK_MONOTONIC, in nanoseconds, as the kernel compares it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(pub u64);

impl Deadline {
    /// `time` from now.
    ///
    /// # Errors
    /// The system has no monotonic clock.
    pub fn after(time: Duration) -> Result<Self, FilterError> {
        let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC);
        let now = now.map_err(|error| FilterError::new("clock_gettime CLOCK_MONOTONIC", error))?;
        Ok(Self((Duration::from(now) + time).as_nanos() as u64))
    }
}

/// One port opened or closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Open, or renew.
    Open(Entry),
    /// Close.
    Close(SocketAddr),
}

/// Packets by verdict, in the order of [`Verdict::ALL`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters(pub [u64; Verdict::ALL.len()]);

impl Counters {
    /// Packets that got `verdict`.
    pub const fn get(&self, verdict: Verdict) -> u64 {
        self.0[verdict as usize]
    }
}

/// New connections to one broker by what became of them, as far as its filter saw them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BrokerCounts {
    /// Let in.
    pub open: u64,
    /// Refused: from outside of the broker's network.
    pub wrong_source: u64,
    /// Refused: past its deadline.
    pub expired: u64,
    /// Refused: over a limit.
    pub rate_limited: u64,
}

/// The kernel did not do what was asked: the call, its object, and the reason.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {cause}")]
pub struct FilterError {
    what: String,
    /// With all that is behind it.
    cause: String,
}

impl FilterError {
    /// `what` names the call and the object.
    pub fn new(what: impl Into<String>, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        let cause = cause.into();
        let mut told = cause.to_string();
        let mut source = cause.source();
        while let Some(error) = source {
            let more = error.to_string();
            // Some errors tell of their source themselves.
            if !told.contains(&more) {
                told = format!("{told}: {more}");
            }
            source = error.source();
        }
        Self { what: what.into(), cause: told }
    }
}

/// A filter mechanism. The keeper calls it from its own thread, so methods may block. Everything can
/// be repeated without harm.
pub trait Backend: Send {
    /// `ebpf`, `nft` or `none`.
    fn name(&self) -> &'static str;

    /// Makes the kernel's set equal to `open`, whatever it was.
    ///
    /// # Errors
    /// The kernel refused; its set may be anything between the old one and `open`.
    fn replace(&mut self, open: &[Entry]) -> Result<(), FilterError>;

    /// Applies `changes` in order. A port that is opened twice has the later entry; one that is closed
    /// twice is closed.
    ///
    /// # Errors
    /// The kernel refused one. Those after it are not applied; those before it may be.
    fn apply(&mut self, changes: &[Change]) -> Result<(), FilterError>;

    /// Packets by verdict since the filter was attached.
    ///
    /// # Errors
    /// The kernel refused.
    fn counters(&self) -> Result<Counters, FilterError>;

    /// What was counted for each of `brokers`, in their order; `None` where this backend counts nothing.
    ///
    /// # Errors
    /// The kernel refused.
    fn broker_counts(&self, brokers: &[BrokerId]) -> Result<Vec<Option<BrokerCounts>>, FilterError>;
}

/// One broker among all that had its address and port one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BrokerId {
    /// Broker address and port.
    pub endpoint: SocketAddr,
    /// [`Entry::generation`].
    pub generation: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_tells_what_is_behind_it_once() {
        #[derive(Debug, thiserror::Error)]
        enum Outer {
            #[error("no map")]
            Silent(#[source] std::io::Error),
            #[error("no map: {0}")]
            Telling(#[source] std::io::Error),
        }
        for outer in [Outer::Silent as fn(_) -> _, Outer::Telling] {
            let error = FilterError::new("load", outer(std::io::Error::other("not permitted")));
            assert_eq!(error.to_string(), "load: no map: not permitted");
        }
    }

    #[test]
    fn a_deadline_is_ahead() {
        let near = Deadline::after(Duration::ZERO).expect("a clock");
        let far = Deadline::after(LEASE).expect("a clock");
        assert!(far.0 - near.0 >= LEASE.as_nanos() as u64);
    }
}
