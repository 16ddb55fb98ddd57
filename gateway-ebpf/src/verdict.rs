//! The rule: what is judged, and what becomes of it. One function for both hooks.

use crate::layout::{Address, BrokerKey, EXCLUDED, OPEN, PortRange, Slot};
use crate::packet::{ACK, RST, SYN, Segment};

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
    /// From outside of the network that the broker is for: dropped.
    WrongSource = 4,
    /// More new connections than source or broker may have: dropped.
    RateLimited = 5,
}

impl Verdict {
    /// All verdicts, in the order of their counters.
    pub const ALL: [Self; 6] =
        [Self::NotJudged, Self::Open, Self::Closed, Self::Expired, Self::WrongSource, Self::RateLimited];

    /// Whether the packet is dropped.
    #[inline(always)]
    pub const fn drops(self) -> bool {
        !matches!(self, Self::NotJudged | Self::Open)
    }

    /// Name in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotJudged => "not_judged",
            Self::Open => "open",
            Self::Closed => "closed",
            Self::Expired => "expired",
            Self::WrongSource => "wrong_source",
            Self::RateLimited => "rate_limited",
        }
    }
}

/// What the rule looks up: maps and the clock in the kernel, plain values in tests.
pub trait Tables {
    /// Whether `address` and `port` may be a broker's: cheap, so that most packets need nothing more.
    fn may_be_judged(&self, address: &Address, port: u16) -> bool;
    /// The broker ports of `address`; `None` where it is not a broker address.
    fn range(&self, address: &Address) -> Option<PortRange>;
    /// The slot of a broker.
    fn slot(&self, key: &BrokerKey) -> Option<Slot>;
    /// CLOCK_MONOTONIC, nanoseconds.
    fn now_ns(&self) -> u64;
    /// Whether the limits have room for one more connection from `source` to the broker behind `slot`; if
    /// so, it is paid for.
    fn pays(&self, slot: &Slot, source: &Address, now_ns: u64) -> bool;
    /// Counts for the broker behind `slot` what became of a new connection.
    fn count(&self, slot: &Slot, verdict: Verdict);
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
    if segment.flags & (ACK | RST) != 0 || !tables.may_be_judged(&segment.address, segment.port) {
        return Verdict::NotJudged;
    }
    match tables.range(&segment.address) {
        Some(range) if range.contains(segment.port) => {}
        _ => return Verdict::NotJudged,
    }
    let key = BrokerKey { address: segment.address, port: segment.port as u32 };
    match tables.slot(&key) {
        Some(slot) if slot.state == EXCLUDED => Verdict::NotJudged,
        Some(slot) => judge_for(&slot, &segment, tables),
        None => Verdict::Closed,
    }
}

/// What is neither limited nor counted does not begin a connection: the odd flags of scanners.
#[inline(always)]
fn judge_for(slot: &Slot, segment: &Segment, tables: &impl Tables) -> Verdict {
    let now_ns = tables.now_ns();
    let verdict = admit(slot, &segment.source, now_ns);
    if segment.flags & SYN == 0 {
        return verdict;
    }
    // Last: only who may come in can use up what others have.
    let over = verdict == Verdict::Open && !tables.pays(slot, &segment.source, now_ns);
    let verdict = if over { Verdict::RateLimited } else { verdict };
    tables.count(slot, verdict);
    verdict
}

/// Whether a new connection from `source` to the broker behind `slot` is let in, limits apart. Filter and
/// steering ask here.
#[inline(always)]
pub fn admit(slot: &Slot, source: &Address, now_ns: u64) -> Verdict {
    if slot.state != OPEN {
        Verdict::Closed
    } else if !slot.client.contains(source) {
        Verdict::WrongSource
    } else if now_ns >= slot.deadline_ns {
        Verdict::Expired
    } else {
        Verdict::Open
    }
}
