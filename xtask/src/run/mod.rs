//! `cargo xtask run`: a real virtual machine, the gateway in front of it, and one link to its console.

mod desktop;
mod gateway;
pub(crate) mod guest;
mod link;
mod member;
mod qmp;

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::family::Family;
use crate::scratch::Scratch;
use crate::setup::{self, Level};
use crate::terminal::{self, Line};
use crate::{build, signals};
use gateway::Gateway;
use guest::{Console, Guest};

/// Shows the console of a virtual machine in a browser: builds all, starts both, prints one link.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The broker address; one of this machine's own lets others reach the console.
    #[arg(long, value_name = "ADDR", default_value_t = LOCAL)]
    host: IpAddr,
    /// What the machine has: a screen, by VNC or SPICE, or a serial line; or a desktop behind RDP.
    #[arg(long, value_enum, default_value_t = Console::Vnc)]
    console: Console,
    /// Run this daemon instead of building one.
    #[arg(long, value_name = "FILE")]
    gateway: Option<PathBuf>,
    #[command(flatten)]
    consent: setup::Consent,
}

/// The broker address unless another is given: in the loopback network, so that nothing must be set up
/// for it and nobody else reaches it.
const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 80, 1));

/// How often members and keyboard are looked at.
const TICK: Duration = Duration::from_millis(100);

pub(crate) fn run(options: &Options) -> Result<()> {
    if options.host.is_unspecified() {
        bail!("--host must be one address of this machine, for example the one that its users reach");
    }
    let binary = prepare(options)?;
    // INVARIANT: dropped in the reverse order: the gateway, the guest, what else is left, the folder.
    let scratch = Scratch::new()?;
    let _family = Family::adopt()?;
    let mut guest = Guest::start(options.console, scratch.path())?;
    let mut gateway = Gateway::start(binary, options.host, scratch.path())?;
    gateway.add_instance("i-demo", guest.at())?;
    introduce(options, &gateway);
    show_link(&gateway)?;
    let outcome = watch(&mut guest, &mut gateway);
    eprintln!("stopping");
    outcome
}

/// The daemon to run. Where set-up fails but all that a run needs is there, the run goes on.
fn prepare(options: &Options) -> Result<PathBuf> {
    match setup::ensure(Level::Run, options.consent) {
        Err(error) if signals::is_halt(&error) || guest::images().is_none() => return Err(error),
        Err(error) => eprintln!("warning: {error:#}"),
        Ok(_) => {}
    }
    if let Some(binary) = &options.gateway {
        return binary.canonicalize().with_context(|| format!("find {}", binary.display()));
    }
    let built = build::all(false, options.consent)?;
    for part in &built.failed {
        eprintln!("warning: running without a new {part}");
    }
    built.gateway.context("there is no daemon to run")
}

fn introduce(&Options { host, console, .. }: &Options, gateway: &Gateway) {
    let ready = gateway.ready();
    println!();
    match console {
        Console::Rdp => println!("  A desktop behind RDP is open. It takes any user name and any password."),
        _ => {
            println!(
                "  The console of a virtual machine is open. Its installer draws a menu after about a minute."
            );
        }
    }
    println!("  Kernel side: filter {}, hook {}, steering {}.", ready.backend, ready.hook, ready.steering);
    match ready.backend.as_str() {
        "ebpf" => println!("  To see it: bpftool prog, bpftool link, bpftool map"),
        "none" => {
            println!("  That is the fallback: without root, or without BPF, the kernel filters nothing.")
        }
        other => println!("  That is the fallback: {other} filters, not eBPF."),
    }
    if host != LOCAL {
        println!("  Everyone who reaches {host} reaches the console's port.");
    }
    println!("  API {}, metrics {}/metrics", ready.api, ready.metrics);
    println!("  Dashboard {}/, with the key in {}", ready.api, gateway.key_file().display());
    match console {
        Console::Vnc | Console::Rdp => {}
        Console::Spice => println!("  In a native viewer: {}", gateway.viewer_command("i-demo")),
        Console::Serial => println!("  In a terminal: {}", gateway.terminal_command("i-demo")),
    }
    println!("  Ctrl-C stops and removes all of it.");
}

/// Opens a broker and prints where it is. A ticket is good for one session, hence again on Enter.
fn show_link(gateway: &Gateway) -> Result<()> {
    let link = gateway.open_broker("i-demo")?;
    println!("\n  {}\n", link.console_url);
    if link.broker_ip.is_loopback() {
        println!("  From another machine: {}", link.ssh_command(&link::this_machine()));
        println!("  and then              {}", link.local_url());
    }
    if terminal::is_interactive() {
        println!("  The link is good for one session; Enter makes a fresh one.");
    }
    Ok(())
}

/// Until a signal comes or a member ends.
fn watch(guest: &mut Guest, gateway: &mut Gateway) -> Result<()> {
    let mut keyboard = terminal::is_interactive();
    loop {
        // Asked for, so not a failure.
        if signals::stop().is_some() {
            return Ok(());
        }
        guest.check()?;
        gateway.check()?;
        if !keyboard {
            thread::sleep(TICK);
            continue;
        }
        match terminal::line(TICK) {
            Line::Typed(_) => show_link(gateway)?,
            Line::Nothing => {}
            Line::Closed => keyboard = false,
        }
    }
}
