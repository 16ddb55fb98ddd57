//! The virtual machine: the installer of Debian, which draws and takes mouse and keys, or writes on a serial line,
//! and needs no disk, network or account.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::ValueEnum;

use super::desktop::{self, Desktop};
use super::member::Member;
use super::qmp;
use crate::setup::release;
use crate::{exec, signals};

/// QEMU's program.
pub(crate) const QEMU: &str = "qemu-system-x86_64";

const FIRMWARE: [&str; 2] = ["bios-256k.bin", "vgabios-stdvga.bin"];
const INSTALLERS: &str = "/usr/lib/debian-installer/images";

/// What a machine has instead of a front panel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Console {
    /// A screen, over VNC.
    Vnc,
    /// A screen, over SPICE, with a place for a USB device.
    Spice,
    /// A serial line.
    Serial,
    /// A desktop behind RDP, which is no machine.
    Rdp,
}

/// Where a machine's console is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum At {
    /// At this port of 127.0.0.1, and what is spoken there.
    Port(u16, &'static str),
    /// At the Unix socket of this name in the folder of the run.
    Socket(&'static str),
}

/// How often a machine that starts is looked at.
const TICK: Duration = Duration::from_millis(20);

/// Name of the serial line's socket.
const LINE: &str = "serial";

/// A running machine; ended when dropped.
#[derive(Debug)]
pub(crate) struct Guest {
    member: Option<Member>,
    desktop: Option<Desktop>,
    at: At,
}

impl Guest {
    /// Starts it and waits until its console can be reached. `folder` is for logs and sockets.
    pub(crate) fn start(console: Console, folder: &Path) -> Result<Self> {
        match console {
            Console::Vnc => Self::with_screen(folder),
            Console::Spice => Self::with_desktop(folder),
            Console::Serial => Self::with_line(folder),
            Console::Rdp => Self::behind_rdp(folder),
        }
    }

    fn with_line(folder: &Path) -> Result<Self> {
        let (kernel, initrd) =
            text_images().context("the guest's images are missing: run `cargo xtask setup`")?;
        let socket = folder.join(LINE);
        let mut qemu = exec::command(QEMU);
        qemu.args(["-accel", "tcg,thread=multi", "-cpu", "max", "-m", "1024", "-nodefaults", "-nic", "none"]);
        qemu.args(["-vga", "none", "-display", "none"]);
        qemu.arg("-kernel")
            .arg(kernel)
            .arg("-initrd")
            .arg(initrd)
            .args(["-append", "console=ttyS0 --- quiet"]);
        let line = format!("socket,id=line,path={},server=on,wait=off", socket.display());
        qemu.args(["-chardev", &line, "-serial", "chardev:line"]);
        let mut member = Member::start("guest", &qemu, folder)?;
        // QEMU makes it, or ends.
        while !socket.exists() {
            signals::check()?;
            member.check()?;
            thread::sleep(TICK);
        }
        Ok(Self::of(member, At::Socket(LINE)))
    }

    fn with_screen(folder: &Path) -> Result<Self> {
        let socket = folder.join("qmp.sock");
        let mut qemu = screen(&socket)?;
        // QEMU takes the first free display; we ask it which.
        qemu.args(["-vnc", "127.0.0.1:0,to=99"]);
        let mut member = Member::start("guest", &qemu, folder)?;
        let vnc_port = qmp::vnc_port(&socket, || member.check())?;
        Ok(Self::of(member, At::Port(vnc_port, "vnc")))
    }

    fn with_desktop(folder: &Path) -> Result<Self> {
        let socket = folder.join("qmp.sock");
        let port = free_port()?;
        let mut qemu = screen(&socket)?;
        qemu.args(["-spice", &format!("port={port},addr=127.0.0.1,disable-ticketing=on")]);
        qemu.args(["-device", "qemu-xhci,id=xhci", "-chardev", "spicevmc,id=usb,name=usbredir"]);
        qemu.args(["-device", "usb-redir,chardev=usb,bus=xhci.0"]);
        let mut member = Member::start("guest", &qemu, folder)?;
        qmp::ready(&socket, || member.check())?;
        Ok(Self::of(member, At::Port(port, "spice")))
    }

    fn behind_rdp(folder: &Path) -> Result<Self> {
        let port = free_port()?;
        Ok(Self { member: None, desktop: Some(desktop::start(port, folder)?), at: At::Port(port, "rdp") })
    }

    fn of(member: Member, at: At) -> Self {
        Self { member: Some(member), desktop: None, at }
    }

    /// Where its console is.
    pub(crate) fn at(&self) -> &At {
        &self.at
    }

    /// An error if it has ended.
    pub(crate) fn check(&mut self) -> Result<()> {
        self.member.iter_mut().try_for_each(Member::check)?;
        self.desktop.iter_mut().flat_map(|desktop| &mut desktop.members).try_for_each(Member::check)
    }
}

/// A machine with a graphics card, which nobody sees yet, and its control socket.
fn screen(socket: &Path) -> Result<Command> {
    let (kernel, initrd) = images().context("the guest's images are missing: run `cargo xtask setup`")?;
    let mut qemu = exec::command(QEMU);
    // Never KVM: a machine may have a /dev/kvm that only runs guests made for it.
    qemu.args(["-accel", "tcg,thread=multi", "-cpu", "max", "-m", "1024", "-nodefaults", "-nic", "none"]);
    // A tablet, because a mouse that reports movements drifts away from the pointer of the browser.
    qemu.args(["-vga", "std", "-usb", "-device", "usb-tablet", "-display", "none"]);
    qemu.arg("-kernel").arg(kernel).arg("-initrd").arg(initrd).args(["-append", "vga=788 --- quiet"]);
    qemu.arg("-qmp").arg(format!("unix:{},server=on,wait=off", socket.display()));
    Ok(qemu)
}

/// A port that nobody has now: unlike that of VNC, QEMU does not choose it by itself.
fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("find a free port")?;
    Ok(listener.local_addr()?.port())
}

