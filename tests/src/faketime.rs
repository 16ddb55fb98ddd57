//! A daemon whose clock is set by a test, by libfaketime.

use std::path::{Path, PathBuf};
use std::process::Command;

/// What is preloaded.
pub const LIBRARY: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";

/// The clock of a daemon that was started by [`Clock::wrap`].
pub struct Clock {
    file: PathBuf,
    all: bool,
}

impl Clock {
    /// The wall clock. Shows what it is for everybody else.
    pub fn new(folder: &Path) -> Self {
        let clock = Self { file: folder.join("clock"), all: false };
        clock.set("+0");
        clock
    }

    /// The same for the clock of the machine too, which goes on without jumps elsewhere.
    pub fn of_all(folder: &Path) -> Self {
        Self { all: true, ..Self::new(folder) }
    }

    /// Sets it off by so much, in the words of faketime(1).
    ///
    /// # Panics
    /// The folder is gone.
    pub fn set(&self, offset: &str) {
        // As a whole, or the daemon could read half of it.
        let new = self.file.with_extension("new");
        std::fs::write(&new, format!("{offset}\n")).expect("writes");
        std::fs::rename(new, &self.file).expect("renames");
    }

    /// The command with that clock.
    pub fn wrap(&self, mut command: Command) -> Command {
        command.env("LD_PRELOAD", LIBRARY).env("FAKETIME_TIMESTAMP_FILE", &self.file);
        // Each look at the clock reads the file.
        command.env("FAKETIME_NO_CACHE", "1");
        if !self.all {
            command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        }
        command
    }
}
