//! A person in front of a terminal, in which a shell runs one line.

use std::io::{Read, Write};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::process::Guarded;
use crate::terminal::words_of;
use crate::{PATIENCE, wait_for};

/// A terminal. What runs in it ends when the value is dropped.
pub struct Person {
    process: Guarded,
    keyboard: ChildStdin,
    seen: Arc<Mutex<String>>,
}

impl Person {
    /// Runs `line` in a shell with the environment of `command`, whose program is not used.
    ///
    /// # Panics
    /// There is no terminal to be had.
    pub fn runs(line: &str, command: &Command) -> Self {
        let mut script = Command::new("script");
        script.args(["-qfec", line, "/dev/null"]).env("SHELL", "/bin/sh");
        script.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        script.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = Guarded::start(&mut script);
        let keyboard = process.child().stdin.take().expect("a pipe");
        let mut screen = process.child().stdout.take().expect("a pipe");
        let seen = Arc::new(Mutex::new(String::new()));
        let sees = seen.clone();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(len @ 1..) = screen.read(&mut bytes) {
                sees.lock().expect("whole").push_str(&String::from_utf8_lossy(&bytes[..len]));
            }
        });
        Self { process, keyboard, seen }
    }

    /// All that was shown so far.
    ///
    /// # Panics
    /// Never: nobody panics while it is written.
    pub fn seen(&self) -> String {
        self.seen.lock().expect("whole").clone()
    }

    /// The words of it, as they stand on the screen.
    fn words(&self) -> String {
        words_of(&self.seen())
    }

    /// Types.
    ///
    /// # Panics
    /// The terminal is gone.
    pub fn types(&mut self, text: &str) {
        self.keyboard.write_all(text.as_bytes()).expect("the terminal is there");
    }

    /// Presses `key` again and again until `text` is shown: what is pressed before a program listens may be lost.
    ///
    /// # Panics
    /// It is not.
    pub fn presses_until(&mut self, key: &str, text: &str) {
        let began = Instant::now();
        while !self.words().contains(text) {
            assert!(began.elapsed() < PATIENCE, "waited for {text:?} in {:?}", self.seen());
            self.types(key);
            std::thread::sleep(Duration::from_millis(500));
        }
    }

    /// Types `text` as people do who look at what they type: a serial line has room for few keys.
    ///
    /// # Panics
    /// A key is not shown.
    pub fn types_and_looks(&mut self, text: &str) {
        for key in text.chars() {
            let before = self.words().len();
            let echo = if key == '\r' { '\n' } else { key };
            self.types(&key.to_string());
            self.waits(&format!("the echo of {key:?}"), |words| {
                words[before.min(words.len())..].contains(echo)
            });
        }
    }

    /// Waits until `text` is shown.
    ///
    /// # Panics
    /// It is not.
    pub fn waits_for(&self, text: &str) {
        self.waits(&format!("{text:?}"), |words| words.contains(text));
    }

    fn waits(&self, what: &str, is_there: impl Fn(&str) -> bool) {
        let began = Instant::now();
        while !is_there(&self.words()) {
            assert!(began.elapsed() < PATIENCE, "waited for {what} in {:?}", self.seen());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until the line has been run, and returns all that was shown.
    pub fn sees_the_end(mut self) -> String {
        self.process.ended();
        // What the shell said last may be on its way still.
        wait_for("the end of the line", || self.seen().contains("the end").then_some(()));
        self.seen()
    }
}
