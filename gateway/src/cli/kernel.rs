//! `portcullis kernel`: filter and steering, loaded once with privileges for a daemon that has none.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use clap::{Args, Subcommand};
use futures_util::StreamExt;
use nix::unistd::Group;

use super::client::Failure;
use super::{print, say};
use crate::config::Config;
use crate::daemon::gate::{plan, wanted};
use crate::kernel::hook::Interface;
use crate::kernel::pins::load::Report;
use crate::kernel::pins::show::{Pins, Version};
use crate::kernel::{netlink, pins};

#[derive(Subcommand)]
pub enum Command {
    /// Load filter and steering and pin them, or replace those that are pinned; needs root, or CAP_BPF,
    /// CAP_NET_ADMIN and CAP_PERFMON.
    Load(Load),
    /// Show what is pinned.
    Show(Show),
    /// Remove everything that is pinned, and with it filter and steering.
    Clean(Clean),
}

#[derive(Args)]
pub struct Where {
    /// Configuration file.
    #[arg(long, env = "PORTCULLIS_CONFIG", default_value = "/etc/portcullis/portcullis.toml")]
    config: PathBuf,
}

impl Where {
    fn read(&self) -> anyhow::Result<Config> {
        Config::load(&self.config)
            .with_context(|| format!("{} (--config names another)", self.config.display()))
    }
}

#[derive(Args)]
pub struct Load {
    #[command(flatten)]
    at: Where,
    /// Group whose members may open brokers: the daemon's. By default `portcullis`, if there is one.
    #[arg(long)]
    group: Option<String>,
    /// Stay, and take the filter to interfaces that appear or are made anew.
    #[arg(long)]
    watch: bool,
}

#[derive(Args)]
pub struct Show {
    #[command(flatten)]
    at: Where,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub struct Clean {
    #[command(flatten)]
    at: Where,
    /// Also from under a daemon that runs.
    #[arg(long)]
    force: bool,
}

pub fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Load(options) => load(&options).map_err(Failure::Failed),
        Command::Show(options) => show(&options),
        Command::Clean(options) => clean(&options).map_err(Failure::Failed),
    }
}

fn load(options: &Load) -> anyhow::Result<()> {
    let config = options.at.read()?;
    let group = group(options.group.as_deref())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        // Before the first look, so that nothing that happens after it is missed.
        let events = options.watch.then(netlink::events).transpose().context("listen to netlink")?;
        let interfaces = wanted(&config).find_all().await.context("interfaces")?;
        let mut seated = load_on(&config, group, interfaces).await?;
        let Some(mut events) = events else { return Ok(()) };
        while events.next().await.is_some() {
            let again = async {
                let found = wanted(&config).find().await?;
                if found == seated { Ok(found) } else { load_on(&config, group, found).await }
            };
            match again.await {
                Ok(now) => seated = now,
                Err(error) => {
                    eprintln!("portcullis: {error:#}");
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
        bail!("netlink says nothing any more")
    })
}

/// Pause after a failure, while events may come in quick succession.
const AGAIN: Duration = Duration::from_secs(1);

/// Returns the interfaces that have the filter then.
async fn load_on(
    config: &Config,
    group: Option<u32>,
    interfaces: Vec<Interface>,
) -> anyhow::Result<Vec<Interface>> {
    let report = pins::load::load(&config.pins, &plan(config, &interfaces), &interfaces, group)?;
    tell(config, &report, group);
    Ok(interfaces)
}

fn tell(config: &Config, report: &Report, group: Option<u32>) {
    for (interface, hook, before) in &report.hooks {
        let done = if *before { "replaced" } else { "attached" };
        say(format_args!("filter {done}: {} ({})", interface.name, hook.name()));
    }
    match &report.steering {
        Ok(()) => say("steering attached"),
        Err(error) => eprintln!("portcullis: no steering: {error}"),
    }
    if !report.maps_kept && report.moved > 0 {
        say(format_args!("{} open brokers moved to new maps: start the daemon again", report.moved));
    }
    say(format_args!("pinned in {}", pins::folder(&config.pins).display()));
    if group.is_none() {
        eprintln!(
            "portcullis: there is no group `portcullis`: only root can use the pins (--group names another)"
        );
    }
}

fn group(named: Option<&str>) -> anyhow::Result<Option<u32>> {
    let found = Group::from_name(named.unwrap_or("portcullis")).context("look the group up")?;
    match (found, named) {
        (Some(group), _) => Ok(Some(group.gid.as_raw())),
        (None, None) => Ok(None),
        (None, Some(named)) => Err(anyhow!("there is no group {named}")),
    }
}

fn show(options: &Show) -> Result<(), Failure> {
    let base = options.at.read()?.pins;
    let pins = pins::show::show(&base).map_err(anyhow::Error::from)?;
    let Some(Pins { folder, versions }) = pins.filter(|pins| !pins.versions.is_empty()) else {
        return Err(Failure::Failed(anyhow!("nothing is pinned in {}", base.display())));
    };
    if options.json {
        return print(&Pins { folder, versions });
    }
    versions.iter().for_each(|version| lines(&folder, version));
    Ok(())
}

fn lines(folder: &str, version: &Version) {
    let Version { name, owner, group, mode, .. } = version;
    say(format_args!("{folder}/{name}: user {owner}, group {group}, mode {mode}"));
    if !version.ours {
        say("  of another version of portcullis");
    }
    if !version.complete {
        say("  not complete: `portcullis kernel load` finishes it");
    }
    match version.daemon {
        Some(process) => say(format_args!("  used by the daemon, process {process}")),
        None => say("  used by no daemon"),
    }
    for interface in &version.interfaces {
        let name = interface.name.as_deref().unwrap_or("(gone)");
        say(format_args!("  filter on {name}, number {}: {}", interface.index, interface.hook));
    }
    say(if version.steering { "  steering" } else { "  no steering" });
    for address in version.addresses.iter().flatten() {
        say(format_args!("  broker address {address}"));
    }
    if let Some(brokers) = version.brokers {
        say(format_args!("  {brokers} open brokers"));
    }
}

fn clean(options: &Clean) -> anyhow::Result<()> {
    let base = options.at.read()?.pins;
    if pins::clean::clean(&base, options.force)? {
        say(format_args!("removed {}", base.display()));
    } else {
        say(format_args!("nothing is pinned in {}", base.display()));
    }
    Ok(())
}
