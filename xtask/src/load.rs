//! `cargo xtask load` and `unload`: builds, and lets the daemon's own command load filter and steering, or
//! remove them, as root.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;

use crate::{build, exec, root, setup};

/// Builds, and loads and pins filter and steering for a daemon without privileges.
#[derive(Debug, Args)]
pub(crate) struct Load {
    #[command(flatten)]
    at: Where,
    /// Group whose members may open brokers: the daemon's.
    #[arg(long)]
    group: Option<String>,
}

/// Builds, and removes what `load` pinned.
#[derive(Debug, Args)]
pub(crate) struct Unload {
    #[command(flatten)]
    at: Where,
}

#[derive(Debug, Args)]
struct Where {
    /// Configuration file of the daemon.
    #[arg(long, default_value = "deploy/portcullis.toml")]
    config: PathBuf,
    /// Build the daemon without optimization.
    #[arg(long)]
    dev: bool,
    #[command(flatten)]
    consent: setup::Consent,
}

pub(crate) fn load(options: &Load) -> Result<()> {
    let group: Vec<&str> = options.group.iter().flat_map(|group| ["--group", group]).collect();
    kernel(&options.at, "load", &group)
}

pub(crate) fn unload(options: &Unload) -> Result<()> {
    kernel(&options.at, "clean", &[])
}

fn kernel(at: &Where, command: &str, more: &[&str]) -> Result<()> {
    let built = build::all(at.dev, at.consent)?;
    built.complete()?;
    let gateway = built.gateway.context("there is no daemon")?;
    let prefix = root::prefix()?;
    let gateway = gateway.to_str().context("a path that is no text")?;
    let words: Vec<&str> = prefix.into_iter().chain([gateway, "kernel", command]).collect();
    exec::run(exec::command(words[0]).args(&words[1..]).args(more).arg("--config").arg(&at.config))
}
