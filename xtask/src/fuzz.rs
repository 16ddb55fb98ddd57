//! `cargo xtask fuzz`: bytes that strangers could send, made up with an eye on which branches they take.
//!
//! The targets are in `tests/fuzz`; libFuzzer makes the bytes up. A target that fails leaves what it was given in
//! its corpus, where every `cargo test` tries it again.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::setup::{self, Level};
use crate::{exec, workspace};

/// Gives each target bytes that are made up for it, until one fails or its time is over.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How long each target has.
    #[arg(long, value_name = "N", default_value_t = 600, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// The targets; by default all.
    targets: Vec<String>,
    #[command(flatten)]
    consent: setup::Consent,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    setup::ensure(Level::Test, options.consent)?;
    let known = targets()?;
    if let Some(unknown) = options.targets.iter().find(|name| !known.contains(name)) {
        bail!("there is no target {unknown}, but {}", known.join(", "));
    }
    let wanted = if options.targets.is_empty() { known } else { options.targets.clone() };
    each(&wanted, options.seconds)
}

/// All targets: each has its folder of bytes that were worth keeping.
pub(crate) fn targets() -> Result<Vec<String>> {
    let corpus = corpus();
    let folders = fs::read_dir(&corpus).with_context(|| format!("read {}", corpus.display()))?;
    let names = folders.map(|folder| Ok(folder?.file_name().to_string_lossy().into_owned()));
    let mut names = names.collect::<std::io::Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}

/// Gives each of `targets` so many `seconds`.
pub(crate) fn each(targets: &[String], seconds: u32) -> Result<()> {
    let program = build()?;
    for target in targets {
        // What is found on the way is kept beside what is built; the corpus of the tree stays small.
        let found = workspace::target().join("fuzz").join(target);
        fs::create_dir_all(&found).with_context(|| format!("make {}", found.display()))?;
        let seeds = corpus().join(target);
        let mut fuzz = Command::new(&program);
        fuzz.current_dir(workspace::root()).env("PORTCULLIS_FUZZ", target);
        fuzz.arg(&found).arg(&seeds).arg(format!("-max_total_time={seconds}"));
        // A failure is a file of the corpus at once.
        fuzz.arg(format!("-artifact_prefix={}/", seeds.display()));
        fuzz.args(["-timeout=10", "-rss_limit_mb=1024", "-print_final_stats=1", "-verbosity=0"]);
        exec::run(&mut fuzz).with_context(|| format!("target {target}"))?;
    }
    Ok(())
}

fn corpus() -> PathBuf {
    workspace::root().join("tests/fuzz/corpus")
}

/// Builds the program, and the gateway's library once more so that it tells where it has been.
fn build() -> Result<PathBuf> {
    let mut cargo = workspace::cargo();
    cargo.args(["build", "--locked", "--package", "portcullis-fuzz", "--features", "libfuzzer"]);
    cargo.env("RUSTC_WORKSPACE_WRAPPER", workspace::root().join("tests/fuzz/instrument.sh"));
    exec::run(&mut cargo)?;
    Ok(workspace::gateway("debug").with_file_name("fuzz"))
}
