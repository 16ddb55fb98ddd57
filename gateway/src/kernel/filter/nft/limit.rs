//! A limit as nftables has it: so many packets in a unit of time, and what may come at once.

use nftables::stmt::{Limit as Over, Statement};
use portcullis_ebpf::layout::Limit;

/// The units of a limit, and how long they are in nanoseconds.
const UNITS: [(&str, u64); 4] = [
    ("second", 1_000_000_000),
    ("minute", 60_000_000_000),
    ("hour", 3_600_000_000_000),
    ("day", 86_400_000_000_000),
];

/// `limit`, as a condition that holds for what is over it.
pub fn over(limit: Limit) -> Statement<'static> {
    let Limit { interval_ns, ahead_ns } = limit;
    let fits = |(_, unit_ns): &(&str, u64)| *unit_ns >= interval_ns;
    let (unit, unit_ns) = UNITS.into_iter().find(fits).unwrap_or(UNITS[3]);
    Statement::Limit(Over {
        rate: number((unit_ns / interval_ns).max(1)),
        rate_unit: None,
        per: Some(unit.into()),
        burst: Some(number(ahead_ns / interval_ns + 1)),
        burst_unit: None,
        inv: Some(true),
    })
}

/// How long it has to be remembered what somebody has paid, in seconds: then all of it is given back. A day
/// at most.
pub fn memory(limit: Limit) -> u32 {
    let whole_ns = limit.ahead_ns.saturating_add(limit.interval_ns);
    number(whole_ns.div_ceil(1_000_000_000).clamp(60, 24 * 60 * 60))
}

/// `count` in the 32 bits that the crate has for it.
pub fn number(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_limit_is_written_in_the_unit_that_holds_it() {
        let hour = 3_600_000_000_000;
        for (limit, (rate, unit, burst), remembered) in [
            (Limit::new(200, 2_000), (200, "second", 2_000), 60),
            (Limit::new(1, 1), (1, "second", 1), 60),
            (Limit::new(3, 100), (3, "second", 100), 60),
            (Limit::new(1, 600), (1, "second", 600), 600),
            (Limit { interval_ns: hour, ahead_ns: 3 * hour }, (1, "hour", 4), 4 * 3600),
            (Limit { interval_ns: hour, ahead_ns: 30 * hour }, (1, "hour", 31), 24 * 3600),
            (Limit { interval_ns: hour / 2, ahead_ns: 0 }, (2, "hour", 1), 1800),
            (Limit { interval_ns: 48 * hour, ahead_ns: 0 }, (1, "day", 1), 24 * 3600),
            (Limit::new(u32::MAX, 7), (1_000_000_000, "second", 7), 60),
        ] {
            let expected = json!({ "rate": rate, "per": unit, "burst": burst, "inv": true });
            let written = serde_json::to_value(over(limit)).expect("JSON");
            assert_eq!(written, json!({ "limit": expected }), "{limit:?}");
            assert_eq!(memory(limit), remembered, "{limit:?}");
        }
    }
}
