//! A relay that is one program with one port, which all sessions take.

use std::fs;
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use portcullis_tests::process::Guarded;
use portcullis_tests::wait_for;

use super::{Relay, Wire};

/// Its port, on loopback.
pub const PORT: u16 = 10_000;

/// A program that runs.
pub struct Single {
    process: Guarded,
    wire: Wire,
}

impl Single {
    /// Starts it, and waits until it listens.
    ///
    /// # Panics
    /// It does not.
    pub fn start(command: &mut Command, wire: Wire) -> Box<dyn Relay> {
        let mut process = Guarded::start(command.stdin(Stdio::null()).stdout(Stdio::null()));
        // Not by a connection, which a relay of bytes would hand on at once.
        wait_for(&format!("{command:?} to listen"), || {
            let ended = process.child().try_wait().expect("our child");
            assert!(ended.is_none(), "{command:?}: {ended:?}");
            listens(PORT).then_some(())
        });
        Box::new(Self { process, wire })
    }
}

impl Relay for Single {
    fn id(&self) -> u32 {
        self.process.id()
    }

    fn door(&mut self) -> (SocketAddr, Option<String>) {
        (endpoint(PORT), None)
    }

    fn wire(&self) -> Wire {
        self.wire.clone()
    }
}

/// A port of loopback.
pub fn endpoint(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// Whether this thread's namespace has a listener on a port of IPv4 (Documentation/networking/proc_net_tcp.rst:
/// state 0A).
fn listens(port: u16) -> bool {
    let table = fs::read_to_string("/proc/thread-self/net/tcp").expect("a list of sockets");
    let port = format!(":{port:04X}");
    table.lines().any(|line| {
        let mut words = line.split_whitespace().skip(1);
        words.next().is_some_and(|local| local.ends_with(&port)) && words.nth(1) == Some("0A")
    })
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_listener_is_seen() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        assert!(listens(port));
        drop(listener);
        assert!(!listens(port));
    }
}
