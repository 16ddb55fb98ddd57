//! Debian's websockify, the relay of the flow that is replaced.

use std::process::{Command, Stdio};

use super::single::{PORT, Single, endpoint};
use super::{Relay, Wire};

pub fn start(console: u16) -> Box<dyn Relay> {
    Single::start(&mut command(PORT, console), Wire::Plain)
}

/// One from a port of loopback to another.
pub fn command(port: u16, console: u16) -> Command {
    let mut command = Command::new("websockify");
    command.arg(endpoint(port).to_string()).arg(endpoint(console).to_string());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}
