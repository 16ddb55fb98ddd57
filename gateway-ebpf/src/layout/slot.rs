//! The value of one open broker.

use core::net::IpAddr;

use super::{Address, address};

/// Value of [`super::BROKERS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Slot {
    /// CLOCK_MONOTONIC, nanoseconds. New connections are refused from then on.
    pub deadline_ns: u64,
    /// Where new connections may come from.
    pub client: Prefix,
    /// Tells brokers apart that had this address and port one after the other.
    pub generation: u32,
    /// Where its counts are in [`super::COUNTS`].
    pub place: u32,
    /// [`OPEN`] lets new connections in; any other value does not.
    pub state: u32,
}

/// [`Slot::state`]: new connections are let in.
pub const OPEN: u32 = 1;
/// [`Slot::state`]: no new connections, those that run go on.
pub const DRAINING: u32 = 2;
/// [`Slot::state`]: a port of the range that is not ours. The filter does not judge it, and nothing is
/// steered.
pub const EXCLUDED: u32 = 3;

/// A network, whose host bits are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Prefix {
    address: Address,
    /// 0 to 128, counted in the form of [`Address`]: 96 more than an IPv4 prefix says.
    bits: u32,
}

/// Every address of both families.
pub const ANYWHERE: Prefix = Prefix { address: [0; 4], bits: 0 };

impl Prefix {
    /// The network of `ip` with a prefix of `len` bits; more than its family has mean all.
    pub const fn new(ip: IpAddr, len: u8) -> Self {
        let (most, before) = match ip {
            IpAddr::V4(_) => (32, 96),
            IpAddr::V6(_) => (128, 0),
        };
        let len = if len > most { most } else { len };
        let bits = before + len as u32;
        let [a, b, c, d] = address(ip);
        let address = [a & mask(bits, 0), b & mask(bits, 1), c & mask(bits, 2), d & mask(bits, 3)];
        Self { address, bits }
    }

    /// Whether `address` is in this network.
    #[inline(always)]
    pub const fn contains(&self, address: &Address) -> bool {
        let Self { address: network, bits } = self;
        // All words together: fewer branches than a look at each.
        let differs = (address[0] ^ network[0]) & mask(*bits, 0)
            | (address[1] ^ network[1]) & mask(*bits, 1)
            | (address[2] ^ network[2]) & mask(*bits, 2)
            | (address[3] ^ network[3]) & mask(*bits, 3);
        differs == 0
    }
}

/// The mask of word `word` of a prefix of `bits` bits, in network order.
#[inline(always)]
const fn mask(bits: u32, word: u32) -> u32 {
    let before = bits.saturating_sub(word * 32);
    let own = if before > 32 { 32 } else { before };
    // Shifted as 64 bits, so that 32 is a shift like any other.
    (((u32::MAX as u64) << (32 - own)) as u32).to_be()
}

/// [`Slot`] as the daemon hands it to the map.
pub type SlotWords = [u64; 5];

impl Slot {
    /// The same bytes as integers.
    pub fn to_words(self) -> SlotWords {
        let Prefix { address: [a, b, c, d], bits } = self.client;
        let pair = |first: u32, second: u32| {
            let (f, s) = (first.to_ne_bytes(), second.to_ne_bytes());
            u64::from_ne_bytes([f[0], f[1], f[2], f[3], s[0], s[1], s[2], s[3]])
        };
        [self.deadline_ns, pair(a, b), pair(c, d), pair(bits, self.generation), pair(self.place, self.state)]
    }

    /// The reverse of [`Self::to_words`].
    pub fn from_words([deadline_ns, ab, cd, bits_generation, place_state]: SlotWords) -> Self {
        let pair = |word: u64| {
            let b = word.to_ne_bytes();
            (u32::from_ne_bytes([b[0], b[1], b[2], b[3]]), u32::from_ne_bytes([b[4], b[5], b[6], b[7]]))
        };
        let ((a, b), (c, d), (bits, generation), (place, state)) =
            (pair(ab), pair(cd), pair(bits_generation), pair(place_state));
        let client = Prefix { address: [a, b, c, d], bits };
        Self { deadline_ns, client, generation, place, state }
    }
}

// The kernel reads the structure, the daemon writes words: same size, same places, no padding.
const _: () = {
    use core::mem::offset_of;
    assert!(size_of::<Slot>() == size_of::<SlotWords>());
    assert!(offset_of!(Slot, deadline_ns) == 0);
    assert!(offset_of!(Slot, client) == 8);
    assert!(offset_of!(Prefix, address) == 0);
    assert!(offset_of!(Prefix, bits) == 16);
    assert!(offset_of!(Slot, generation) == 28);
    assert!(offset_of!(Slot, place) == 32);
    assert!(offset_of!(Slot, state) == 36);
};

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_slot_reads_back_from_its_words() {
        let client = Prefix::new(ip("2001:db8:1:2:3:4:5:6"), 77);
        let slot = Slot { deadline_ns: u64::MAX - 1, client, generation: 7, place: 5_000, state: DRAINING };
        assert_eq!(Slot::from_words(slot.to_words()), slot);
    }

    #[test]
    fn a_prefix_contains_what_begins_like_it() {
        let check = |network: &str, len, inside: &[&str], outside: &[&str]| {
            let prefix = Prefix::new(ip(network), len);
            for other in inside {
                assert!(prefix.contains(&address(ip(other))), "{other} in {network}/{len}");
            }
            for other in outside {
                assert!(!prefix.contains(&address(ip(other))), "{other} not in {network}/{len}");
            }
        };
        check("192.0.2.77", 24, &["192.0.2.0", "192.0.2.255"], &["192.0.3.0", "192.0.1.255", "::192.0.2.1"]);
        check("192.0.2.77", 32, &["192.0.2.77"], &["192.0.2.76", "192.0.2.78"]);
        check("192.0.2.77", 33, &["192.0.2.77"], &["192.0.2.76"]);
        check("192.0.2.77", 31, &["192.0.2.76", "192.0.2.77"], &["192.0.2.78"]);
        check("0.0.0.0", 0, &["0.0.0.0", "255.255.255.255"], &["::", "::1", "2001:db8::1"]);
        check("2001:db8::", 32, &["2001:db8:ffff::1"], &["2001:db9::1", "192.0.2.1"]);
        check("2001:db8::1", 127, &["2001:db8::", "2001:db8::1"], &["2001:db8::2"]);
        check("2001:db8::1", 128, &["2001:db8::1"], &["2001:db8::"]);
        check("::", 0, &["::", "192.0.2.1", "2001:db8::1"], &[]);
    }

    #[test]
    fn anywhere_contains_both_families() {
        assert!(ANYWHERE.contains(&address(ip("192.0.2.1"))) && ANYWHERE.contains(&address(ip("::"))));
    }
}
