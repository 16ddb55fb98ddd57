//! `cargo xtask build`: the kernel object, the page, and the daemon that carries both.

mod kernel;
pub(crate) mod page;

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;

use crate::setup::{self, Level};
use crate::{exec, signals, workspace};

/// Builds the kernel programs, the page and the daemon.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Build the daemon without optimization.
    #[arg(long)]
    dev: bool,
    #[command(flatten)]
    consent: setup::Consent,
}

/// What a build gave.
#[derive(Debug)]
pub(crate) struct Built {
    /// The daemon, if that was built.
    pub(crate) gateway: Option<PathBuf>,
    /// The parts that failed, in words.
    pub(crate) failed: Vec<&'static str>,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let built = all(options.dev, options.consent)?;
    built.complete()?;
    if let Some(gateway) = built.gateway {
        eprintln!("built {}", gateway.display());
    }
    Ok(())
}

impl Built {
    /// An error if something failed.
    pub(crate) fn complete(&self) -> Result<()> {
        if !self.failed.is_empty() {
            bail!("could not build all: {}", self.failed.join(", "));
        }
        Ok(())
    }
}

/// Builds what can be built: a part that fails is reported, and the others are built without it.
pub(crate) fn all(dev: bool, consent: setup::Consent) -> Result<Built> {
    let mut failed = Vec::new();
    let compiler = match note("set-up", setup::ensure(Level::Build, consent), &mut failed)? {
        Some(compiler) => Ok(compiler),
        None => setup::compiler(),
    };
    note("kernel programs", compiler.and_then(|compiler| kernel::build(&compiler)), &mut failed)?;
    note("page", page::build(), &mut failed)?;
    let profile = if dev { "debug" } else { "release" };
    let mut cargo = workspace::cargo();
    cargo.args(["build", "--locked", "--package", "portcullis"]).args((!dev).then_some("--release"));
    let gateway = note("daemon", exec::run(&mut cargo), &mut failed)?.map(|()| workspace::gateway(profile));
    Ok(Built { gateway, failed })
}

/// Builds a program of the tests that plays both ends of a daemon, beside that one.
pub(crate) fn player(name: &str) -> Result<()> {
    let mut cargo = workspace::cargo();
    exec::run(cargo.args(["build", "--locked", "--release", "--package", "portcullis-tests", "--bin", name]))
}

/// Builds the RDP desktop of the tests, which is a workspace of its own, and looks at its source while at it.
pub(crate) fn rdp_desktop() -> Result<()> {
    let manifest = workspace::root().join("tests/rdp_desktop/Cargo.toml");
    exec::run(workspace::cargo().args(["fmt", "--check", "--manifest-path"]).arg(&manifest))?;
    let mut cargo = workspace::cargo();
    // The driver compiles what it has linted: `cargo clippy` would check all that it stands on a second time.
    cargo.env("RUSTC_WORKSPACE_WRAPPER", "clippy-driver");
    cargo.args(["build", "--locked", "--manifest-path"]).arg(&manifest);
    exec::run(cargo.arg("--target-dir").arg(workspace::target().join("rdp_desktop")))
}

/// Takes note of a failure and goes on, but not against a wish to stop.
fn note<T>(part: &'static str, outcome: Result<T>, failed: &mut Vec<&'static str>) -> Result<Option<T>> {
    match outcome {
        Ok(value) => Ok(Some(value)),
        Err(error) if signals::is_halt(&error) => Err(error),
        Err(error) => {
            eprintln!("error: {part}: {error:#}");
            failed.push(part);
            Ok(None)
        }
    }
}
