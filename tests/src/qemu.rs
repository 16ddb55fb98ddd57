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
    /// TCP port of its SPICE server, on loopback; 0 where it has none.
    pub spice_port: u16,
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

    /// The same with a console that is shown over TLS with the certificate that is `folder`'s own, and asks for
    /// `password` inside of it, if there is one (VeNCrypt X509Vnc, X509None).
    ///
    /// # Panics
    /// It does not start.
    pub fn start_with_certificate(folder: &Path, password: Option<&str>) -> Self {
        let mut of_authority = rcgen::CertificateParams::new([]).expect("names");
        of_authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().expect("a key");
        let authority = rcgen::CertifiedIssuer::self_signed(of_authority, key).expect("a certificate");
        let mut of_server = rcgen::CertificateParams::new(["localhost".to_owned()]).expect("names");
        of_server.distinguished_name.push(rcgen::DnType::CommonName, "localhost");
        let key = rcgen::KeyPair::generate().expect("a key");
        let server = of_server.signed_by(&key, &authority).expect("a certificate");
        for (name, text) in [
            ("ca-cert.pem", authority.pem()),
            ("server-cert.pem", server.pem()),
            ("server-key.pem", key.serialize_pem()),
        ] {
            std::fs::write(folder.join(name), text).expect("writes");
        }
        let credentials =
            format!("tls-creds-x509,id=t0,dir={},endpoint=server,verify-peer=off", folder.display());
        let secret = format!("secret,id=s0,data={}", password.unwrap_or_default());
        let options = if password.is_some() { ",tls-creds=t0,password-secret=s0" } else { ",tls-creds=t0" };
        let more = ["-object", credentials.as_str(), "-object", &secret];
        Self::start_with(folder, free_vnc_port(), options, &more)
    }

    /// The same with SPICE too, which asks for `password`, and with a place for a USB device that a client brings.
    /// It waits for [`Self::boot`]; what its firmware finds is in `firmware.log`.
    ///
    /// # Panics
    /// It does not start.
    pub fn start_spice(folder: &Path, password: &str) -> Self {
        Self::start_spice_at(folder, password, "port=")
    }

    /// The same by TLS alone, with the certificate in `folder` that an authority made there as `certificate`,
    /// `key` and `ca.crt`.
    ///
    /// # Panics
    /// It does not start.
    pub fn start_spice_tls(folder: &Path, password: &str) -> Self {
        let file = |name: &str, key: &str| format!("{key}={},", folder.join(name).display());
        let files =
            [("ca.crt", "x509-cacert-file"), ("certificate", "x509-cert-file"), ("key", "x509-key-file")];
        let files: String = files.iter().map(|(name, key)| file(name, key)).collect();
        Self::start_spice_at(folder, password, &format!("{files}tls-port="))
    }

    fn start_spice_at(folder: &Path, password: &str, port: &str) -> Self {
        let (spice_port, log) = (free_port(10_000), folder.join("firmware.log"));
        let secret = format!("secret,id=s1,data={password}");
        let spice = format!("{port}{spice_port},addr=127.0.0.1,password-secret=s1");
        let firmware = format!("file,id=fw,path={}", log.display());
        let trace = folder.join("input.log").display().to_string();
        #[rustfmt::skip]
        let more = [
            "-S", "-object", &secret, "-spice", &spice, "-device", "qemu-xhci,id=xhci",
            "-device", "usb-tablet,bus=xhci.0", "-chardev", "spicevmc,id=ur0,name=usbredir",
            "-device", "usb-redir,chardev=ur0,bus=xhci.0,id=urd0",
            "-chardev", &firmware, "-device", "isa-debugcon,iobase=0x402,chardev=fw",
            "-audiodev", "spice,id=sound", "-machine", "pcspk-audiodev=sound",
            "-d", "trace:input_event_btn", "-D", &trace,
        ];
        Self { spice_port, ..Self::start_with(folder, free_vnc_port(), "", &more) }
    }

    /// Lets a machine begin that waits.
    pub fn boot(&mut self) {
        self.ask("cont", json!({}));
    }

    /// What its firmware said so far.
    pub fn firmware(&self) -> String {
        std::fs::read(self.folder.join("firmware.log"))
            .map_or_else(|_| String::new(), |said| String::from_utf8_lossy(&said).into_owned())
    }

    /// How many buttons of a mouse were pressed or let go so far.
    pub fn clicks(&self) -> usize {
        let said = std::fs::read_to_string(self.folder.join("input.log")).unwrap_or_default();
        said.lines().filter(|line| line.contains("input_event_btn")).count()
    }

    /// What its human monitor answers.
    ///
    /// # Panics
    /// QEMU does not answer.
    pub fn human(&mut self, command: &str) -> String {
        let answer = self.ask("human-monitor-command", json!({ "command-line": command }));
        answer.as_str().unwrap_or_default().to_owned()
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
        let mut machine = Self {
            _process: process,
            monitor: BufReader::new(stream),
            folder: folder.to_owned(),
            vnc_port,
            spice_port: 0,
        };
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

    fn ask(&mut self, command: &str, arguments: Value) -> Value {
        let line = json!({ "execute": command, "arguments": arguments }).to_string();
        self.monitor.get_mut().write_all(line.as_bytes()).expect("writes");
        loop {
            let answer: Value = serde_json::from_str(&self.line()).expect("JSON");
            assert!(answer.get("error").is_none(), "{command}: {answer}");
            if let Some(answer) = answer.get("return") {
                return answer.clone();
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
    free_port(5_900)
}

/// A free port of loopback, of the 4000 from `first` on.
fn free_port(first: u16) -> u16 {
    let free = (first..first + 4_000).rev().find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
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

    /// Reads a dump of X11's window (`XWDFile.h`, version 7) of 32 bits a pixel: blue, green, red, nothing.
    ///
    /// # Panics
    /// It is none.
    pub fn read_xwd(file: &[u8]) -> Self {
        let word = |nth: usize| {
            let bytes = file[4 * nth..].first_chunk().expect("a header");
            u32::from_be_bytes(*bytes) as usize
        };
        assert_eq!((word(1), word(11)), (7, 32), "version and bits a pixel");
        // Behind header and colours.
        let (width, height, pixels) = (word(4), word(5), &file[word(0) + 12 * word(19)..]);
        let rows = pixels.chunks_exact(word(12)).take(height).flat_map(|row| row.chunks_exact(4).take(width));
        let rgb = rows.flat_map(|pixel| [pixel[2], pixel[1], pixel[0]]).collect();
        Self { width, height, rgb }
    }

    /// The part of the same size that is most like `other`: which part of its pixels is the same, 0 to 1.
    pub fn likeness_within(&self, other: &Self) -> f64 {
        if other.width > self.width || other.height > self.height {
            return 0.0;
        }
        let pixel = |screen: &Self, x: usize, y: usize| {
            let at = 3 * (y * screen.width + x);
            [screen.rgb[at], screen.rgb[at + 1], screen.rgb[at + 2]]
        };
        // Where something is drawn, which tells most places apart at once.
        let ground = pixel(other, 0, 0);
        let places = || (0..other.height).flat_map(|y| (0..other.width).map(move |x| (x, y)));
        let marks: Vec<_> =
            places().filter(|(x, y)| pixel(other, *x, *y) != ground).step_by(97).take(60).collect();
        let fits = |left: usize, top: usize| {
            let differs = |(x, y): &&(usize, usize)| pixel(self, left + x, top + y) != pixel(other, *x, *y);
            // No more of them than it takes: nearly all places are wrong.
            let few = marks.len() / 10;
            marks.iter().filter(differs).take(few + 1).count() <= few
        };
        let corners = (0..=self.height - other.height)
            .flat_map(|top| (0..=self.width - other.width).map(move |left| (left, top)));
        let likeness = |(left, top): (usize, usize)| {
            let same = places().filter(|(x, y)| pixel(self, left + x, top + y) == pixel(other, *x, *y));
            same.count() as f64 / (other.width * other.height) as f64
        };
        corners.filter(|(left, top)| fits(*left, *top)).map(likeness).fold(0.0, f64::max)
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
        let wide = Screen { width: 3, rgb: [&[9; 6], &screen.rgb[..]].concat(), height: 2 };
        let part = Screen { width: 1, height: 1, rgb: screen.rgb[9..].to_vec() };
        assert!((wide.likeness_within(&part) - 1.0).abs() < 1e-9);
        assert!(screen.likeness(&Screen { width: 4, height: 1, ..screen.clone() }) < 1e-9);
    }
}
