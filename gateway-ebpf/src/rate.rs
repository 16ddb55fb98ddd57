//! How fast new connections may come: one number for whoever is limited, the time when all that came so
//! far are paid for (the generic cell rate algorithm, ITU-T I.371).

use crate::layout::{Address, MAPPED_PREFIX};

/// So many new connections a second, and so many at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Limit {
    /// Price of a new connection, nanoseconds; 0 for no limit.
    pub interval_ns: u64,
    /// How far ahead may be paid, nanoseconds.
    pub ahead_ns: u64,
}

impl Limit {
    /// `per_s` new connections a second, 0 for no limit; after a pause `burst` at once, at least one.
    pub const fn new(per_s: u32, burst: u32) -> Self {
        if per_s == 0 {
            return Self { interval_ns: 0, ahead_ns: 0 };
        }
        let interval_ns = 1_000_000_000 / per_s as u64;
        // More than a billion a second are no limit either, but not one that is off.
        let interval_ns = if interval_ns == 0 { 1 } else { interval_ns };
        Self { interval_ns, ahead_ns: interval_ns * (burst.saturating_sub(1)) as u64 }
    }

    /// Whether there is a limit.
    #[inline(always)]
    pub const fn is_on(&self) -> bool {
        self.interval_ns != 0
    }

    /// Pays for one more: the new time, or `None` if it is over the limit. `paid_ns` is the old time, 0 for
    /// somebody new.
    #[inline(always)]
    pub const fn pay(&self, paid_ns: u64, now_ns: u64) -> Option<u64> {
        let from = if paid_ns > now_ns { paid_ns } else { now_ns };
        if from - now_ns > self.ahead_ns {
            return None;
        }
        Some(from.wrapping_add(self.interval_ns))
    }
}

/// Value of [`crate::layout::LIMITS`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Limits {
    /// For each source, to all brokers together.
    pub source: Limit,
    /// For each broker, from all sources together.
    pub broker: Limit,
}

/// [`Limits`] as the daemon hands it to the map.
pub type LimitsWords = [u64; 4];

impl Limits {
    /// The same bytes as integers.
    pub const fn to_words(self) -> LimitsWords {
        let Self { source, broker } = self;
        [source.interval_ns, source.ahead_ns, broker.interval_ns, broker.ahead_ns]
    }
}

/// Who pays for a new connection from `address`: it alone for IPv4, all of its /64 for IPv6, because a
/// host there has as many addresses as it likes.
#[inline(always)]
pub const fn source(address: &Address) -> Address {
    match *address {
        [0, 0, MAPPED_PREFIX, v4] => [0, 0, MAPPED_PREFIX, v4],
        [a, b, _, _] => [a, b, 0, 0],
    }
}

const _: () = {
    assert!(size_of::<Limits>() == size_of::<LimitsWords>());
    assert!(core::mem::offset_of!(Limits, broker) == 16);
    assert!(core::mem::offset_of!(Limit, ahead_ns) == 8);
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout;

    const SECOND: u64 = 1_000_000_000;

    /// How many of `tries` at `now_ns` are let in.
    fn let_in(limit: Limit, paid_ns: &mut u64, now_ns: u64, tries: u32) -> u32 {
        (0..tries).filter_map(|_| limit.pay(*paid_ns, now_ns).map(|paid| *paid_ns = paid)).count() as u32
    }

    #[test]
    fn a_burst_and_then_the_rate() {
        let limit = Limit::new(10, 5);
        let mut paid = 0;
        let now = 100 * SECOND;
        assert_eq!(let_in(limit, &mut paid, now, 20), 5);
        assert_eq!(let_in(limit, &mut paid, now + SECOND / 10, 20), 1);
        assert_eq!(let_in(limit, &mut paid, now + SECOND / 10, 20), 0);
        // A pause gives the burst again, and not more.
        assert_eq!(let_in(limit, &mut paid, now + 60 * SECOND, 20), 5);
    }

    #[test]
    fn a_burst_of_none_is_one() {
        for burst in [0, 1] {
            assert_eq!(let_in(Limit::new(1, burst), &mut 0, SECOND, 3), 1);
        }
    }

    #[test]
    fn no_limit_is_off() {
        assert!(!Limit::new(0, 100).is_on());
        assert!(Limit::new(u32::MAX, u32::MAX).is_on());
    }

    #[test]
    fn v6_neighbours_are_one_source_and_v4_neighbours_are_two() {
        let of = |text: &str| source(&layout::address(text.parse().expect("an address")));
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
        assert_ne!(of("192.0.2.1"), of("::"));
    }
}
