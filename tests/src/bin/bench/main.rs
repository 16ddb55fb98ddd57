//! The measurements of `cargo xtask bench`: each relay between two ends that this program plays, and each
//! filter before packets that it sends, in network namespaces of their own. What a figure has to be is not
//! known here.
//!
//! `bench FILE quick|full ROW[=PEER,...]...` writes a line of JSON per sample into FILE, and fails on a wrong
//! byte, a wrong verdict, or a peer that does not run. `PORTCULLIS_BIN` is the daemon, `PORTCULLIS_PEERS` the
//! folder of relays that are no packages. `bench splice PORT` is a relay itself, see `relay/splice.rs`.

mod cores;
mod ends;
mod filter;
mod relay;
mod rows;

use std::fs::File;
use std::io::Write;

use portcullis_tests::namespace::in_namespace;
use portcullis_tests::{content, usage};
use relay::splice;
use rows::{Sample, Scale};
use serde_json::json;

fn main() {
    let words: Vec<_> = std::env::args().skip(1).collect();
    match &words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [splice::WORD, console] => splice::serve(console.parse().expect("a port")),
        [file, scale, rows @ ..] => measure(file, scale, rows),
        _ => panic!("usage: bench FILE quick|full ROW[=PEER,...]..."),
    }
}

fn measure(file: &str, scale: &str, rows: &[&str]) {
    let scale = if scale == "quick" { Scale::quick() } else { Scale::full() };
    let mut out = File::create(file).unwrap_or_else(|error| panic!("{file}: {error}"));
    // All of them before the first is measured.
    let rows: Vec<_> = rows.iter().map(|row| wished(row)).collect();
    for (row, peers) in rows {
        // Interleaved, so that what disturbs the machine for a while disturbs all alike.
        for repeat in 1..=scale.repeats {
            for (peer, sample) in &peers {
                eprintln!("{row} {repeat}/{}: {peer}", scale.repeats);
                for (figure, value) in fresh(|| sample(&scale)) {
                    let sample = json!({ "figure": figure, "relay": peer, "value": value });
                    writeln!(out, "{sample}").expect("writes a sample");
                }
            }
        }
    }
}

/// A row with those of its peers that are wished for; all of them without a wish.
fn wished(word: &str) -> (&str, Vec<(&'static str, Sample)>) {
    let (row, wishes) = word.split_once('=').unwrap_or((word, ""));
    let mut peers = rows::peers(row).unwrap_or_else(|| panic!("no row {row}"));
    let wishes: Vec<_> = wishes.split(',').filter(|wish| !wish.is_empty()).collect();
    if let Some(unknown) = wishes.iter().find(|wish| !rows::is_known(wish)) {
        panic!("no peer {unknown}");
    }
    peers.retain(|(peer, _)| wishes.is_empty() || wishes.contains(peer));
    (row, peers)
}

/// Runs `body` in a network namespace of its own with reno in it.
fn fresh<T: Send>(body: impl FnOnce() -> T + Send) -> T {
    in_namespace(|| {
        // BBR paces, and halves what loopback carries. The host keeps its own: this is the namespace's.
        let control = "/proc/sys/net/ipv4/tcp_congestion_control";
        std::fs::write(control, "reno").unwrap_or_else(|error| panic!("{control}: {error}"));
        body()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_the_peers_that_are_wished_for() {
        let names = |word| wished(word).1.iter().map(|(peer, _)| *peer).collect::<Vec<_>>();
        assert_eq!(names("brokers"), ["portcullis", "websockify"]);
        // Who is known elsewhere is not asked for here.
        assert_eq!(names("brokers=portcullis,direct"), ["portcullis"]);
        assert_eq!(names("rtt=direct,haproxy"), ["haproxy", "direct"]);
        assert!(std::panic::catch_unwind(|| wished("rtt=nobody").0.len()).is_err());
        assert!(std::panic::catch_unwind(|| wished("nothing").0.len()).is_err());
    }
}
