//! A desktop behind RDP: no virtual machine, but an X server that nobody sees, with a terminal, and FreeRDP's server
//! that shows it to whoever comes.

use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::unistd::{Uid, User, chown};
use tempfile::TempDir;

use super::member::Member;
use crate::{exec, signals};

/// How long its parts may take to be there.
const PATIENCE: Duration = Duration::from_secs(30);
const TICK: Duration = Duration::from_millis(50);

/// Who has it where root starts it: whoever gets to its port has a terminal there.
const NOBODY: &str = "nobody";

/// A desktop; ended when dropped.
#[derive(Debug)]
pub(super) struct Desktop {
    /// Ended from the front.
    pub(super) members: Vec<Member>,
    /// Of all of it.
    _home: TempDir,
}

/// Starts it and waits until its server listens on `port` of 127.0.0.1. `folder` is for logs.
pub(super) fn start(port: u16, folder: &Path) -> Result<Desktop> {
    let home = home()?;
    let (screen, display) = screen(folder)?;
    let on_it = |program: &str| {
        let mut command = program_of_nobody(program);
        command.env("DISPLAY", &display).env("HOME", home.path()).env("XDG_RUNTIME_DIR", home.path());
        // The caller's own folders are not nobody's to write.
        for kind in ["CACHE", "CONFIG", "DATA", "STATE"] {
            command.env_remove(format!("XDG_{kind}_HOME"));
        }
        command
    };
    let windows = Member::start("windows", &on_it("openbox"), folder)?;
    let mut terminal = on_it("xterm");
    terminal.args(["-geometry", "100x30+80+80", "-fa", "DejaVu Sans Mono", "-fs", "11"]);
    terminal.args(["-e", "sh", "-c", "cd; exec sh"]);
    let terminal = Member::start("terminal", &terminal, folder)?;
    let mut server = on_it("freerdp-shadow-cli");
    // Nobody else reaches it, and it would know accounts of this machine only.
    server.args(["/bind-address:127.0.0.1", &format!("/port:{port}"), "-auth", "/sec:tls"]);
    let mut server = Member::start("desktop", &server, folder)?;
    wait_for("the desktop", &mut server, |_| TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok().map(drop))?;
    Ok(Desktop { members: vec![server, terminal, windows, screen], _home: home })
}

/// A folder that is theirs; that of the run is its user's alone.
fn home() -> Result<TempDir> {
    let home = tempfile::Builder::new().prefix("pcd").tempdir().context("make a folder for the desktop")?;
    if Uid::effective().is_root() {
        let nobody = User::from_name(NOBODY)?.context("find the user nobody")?;
        chown(home.path(), Some(nobody.uid), Some(nobody.gid)).context("give the desktop its folder")?;
    }
    Ok(home)
}

fn program_of_nobody(program: &str) -> Command {
    if !Uid::effective().is_root() {
        return exec::command(program);
    }
    let mut command = exec::command("setpriv");
    // Who changes its user is not ended with its parent any more, unless it asks for it again.
    command.args([
        "--reuid",
        NOBODY,
        "--regid",
        "nogroup",
        "--clear-groups",
        "--pdeathsig",
        "TERM",
        "--",
        program,
    ]);
    command
}

/// An X server on a display that it chooses.
fn screen(folder: &Path) -> Result<(Member, String)> {
    let mut server = program_of_nobody("Xvfb");
    server.args(["-screen", "0", "1280x800x24", "-nolisten", "tcp", "-displayfd", "1"]);
    let mut server = Member::start("screen", &server, folder)?;
    let number = wait_for("the screen", &mut server, |server| {
        let said = server.stdout();
        said.strip_suffix('\n').map(str::to_owned)
    })?;
    Ok((server, format!(":{number}")))
}

fn wait_for<T>(what: &str, member: &mut Member, mut look: impl FnMut(&Member) -> Option<T>) -> Result<T> {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        signals::check()?;
        member.check().with_context(|| format!("wait for {what}"))?;
        if let Some(seen) = look(member) {
            return Ok(seen);
        }
        thread::sleep(TICK);
    }
    bail!("{what} was not there within {} s", PATIENCE.as_secs())
}
