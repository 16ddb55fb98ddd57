//! A desktop by IronRDP's server (`tests/rdp_desktop`), which has what FreeRDP's shadow server has not: its size
//! follows the viewer's wish, and text and files go by its clipboard, both ways.

use std::process::Command;

use serde_json::{Value, json};

use crate::dialogue::Dialogue;
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
    server: Dialogue,
}

impl Desktop {
    /// Starts it.
    ///
    /// # Panics
    /// It does not start.
    pub fn start() -> Self {
        let (server, first) = Dialogue::start(&mut Command::new(PROGRAM));
        let port = first["port"].as_u64().and_then(|port| port.try_into().ok()).expect("a port");
        Self { port, server }
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
        let answer = self.server.ask(wish);
        assert!(answer["error"].is_null(), "{wish}: {answer}");
        answer
    }
}
