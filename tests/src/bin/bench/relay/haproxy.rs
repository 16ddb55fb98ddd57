//! Debian's HAProxy as a relay of bytes: what a connection costs that nobody frames.

use std::net::SocketAddr;
use std::process::Command;

use super::single::{PORT, Single, endpoint};
use super::{Relay, Wire};

struct Haproxy {
    relay: Box<dyn Relay>,
    _folder: tempfile::TempDir,
}

pub fn start(console: u16) -> Box<dyn Relay> {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("haproxy.cfg");
    std::fs::write(&file, configuration(console)).expect("writes");
    // A thread per core by itself, as ours has.
    let relay = Single::start(Command::new("haproxy").arg("-db").arg("-f").arg(&file), Wire::Raw);
    Box::new(Haproxy { relay, _folder: folder })
}

/// Two descriptors a connection: as many as the bench can have itself.
fn configuration(console: u16) -> String {
    let (here, there) = (endpoint(PORT), endpoint(console));
    format!(
        "global\n    maxconn 9500\n\
         defaults\n    mode tcp\n    timeout connect 10s\n    timeout client 1h\n    timeout server 1h\n\
         listen relay\n    bind {here}\n    server console {there}\n"
    )
}

impl Relay for Haproxy {
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
