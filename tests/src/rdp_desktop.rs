//! A desktop by IronRDP's server (`tests/rdp_desktop`), which has what FreeRDP's shadow server has not: its size follows
//! the viewer's wish, and text and files go by its clipboard, both ways.

use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use crate::process::Guarded;
use crate::require;

const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/rdp_desktop/debug/rdp-desktop");

/// Whether it was built.
pub fn is_here() -> bool {
    require::file(PROGRAM, "tests/rdp_desktop, by cargo xtask test")
}

/// The desktop, which listens on 127.0.0.1.
pub struct Desktop {
    /// Where.
    pub port: u16,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    _process: Guarded,
}

impl Desktop {
    /// Starts it.
    ///
    /// # Panics
    /// It does not start.
    pub fn start() -> Self {
        let mut command = Command::new(PROGRAM);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = Guarded::start(&mut command);
        let to = process.child().stdin.take().expect("a pipe");
        let from = BufReader::new(process.child().stdout.take().expect("a pipe"));
        let mut desktop = Self { port: 0, to, from, _process: process };
        let port = desktop.line()["port"].as_u64().expect("a port");
        desktop.port = port.try_into().expect("a port");
        desktop
    }

    /// Its resolution.
    pub fn size(&mut self) -> (u64, u64) {
        let seen = self.look();
        (seen["width"].as_u64().expect("a number"), seen["height"].as_u64().expect("a number"))
    }

    /// What it has and was given: `width`, `height`, `text`, `files` of `name` and `text`.
    pub fn look(&mut self) -> Value {
        self.ask(&json!({ "do": "look" }))
    }

    /// Text is copied on the machine.
    pub fn copy(&mut self, text: &str) {
        self.ask(&json!({ "do": "copy", "text": text }));
    }

    /// Files are copied there, each of `name` and `text`.
    pub fn copy_files(&mut self, files: &Value) {
        self.ask(&json!({ "do": "copy", "files": files }));
    }

    fn ask(&mut self, wish: &Value) -> Value {
        writeln!(self.to, "{wish}").expect("the desktop is there");
        let answer = self.line();
        assert!(answer["error"].is_null(), "{wish}: {answer}");
        answer
    }

    fn line(&mut self) -> Value {
        let mut line = String::new();
        self.from.read_line(&mut line).expect("the desktop answers");
        serde_json::from_str(&line).expect("JSON")
    }
}
