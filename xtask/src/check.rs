//! `cargo xtask check`: the quick round before a commit; needs no root.

use anyhow::Result;
use clap::Args;

use crate::steps::Steps;
use crate::{exec, workspace};

/// Checks formatting, lints and unit tests; runs all and lists what failed.
#[derive(Debug, Args)]
pub(crate) struct Options {}

pub(crate) fn run(_: &Options) -> Result<()> {
    let mut steps = Steps::default();
    source_steps(&mut steps);
    steps.finish()
}

/// The steps that `cargo xtask test` shares.
pub(crate) fn source_steps(steps: &mut Steps) {
    steps.run("formatting", || exec::run(workspace::cargo().args(["fmt", "--all", "--check"])));
    steps.run("clippy", || {
        let clippy = ["clippy", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"];
        exec::run(workspace::cargo().args(clippy))
    });
    steps.run("unit tests", || {
        let tests = ["test", "--locked", "--workspace", "--exclude", "portcullis-tests", "--no-fail-fast"];
        exec::run(workspace::cargo().args(tests))
    });
    steps.run("page tests", || {
        exec::run(exec::command("npm").arg("test").current_dir(workspace::root().join("gateway/web")))
    });
}
