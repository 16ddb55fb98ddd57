//! How fast a session may move bytes: a rate for each direction, which all of its connections share.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

/// Both directions of a session.
#[derive(Clone, Debug)]
pub struct Rates {
    /// Client to target.
    pub up: Arc<Rate>,
    /// Target to client.
    pub down: Arc<Rate>,
}

impl Rates {
    /// So many bytes a second in each direction, from `now` on.
    pub fn new(bytes_per_s: NonZeroU64, now: Instant) -> Self {
        let rate = || Arc::new(Rate::new(bytes_per_s, now));
        Self { up: rate(), down: rate() }
    }
}

/// The rate of one direction. Connections on several cores take from it without a lock.
///
/// Bytes are paid for with time, and behind each other: who takes some may take more when all that were
/// taken so far are paid for. So connections that always have something to move come round in turn, and
/// one that had nothing for a while is let through at once.
#[derive(Debug)]
pub struct Rate {
    bytes_per_s: u64,
    begin: Instant,
    /// When all bytes so far are paid for, in nanoseconds since `begin`.
    paid: AtomicI64,
}

/// A session that moved nothing for so long, or longer, may move as much at once as fits into this time.
pub const BURST: Duration = Duration::from_millis(250);
/// A second has so many portions.
const PORTIONS: u64 = 16;

impl Rate {
    fn new(bytes_per_s: NonZeroU64, begin: Instant) -> Self {
        Self { bytes_per_s: bytes_per_s.get(), begin, paid: AtomicI64::new(i64::MIN) }
    }

    /// Bytes that a connection should take at most at a time, at least 1.
    pub fn portion(&self) -> usize {
        usize::try_from(self.bytes_per_s / PORTIONS).unwrap_or(usize::MAX).max(1)
    }

    /// Takes `len` bytes, which may be none. Returns when whoever took them may take more.
    pub fn take(&self, len: usize, now: Instant) -> Instant {
        let price = (len as u128 * 1_000_000_000).div_ceil(self.bytes_per_s.into());
        let price = i64::try_from(price).unwrap_or(i64::MAX);
        let idle = nanoseconds(now.saturating_duration_since(self.begin)) - nanoseconds(BURST);
        let pay = |paid: i64| paid.max(idle).saturating_add(price);
        // Each take is one step of one number; nothing else is ordered by it.
        let before = self.paid.update(Ordering::Relaxed, Ordering::Relaxed, pay);
        let paid = u64::try_from(pay(before)).unwrap_or(0);
        self.begin.checked_add(Duration::from_nanos(paid)).unwrap_or(now)
    }
}

/// 292 years at most.
fn nanoseconds(time: Duration) -> i64 {
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rate(bytes_per_s: u64, now: Instant) -> Rate {
        Rate::new(NonZeroU64::new(bytes_per_s).expect("a rate"), now)
    }

    #[test]
    fn a_burst_is_free_and_the_rest_has_its_time() {
        let now = Instant::now();
        let rate = rate(1000, now);
        assert_eq!(rate.portion(), 62);
        // What is free now is told as a time that is over.
        assert!(rate.take(0, now) <= now);
        assert!(rate.take(250, now) <= now);
        assert_eq!(rate.take(500, now), now + Duration::from_millis(500));
        assert_eq!(rate.take(0, now), now + Duration::from_millis(500));
        // An hour without a byte earns no more than a burst.
        let later = now + Duration::from_secs(60 * 60);
        assert!(rate.take(250, later) <= later);
        assert_eq!(rate.take(1, later), later + Duration::from_millis(1));
    }

    #[test]
    fn who_takes_all_the_time_comes_round_in_turn() {
        let now = Instant::now();
        let rate = rate(1600, now);
        let (mut due, mut taken) = ([now; 3], [0_u32; 3]);
        let end = now + Duration::from_secs(10);
        loop {
            let next = (0..3).min_by_key(|index| due[*index]).expect("three");
            if due[next] > end {
                break;
            }
            due[next] = rate.take(rate.portion(), due[next].max(now));
            taken[next] += 1;
        }
        // 10 seconds of 16 portions, and a burst of 4.
        assert!((164..=168).contains(&taken.iter().sum::<u32>()), "{taken:?}");
        // All but one may wait while the burst lasts.
        let (least, most) = (taken.iter().min(), taken.iter().max());
        assert!(most.zip(least).is_some_and(|(most, least)| most - least <= 5), "{taken:?}");
    }

    proptest! {
        /// Whatever is taken when it may be: never more than the rate gives, a burst, and what was taken last.
        #[test]
        fn no_more_than_the_rate_gives(
            bytes_per_s in 1_u64..100_000_000,
            takes in proptest::collection::vec((0_usize..100_000, 0_u64..2_000_000), 1..100),
        ) {
            let begin = Instant::now();
            let rate = rate(bytes_per_s, begin);
            let (mut now, mut total) = (begin, 0_u128);
            for (len, pause_us) in takes {
                let given = u128::from(bytes_per_s) * (now - begin + BURST).as_nanos() / 1_000_000_000;
                prop_assert!(total <= given + 1, "{total} bytes, {given} given");
                total += len as u128;
                now = rate.take(len, now).max(now) + Duration::from_micros(pause_us);
            }
        }
    }
}
