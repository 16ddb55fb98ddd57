//! Machines with a serial line and no screen: real QEMU, whose BIOS puts GRUB on the line.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::process::Guarded;
use crate::qemu::GRUB;

/// A machine with GRUB's menu on its serial line, which is taken by one at a time.
pub struct SerialMachine(#[expect(dead_code, reason = "it ends when this is dropped")] Guarded);

impl SerialMachine {
    /// Its line is the Unix socket at `path`.
    ///
    /// # Panics
    /// It does not start.
    pub fn on_socket(path: &Path) -> Self {
        let machine = Self::start(&format!("socket,id=line,path={},server=on,wait=off", path.display()));
        crate::wait_for("QEMU's serial line", || path.exists().then_some(()));
        machine
    }

    /// Its line speaks telnet, at a port on loopback.
    ///
    /// # Panics
    /// It does not start.
    pub fn by_telnet() -> (Self, u16) {
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let port = free.expect("a free port").port();
        let line = format!("socket,id=line,host=127.0.0.1,port={port},server=on,wait=off,telnet=on");
        (Self::start(&line), port)
    }

    fn start(line: &str) -> Self {
        let mut command = Command::new("qemu-system-x86_64");
        command
            // Without graphics the BIOS has its screen and its keyboard on the first serial line.
            .args(["-machine", "pc,graphics=off", "-accel", "tcg", "-cpu", "max", "-m", "64", "-nodefaults"])
            .args(["-nic", "none", "-vga", "none", "-display", "none", "-monitor", "none", "-cdrom", GRUB])
            .args(["-chardev", line, "-serial", "chardev:line"])
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        Self(Guarded::start(&mut command))
    }
}
