//! Seconds from the wish for a console until a client can connect, with none and with all others open: ours,
//! and the flow that is replaced, which is a websockify and an iptables rule for each console.

use std::process::{Command, Stdio};
use std::time::Instant;

use portcullis_tests::process::{Guarded, feed};
use portcullis_tests::target::Target;

use super::{Figures, Peer, Scale};
use crate::relay::portcullis::Portcullis;
use crate::relay::single::endpoint;
use crate::relay::{reach, websockify};
use crate::usage::median;

/// Who opens.
pub const OPEN: [Peer; 2] = [("portcullis", ours), ("websockify", replaced)];
/// How many are open in the end.
const FULL: usize = 5_000;

fn ours(scale: &Scale) -> Figures {
    let target = Target::new();
    let relay = Portcullis::new(target.port());
    let mut open = || reach(relay.broker().endpoint);
    figures(scale, &mut open, |count| drop(relay.brokers(count)))
}

fn replaced(scale: &Scale) -> Figures {
    let target = Target::new();
    let mut consoles: Vec<Guarded> = Vec::new();
    let mut ports = 10_000..;
    let mut open = || {
        let port = ports.next().expect("a port");
        consoles.push(Guarded::start(&mut websockify::command(port, target.port())));
        permit(port);
        reach(endpoint(port));
    };
    // Their rules alone: thousands of these processes have no room.
    figures(scale, &mut open, |count| {
        let rules: String =
            (0..count).map(|number| format!("-A INPUT {}\n", rule(20_000 + number))).collect();
        feed("iptables-restore", &["--noflush"], &format!("*filter\n{rules}COMMIT\n"));
    })
}

fn figures(scale: &Scale, open: &mut impl FnMut(), fill: impl FnOnce(usize)) -> Figures {
    let empty = median_time(scale, open);
    fill(FULL - 2 * scale.opened);
    vec![("open".into(), empty), ("open/5000".into(), median_time(scale, open))]
}

fn median_time(scale: &Scale, open: &mut impl FnMut()) -> f64 {
    let time = |_| {
        let began = Instant::now();
        open();
        began.elapsed().as_secs_f64()
    };
    median(&mut (0..scale.opened).map(time).collect::<Vec<_>>())
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
