//! `cargo xtask bench`: daemon and filter beside the flow that they replace, in one run, as ratios.
//!
//! What is measured, and how, is in `tests/src/bin/bench`; here are the bars, and what the samples say.

mod bars;
mod figures;
mod machine;
mod report;
mod samples;

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::family::Family;
use crate::scratch::Scratch;
use crate::setup::{self, Level};
use crate::{build, exec, workspace};
use figures::FIGURES;
use samples::Samples;

/// Measures the daemon beside other relays, and its filter beside other filters, and says which bars are met. A slow machine fails nothing.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Less of everything, three minutes: only the columns that bars name.
    #[arg(long)]
    quick: bool,
    /// Only these rows: bulk-down, bulk-up, both, small, rtt, connect, idle, slow, brokers, open, filter.
    #[arg(long, value_name = "ROW", value_delimiter = ',')]
    rows: Vec<String>,
    /// Only these columns: portcullis, websockify, haproxy and so on. A bar needs both of its sides.
    #[arg(long, value_name = "PEER", value_delimiter = ',')]
    peers: Vec<String>,
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
    /// Write the table to BENCH.md, too.
    #[arg(long)]
    write: bool,
    #[command(flatten)]
    consent: setup::Consent,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let rows = rows(&options.rows)?;
    if !nix::unistd::geteuid().is_root() {
        bail!("the bench needs root, for filter, steering and network namespaces of its own");
    }
    setup::ensure(Level::Bench, options.consent)?;
    setup::peers::install()?;
    let built = build::all(false, options.consent)?;
    built.complete()?;
    let gateway = built.gateway.context("there is no daemon to measure")?;
    build::player("bench")?;
    let samples = measure(&gateway, &rows, options)?;
    let machine = machine::Machine::look();
    if options.json {
        println!("{:#}", report::json(&samples, &machine));
    } else {
        print!("{}", report::table(&samples));
    }
    if options.write {
        let place = workspace::root().join("BENCH.md");
        let text = report::page(&samples, &machine, options.quick);
        fs::write(&place, text).with_context(|| format!("write {}", place.display()))?;
    }
    Ok(())
}

/// The rows that are wished for, each once; all of them without a wish.
fn rows(wished: &[String]) -> Result<Vec<&'static str>> {
    let mut all: Vec<_> = FIGURES.iter().map(bars::Figure::row).collect();
    all.dedup();
    if let Some(unknown) = wished.iter().find(|row| !all.contains(&row.as_str())) {
        bail!("there is no row {unknown}; there are {}", all.join(", "));
    }
    all.retain(|row| wished.is_empty() || wished.iter().any(|wish| wish == row));
    Ok(all)
}

fn measure(gateway: &Path, rows: &[&str], options: &Options) -> Result<Samples> {
    // INVARIANT: dropped in the reverse order, so processes end before the folder they write to goes.
    let scratch = Scratch::new()?;
    let _family = Family::adopt()?;
    let file = scratch.path().join("samples");
    let mut bench = Command::new(gateway.with_file_name("bench"));
    bench.arg(&file).arg(if options.quick { "quick" } else { "full" });
    bench.args(rows.iter().map(|row| with_peers(row, options)));
    bench.env("PORTCULLIS_BIN", gateway).env("TMPDIR", scratch.path());
    bench.env("PORTCULLIS_PEERS", setup::peers::folder());
    exec::run(&mut bench)?;
    let samples = Samples::parse(&fs::read_to_string(&file).context("read the samples")?)?;
    match options.peers.iter().find(|peer| !samples.relays().contains(peer)) {
        Some(unknown) => bail!("there is no peer {unknown} in these rows"),
        None => Ok(samples),
    }
}

/// A row as the bench takes it, with its columns if these are not all.
fn with_peers(row: &str, Options { peers, quick, .. }: &Options) -> String {
    let named = || bars::named(FIGURES.iter().filter(|figure| figure.row() == row));
    match (peers.is_empty(), quick) {
        (false, _) => format!("{row}={}", peers.join(",")),
        (true, true) => format!("{row}={}", named().join(",")),
        (true, false) => row.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_picked_by_name() {
        let all = rows(&[]).expect("all").join(", ");
        assert_eq!(all, "bulk-down, bulk-up, both, small, rtt, connect, idle, slow, brokers, open, filter");
        let wished = ["open", "idle"].map(String::from);
        assert_eq!(rows(&wished).expect("two"), ["idle", "open"]);
        let error = rows(&["idel".into()]).expect_err("unknown").to_string();
        assert_eq!(error, format!("there is no row idel; there are {all}"));
    }
    #[test]
    fn a_quick_run_has_the_columns_that_bars_name() {
        let options = |quick, peers: &[&str]| Options {
            quick,
            rows: vec![],
            peers: peers.iter().map(|peer| (*peer).to_owned()).collect(),
            json: false,
            write: false,
            consent: setup::Consent::default(),
        };
        let check = |options: Options, expected| assert_eq!(with_peers("bulk-up", &options), expected);
        check(options(false, &[]), "bulk-up");
        check(options(true, &[]), "bulk-up=portcullis,portcullis-tls,direct,websockify-py,splice");
        check(options(true, &["haproxy", "splice"]), "bulk-up=haproxy,splice");
    }
}
