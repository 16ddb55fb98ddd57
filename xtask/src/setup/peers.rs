//! Relays of the bench that no package of the distribution brings, in a folder of this checkout.

use std::path::PathBuf;

use anyhow::{Context, Result};

use super::python;
use crate::workspace;

/// Where they are; the bench looks for them here.
pub(crate) fn folder() -> PathBuf {
    workspace::target().join("bench")
}

/// Installs what is missing of them.
pub(crate) fn install() -> Result<()> {
    let websockify = folder().join("websockify");
    python::install("tests/bench/requirements.txt", &websockify).context("install websockify from PyPI")
}
