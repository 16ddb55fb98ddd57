//! Debian's lighttpd with its `mod_wstunnel`: a web server of one thread that relays WebSocket.

use std::process::{Command, Stdio};

use super::configured::configured;
use super::single::{PORT, endpoint};
use super::{Relay, Wire};

pub fn start(console: u16) -> Box<dyn Relay> {
    let (here, there) = (endpoint(PORT), endpoint(console));
    let text = format!(
        "server.modules = ( \"mod_wstunnel\" )\n\
         server.document-root = \"/nonexistent\"\n\
         server.bind = \"{}\"\nserver.port = {}\n\
         server.max-fds = 20000\nserver.max-connections = 9500\n\
         server.max-read-idle = 3600\nserver.max-write-idle = 3600\n\
         wstunnel.server = ( \"/\" => ( ( \"host\" => \"{}\", \"port\" => {} ) ) )\n\
         wstunnel.frame-type = \"binary\"\n",
        here.ip(),
        here.port(),
        there.ip(),
        there.port(),
    );
    let command = |file: &_| {
        let mut command = Command::new("lighttpd");
        command.arg("-D").arg("-f").arg(file).stderr(Stdio::null());
        command
    };
    configured(&text, command, Wire::Plain)
}
