//! The table's lines, and what each has to be.

use super::bars::{Bar, Figure, Unit};

/// The flow that is replaced.
const REPLACED: &str = "websockify";
/// Its rules for ports, by the kernel's own tables.
const RULES: &str = "iptables-legacy";
/// What is flat may still be measured so much higher.
const FLAT: f64 = 1.2;
const NS: f64 = 1e-9;
const US: f64 = 1e-6;

pub(crate) const FIGURES: [Figure; 34] = [
    Figure {
        name: "bulk-down",
        what: "bulk console to browser, 64 KiB writes: CPU per GiB",
        unit: Unit::Seconds,
        bars: &[Bar::Ratio(REPLACED, 0.38)],
    },
    Figure {
        name: "bulk-up",
        what: "bulk browser to console, 64 KiB frames: CPU per GiB",
        unit: Unit::Seconds,
        bars: &[Bar::Ratio(REPLACED, 0.12)],
    },
    Figure {
        name: "idle",
        what: "idle session: memory (PSS)",
        unit: Unit::Bytes,
        bars: &[Bar::AtMost(4096.0)],
    },
    Figure {
        name: "idle/burst",
        what: "the same after a burst of 64 KiB on each",
        unit: Unit::Bytes,
        bars: &[Bar::AtMost(4096.0)],
    },
    Figure {
        name: "open",
        what: "opening a console, until a client can connect: p50",
        unit: Unit::Seconds,
        bars: &[Bar::AtMost(0.001), Bar::Ratio(REPLACED, 0.01)],
    },
    Figure {
        name: "open/5000",
        what: "the same with 5,000 open (websockify: their rules)",
        unit: Unit::Seconds,
        bars: &[Bar::AtMost(0.001), Bar::Ratio(REPLACED, 0.01)],
    },
    time("filter/floor", "the kernel's test run of a program that does nothing (taken off below)", &[]),
    time("filter/run-session", "test run: a segment of a session", &[Bar::AtMost(10.0 * NS)]),
    time("filter/run-port", "test run: a SYN to a port that is no broker's", &[Bar::AtMost(10.0 * NS)]),
    time(
        "filter/run-elsewhere",
        "test run: a SYN to a broker's port of another address",
        &[Bar::AtMost(10.0 * NS)],
    ),
    time("filter/run-drop-0", "test run: a SYN to a closed port, none open", &[DROP]),
    time("filter/run-drop-100", "the same, 100 open", &[DROP]),
    time("filter/run-drop-1000", "the same, 1,000 open", &[DROP]),
    time("filter/run-drop-5000", "the same, 5,000 open", &[DROP, Bar::Flat("filter/run-drop-0", FLAT)]),
    time("filter/run-pass-100", "test run: a SYN to an open port, 100 open", &[PASS]),
    time("filter/run-pass-1000", "the same, 1,000 open", &[PASS]),
    time("filter/run-pass-5000", "the same, 5,000 open", &[PASS, Bar::Flat("filter/run-pass-100", FLAT)]),
    time("filter/run-all-100", "the same with network and limits, 100 open", &[ALL]),
    time("filter/run-all-1000", "the same, 1,000 open", &[ALL]),
    time("filter/run-all-5000", "the same, 5,000 open", &[ALL, Bar::Flat("filter/run-all-100", FLAT)]),
    time("filter/closed-0", "a SYN by veth, sending included, to a closed port, none open", &[]),
    time("filter/closed-100", "the same, 100 open", &[]),
    time("filter/closed-1000", "the same, 1,000 open", &[]),
    time("filter/closed-5000", "the same, 5,000 open", &[]),
    time("filter/open-100", "a SYN by veth, sending included, to an open port, 100 open", &[]),
    time("filter/open-1000", "the same, 1,000 open", &[]),
    time("filter/open-5000", "the same, 5,000 open", &[]),
    time("filter/change-0", "opening and closing a port in the kernel, none open", &[CHANGE]),
    time("filter/change-100", "the same, 100 open", &[CHANGE]),
    time("filter/change-1000", "the same, 1,000 open", &[CHANGE]),
    time("filter/change-5000", "the same, 5,000 open", &[CHANGE, Bar::Flat("filter/change-0", FLAT)]),
    Figure {
        name: "filter/calm",
        what: "goodput of a session by veth, 5,000 ports open",
        unit: Unit::BytesPerSecond,
        bars: &[],
    },
    Figure {
        name: "filter/flooded",
        what: "the same while a core floods SYNs at closed ports",
        unit: Unit::BytesPerSecond,
        bars: &[Bar::Keeps("filter/calm", 0.9), Bar::AtLeast(RULES, 5.0)],
    },
    Figure {
        name: "filter/flood",
        what: "what that core gets rid of meanwhile",
        unit: Unit::PerSecond,
        bars: &[],
    },
];

const DROP: Bar = Bar::AtMost(35.0 * NS);
const PASS: Bar = Bar::AtMost(75.0 * NS);
/// With every feature: address, network, deadline, limits, counts.
const ALL: Bar = Bar::AtMost(150.0 * NS);
const CHANGE: Bar = Bar::AtMost(5.0 * US);

const fn time(name: &'static str, what: &'static str, bars: &'static [Bar]) -> Figure {
    Figure { name, what, unit: Unit::Seconds, bars }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_that_bars_compare_with_are_there() {
        let is_there = |name: &str| FIGURES.iter().any(|figure| figure.name == name);
        for bar in FIGURES.iter().flat_map(|figure| figure.bars) {
            if let Bar::Flat(other, _) | Bar::Keeps(other, _) = bar {
                assert!(is_there(other), "{other}");
            }
        }
    }

    #[test]
    fn names_are_there_once_and_rows_stand_together() {
        let mut names: Vec<_> = FIGURES.iter().map(|figure| figure.name).collect();
        let mut rows: Vec<_> = FIGURES.iter().map(Figure::row).collect();
        rows.dedup();
        let (count, row_count) = (names.len(), rows.len());
        for (list, count) in [(&mut names, count), (&mut rows, row_count)] {
            list.sort_unstable();
            list.dedup();
            assert_eq!(list.len(), count, "{list:?}");
        }
    }
}
