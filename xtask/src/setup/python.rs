//! Python packages of tests and bench, in virtual environments of this checkout, as their lock files say.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::{exec, workspace};

/// Whether virtual environments can be made: Debian has the half of it in a package of its own.
pub(crate) fn is_here() -> bool {
    let probe = ["-c", "import ensurepip, venv"];
    exec::find("python3").is_some()
        && exec::output(exec::command("python3").args(probe)).is_ok_and(|probe| probe.status.success())
}

/// What tests/tests/openapi.rs runs.
pub(crate) fn install_packages() -> Result<()> {
    install("tests/openapi/requirements.txt", &workspace::target().join("tests/venv"))
}

/// Installs what the lock file `lock` of this checkout lists, unless it is there for this very file.
pub(crate) fn install(lock: &str, folder: &Path) -> Result<()> {
    unless_locked(lock, folder, |lock| {
        exec::run(exec::command("python3").args(["-m", "venv", "--clear"]).arg(folder))?;
        let mut install = Command::new(folder.join("bin/pip"));
        install.args(["install", "--quiet", "--disable-pip-version-check", "--no-cache-dir"]);
        // Nothing is built here: what has no package for this machine is an error that says so.
        install.args(["--require-hashes", "--only-binary", ":all:", "--requirement"]).arg(lock);
        exec::run(&mut install)
    })
}

/// Has `install` make `folder` out of the lock file `lock`, unless it is there for this very file.
pub(crate) fn unless_locked(
    lock: &str,
    folder: &Path,
    install: impl FnOnce(&Path) -> Result<()>,
) -> Result<()> {
    let lock = workspace::root().join(lock);
    let wanted = fs::read(&lock).with_context(|| format!("read {}", lock.display()))?;
    // Inside, so that it goes when someone removes the folder.
    let copy = folder.join("lock-of-these");
    if fs::read(&copy).is_ok_and(|copy| copy == wanted) {
        return Ok(());
    }
    install(&lock)?;
    fs::write(&copy, wanted).with_context(|| format!("write {}", copy.display()))
}
