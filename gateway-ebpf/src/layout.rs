//! The maps: their names, keys and values. One entry of [`BROKERS`] is one open broker.
//!
//! The kernel side uses the `repr(C)` structures, so that `bpftool map dump` shows named fields; the
//! daemon reads and writes the same bytes as arrays of integers, which needs no unsafe code there.

use core::net::{IpAddr, Ipv6Addr, SocketAddr};

#[cfg(doc)]
use crate::rate;

pub use bounds::{Bounds, BoundsWords};
pub use counts::{Counts, CountsWords};
pub use slot::{ANYWHERE, DRAINING, EXCLUDED, OPEN, Prefix, Slot, SlotWords};

pub use crate::rate::{Limit, Limits, LimitsWords};

mod bounds;
mod counts;
mod slot;

/// Version of everything in this file. Pins of another version are never mixed with ours.
pub const LAYOUT_VERSION: u32 = 3;

/// Hash, [`BrokerKey`] to [`Slot`]: the open brokers, read by filter and steering.
pub const BROKERS: &str = "BROKERS";
/// Hash, [`Address`] to [`PortRange`]: the broker addresses, and which of their ports are judged.
pub const ADDRESSES: &str = "ADDRESSES";
/// Array of one [`Bounds`] of [`ADDRESSES`]: what is outside of them needs no look-up.
pub const BOUNDS: &str = "BOUNDS";
/// Per-CPU array of `u64`, index `Verdict as u32`: packets by verdict.
pub const VERDICTS: &str = "VERDICTS";
/// Array, index [`Slot::place`] to [`Counts`]: new connections of each broker.
pub const COUNTS: &str = "COUNTS";
/// LRU hash, [`rate::source`] to `u64`: until when a source has paid for its new connections.
pub const SOURCES: &str = "SOURCES";
/// Array of one [`Limits`]: how fast new connections may come.
pub const LIMITS: &str = "LIMITS";
/// Socket map: listener of core `n` at [`listener_index`]`(n, family)`.
pub const LISTENERS: &str = "LISTENERS";
/// Array of one `u32`: how many cores have listeners in [`LISTENERS`].
pub const CORES: &str = "CORES";

/// Program: filter at tc ingress.
pub const FILTER_TC: &str = "portcullis_tc";
/// Program: filter at XDP.
pub const FILTER_XDP: &str = "portcullis_xdp";
/// Program: steering at socket lookup.
pub const STEER: &str = "portcullis_steer";

/// Capacity of [`BROKERS`] and [`COUNTS`] as compiled; the loader sets what the configured range needs.
pub const MAX_BROKERS: usize = 65_536;
/// Capacity of [`SOURCES`]: who has not come for longest is forgotten first.
pub const MAX_SOURCES: usize = 65_536;
/// Capacity of [`ADDRESSES`].
pub const MAX_ADDRESSES: usize = 1_024;
/// Most cores that can have listeners; more cores share these.
pub const MAX_CORES: u32 = 256;

/// An IP address as four words whose bytes are in network order; IPv4 as `::ffff:a.b.c.d` (RFC 4291
/// section 2.5.5.2). Words, because that is how packets and the kernel's socket lookup have them.
pub type Address = [u32; 4];

/// The third word of an IPv4 address in the form of [`Address`].
pub const MAPPED_PREFIX: u32 = 0xffff_u32.to_be();

/// `bytes`, an IPv6 address in network order, in the form that the maps use.
#[inline(always)]
pub const fn address_v6(b: &[u8; 16]) -> Address {
    [
        u32::from_ne_bytes([b[0], b[1], b[2], b[3]]),
        u32::from_ne_bytes([b[4], b[5], b[6], b[7]]),
        u32::from_ne_bytes([b[8], b[9], b[10], b[11]]),
        u32::from_ne_bytes([b[12], b[13], b[14], b[15]]),
    ]
}

/// `bytes`, an IPv4 address in network order, in the form that the maps use.
#[inline(always)]
pub const fn address_v4(bytes: [u8; 4]) -> Address {
    [0, 0, MAPPED_PREFIX, u32::from_ne_bytes(bytes)]
}

