//! What must hold: after each round, and of the last one beside an early one.

use portcullis_tests::eye::{Eye, brokers_map};

use crate::figures::{Figures, metric};
use crate::scene::Scene;

/// By how much memory may grow.
const GROWTH: f64 = 1.05;
/// The latest round that the last one is compared with; of a short run it is at a quarter.
const SETTLED: usize = 5;

/// Metrics that say that something was lost, or failed.
const FAULTS: [&str; 5] = [
    "portcullis_lost_records_total",
    "portcullis_filter_errors_total",
    "portcullis_store_errors_total",
    "portcullis_filter_packets_total{verdict=\"wrong_source\"}",
    "portcullis_filter_packets_total{verdict=\"rate_limited\"}",
];

/// What does not hold now that nobody is there.
pub fn of_this_round(scene: &Scene) -> Vec<String> {
    let page = scene.gateway.metrics();
    let mut broken = scene.tally.differences(&page);
    let faults =
        FAULTS.into_iter().map(|name| (name, metric(&page, name))).filter(|(_, count)| *count != 0.0);
    broken.extend(faults.map(|(name, count)| format!("{name} is {count}")));
    let entries = brokers_map(scene.gateway.id()).keys().count();
    if entries != 0 {
        broken.push(format!("{entries} entries are left in the kernel's map"));
    }
    let sight = Eye::new(&scene.gateway, scene.folder.path()).look();
    for (what, count) in [
        ("brokers in the API", sight.listed.len()),
        ("brokers in the store", sight.stored.len()),
        ("live sessions in the API", sight.live.len()),
        ("sessions without an end in the store", sight.stored_live.len()),
        ("listening sockets in the range", sight.listening.len()),
    ] {
        if count != 0 {
            broken.push(format!("{count} {what} are left"));
        }
    }
    broken.extend(complaints(&scene.gateway.log()).into_iter().map(|line| format!("the log says: {line}")));
    broken
}

/// Lines of a log that must not be there.
fn complaints(log: &str) -> Vec<&str> {
    log.lines().filter(|line| line.contains(" ERROR ") || line.contains("panicked at")).collect()
}

/// The round that the last of so many is compared with, from 0 on.
pub fn settled(rounds: usize) -> usize {
    rounds.div_ceil(4).clamp(1, SETTLED) - 1
}

/// What the last round has more than an early one.
pub fn of_growth(early: &Figures, last: &Figures) -> Vec<String> {
    let mut broken = Vec::new();
    let (before, after) = (early.pss_bytes, last.pss_bytes);
    if after as f64 > before as f64 * GROWTH {
        broken.push(format!("memory grew from {before} to {after} bytes, {:.1} %", growth(early, last)));
    }
    for (what, before, after) in
        [("descriptors", early.descriptors, last.descriptors), ("threads", early.threads, last.threads)]
    {
        if after > before {
            broken.push(format!("{before} {what} became {after}"));
        }
    }
    broken
}

/// Growth of memory in percent.
pub fn growth(early: &Figures, last: &Figures) -> f64 {
    (last.pss_bytes as f64 / early.pss_bytes as f64 - 1.0) * 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_round_to_compare_with_is_at_a_quarter_or_the_fifth() {
        for (rounds, expected) in [(4, 0), (10, 2), (20, 4), (60, 4)] {
            assert_eq!(settled(rounds), expected, "{rounds}");
        }
    }

    #[test]
    fn growth_is_named() {
        let figures = |pss_bytes, descriptors, threads| Figures {
            pss_bytes,
            descriptors,
            threads,
            ..Figures::default()
        };
        let early = figures(1000, 20, 5);
        assert_eq!(of_growth(&early, &figures(1050, 20, 5)), [""; 0]);
        assert_eq!(of_growth(&early, &figures(900, 19, 4)), [""; 0]);
        assert_eq!(
            of_growth(&early, &figures(1051, 21, 6)),
            ["memory grew from 1000 to 1051 bytes, 5.1 %", "20 descriptors became 21", "5 threads became 6",]
        );
    }

    #[test]
    fn errors_and_panics_in_a_log_are_found() {
        let log = "2026-01-01T00:00:00Z  INFO refused code=\"slow\"\n2026-01-01T00:00:00Z ERROR no disk\n\
                   thread 'relay-0' panicked at gateway/src/x.rs:1:2:\n";
        assert_eq!(complaints(log).len(), 2);
    }
}
