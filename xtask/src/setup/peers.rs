//! Relays of the bench that no package of the distribution brings, in a folder of this checkout.

use std::path::PathBuf;

use anyhow::{Context, Result};

use super::python;
use crate::{exec, workspace};

/// What the Rust registry has: name and version.
const WEBSOCAT: [&str; 2] = ["websocat", "1.14.1"];

/// Where they are; the bench looks for them here.
pub(crate) fn folder() -> PathBuf {
    workspace::target().join("bench")
}

/// Installs what is missing of them.
pub(crate) fn install() -> Result<()> {
    install_websockify()?;
    install_crate(WEBSOCAT).context("install websocat from the Rust registry")
}

/// websockify of PyPI, which the tests too have beside ours, with what its plug-ins need.
pub(crate) fn install_websockify() -> Result<()> {
    let websockify = folder().join("websockify");
    python::install("tests/bench/requirements.txt", &websockify).context("install websockify from PyPI")
}

/// Builds a program; cargo itself knows whether this version is there.
fn install_crate([name, version]: [&str; 2]) -> Result<()> {
    let mut install = workspace::cargo();
    // What it has beside its work (TLS for one) would need libraries of the system.
    install.args(["install", "--quiet", "--locked", "--no-default-features", "--version", version, name]);
    exec::run(install.arg("--root").arg(folder()))
}
