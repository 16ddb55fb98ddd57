//! The person at the terminal: questions, lines typed, and the sight of something that takes long.

use std::env;
use std::io::{self, IsTerminal, Write};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::signals::{self, Halt};

/// How often a wait for the keyboard looks at the signals.
const TICK: Duration = Duration::from_millis(100);

/// Whether someone can answer.
pub(crate) fn is_interactive() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal() && env::var_os("CI").is_none()
}

/// Asks; an empty answer is a yes. `Halt::Declined` on no, and when the terminal is closed.
pub(crate) fn confirm(question: &str) -> Result<()> {
    eprint!("{question} [Y/n] ");
    io::stderr().flush()?;
    loop {
        signals::check()?;
        match line(TICK) {
            Line::Typed(answer) => match answer.trim().to_ascii_lowercase().as_str() {
                "" | "y" | "yes" => return Ok(()),
                _ => return Err(Halt::Declined.into()),
            },
            Line::Closed => return Err(Halt::Declined.into()),
            Line::Nothing => {}
        }
    }
}

/// What the keyboard had to say within a while.
#[derive(Debug)]
pub(crate) enum Line {
    /// A line, without its end.
    Typed(String),
    /// Nothing yet.
    Nothing,
    /// Nothing any more.
    Closed,
}

/// Waits for a typed line. One thread reads for all callers: a read cannot be given up, so a thread per
/// question would take the answers to the next one.
pub(crate) fn line(patience: Duration) -> Line {
    static LINES: OnceLock<Mutex<Receiver<String>>> = OnceLock::new();
    let lines = LINES.get_or_init(|| {
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || {
            io::stdin().lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        Mutex::new(receiver)
    });
    match lines.lock().unwrap_or_else(PoisonError::into_inner).recv_timeout(patience) {
        Ok(line) => Line::Typed(line),
        Err(RecvTimeoutError::Timeout) => Line::Nothing,
        Err(RecvTimeoutError::Disconnected) => Line::Closed,
    }
}

/// A line with running seconds on a terminal, and a line every ten seconds elsewhere.
#[derive(Debug)]
pub(crate) struct Progress {
    what: String,
    started: Instant,
    shown: Option<u64>,
    live: bool,
}

impl Progress {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        let live = io::stderr().is_terminal();
        let mut progress = Self { what: what.into(), started: Instant::now(), shown: None, live };
        progress.tick();
        progress
    }

    /// Call it often; it prints rarely.
    pub(crate) fn tick(&mut self) {
        let seconds = self.started.elapsed().as_secs();
        let due = if self.live {
            self.shown != Some(seconds)
        } else {
            seconds.is_multiple_of(10) && self.shown != Some(seconds)
        };
        if !due {
            return;
        }
        self.shown = Some(seconds);
        if self.live {
            eprint!("\r{} ... {seconds} s", self.what);
        } else if seconds > 0 {
            eprintln!("{} ... {seconds} s", self.what);
        } else {
            eprintln!("{} ...", self.what);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.live {
            eprintln!();
        }
    }
}
