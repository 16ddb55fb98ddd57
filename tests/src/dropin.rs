//! `portcullis websockify`, and the program whose place it takes, on one port of this namespace.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use nix::sys::signal::Signal;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::header::{HeaderName, HeaderValue};

use crate::gateway::program;
use crate::process::Guarded;
use crate::websocket::{Refused, Socket, open_by};
use crate::{PATIENCE, require, target, wait_for};

/// The port that clients come to.
pub const PORT: u16 = 6080;

/// websockify 0.13 of PyPI, with what its plug-ins need.
const THEIRS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/bench/websockify/bin/websockify");

/// Python with the packages that come along with it.
pub const PYTHON: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/bench/websockify/bin/python");

/// Whether it is installed.
pub fn theirs_is_here() -> bool {
    require::file(THEIRS, "none: cargo xtask setup --test")
}

/// Where clients come to.
pub fn endpoint() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, PORT))
}

/// Our command line with these arguments.
pub fn ours(arguments: &[&str]) -> Command {
    let mut command = Command::new(program());
    command.arg("websockify").args(arguments);
    command
}

/// Theirs with the same.
pub fn theirs(arguments: &[&str]) -> Command {
    let mut command = Command::new(THEIRS);
    command.args(arguments).env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// One that runs; it is killed when the value is dropped.
pub struct Dropin {
    process: Guarded,
    log: PathBuf,
}

impl Dropin {
    /// Starts ours, and waits until it listens on [`PORT`]. Its log is in `folder`.
    ///
    /// # Panics
    /// It does not.
    pub fn start(folder: &Path, arguments: &[&str]) -> Self {
        Self::run(folder, &mut ours(arguments))
    }

    /// The same by a command of one's own.
    ///
    /// # Panics
    /// It does not listen.
    pub fn run(folder: &Path, command: &mut Command) -> Self {
        let relay = Self::begin(folder, command);
        wait_for("the port", || {
            assert!(relay.process.lives(), "it has ended: {}", relay.log());
            listens(PORT).then_some(())
        });
        relay
    }

    /// Starts it, and waits for nothing.
    ///
    /// # Panics
    /// The system refuses.
    pub fn begin(folder: &Path, command: &mut Command) -> Self {
        let log = folder.join("dropin.log");
        command.current_dir(folder).stdout(Stdio::null()).stderr(File::create(&log).expect("a log"));
        Self { process: Guarded::start(command), log }
    }

    /// What it logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits for its end.
    pub fn ended(&mut self) -> ExitStatus {
        self.process.ended()
    }

    /// Whether it runs.
    pub fn lives(&self) -> bool {
        self.process.lives()
    }

    /// Ends it as a service manager does.
    pub fn stop(mut self) -> ExitStatus {
        self.process.signal(Signal::SIGTERM);
        self.ended()
    }
}

/// Whether somebody listens on `port` in this namespace, without asking them (proc(5), `/proc/net/tcp`).
///
/// # Panics
/// Never on Linux.
pub fn listens(port: u16) -> bool {
    const LISTEN: &str = "0A";
    let wanted = format!(":{port:04X}");
    ["tcp", "tcp6"].iter().any(|table| {
        let table = fs::read_to_string(format!("/proc/thread-self/net/{table}")).unwrap_or_default();
        table.lines().any(|line| {
            let mut fields = line.split_whitespace();
            fields.nth(1).is_some_and(|local| local.ends_with(&wanted)) && fields.nth(1) == Some(LISTEN)
        })
    })
}

/// A WebSocket at `path`, with more headers.
///
/// # Errors
/// Status and code of the refusal.
///
/// # Panics
/// The port is closed.
pub fn enter(path: &str, headers: &[(&str, &str)]) -> Result<Socket, Refused> {
    enter_by(target::connect(endpoint(), PATIENCE).expect("the port is open"), path, headers)
}

/// The same on a connection that is there.
///
/// # Errors
/// Status and code of the refusal.
///
/// # Panics
/// There is no answer at all.
pub fn enter_by<S: Read + Write>(
    stream: S,
    path: &str,
    headers: &[(&str, &str)],
) -> Result<Socket<S>, Refused> {
    let mut request = format!("ws://{}{path}", endpoint()).into_client_request().expect("a request");
    for (name, value) in headers {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
        request.headers_mut().insert(name, HeaderValue::from_str(value).expect("a value"));
    }
    open_by(stream, request).map(|(socket, _)| socket)
}

/// What is answered to a request: status, headers with names in small letters, body.
pub struct Answer {
    /// 200 for one.
    pub status: u16,
    /// As they came.
    pub headers: Vec<(String, String)>,
    /// To the end of the connection.
    pub body: Vec<u8>,
}

impl Answer {
    /// The first header of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// Sends a head of `lines`, and reads what comes. `None` where the connection ends without an answer.
///
/// # Panics
/// The port is closed.
pub fn ask(lines: &[&str]) -> Option<Answer> {
    let mut stream = target::connect(endpoint(), PATIENCE).expect("the port is open");
    stream.write_all(format!("{}\r\n\r\n", lines.join("\r\n")).as_bytes()).expect("writes");
    answer(&mut stream)
}

/// Reads an answer; to one with 101 there is no body. `None` where what comes is no HTTP, or nothing.
///
/// # Panics
/// It breaks off.
pub fn answer(stream: &mut TcpStream) -> Option<Answer> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        // Some reset the connection instead of ending it.
        let Ok(1) = stream.read(&mut byte) else { return None };
        bytes.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&bytes).into_owned();
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")?.split(' ').next())?;
    let status = status.parse().ok()?;
    let headers = lines.filter_map(|line| line.split_once(':'));
    let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()));
    let mut answer = Answer { status, headers: headers.collect(), body: Vec::new() };
    let length = answer.header("content-length").and_then(|length| length.parse::<u64>().ok());
    // One that has a length, and yet no body (to HEAD for one), ends with its connection.
    if status != 101 && status != 304 {
        stream.take(length.unwrap_or(u64::MAX)).read_to_end(&mut answer.body).expect("a body");
    }
    Some(answer)
}
