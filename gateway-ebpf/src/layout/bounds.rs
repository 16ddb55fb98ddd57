//! What is surely judged by nobody, in less than a look-up.

use super::{Address, PortRange};

/// Value of `BOUNDS`: the ports of all ranges and perhaps some between them, and a bit for each broker address.
/// One bit may stand for several addresses, broker addresses or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Bounds {
    ports: PortRange,
    /// Bit `n % 32` of word `n / 32` stands for the addresses whose [`bit`] is `n`.
    addresses: [u32; WORDS],
}

const WORDS: usize = 8;

/// [`Bounds`] as the daemon hands it to the map.
pub type BoundsWords = [u32; 1 + WORDS];

impl Bounds {
    /// Bounds of `ports` and `addresses`.
    pub fn new(ports: PortRange, addresses: impl IntoIterator<Item = Address>) -> Self {
        let mut bounds = Self { ports, addresses: [0; WORDS] };
        for address in addresses {
            let bit = bit(&address);
            bounds.addresses[(bit / 32) as usize] |= 1 << (bit % 32);
        }
        bounds
    }

    /// Whether an address and a port within these bounds may be a broker's.
    #[inline(always)]
    pub fn may_hold(&self, address: &Address, port: u16) -> bool {
        let bit = bit(address);
        let word = self.addresses.get((bit / 32) as usize);
        self.ports.contains(port) && word.is_some_and(|word| word & 1 << (bit % 32) != 0)
    }

    /// The same bytes as integers.
    pub fn to_words(self) -> BoundsWords {
        let Self { ports: PortRange { first, last }, addresses: [a, b, c, d, e, f, g, h] } = self;
        let [first, last] = [first.to_ne_bytes(), last.to_ne_bytes()];
        [u32::from_ne_bytes([first[0], first[1], last[0], last[1]]), a, b, c, d, e, f, g, h]
    }
}

/// One of 256 for an address: neighbours have different ones. By the golden ratio, as in Knuth, The Art of Computer
/// Programming, volume 3, section 6.4.
#[inline(always)]
const fn bit([a, b, c, d]: &Address) -> u32 {
    (*a ^ *b ^ *c ^ *d).wrapping_mul(0x9e37_79b1) >> 24
}

// The kernel reads the structure, the daemon writes words: same size, same places, no padding.
const _: () = {
    assert!(size_of::<Bounds>() == size_of::<BoundsWords>());
    assert!(core::mem::offset_of!(Bounds, addresses) == 4);
};

#[cfg(test)]
mod tests {
    extern crate std;

    use core::net::Ipv4Addr;
    use std::collections::HashSet;
    use std::vec::Vec;

    use super::*;
    use crate::layout::address;

    const PORTS: PortRange = PortRange { first: 10_000, last: 15_000 };

    fn v4(bits: u32) -> Address {
        address(Ipv4Addr::from_bits(bits).into())
    }

    #[test]
    fn what_is_a_brokers_is_within() {
        let all = [v4(0xc000_0201), address("2001:db8::1".parse().expect("an address"))];
        let bounds = Bounds::new(PORTS, all);
        for address in all {
            assert!(bounds.may_hold(&address, 10_000) && bounds.may_hold(&address, 15_000));
            assert!(!bounds.may_hold(&address, 9_999) && !bounds.may_hold(&address, 15_001));
        }
        assert!(!Bounds::new(PORTS, []).may_hold(&all[0], 10_000));
    }

    #[test]
    fn few_others_are() {
        // Of the addresses of a /16 beside a broker's, one in 256.
        let bounds = Bounds::new(PORTS, [v4(0x0a4d_0001)]);
        let within = (0x0a4d_0000..0x0a4e_0000).filter(|bits| bounds.may_hold(&v4(*bits), 10_000)).count();
        assert!((200..320).contains(&within), "{within}");
    }

    #[test]
    fn neighbours_have_different_bits() {
        for network in [0x0a4d_0000, 0xc0a8_0100, 0x7f00_5000] {
            let bits: HashSet<_> = (1..=64).map(|host| bit(&v4(network + host))).collect();
            assert!(bits.len() > 40, "{}", bits.len());
        }
    }

    #[test]
    fn words_are_the_same_bytes() {
        let bounds = Bounds::new(PORTS, [v4(1)]);
        let words: Vec<u8> = bounds.to_words().into_iter().flat_map(u32::to_ne_bytes).collect();
        assert_eq!(words[..2], PORTS.first.to_ne_bytes());
        assert_eq!(words[2..4], PORTS.last.to_ne_bytes());
        let bit = bit(&v4(1)) as usize;
        assert_eq!(bounds.to_words()[1 + bit / 32], 1 << (bit % 32));
    }
}
