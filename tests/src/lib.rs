//! The harness, in verbs: enter a namespace, start a gateway, be a target, open a browser.
//!
//! Where privilege or a program is missing, a test says so and steps aside, so that plain `cargo test`
//! is green anywhere; under `PORTCULLIS_REQUIRE_ALL=1` that is a failure.

pub mod browser;
pub mod console;
pub mod content;
pub mod dialogue;
pub mod dropin;
pub mod echo;
pub mod ends;
pub mod events;
pub mod eye;
pub mod faketime;
pub mod files;
pub mod frames;
pub mod gate;
pub mod gateway;
pub mod lxc;
pub mod memory_group;
pub mod namespace;
pub mod pattern;
pub mod pins;
pub mod process;
pub mod prometheus;
pub mod proxy;
pub mod pty;
pub mod qemu;
pub mod rdp;
pub mod rdp_desktop;
pub mod require;
pub mod serial;
pub mod spice;
pub mod state;
pub mod strace;
pub mod target;
pub mod terminal;
pub mod tigervnc;
pub mod tls;
pub mod transcript;
pub mod transfer;
pub mod usage;
pub mod viewer;
pub mod websocket;
pub mod wiretap;
pub mod xrdp;

use std::time::{Duration, Instant};

/// Longest wait for an event. Generous: it is met only when something is wrong.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Waits until `look` finds what it looks for.
///
/// # Panics
/// It does not within [`PATIENCE`].
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let mut found = None;
    let in_time = eventually(|| {
        found = look();
        found.is_some()
    });
    assert!(in_time, "waited {PATIENCE:?} for {what}");
    found.expect("in time")
}

/// Whether `look` becomes true within [`PATIENCE`].
pub fn eventually(mut look: impl FnMut() -> bool) -> bool {
    let began = Instant::now();
    while !look() {
        if began.elapsed() > PATIENCE {
            return false;
        }
        // The pause keeps two cores free for what is waited for.
        std::thread::sleep(Duration::from_millis(5));
    }
    true
}
