//! Debian's HAProxy as a relay of bytes: what a connection costs that nobody frames.

use std::process::Command;

use super::configured::configured;
use super::single::{PORT, endpoint};
use super::{Relay, Wire};

pub fn start(console: u16) -> Box<dyn Relay> {
    let (here, there) = (endpoint(PORT), endpoint(console));
    // Two descriptors a connection: as many as the bench can have itself. A thread per core by itself.
    let text = format!(
        "global\n    maxconn 9500\n\
         defaults\n    mode tcp\n    timeout connect 10s\n    timeout client 1h\n    timeout server 1h\n\
         listen relay\n    bind {here}\n    server console {there}\n"
    );
    let command = |file: &_| {
        let mut command = Command::new("haproxy");
        command.arg("-db").arg("-f").arg(file);
        command
    };
    configured(&text, command, Wire::Raw)
}
