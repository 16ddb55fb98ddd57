//! A terminal's user: types, and waits until something is shown.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio_tungstenite::tungstenite::{Error, Message};

use crate::PATIENCE;
use crate::gateway::Broker;
use crate::websocket::{self, Socket};

/// How long a user waits before a key is pressed again.
const PAUSE: Duration = Duration::from_millis(500);

/// The words that a terminal shows of `raw`, wherever the cursor was between their letters.
pub fn words_of(raw: &str) -> String {
    let mut parts = raw.split("\x1b[");
    let mut shown = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        // Parameters, and a final byte (ECMA-48 section 5.4).
        let end = part.find(|c: char| ('\x40'..='\x7e').contains(&c)).map_or(part.len(), |at| at + 1);
        shown.push_str(&part[end..]);
    }
    // GRUB goes back to the margin, and then to where it was, in the middle of a word.
    let lines: Vec<_> = shown.split("\r\n").map(|line| line.replace('\r', "")).collect();
    lines.join("\r\n")
}

/// A terminal that is connected by WebSocket.
pub struct Terminal {
    socket: Socket,
    bytes: Vec<u8>,
}

impl Terminal {
    /// Opens the console of a broker.
    ///
    /// # Errors
    /// Status and code of the refusal.
    pub fn open(broker: &Broker) -> Result<Self, (u16, String)> {
        websocket::open(broker).map(Self::on)
    }

    /// The same in a window of this size.
    ///
    /// # Errors
    /// Status and code of the refusal.
    pub fn open_in(broker: &Broker, columns: u16, rows: u16) -> Result<Self, (u16, String)> {
        websocket::open_asking(broker, &format!("columns={columns}&rows={rows}")).map(Self::on)
    }

    fn on(socket: Socket) -> Self {
        socket.get_ref().set_read_timeout(Some(PAUSE)).expect("an option");
        Self { socket, bytes: Vec::new() }
    }

    /// All that came so far.
    pub fn raw(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    /// All that was shown so far, wherever the cursor was.
    pub fn shown(&self) -> String {
        words_of(&self.raw())
    }

    /// Types `text`, in a text frame as xterm.js does.
    ///
    /// # Panics
    /// The connection is gone.
    pub fn type_text(&mut self, text: &str) {
        self.socket.send(Message::text(text)).expect("the console is there");
    }

    /// Types `text` as people do who look at what they type: a serial line has room for few keys.
    pub fn type_and_look(&mut self, text: &str) {
        for key in text.chars() {
            let before = self.shown().len();
            let echo = if key == '\r' { '\n' } else { key };
            self.type_text(&key.to_string());
            self.wait(&format!("the echo of {key:?}"), |shown| {
                shown[before.min(shown.len())..].contains(echo)
            });
        }
    }

    /// Presses `key` again and again until `text` is shown: what is pressed before a program listens may be lost.
    pub fn press_until(&mut self, key: &str, text: &str) {
        let began = Instant::now();
        while !self.shown().contains(text) {
            assert!(began.elapsed() < PATIENCE, "waited for {text:?} in {:?}", self.raw());
            self.type_text(key);
            let pressed = Instant::now();
            while pressed.elapsed() < PAUSE && !self.shown().contains(text) {
                self.read();
            }
        }
    }

    /// Reads until all that was shown holds `text`.
    pub fn wait_for(&mut self, text: &str) {
        self.wait(&format!("{text:?}"), |shown| shown.contains(text));
    }

    fn wait(&mut self, what: &str, is_there: impl Fn(&str) -> bool) {
        let began = Instant::now();
        while !is_there(&self.shown()) {
            assert!(began.elapsed() < PATIENCE, "waited for {what} in {:?}", self.raw());
            self.read();
        }
    }

    /// Reads what comes within [`PAUSE`].
    fn read(&mut self) {
        match self.socket.read() {
            Ok(Message::Binary(bytes)) => self.bytes.extend_from_slice(&bytes),
            Ok(_) => {}
            Err(Error::Io(error)) if is_nothing_yet(&error) => {}
            Err(error) => panic!("{error} behind {:?}", self.raw()),
        }
    }

    /// Reads to the end, and returns the close code.
    ///
    /// # Panics
    /// There is none.
    pub fn ended(mut self) -> u16 {
        let began = Instant::now();
        loop {
            assert!(began.elapsed() < PATIENCE, "no end behind {:?}", self.raw());
            match self.socket.read() {
                Ok(Message::Close(Some(close))) => return close.code.into(),
                Ok(_) => {}
                Err(Error::Io(error)) if is_nothing_yet(&error) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }
}

fn is_nothing_yet(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}

/// Says that the window has another size. Returns the status of the answer.
///
/// # Panics
/// There is no answer.
pub fn resize(endpoint: SocketAddr, token: &str, columns: u16, rows: u16) -> u16 {
    let agent = ureq::Agent::config_builder().http_status_as_error(false).proxy(None).build().new_agent();
    let url = format!("http://{endpoint}/resize?columns={columns}&rows={rows}");
    let answer = agent.get(url).header("Authorization", format!("Bearer {token}")).call();
    answer.expect("an answer").status().as_u16()
}
