//! websockify as PyPI has it, newer than Debian's, with numpy as it asks for.

use std::process::{Command, Stdio};

use super::single::{PORT, Single, endpoint};
use super::{Relay, Wire, installed};

pub fn start(console: u16) -> Box<dyn Relay> {
    let mut command = Command::new(installed("websockify/bin/websockify"));
    command.arg(endpoint(PORT).to_string()).arg(endpoint(console).to_string()).stderr(Stdio::null());
    Single::start(&mut command, Wire::Plain)
}
