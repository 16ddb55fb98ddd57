//! A program that answers each line of its input, JSON, with one of its output.

use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};

use serde_json::Value;

use crate::process::Guarded;

/// The program, which is killed when the value is dropped.
pub struct Dialogue {
    /// It.
    pub process: Guarded,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Dialogue {
    /// Starts it, and returns what it says first.
    ///
    /// # Panics
    /// It does not start, or says nothing.
    pub fn start(command: &mut Command) -> (Self, Value) {
        let mut process = Guarded::start(command.stdin(Stdio::piped()).stdout(Stdio::piped()));
        let to = process.child().stdin.take().expect("a pipe");
        let from = BufReader::new(process.child().stdout.take().expect("a pipe"));
        let mut dialogue = Self { process, to, from };
        let first = dialogue.line();
        (dialogue, first)
    }

    /// Its answer to `wish`.
    ///
    /// # Panics
    /// It is gone.
    pub fn ask(&mut self, wish: &Value) -> Value {
        writeln!(self.to, "{wish}").expect("the program is there");
        self.line()
    }

    fn line(&mut self) -> Value {
        let mut line = String::new();
        self.from.read_line(&mut line).expect("the program answers");
        assert!(!line.is_empty(), "the program is gone");
        serde_json::from_str(&line).expect("JSON")
    }
}
