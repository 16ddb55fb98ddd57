//! `portcullis open`.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;

use crate::control::api::wire::{CreateBroker, CreatedBroker};

use super::client::{Client, Failure, encode};
use super::{print, say};

#[derive(Args)]
pub struct Options {
    /// The instance.
    instance_id: String,
    /// Write a file for remote-viewer; - prints it.
    #[arg(long, value_name = "FILE")]
    vv: Option<PathBuf>,
    /// Write a file for FreeRDP and mstsc; - prints it.
    #[arg(long, conflicts_with = "vv", value_name = "FILE")]
    rdp: Option<PathBuf>,
    /// With --vv: the viewer comes by a tunnel through the broker's port.
    #[arg(long, requires = "vv")]
    proxy: bool,
    /// With --vv: TLS goes through to the console, in such a tunnel.
    #[arg(long, requires = "vv", conflicts_with = "proxy")]
    through: bool,
    /// Where a viewer of VNC comes from, which cannot show a ticket.
    #[arg(long, requires = "vv", value_name = "PREFIX")]
    client: Option<String>,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// A broker that is open already is as good: whoever opens a console twice fills no range.
pub fn run(options: Options, client: &Client) -> Result<(), Failure> {
    let Options { instance_id, vv, rdp, proxy, through, client: prefix, json } = options;
    let native = prefix.is_some();
    let wish = CreateBroker { instance_id, client: prefix, native, reuse: true, ..CreateBroker::default() };
    let created: CreatedBroker = client.post("/v1/brokers", &wish)?;
    if json {
        print(&created)?
    }
    let file = vv.map(|path| (path, format!("console.vv?proxy={proxy}&through={through}")));
    match file.or_else(|| rdp.map(|path| (path, "console.rdp".to_owned()))) {
        Some((path, name)) => {
            let id = encode(&created.broker.broker_id);
            write(&path, &client.get_text(&format!("/v1/brokers/{id}/{name}"))?)?;
        }
        None if !json => say(&created.console_url),
        None => {}
    }
    Ok(())
}

/// For its owner alone: there is a ticket in it.
fn write(path: &Path, file: &str) -> Result<(), Failure> {
    if path == Path::new("-") {
        say(file.trim_end());
        return Ok(());
    }
    let opened = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
    let written = opened.and_then(|mut opened| opened.write_all(file.as_bytes()));
    Ok(written.with_context(|| format!("write {}", path.display()))?)
}
