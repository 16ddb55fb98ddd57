//! A VNC server of another make: TigerVNC's own X server, with a terminal on its screen.

use std::ffi::{OsStr, OsString};
use std::fs::Permissions;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::process::{Guarded, at_home};
use crate::{eventually, require, target, wait_for};

/// Whether there is a server, and a terminal to show.
pub fn is_here() -> bool {
    require::file("/usr/bin/Xtigervnc", "tigervnc-standalone-server")
        && require::file("/usr/bin/tigervncpasswd", "tigervnc-tools")
        && require::file("/usr/bin/xterm", "xterm")
}

/// What runs in the terminal: tells its device, asks for reports of the mouse (xterm's control sequences,
/// "Mouse Tracking"), and keeps all that it is given.
const PROGRAM: &str =
    "tty > tty.new && mv tty.new tty; stty raw -echo; printf '\\033[?1000h'; exec cat > typed";

/// A desktop that asks for a password (RFC 6143 section 7.2.2), with one terminal all over it.
pub struct Desktop {
    // Before the server, so that it ends first.
    _terminal: Guarded,
    _server: Guarded,
    folder: PathBuf,
    /// TCP port of its VNC server, on loopback.
    pub vnc_port: u16,
}

impl Desktop {
    /// Starts one in the network namespace of the caller; its files are in `folder`.
    ///
    /// # Panics
    /// It does not start.
    pub fn start(folder: &Path, password: &str) -> Self {
        let passwords = folder.join("passwords");
        std::fs::write(&passwords, obfuscated(password)).expect("writes");
        let security = ["-SecurityTypes", "VncAuth", "-PasswordFile"].map(OsStr::new);
        Self::start_with(
            folder,
            &[&security[..], &[passwords.as_os_str()]].concat(),
            Command::new("Xtigervnc"),
        )
    }

    /// The same by TLS, with the certificate in `folder` that an authority made there, and for who has a user's name
    /// and password (VeNCrypt's X509Plain).
    ///
    /// # Panics
    /// It does not start.
    pub fn start_for(folder: &Path, user: &str, password: &str) -> Self {
        // PAM is asked, in a mount namespace with a configuration of its own.
        let (pam, judge) = (folder.join("pam.d"), folder.join("judge"));
        std::fs::create_dir(&pam).expect("a folder");
        let is_it = format!("#!/bin/sh\n[ \"$PAM_USER\" = {user} ] && [ \"$(tr -d '\\0')\" = {password} ]\n");
        std::fs::write(&judge, is_it).expect("writes");
        std::fs::set_permissions(&judge, Permissions::from_mode(0o700)).expect("its owner may run it");
        let rules = format!(
            "auth required pam_exec.so quiet expose_authtok {}\naccount required pam_permit.so\n",
            judge.display()
        );
        std::fs::write(pam.join("vnc"), rules).expect("writes");
        let mut command = Command::new("unshare");
        let inside = "mount --bind \"$0\" /etc/pam.d && exec Xtigervnc \"$@\"";
        command.args(["--mount", "sh", "-c", inside]).arg(pam);
        let file = |option: &str, name: &str| [option.into(), folder.join(name).into_os_string()];
        let certificate = [file("-X509Cert", "certificate"), file("-X509Key", "key")].concat();
        let security = ["-SecurityTypes", "X509Plain", "-PlainUsers", user].map(OsString::from);
        let security = [&security[..], &certificate[..]].concat();
        let security: Vec<_> = security.iter().map(OsString::as_os_str).collect();
        Self::start_with(folder, &security, command)
    }

    fn start_with(folder: &Path, security: &[&OsStr], command: Command) -> Self {
        let vnc_port = free_port(5_900);
        // X counts its displays from this port on.
        let display = free_port(6_000) - 6_000;
        let server = server(folder, display, vnc_port, security, command);
        wait_for("TigerVNC", || target::connect(([127, 0, 0, 1], vnc_port).into(), crate::PATIENCE).ok());
        let terminal = terminal(folder, display);
        let tty = folder.join("tty");
        eventually(|| tty.exists() || !terminal.lives());
        // Whoever reads why a test failed is told what both said.
        let said = |log| std::fs::read_to_string(folder.join(log)).unwrap_or_default();
        let logs = || format!("{}\n{}", said("terminal.log"), said("tigervnc.log"));
        assert!(tty.exists(), "no terminal; its process runs: {}\n{}", terminal.lives(), logs());
        Self { _terminal: terminal, _server: server, folder: folder.to_owned(), vnc_port }
    }

    /// All that its terminal was given so far: text, and reports of the mouse.
    pub fn typed(&self) -> Vec<u8> {
        std::fs::read(self.folder.join("typed")).unwrap_or_default()
    }

    /// Waits until its terminal was given `text`.
    pub fn wait_typed(&self, text: &[u8]) {
        wait_for(&format!("{:?} on the desktop", String::from_utf8_lossy(text)), || {
            self.typed().windows(text.len()).any(|part| part == text).then_some(())
        });
    }

    /// A program on it copies `text` (xterm's control sequences, "Manipulate Selection Data").
    ///
    /// # Panics
    /// The terminal is gone.
    pub fn copy(&self, text: &str) {
        let device = std::fs::read_to_string(self.folder.join("tty")).expect("a device");
        let mut device = std::fs::File::options().write(true).open(device.trim()).expect("a terminal");
        write!(device, "\x1b]52;c;{}\x07", BASE64_STANDARD.encode(text)).expect("writes");
    }
}

/// The server. Its display is reached by TCP of the namespace only, and nothing of it is in `/tmp`.
fn server(folder: &Path, display: u16, vnc_port: u16, security: &[&OsStr], mut command: Command) -> Guarded {
    let log = std::fs::File::create(folder.join("tigervnc.log")).expect("a log");
    at_home(&mut command, folder)
        .arg(format!(":{display}"))
        .args(["-nolock", "-nolisten", "unix", "-nolisten", "local", "-listen", "tcp", "-ac", "-noreset"])
        .args(["-geometry", "800x600", "-interface", "127.0.0.1", "-rfbport", &vnc_port.to_string()])
        .args(security)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log);
    Guarded::start(&mut command)
}

fn terminal(folder: &Path, display: u16) -> Guarded {
    let log = std::fs::File::create(folder.join("terminal.log")).expect("a log");
    let mut command = Command::new("xterm");
    at_home(&mut command, folder)
        .args(["-geometry", "200x80+0+0", "-xrm", "*allowWindowOps: true", "-xrm", "*disallowedWindowOps:"])
        // What is pasted is what was copied, not what was last marked.
        .args(["-xrm", "*selectToClipboard: true", "-e", "sh", "-c", PROGRAM])
        .current_dir(folder)
        .env("DISPLAY", format!("127.0.0.1:{display}"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log);
    Guarded::start(&mut command)
}

/// A password as the server keeps it in a file.
fn obfuscated(password: &str) -> Vec<u8> {
    let mut command = Command::new("tigervncpasswd");
    command.arg("-f").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("tigervncpasswd");
    let mut input = child.stdin.take().expect("a pipe");
    writeln!(input, "{password}").expect("writes");
    drop(input);
    child.wait_with_output().expect("it ends").stdout
}

/// A free port of loopback from `first` on.
///
/// # Panics
/// There is none.
pub fn free_port(first: u16) -> u16 {
    let mut ports = (first..first + 1_000).rev();
    ports.find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).expect("a free port")
}
