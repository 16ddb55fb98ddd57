//! The measurements of `cargo xtask bench`: each relay between two ends that this program plays, in a
//! network namespace of its own. What a figure has to be is not known here.
//!
//! `bench FILE quick|full ROW...` writes a line of JSON per sample into FILE, and fails on a wrong byte or
//! a relay that does not run. `PORTCULLIS_BIN` is the daemon.

mod content;
mod ends;
mod relay;
mod rows;
mod usage;

use std::fs::File;
use std::io::Write;

use portcullis_tests::namespace::in_namespace;
use relay::{Entry, RELAYS};
use rows::{Figures, Measure, ROWS, Scale};
use serde_json::json;

fn main() {
    let mut words = std::env::args().skip(1);
    let (Some(file), Some(scale)) = (words.next(), words.next()) else {
        panic!("usage: bench FILE quick|full ROW...");
    };
    let scale = if scale == "quick" { Scale::quick() } else { Scale::full() };
    let mut out = File::create(&file).unwrap_or_else(|error| panic!("{file}: {error}"));
    for row in words {
        let measure = ROWS.iter().find(|(name, _)| *name == row).unwrap_or_else(|| panic!("no row {row}")).1;
        // Interleaved, so that what disturbs the machine for a while disturbs all alike.
        for repeat in 1..=scale.repeats {
            for relay in &RELAYS {
                eprintln!("{row} {repeat}/{}: {}", scale.repeats, relay.name);
                for (figure, value) in in_namespace(|| sample(measure, relay, &scale)) {
                    let sample = json!({ "figure": figure, "relay": relay.name, "value": value });
                    writeln!(out, "{sample}").expect("writes a sample");
                }
            }
        }
    }
}

fn sample(measure: Measure, relay: &Entry, scale: &Scale) -> Figures {
    // BBR paces, and halves what loopback carries. The host keeps its own: this is the namespace's.
    let control = "/proc/sys/net/ipv4/tcp_congestion_control";
    std::fs::write(control, "reno").unwrap_or_else(|error| panic!("{control}: {error}"));
    measure(relay, scale)
}
