//! iptables as the flow that is replaced has it: a rule with a comment for each broker, and one behind them
//! that closes the range. By both of its back ends.

use std::marker::PhantomData;
use std::ops::Range;
use std::process::{Command, Stdio};

use portcullis_tests::process::{feed, run};

use super::gate::Gate;
use super::{FIRST, LAST};

/// What the rules are kept by.
pub trait Kind: 'static {
    /// Its programs.
    const COMMAND: &'static str;
    /// That reads many rules at once.
    const RESTORE: &'static str;
}

/// Tables of the kernel's x_tables.
pub struct Legacy;
/// nftables, behind the same command line.
pub struct Nft;

impl Kind for Legacy {
    const COMMAND: &'static str = "iptables-legacy";
    const RESTORE: &'static str = "iptables-legacy-restore";
}

impl Kind for Nft {
    const COMMAND: &'static str = "iptables-nft";
    const RESTORE: &'static str = "iptables-nft-restore";
}

struct Iptables<K>(PhantomData<K>);

/// The chain of the brokers' rules. One of their own, so that what is appended stands before the last rule.
const CHAIN: &str = "CONSOLES";

/// Closes the range.
pub fn start<K: Kind>() -> Box<dyn Gate> {
    restore::<K>(&format!(
        ":{CHAIN} - [0:0]\n-A INPUT -j {CHAIN}\n-A INPUT -p tcp --dport {FIRST}:{LAST} -j DROP\n"
    ));
    Box::new(Iptables::<K>(PhantomData))
}

fn restore<K: Kind>(lines: &str) {
    // Another who changes rules holds a lock of the whole machine.
    feed(K::RESTORE, &["--noflush", "-w"], &format!("*filter\n{lines}COMMIT\n"));
}

fn rule(port: u16) -> String {
    format!("-p tcp --dport {port} -m comment --comment i-{port} -j ACCEPT")
}

fn arguments<'a>(action: &'a str, rule: &'a str) -> Vec<&'a str> {
    ["-w", action, CHAIN].into_iter().chain(rule.split(' ')).collect()
}

impl<K: Kind> Gate for Iptables<K> {
    fn fill(&mut self, ports: Range<u16>) {
        restore::<K>(&ports.map(|port| format!("-A {CHAIN} {}\n", rule(port))).collect::<String>());
    }

    /// `iptables -C ... || iptables -A ...`.
    fn open(&mut self, port: u16) {
        let rule = rule(port);
        let mut check = Command::new(K::COMMAND);
        let check = check.args(arguments("-C", &rule)).stderr(Stdio::null()).status();
        if !check.unwrap_or_else(|error| panic!("{}: {error}", K::COMMAND)).success() {
            run(K::COMMAND, &arguments("-A", &rule));
        }
    }

    fn close(&mut self, port: u16) {
        run(K::COMMAND, &arguments("-D", &rule(port)));
    }
}