/// `address` in the form that the maps use.
pub const fn address(address: IpAddr) -> Address {
    match address {
        IpAddr::V4(v4) => address_v4(v4.octets()),
        IpAddr::V6(v6) => address_v6(&v6.octets()),
    }
}

/// The reverse of [`address`].
pub fn ip_address(address: Address) -> IpAddr {
    let mut bytes = [0; 16];
    for (bytes, word) in bytes.chunks_exact_mut(4).zip(address) {
        bytes.copy_from_slice(&word.to_ne_bytes());
    }
    Ipv6Addr::from(bytes).to_canonical()
}

/// Key of [`BROKERS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct BrokerKey {
    /// Broker address.
    pub address: Address,
    /// Broker port, host order; 32 bits wide so that the key has no hidden padding.
    pub port: u32,
}

/// [`BrokerKey`] as the daemon hands it to the map.
pub type BrokerKeyWords = [u32; 5];

impl BrokerKey {
    /// The key of the broker at `endpoint`.
    pub const fn new(endpoint: SocketAddr) -> Self {
        Self { address: address(endpoint.ip()), port: endpoint.port() as u32 }
    }

    /// The same bytes as integers.
    pub const fn to_words(self) -> BrokerKeyWords {
        let [a, b, c, d] = self.address;
        [a, b, c, d, self.port]
    }

    /// The reverse of [`Self::to_words`].
    pub const fn from_words([a, b, c, d, port]: BrokerKeyWords) -> Self {
        Self { address: [a, b, c, d], port }
    }

    /// Address and port; `None` if the port is not one.
    pub fn endpoint(self) -> Option<SocketAddr> {
        Some(SocketAddr::new(ip_address(self.address), u16::try_from(self.port).ok()?))
    }
}

/// Value of [`ADDRESSES`]: first and last broker port of that address, both included, host order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct PortRange {
    /// Lowest broker port.
    pub first: u16,
    /// Highest broker port.
    pub last: u16,
}

impl PortRange {
    /// Whether `port` is one of the range.
    #[inline(always)]
    pub const fn contains(&self, port: u16) -> bool {
        self.first <= port && port <= self.last
    }

    /// The same bytes as the daemon hands them to the map.
    pub const fn to_words(self) -> [u16; 2] {
        [self.first, self.last]
    }
}

/// Address family of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Bound to 127.0.0.1, is given IPv4 connections.
    V4,
    /// Bound to ::1, is given IPv6 connections.
    V6,
}

/// Where in [`LISTENERS`] the listener of `core` for `family` stands.
#[inline(always)]
pub const fn listener_index(core: u32, family: Family) -> u32 {
    core * 2 + family as u32
}

// The kernel reads structures, the daemon writes words: same size, same places, no padding.
const _: () = {
    assert!(size_of::<BrokerKey>() == size_of::<BrokerKeyWords>());
    assert!(core::mem::offset_of!(BrokerKey, port) == 16);
    assert!(size_of::<PortRange>() == 4);
};

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::net::SocketAddr;

    fn reads_back(endpoint: &str) {
        let endpoint: SocketAddr = endpoint.parse().expect("an endpoint");
        let key = BrokerKey::new(endpoint);
        assert_eq!(BrokerKey::from_words(key.to_words()), key);
        assert_eq!(key.endpoint(), Some(endpoint));
    }

    #[test]
    fn a_key_reads_back_from_its_words() {
        reads_back("127.0.80.1:10000");
        reads_back("[2001:db8::1]:15000");
        reads_back("[::]:0");
    }

    #[test]
    fn a_key_without_a_port_has_no_endpoint() {
        assert_eq!(BrokerKey { address: [0; 4], port: 65_536 }.endpoint(), None);
    }

    #[test]
    fn no_two_listeners_share_a_place() {
        let mut places = std::collections::BTreeSet::new();
        for core in 0..MAX_CORES {
            assert!(places.insert(listener_index(core, Family::V4)));
            assert!(places.insert(listener_index(core, Family::V6)));
        }
        assert_eq!(places.last(), Some(&(MAX_CORES * 2 - 1)));
    }
}
