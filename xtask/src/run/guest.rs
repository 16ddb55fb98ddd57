//! The virtual machine: the graphical installer of Debian, which draws and takes mouse and keys, and
//! needs no disk, network or account.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::member::Member;
use super::qmp;
use crate::exec;
use crate::setup::release;

/// QEMU's program.
pub(crate) const QEMU: &str = "qemu-system-x86_64";

const FIRMWARE: [&str; 2] = ["bios-256k.bin", "vgabios-stdvga.bin"];
const INSTALLERS: &str = "/usr/lib/debian-installer/images";

/// A running machine; ended when dropped.
#[derive(Debug)]
pub(crate) struct Guest {
    member: Member,
    vnc_port: u16,
}

impl Guest {
    /// Starts it and waits until its screen can be reached. `folder` is for logs and sockets.
    pub(crate) fn start(folder: &Path) -> Result<Self> {
        let (kernel, initrd) = images().context("the guest's images are missing: run `cargo xtask setup`")?;
        let socket = folder.join("qmp.sock");
        let mut qemu = exec::command(QEMU);
        // Never KVM: a machine may have a /dev/kvm that only runs guests made for it.
        qemu.args(["-accel", "tcg,thread=multi", "-cpu", "max", "-m", "1024", "-nodefaults", "-nic", "none"]);
        // A tablet, because a mouse that reports movements drifts away from the pointer of the browser.
        qemu.args(["-vga", "std", "-usb", "-device", "usb-tablet", "-display", "none"]);
        qemu.arg("-kernel").arg(kernel).arg("-initrd").arg(initrd).args(["-append", "vga=788 --- quiet"]);
        // QEMU takes the first free display; we ask it which.
        qemu.args(["-vnc", "127.0.0.1:0,to=99"]);
        qemu.arg("-qmp").arg(format!("unix:{},server=on,wait=off", socket.display()));
        let mut member = Member::start("guest", &qemu, folder)?;
        let vnc_port = qmp::vnc_port(&socket, || member.check())?;
        Ok(Self { member, vnc_port })
    }

    /// Where its screen is, on 127.0.0.1.
    pub(crate) fn vnc_port(&self) -> u16 {
        self.vnc_port
    }

    /// An error if it has ended.
    pub(crate) fn check(&mut self) -> Result<()> {
        self.member.check()
    }
}

/// Whether QEMU finds its BIOS and that of its graphics card.
pub(crate) fn has_firmware() -> bool {
    let folders = ["/usr/share/seabios", "/usr/share/qemu"].map(Path::new);
    FIRMWARE.iter().all(|file| folders.iter().any(|folder| folder.join(file).exists()))
}

/// Kernel and initial RAM disk of the newest installer that is there.
pub(crate) fn images() -> Option<(PathBuf, PathBuf)> {
    let entries = fs::read_dir(INSTALLERS).ok()?.flatten();
    let numbered =
        entries.filter_map(|entry| Some((entry.file_name().to_str()?.parse::<u32>().ok()?, entry.path())));
    let pair = numbered.map(|(number, folder)| {
        let folder = folder.join("amd64/gtk/debian-installer/amd64");
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
