//! RDP peers of another make: FreeRDP's shadow server, which shows an X screen with a terminal on it.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::process::{Guarded, at_home};
use crate::qemu::Screen;
use crate::tigervnc::free_port;
use crate::viewer::{self, Desk};
use crate::{PATIENCE, require, target, wait_for};

/// Whether there is a server, a client, and a terminal to show.
pub fn is_here() -> bool {
    viewer::is_here()
        && require::file("/usr/bin/freerdp-shadow-cli", "freerdp2-shadow-x11")
        && require::file("/usr/bin/xfreerdp", "freerdp2-x11")
        && require::file("/usr/bin/xclip", "xclip")
        && require::file("/usr/bin/xterm", "xterm")
        && require::file("/usr/bin/openssl", "openssl")
}

/// Who may come in.
#[derive(Clone, Copy, Debug)]
pub enum Security<'a> {
    /// Anybody, by TLS ([MS-RDPBCGR] section 5.4.5.1).
    Tls,
    /// Who has the password of a user, by CredSSP (section 5.4.5.2).
    Nla {
        /// The user's name.
        user: &'a str,
        /// The password.
        password: &'a str,
    },
}

/// What runs in the terminal: keeps all that it is given.
const PROGRAM: &str = "stty raw -echo; : > typed; exec cat > typed";

/// Of its screen: it fits into a viewer's window on a [`Desk`].
pub const SIZE: &str = "800x600";

/// A desktop of [`SIZE`] behind RDP, with one terminal on it.
pub struct Shadow {
    // Before the screen, so that they end first.
    _server: Guarded,
    _terminal: Guarded,
    /// What it shows.
    pub desk: Desk,
    folder: PathBuf,
    /// TCP port of its RDP server, on loopback.
    pub port: u16,
}

impl Shadow {
    /// Starts one in the network namespace of the caller; its files are in `folder`, which is to be its own.
    ///
    /// # Panics
    /// It does not start.
    pub fn start(folder: &Path, security: Security<'_>) -> Self {
        std::fs::create_dir_all(folder).expect("a folder");
        let desk = Desk::start_sized(folder, SIZE);
        let terminal = terminal(folder, &desk);
        wait_for("the terminal", || folder.join("typed").exists().then_some(()));
        let port = free_port(3_389);
        let server = server(folder, &desk, security, port);
        wait_for("the RDP server", || target::connect(([127, 0, 0, 1], port).into(), PATIENCE).ok());
        Self { _server: server, _terminal: terminal, desk, folder: folder.to_owned(), port }
    }

    /// All that its terminal was given so far.
    pub fn typed(&self) -> Vec<u8> {
        std::fs::read(self.folder.join("typed")).unwrap_or_default()
    }

    /// Waits until its terminal was given `text`.
    pub fn wait_typed(&self, text: &[u8]) {
        wait_for(&format!("{:?} on the desktop", String::from_utf8_lossy(text)), || {
            self.typed().windows(text.len()).any(|part| part == text).then_some(())
        });
    }

    /// Waits until its screen is on `desk`, in at least 99 of 100 pixels: nearly, because what RDP does to pictures
    /// loses some of each colour.
    pub fn is_shown_on(&self, desk: &Desk) {
        wait_for("the viewer to show the desktop", || {
            (nearness(&self.desk.screen(), &desk.screen()) >= 0.99).then_some(())
        });
    }

    /// What the server wrote so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("shadow.log")).unwrap_or_default()
    }
}

/// Which part of the desktop's pixels is nearly the same on the other screen, where the terminal is on it; 0 to 1.
fn nearness(there: &Screen, here: &Screen) -> f64 {
    let Some(((left, top), (at_left, at_top))) = terminal_at(there).zip(terminal_at(here)) else {
        return 0.0;
    };
    let places = (0..there.height).flat_map(|y| (0..there.width).map(move |x| (x, y)));
    let near = |(x, y): &(usize, usize)| {
        let shown = (x + at_left).checked_sub(left).zip((y + at_top).checked_sub(top));
        let shown = shown.and_then(|(x, y)| pixel(here, x, y));
        let colours = pixel(there, *x, *y).zip(shown);
        colours.is_some_and(|(a, b)| a.iter().zip(b).all(|(a, b)| a.abs_diff(b) <= 40))
    };
    places.filter(near).count() as f64 / (there.width * there.height) as f64
}

/// The first pixel of the terminal's ground: navy, of which ten follow each other.
fn terminal_at(screen: &Screen) -> Option<(usize, usize)> {
    let is_navy = |pixel: &[u8]| pixel[0] < 16 && pixel[1] < 16 && (112..144).contains(&pixel[2]);
    let row = 3 * screen.width;
    screen.rgb.chunks_exact(row).enumerate().find_map(|(y, pixels)| {
        let pixels: Vec<_> = pixels.chunks_exact(3).map(is_navy).collect();
        pixels.windows(10).position(|ten| ten.iter().all(|navy| *navy)).map(|x| (x, y))
    })
}

fn pixel(screen: &Screen, x: usize, y: usize) -> Option<[u8; 3]> {
    let at = 3 * (y * screen.width + x);
    if x < screen.width { screen.rgb.get(at..)?.first_chunk().copied() } else { None }
}

fn server(folder: &Path, desk: &Desk, security: Security<'_>, port: u16) -> Guarded {
    let log = File::create(folder.join("shadow.log")).expect("a log");
    let mut command = Command::new("freerdp-shadow-cli");
    command.args(["/bind-address:127.0.0.1", &format!("/port:{port}")]);
    match security {
        Security::Tls => command.args(["-auth", "/sec:tls"]),
        Security::Nla { user, password } => {
            let users = folder.join("users.sam");
            std::fs::write(&users, format!("{user}:::{}:::\n", nt_hash(password))).expect("writes");
            command.arg("/sec:nla").arg(format!("/sam-file:{}", users.display()))
        }
    };
    at_home(&mut command, folder)
        .env("DISPLAY", desk.display())
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a log"))
        .stderr(log);
    Guarded::start(&mut command)
}

fn terminal(folder: &Path, desk: &Desk) -> Guarded {
    let mut command = Command::new("xterm");
    at_home(&mut command, folder)
        .args(["-geometry", "80x24+40+40", "-bg", "navy", "-fg", "white", "-e", "sh", "-c", PROGRAM])
        .current_dir(folder)
        .env("DISPLAY", desk.display())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    Guarded::start(&mut command)
}

/// A password as the server's file of users has it: MD4 of its UTF-16 ([MS-NLMP] section 3.3.1).
fn nt_hash(password: &str) -> String {
    let mut command = Command::new("openssl");
    command.args(["dgst", "-provider", "legacy", "-provider", "default", "-md4", "-r"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("openssl");
    let mut input = child.stdin.take().expect("a pipe");
    let text: Vec<u8> = password.encode_utf16().flat_map(u16::to_le_bytes).collect();
    input.write_all(&text).expect("writes");
    drop(input);
    let output = child.wait_with_output().expect("it ends");
    let line = String::from_utf8(output.stdout).expect("text");
    line.split_whitespace().next().expect("a hash").to_owned()
}
