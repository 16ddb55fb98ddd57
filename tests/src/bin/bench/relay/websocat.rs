//! websocat from the Rust registry, a tool of many uses of which this is one.

use std::process::Command;

use super::single::{PORT, Single, endpoint};
use super::{Relay, Wire, installed};

pub fn start(console: u16) -> Box<dyn Relay> {
    let mut command = Command::new(installed("bin/websocat"));
    command.args(["-q", "--binary", "--server-protocol", "binary"]);
    command.arg(format!("ws-listen:{}", endpoint(PORT))).arg(format!("tcp:{}", endpoint(console)));
    Single::start(&mut command, Wire::Plain)
}
