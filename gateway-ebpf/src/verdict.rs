//! The rule: what is judged, and what becomes of it. One function for both hooks.

use crate::layout::{Address, BrokerKey, EXCLUDED, OPEN, PortRange, Slot};
use crate::packet::{ACK, RST, Segment};

/// What the filter decided for a packet; also the index of its counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Verdict {
    /// Not a new connection to a broker port: passes.
    NotJudged = 0,
    /// A new connection to an open broker: passes.
    Open = 1,
    /// No open broker on that address and port: dropped.
    Closed = 2,
    /// The broker's deadline is past: dropped.
    Expired = 3,
}

impl Verdict {
    /// All verdicts, in the order of their counters.
    pub const ALL: [Self; 4] = [Self::NotJudged, Self::Open, Self::Closed, Self::Expired];

    /// Whether the packet is dropped.
    #[inline(always)]
    pub const fn drops(self) -> bool {
        matches!(self, Self::Closed | Self::Expired)
    }

    /// Name in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotJudged => "not_judged",
            Self::Open => "open",
            Self::Closed => "closed",
            Self::Expired => "expired",
        }
    }
}

/// What the rule looks up: maps and the clock in the kernel, plain values in tests.
pub trait Tables {
    /// The broker ports of `address`; `None` where it is not a broker address.
    fn range(&self, address: &Address) -> Option<PortRange>;
    /// The slot of a broker.
    fn slot(&self, key: &BrokerKey) -> Option<Slot>;
    /// CLOCK_MONOTONIC, nanoseconds.
    fn now_ns(&self) -> u64;
}

/// Judges a packet by its TCP segment; `None` is a packet without one.
///
/// Only segments without ACK and without RST are judged: new connections and the odd flags of scanners.
/// The stack answers every ACK-bearing segment alike for open and closed ports, and a reset never;
/// dropping either breaks the host's own outgoing connections and sessions that are just being closed:
/// what answers a segment to a socket that is gone is a reset without ACK (RFC 9293 section 3.10.7.1).
#[inline(always)]
pub fn judge(segment: Option<Segment>, tables: &impl Tables) -> Verdict {
    let Some(segment) = segment else { return Verdict::NotJudged };
    if segment.flags & (ACK | RST) != 0 {
        return Verdict::NotJudged;
    }
    match tables.range(&segment.address) {
        Some(range) if range.contains(segment.port) => {}
        _ => return Verdict::NotJudged,
    }
    let key = BrokerKey { address: segment.address, port: segment.port as u32 };
    match tables.slot(&key) {
        Some(slot) if slot.state == EXCLUDED => Verdict::NotJudged,
        slot => admit(slot, tables),
    }
}

/// Whether a new connection to the broker behind `slot` is let in. Filter and steering ask here.
#[inline(always)]
pub fn admit(slot: Option<Slot>, tables: &impl Tables) -> Verdict {
    match slot {
        Some(slot) if slot.state != OPEN => Verdict::Closed,
        Some(slot) if tables.now_ns() >= slot.deadline_ns => Verdict::Expired,
        Some(_) => Verdict::Open,
        None => Verdict::Closed,
    }
}
