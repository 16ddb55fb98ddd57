//! `cargo xtask test`: everything, as `.ci/run` calls it. Leaves nothing behind but packages and caches.

mod bare;
mod leftovers;

use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use clap::Args;

use crate::family::Family;
use crate::scratch::Scratch;
use crate::setup::{self, Level};
use crate::steps::Steps;
use crate::{build, check, exec, fuzz, workspace};
use build::page;
use leftovers::Traces;

/// Installs what is missing, builds, and runs all checks and tests; lists what failed.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Instead, try set-up and build in a Debian 12 that has nothing yet. Needs root, and a quarter of an hour.
    #[arg(long)]
    bare: bool,
    #[command(flatten)]
    consent: setup::Consent,
}

/// Seconds that each fuzz target has.
const FUZZ_S: u32 = 4;

/// What the last processes of a test get to end by themselves.
const PATIENCE: Duration = Duration::from_secs(2);

pub(crate) fn run(options: &Options) -> Result<()> {
    if options.bare {
        setup::ensure(Level::Test, options.consent)?;
        return bare::run();
    }
    let mut steps = Steps::default();
    // Before anything is built or run: what is there now is not ours.
    steps.run("set-up", || setup::ensure(Level::Test, options.consent).map(drop));
    let before = Traces::look();
    // INVARIANT: dropped in the reverse order, so processes end before the folder they write to goes.
    let scratch = Scratch::new()?;
    let family = Family::adopt()?;
    steps.run("build", || build::all(true, options.consent)?.complete());
    check::source_steps(&mut steps);
    steps.run("browser driver", || page::install_packages(&workspace::root().join("tests/browser")));
    steps.run("API tester", setup::python::install_packages);
    steps.run("websockify", setup::peers::install_websockify);
    steps.run("WebSocket tester", setup::autobahn::install);
    steps.run("RDP desktop", build::rdp_desktop);
    steps.run("fuzzing", || fuzz::each(&fuzz::targets()?, FUZZ_S));
    steps.run("tests", || exec::run(&mut tests(&scratch)));
    steps.always("nothing left behind", || {
        let ended = family.end(PATIENCE);
        if !ended.is_empty() {
            eprintln!("note: ended what the steps had left running: {}", ended.join(", "));
        }
        scratch.remove()?;
        before.compare()
    });
    steps.finish()
}

/// The black-box, kernel and browser tests, with a place of their own for all they write.
fn tests(scratch: &Scratch) -> Command {
    let mut cargo = workspace::cargo();
    cargo.args(["test", "--locked", "--package", "portcullis-tests", "--no-fail-fast"]);
    cargo.env("PORTCULLIS_BIN", workspace::gateway("debug")).env("TMPDIR", scratch.path());
    // A browser, and a daemon without a configuration, write below the home otherwise.
    for kind in ["CACHE", "CONFIG", "DATA", "STATE"] {
        cargo.env(format!("XDG_{kind}_HOME"), scratch.path().join(kind.to_ascii_lowercase()));
    }
    cargo
}
