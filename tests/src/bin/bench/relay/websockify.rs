//! The flow that is replaced: Debian's websockify, a process per console, and an iptables rule for its port.

use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use portcullis_tests::process::{Guarded, feed};
use portcullis_tests::wait_for;

use super::{Relay, reach};
use crate::usage::tree;

/// Ports from here on.
const FIRST: u16 = 10_000;

struct Websockify {
    console: u16,
    ports: u16,
    process: Guarded,
    /// Those of further consoles.
    others: Vec<Guarded>,
}

pub fn start(console: u16) -> Box<dyn Relay> {
    let process = spawn(FIRST, console);
    reach(endpoint(FIRST));
    wait_for("the one that served this to be gone", || (tree(process.id()).len() == 1).then_some(()));
    Box::new(Websockify { console, ports: FIRST, process, others: Vec::new() })
}

impl Relay for Websockify {
    fn id(&self) -> u32 {
        self.process.id()
    }

    fn door(&mut self) -> (SocketAddr, Option<String>) {
        (endpoint(FIRST), None)
    }

    fn open(&mut self) -> Duration {
        self.ports += 1;
        let began = Instant::now();
        self.others.push(spawn(self.ports, self.console));
        permit(self.ports);
        reach(endpoint(self.ports));
        began.elapsed()
    }

    /// Their rules alone: thousands of these processes have no room.
    fn fill(&mut self, count: usize) {
        let rules: String =
            (0..count).map(|number| format!("-A INPUT {}\n", rule(20_000 + number))).collect();
        feed("iptables-restore", &["--noflush"], &format!("*filter\n{rules}COMMIT\n"));
    }
}

fn endpoint(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn spawn(port: u16, console: u16) -> Guarded {
    let mut command = Command::new("websockify");
    command.arg(port.to_string()).arg(format!("127.0.0.1:{console}"));
    Guarded::start(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()))
}

/// `iptables -C ... || iptables -A ...`.
fn permit(port: u16) {
    let iptables = |action: &str| {
        let mut command = Command::new("iptables");
        command.args([action, "INPUT"]).args(rule(port.into()).split(' '));
        command.stderr(Stdio::null()).status().expect("iptables runs").success()
    };
    assert!(iptables("-C") || iptables("-A"), "iptables refuses");
}

fn rule(port: usize) -> String {
    format!("-p tcp --dport {port} -m comment --comment i-{port} -j ACCEPT")
}
