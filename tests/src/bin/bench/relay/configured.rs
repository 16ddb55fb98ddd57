//! A relay that is told by a file what to do.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use super::single::Single;
use super::{Relay, Wire};

struct Configured {
    relay: Box<dyn Relay>,
    _folder: tempfile::TempDir,
}

/// Starts a program with a file of this text.
///
/// # Panics
/// It does not listen.
pub fn configured(text: &str, command: impl FnOnce(&Path) -> Command, wire: Wire) -> Box<dyn Relay> {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("configuration");
    std::fs::write(&file, text).expect("writes");
    Box::new(Configured { relay: Single::start(&mut command(&file), wire), _folder: folder })
}

impl Relay for Configured {
    fn id(&self) -> u32 {
        self.relay.id()
    }

    fn door(&mut self) -> (SocketAddr, Option<String>) {
        self.relay.door()
    }

    fn wire(&self) -> Wire {
        self.relay.wire()
    }
}
