//! Machines of IronRDP's parts (`tests/rdp_desktop`), which have what FreeRDP's shadow server has not: a desktop whose
//! size follows the viewer's wish, with a clipboard for text and files, both ways, and a machine that prints.

use std::process::Command;

use serde_json::{Value, json};

use crate::dialogue::Dialogue;
use crate::require;

const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/rdp_desktop/debug/rdp-desktop");

/// Whether it was built.
pub fn is_here() -> bool {
    require::file(PROGRAM, "tests/rdp_desktop, by cargo xtask test")
}

/// The two, which listen on 127.0.0.1.
pub struct Desktop {
    /// Where the desktop does.
    pub port: u16,
    /// Where the machine that prints does.
    pub printing_port: u16,
    server: Dialogue,
}

impl Desktop {
    /// Starts them.
    ///
    /// # Panics
    /// They do not start.
    pub fn start() -> Self {
        let (server, first) = Dialogue::start(&mut Command::new(PROGRAM));
        let [port, printing_port] = ["port", "printing_port"]
            .map(|key| first[key].as_u64().and_then(|port| port.try_into().ok()).expect("a port"));
        Self { port, printing_port, server }
    }

    /// The desktop's resolution.
    pub fn size(&mut self) -> (u64, u64) {
        let seen = self.look();
        (seen["width"].as_u64().expect("a number"), seen["height"].as_u64().expect("a number"))
    }

    /// What they have and were given: `width`, `height`, `text`, `files` of `name` and `text`, `printers` of `name` and
    /// `driver`.
    pub fn look(&mut self) -> Value {
        self.ask(&json!({ "do": "look" }))
    }

    /// Text is copied on the desktop.
    pub fn copy(&mut self, text: &str) {
        self.ask(&json!({ "do": "copy", "text": text }));
    }

    /// Files are copied there, each of `name` and `text`.
    pub fn copy_files(&mut self, files: &Value) {
        self.ask(&json!({ "do": "copy", "files": files }));
    }

    /// A document of this text is printed, as soon as there is a printer.
    pub fn print(&mut self, text: &str) {
        self.ask(&json!({ "do": "print", "text": text }));
    }

    fn ask(&mut self, wish: &Value) -> Value {
        let answer = self.server.ask(wish);
        assert!(answer["error"].is_null(), "{wish}: {answer}");
        answer
    }
}
