//! Virtual machines: real QEMU with a VNC console, emulated (TCG), whatever the machine offers.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::process::Guarded;
use crate::{PATIENCE, require, wait_for};

/// GRUB's rescue CD: a text menu that stands within seconds and answers to keys.
pub const GRUB: &str = "/usr/lib/grub-rescue/grub-rescue-cdrom.iso";

/// Whether there is a machine to start and something to start it with.
pub fn is_here() -> bool {
    require::file("/usr/bin/qemu-system-x86_64", "qemu-system-x86") && require::file(GRUB, "grub-rescue-pc")
}

/// A machine with GRUB's menu on its screen.
pub struct Machine {
    _process: Guarded,
    monitor: BufReader<UnixStream>,
    folder: PathBuf,
    /// TCP port of its VNC server, on loopback.
    pub vnc_port: u16,
}

impl Machine {
    /// Starts one; its files are in `folder`.
    ///
    /// # Panics
    /// It does not start.
    pub fn start(folder: &Path) -> Self {
        Self::start_with(folder, free_vnc_port(), "", &[])
    }

    /// The same, with its console at a port that it had before.
    ///
    /// # Panics
    /// It does not start.
    pub fn start_at(folder: &Path, vnc_port: u16) -> Self {
        Self::start_with(folder, vnc_port, "", &[])
    }

    /// The same, with a console that asks for `password` (RFC 6143 section 7.2.2).
    ///
    /// # Panics
    /// It does not start.
    pub fn start_with_password(folder: &Path, password: &str) -> Self {
        let secret = format!("secret,id=s0,data={password}");
        Self::start_with(folder, free_vnc_port(), ",password-secret=s0", &["-object", &secret])
    }

    /// The same, with a console that is shown over TLS only (VeNCrypt).
    ///
    /// # Panics
    /// It does not start.
    pub fn start_with_tls(folder: &Path) -> Self {
        let credentials = "tls-creds-anon,id=t0,endpoint=server";
        Self::start_with(folder, free_vnc_port(), ",tls-creds=t0", &["-object", credentials])
    }

    fn start_with(folder: &Path, vnc_port: u16, vnc_options: &str, more: &[&str]) -> Self {
        let socket = folder.join("qmp");
        let display = format!("127.0.0.1:{}{vnc_options}", vnc_port - 5900);
        let monitor = format!("unix:{},server=on,wait=off", socket.display());
        let log = std::fs::File::create(folder.join("qemu.log")).expect("a log");
        let mut command = Command::new("qemu-system-x86_64");
        command
            .args([
                "-accel", "tcg", "-cpu", "max", "-m", "256", "-nic", "none", "-vga", "std", "-display",
                "none",
            ])
            .args(["-serial", "none", "-monitor", "none", "-cdrom", GRUB, "-qmp", &monitor])
            .args(more)
            .args(["-vnc", &display])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        let mut process = Guarded::start(&mut command);
        let stream = wait_for("QEMU's monitor", || {
            let ended = process.child().try_wait().expect("our child");
            assert!(
                ended.is_none(),
                "QEMU ended: {}",
                std::fs::read_to_string(folder.join("qemu.log")).unwrap_or_default()
            );
            UnixStream::connect(&socket).ok()
        });
        stream.set_read_timeout(Some(PATIENCE)).expect("an option");
        let mut machine =
            Self { _process: process, monitor: BufReader::new(stream), folder: folder.to_owned(), vnc_port };
        machine.line();
        machine.ask("qmp_capabilities", json!({}));
        machine
    }

    /// The screen, as QEMU itself sees it.
    ///
    /// # Panics
    /// QEMU does not answer.
    pub fn screen(&mut self) -> Screen {
        let path = self.folder.join("screen.ppm");
        self.ask("screendump", json!({ "filename": path }));
        Screen::read_ppm(&std::fs::read(&path).expect("the dump"))
    }

    fn ask(&mut self, command: &str, arguments: Value) {
        let line = json!({ "execute": command, "arguments": arguments }).to_string();
        self.monitor.get_mut().write_all(line.as_bytes()).expect("writes");
        loop {
            let answer: Value = serde_json::from_str(&self.line()).expect("JSON");
            assert!(answer.get("error").is_none(), "{command}: {answer}");
            if answer.get("return").is_some() {
                return;
            }
        }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.monitor.read_line(&mut line).expect("QEMU answers");
        line
    }
}

/// A free port that QEMU can name as a display.
fn free_vnc_port() -> u16 {
    let free = (5_900..10_000).rev().find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
    free.expect("a free port")
}

/// Waits until `look` shows what QEMU shows, in at least 99 of 100 pixels, and returns it.
pub fn same_picture(machine: &mut Machine, mut look: impl FnMut() -> Screen) -> Screen {
    wait_for("the page to show the machine's screen", || {
        let (there, here) = (machine.screen(), look());
        (there.ink() > 1_000 && here.likeness(&there) >= 0.99).then_some(here)
    })
}

/// Pixels, three bytes each, rows from the top.
#[derive(Clone, PartialEq, Eq)]
pub struct Screen {
    /// In pixels.
    pub width: usize,
    /// In pixels.
    pub height: usize,
    /// Red, green, blue.
    pub rgb: Vec<u8>,
}

impl Screen {
    /// Reads a binary PPM file (`P6`, maximum 255).
    ///
    /// # Panics
    /// It is none.
    pub fn read_ppm(file: &[u8]) -> Self {
        let mut words = file.splitn(4, |byte| byte.is_ascii_whitespace());
        assert_eq!(words.next(), Some(&b"P6"[..]));
        let mut number = || -> usize {
            std::str::from_utf8(words.next().expect("a number")).expect("text").parse().expect("a number")
        };
        let (width, height, rest) = (number(), number(), words.next().expect("pixels"));
        let rgb = rest.strip_prefix(b"255\n").expect("one byte a colour").to_vec();
        assert_eq!(rgb.len(), width * height * 3);
        Self { width, height, rgb }
    }

    /// Which part of the pixels is the same in `other`, 0 to 1; 0 for another size.
    pub fn likeness(&self, other: &Self) -> f64 {
        if (self.width, self.height) != (other.width, other.height) {
            return 0.0;
        }
        let pairs = self.rgb.chunks_exact(3).zip(other.rgb.chunks_exact(3));
        pairs.filter(|(a, b)| a == b).count() as f64 / (self.width * self.height) as f64
    }

    /// How many pixels differ from the most frequent colour: what is written on the screen.
    pub fn ink(&self) -> usize {
        let mut colours = std::collections::HashMap::new();
        for pixel in self.rgb.chunks_exact(3) {
            *colours.entry(pixel).or_insert(0) += 1;
        }
        self.width * self.height - colours.values().max().copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn screens_are_compared_pixel_by_pixel() {
        let screen = Screen::read_ppm(b"P6\n2 2\n255\n\0\0\0\0\0\0\0\0\0\x20\x0a\x09");
        assert_eq!((screen.width, screen.height, screen.ink()), (2, 2, 1));
        let blank = Screen { rgb: vec![0; 12], ..screen.clone() };
        assert!((screen.likeness(&blank) - 0.75).abs() < 1e-9);
        assert!((screen.likeness(&screen) - 1.0).abs() < 1e-9);
        assert!(screen.likeness(&Screen { width: 4, height: 1, ..screen.clone() }) < 1e-9);
    }
}