/// Whether QEMU finds its BIOS and that of its graphics card.
pub(crate) fn has_firmware() -> bool {
    let folders = ["/usr/share/seabios", "/usr/share/qemu"].map(Path::new);
    FIRMWARE.iter().all(|file| folders.iter().any(|folder| folder.join(file).exists()))
}

/// Whether QEMU has SPICE, which newer releases keep in a package of its own.
pub(crate) fn has_spice() -> bool {
    Path::new("/usr/lib/x86_64-linux-gnu/qemu/ui-spice-core.so").exists()
}

/// Kernel and initial RAM disk of the newest installer that is there, with a screen.
pub(crate) fn images() -> Option<(PathBuf, PathBuf)> {
    images_of("gtk")
}

/// The same in text; one package brings both.
fn text_images() -> Option<(PathBuf, PathBuf)> {
    images_of("text")
}

fn images_of(kind: &str) -> Option<(PathBuf, PathBuf)> {
    let entries = fs::read_dir(INSTALLERS).ok()?.flatten();
    let numbered =
        entries.filter_map(|entry| Some((entry.file_name().to_str()?.parse::<u32>().ok()?, entry.path())));
    let pair = numbered.map(|(number, folder)| {
        let folder = folder.join("amd64").join(kind).join("debian-installer/amd64");
        (number, folder.join("linux"), folder.join("initrd.gz"))
    });
    let (_, kernel, initrd) = pair.filter(|(_, kernel, initrd)| kernel.exists() && initrd.exists()).max()?;
    Some((kernel, initrd))
}

/// The package with the images, for this release.
pub(crate) fn package() -> String {
    let number = release::field("VERSION_ID").unwrap_or_else(|| "12".into());
    format!("debian-installer-{number}-netboot-amd64")
}
