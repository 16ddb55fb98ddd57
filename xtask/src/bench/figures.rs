//! The table's lines, and what each has to be.

use super::bars::{Bar, DIRECT, Figure, TLS, Unit};

/// The flow that is replaced.
const REPLACED: &str = "websockify";
/// Its relay as PyPI has it.
const PYTHON: &str = "websockify-py";
/// What moves bytes and does nothing else.
const SPLICE: &str = "splice";
/// What moves bytes of many sessions, without frames.
const BYTES: &str = "haproxy";
/// Its rules for ports, by the kernel's own tables.
const RULES: &str = "iptables-legacy";
/// What is flat may still be measured so much higher.
const FLAT: f64 = 1.2;
const NS: f64 = 1e-9;
const US: f64 = 1e-6;
const KIB: f64 = 1024.0;

pub(crate) const FIGURES: &[Figure] = &[
    time(
        "bulk-down",
        "bulk console to browser, 64 KiB writes: CPU per GiB",
        &[Bar::Ratio(PYTHON, 0.38), Bar::Ratio(SPLICE, 1.3)],
    ),
    time(
        "bulk-up",
        "bulk browser to console, 64 KiB frames: CPU per GiB",
        &[Bar::Ratio(PYTHON, 0.12), Bar::Ratio(SPLICE, 2.0)],
    ),
    time("both", "four sessions both ways, 16 KiB pieces: CPU per GiB", &[Bar::Ratio(PYTHON, 0.17)]),
    time(
        "small",
        "frames of 100 bytes, eight to a segment: CPU per frame",
        &[Bar::Ratio(PYTHON, 0.025), Bar::Ratio(BYTES, 2.0)],
    ),
    time("rtt", "8 bytes up, 32 back, 1,000 times a second: p50", &[Bar::Ratio(BYTES, 1.0)]),
    time("rtt/p99", "the same: p99", &[Bar::Ratio(BYTES, 1.0)]),
    Figure {
        name: "connect",
        what: "new sessions a second, from connection to farewell",
        unit: Unit::PerSecond,
        bars: &[Bar::AtLeast(PYTHON, 30.0), Bar::AtLeast(BYTES, 0.9)],
    },
    time("connect/cpu", "CPU of each", &[Bar::AtMost(80.0 * US)]),
    bytes("idle", "idle session: memory (PSS)", IDLE),
    bytes("idle/burst", "the same after a burst of 64 KiB on each", IDLE),
    bytes("slow", "on the way to a browser that reads 10 MB/s", &[Bar::Above(DIRECT, 512.0 * KIB)]),
    bytes("brokers", "open console that nobody looks at: memory (PSS)", &[Bar::AtMost(KIB)]),
    Figure {
        name: "brokers/descriptors",
        what: "its descriptors",
        unit: Unit::Count,
        bars: &[Bar::AtMost(0.01)],
    },
    time("open", "opening a console, until a client can connect: p50", OPEN),
    time("open/5000", "the same with 5,000 open (websockify: their rules)", OPEN),
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

/// Of a session, plain and under TLS.
const IDLE: &[Bar] = &[Bar::AtMost(4.0 * KIB), Bar::AtMostOf(TLS, 24.0 * KIB)];
const OPEN: &[Bar] = &[Bar::AtMost(0.001), Bar::Ratio(REPLACED, 0.01)];
const DROP: Bar = Bar::AtMost(35.0 * NS);
const PASS: Bar = Bar::AtMost(75.0 * NS);
/// With every feature: address, network, deadline, limits, counts.
const ALL: Bar = Bar::AtMost(150.0 * NS);
const CHANGE: Bar = Bar::AtMost(5.0 * US);

const fn time(name: &'static str, what: &'static str, bars: &'static [Bar]) -> Figure {
    Figure { name, what, unit: Unit::Seconds, bars }
}

const fn bytes(name: &'static str, what: &'static str, bars: &'static [Bar]) -> Figure {
    Figure { name, what, unit: Unit::Bytes, bars }
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
