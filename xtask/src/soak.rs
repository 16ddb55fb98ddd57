//! `cargo xtask soak`: one daemon under all kinds of load for a while, and whether anything grows, is lost or is wrong.
//!
//! What the load is, and what must hold, is in `tests/src/bin/soak`.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::family::Family;
use crate::scratch::Scratch;
use crate::{build, exec, fuzz, setup};

/// Seconds of a minute.
const MINUTE_S: u32 = 60;

/// Puts the daemon under a mix of sessions, brokers and calls for minutes, and fails on a wrong byte, an unexpected end, or anything that grows or is left.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How long the mix lasts; the pauses in which figures are taken come on top.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..))]
    minutes: u16,
    /// Print JSON instead of a summary; the lines of the rounds go to stderr.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    consent: setup::Consent,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!("the soak needs root, for filter, steering and a network namespace of its own");
    }
    let built = build::all(false, options.consent)?;
    built.complete()?;
    let gateway = built.gateway.context("there is no daemon to load")?;
    build::player("soak")?;
    play(&gateway, options)?;
    // What strangers may send, besides: a tenth of the time for each target.
    setup::ensure(setup::Level::Test, options.consent)?;
    fuzz::each(&fuzz::targets()?, u32::from(options.minutes) * MINUTE_S / 10)
}

fn play(gateway: &Path, options: &Options) -> Result<()> {
    // INVARIANT: dropped in the reverse order, so processes end before the folder they write to goes.
    let scratch = Scratch::new()?;
    let _family = Family::adopt()?;
    let mut soak = Command::new(gateway.with_file_name("soak"));
    soak.arg((u32::from(options.minutes) * MINUTE_S).to_string()).args(options.json.then_some("json"));
    soak.env("PORTCULLIS_BIN", gateway).env("TMPDIR", scratch.path());
    exec::run(&mut soak)
}
