//! Keeps packages from starting services: invoke-rc.d(8) asks `/usr/sbin/policy-rc.d`, and 101 means no.

use std::io::Write;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::exec;

const FILE: &str = "/usr/sbin/policy-rc.d";
const TEXT: &str =
    "#!/bin/sh\n# Put here by `cargo xtask setup` for as long as it installs packages.\nexit 101\n";

/// While this lives, no package starts a service.
pub(crate) struct NoServices<F: Fn(&str) -> Command> {
    /// `None` when the machine has a policy of its own, which is left alone.
    as_root: Option<F>,
}

impl<F: Fn(&str) -> Command> NoServices<F> {
    /// `as_root` makes a command that runs as root.
    pub(crate) fn install(as_root: F) -> Result<Self> {
        if Path::new(FILE).symlink_metadata().is_ok() && !is_ours() {
            return Ok(Self { as_root: None });
        }
        // Copied by `install`, which may run under sudo and sets owner and mode in one go.
        let mut copy = tempfile::NamedTempFile::new().context("make a temporary file")?;
        copy.write_all(TEXT.as_bytes())?;
        let guard = Self { as_root: Some(as_root) };
        let mut install = guard.command("install").context("the guard was just made with it")?;
        exec::run_to_end(
            install.args(["--owner=root", "--group=root", "--mode=755"]).arg(copy.path()).arg(FILE),
        )?;
        Ok(guard)
    }

    fn command(&self, program: &str) -> Option<Command> {
        self.as_root.as_ref().map(|as_root| as_root(program))
    }
}

impl<F: Fn(&str) -> Command> Drop for NoServices<F> {
    fn drop(&mut self) {
        if let Some(mut remove) = self.command("rm")
            && let Err(error) = exec::run_to_end(remove.args(["-f", FILE]))
        {
            eprintln!("warning: {error:#}; remove {FILE} by hand, or services will not start");
        }
    }
}

/// One that a killed set-up left behind is ours to remove.
fn is_ours() -> bool {
    std::fs::read_to_string(FILE).is_ok_and(|text| text == TEXT)
}
