//! `portcullis serve`.

use std::io::IsTerminal;
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use tracing_subscriber::EnvFilter;

use crate::config::Config;
use crate::daemon;

#[derive(Args)]
pub struct Options {
    /// Configuration file.
    #[arg(long, env = "PORTCULLIS_CONFIG", default_value = "/etc/portcullis/portcullis.toml")]
    config: PathBuf,
}

pub fn run(options: &Options) -> anyhow::Result<()> {
    let config = Config::load(&options.config)
        .with_context(|| format!("{} (--config names another)", options.config.display()))?;
    let filter = EnvFilter::try_from_env("PORTCULLIS_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    // Standard output has one line, `ready`; the log goes where logs of services go.
    let colours = std::io::stderr().is_terminal();
    // A log that cannot be written, on a full disk for one, must not end what it tells of: the subscriber
    // would tell its own errors on the same stream, and panic.
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(colours)
        .with_writer(std::io::stderr)
        .log_internal_errors(false)
        .init();
    daemon::run(config)
}
