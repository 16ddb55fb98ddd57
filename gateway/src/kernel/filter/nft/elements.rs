//! The elements of the sets: what a transaction takes out and puts in.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net};
use portcullis_ebpf::layout::OPEN;

use super::ruleset::{ANYONE, CLIENTS, NAMED, set};
use crate::kernel::filter::{Deadline, Entry};

/// Elements by the name of their set.
#[derive(Debug, Default)]
pub struct Elements {
    out: BTreeMap<String, Vec<String>>,
    into: BTreeMap<String, Vec<String>>,
}

/// Whether new connections are let in by `entry`, for any time at all.
pub fn is_open(entry: &Entry) -> bool {
    entry.state == OPEN && left(entry.deadline) > Duration::ZERO
}

impl Elements {
    /// Puts in what `entry` is.
    pub fn open(&mut self, entry: &Entry) {
        // Never zero, which would be no time-out at all.
        let timeout = format!("timeout {}ms", left(entry.deadline).as_millis().max(1));
        for (set, element) in elements(entry) {
            self.into.entry(set).or_default().push(format!("{element} {timeout}"));
        }
    }

    /// Takes out what `entry` was, if it is still there.
    pub fn close(&mut self, entry: &Entry) {
        for (set, element) in elements(entry) {
            self.out.entry(set).or_default().push(element);
        }
    }

    /// Takes out what the sets `kept` hold of the broker that was at `endpoint`.
    pub fn forget(&mut self, endpoint: SocketAddr, kept: &[&str]) {
        for kept in kept {
            self.out.entry(set(kept, endpoint.ip())).or_default().push(key(endpoint));
        }
    }

    /// The commands, for the table `table`.
    pub fn script(&self, table: &str) -> String {
        let mut script = String::new();
        for (set, elements) in &self.out {
            // Put in before it is taken out: one that timed out meanwhile would be an error. Not every kernel
            // can prolong a time-out, but an element that one transaction takes out and puts in is there
            // at every moment.
            command(&mut script, "add", table, set, elements);
            command(&mut script, "delete", table, set, elements);
        }
        for (set, elements) in &self.into {
            command(&mut script, "add", table, set, elements);
        }
        script
    }
}

fn command(script: &mut String, verb: &str, table: &str, set: &str, elements: &[String]) {
    // Writing to a string does not fail.
    let _ = writeln!(script, "{verb} element inet {table} {set} {{ {} }}", elements.join(", "));
}

/// In which sets an open broker is, and as what.
fn elements(entry: &Entry) -> Vec<(String, String)> {
    let Entry { endpoint, client, .. } = entry;
    let ip = endpoint.ip();
    match client.map_or(Clients::Anyone, |network| clients(network, ip)) {
        Clients::Anyone => vec![(set(ANYONE, ip), key(*endpoint))],
        Clients::Nobody => vec![(set(NAMED, ip), key(*endpoint))],
        Clients::In(network) => vec![
            (set(NAMED, ip), key(*endpoint)),
            (set(CLIENTS, ip), format!("{} . {network}", key(*endpoint))),
        ],
    }
}

fn key(endpoint: SocketAddr) -> String {
    format!("{} . {}", endpoint.ip(), endpoint.port())
}

/// Who may come to an address of one family.
#[derive(Debug, PartialEq, Eq)]
enum Clients {
    Anyone,
    Nobody,
    In(IpNet),
}

/// Who may come from `network` to the broker address `to`. IPv4 addresses count as `::ffff:a.b.c.d`, as
/// they do in `portcullis_ebpf::layout`.
fn clients(network: IpNet, to: IpAddr) -> Clients {
    let network = network.trunc();
    match (network, to) {
        _ if network.prefix_len() == 0 && network.addr().is_ipv4() == to.is_ipv4() => Clients::Anyone,
        (IpNet::V4(_), IpAddr::V4(_)) | (IpNet::V6(_), IpAddr::V6(_)) => Clients::In(network),
        (IpNet::V4(_), IpAddr::V6(_)) => Clients::Nobody,
        (IpNet::V6(v6), IpAddr::V4(_)) => {
            let mapped = v6.addr().to_ipv4_mapped();
            match (v6.prefix_len().checked_sub(96), mapped) {
                (Some(0), Some(_)) => Clients::Anyone,
                (Some(len), Some(ip)) => {
                    Ipv4Net::new(ip, len).map_or(Clients::Nobody, |v4| Clients::In(v4.into()))
                }
                (None, _) if v6.contains(&std::net::Ipv4Addr::UNSPECIFIED.to_ipv6_mapped()) => {
                    Clients::Anyone
                }
                _ => Clients::Nobody,
            }
        }
    }
}

/// Time until `deadline`; none if it is past. A system without a clock has none left.
fn left(deadline: Deadline) -> Duration {
    let now = Deadline::after(Duration::ZERO).map_or(u64::MAX, |now| now.0);
    Duration::from_nanos(deadline.0.saturating_sub(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(endpoint: &str, client: Option<&str>) -> Entry {
        let deadline = Deadline::after(Duration::from_secs(3600)).expect("a clock");
        let client = client.map(|network| network.parse().expect("a network"));
        let endpoint = endpoint.parse().expect("an endpoint");
        Entry { endpoint, state: OPEN, generation: 1, client, deadline }
    }

    #[test]
    fn a_broker_is_in_the_set_of_its_kind() {
        let check = |endpoint: &str, client: Option<&str>, expected: &[(&str, &str)]| {
            let found = elements(&entry(endpoint, client));
            let found: Vec<_> = found.iter().map(|(set, element)| (&**set, &**element)).collect();
            assert_eq!(found, expected, "{endpoint} {client:?}");
        };
        let (v4, v6) = ("192.0.2.1:10001", "[2001:db8::1]:10002");
        check(v4, None, &[("anyone_v4", "192.0.2.1 . 10001")]);
        check(v6, None, &[("anyone_v6", "2001:db8::1 . 10002")]);
        check(
            v4,
            Some("198.51.100.7/24"),
            &[("named_v4", "192.0.2.1 . 10001"), ("clients_v4", "192.0.2.1 . 10001 . 198.51.100.0/24")],
        );
        check(v6, Some("198.51.100.7/24"), &[("named_v6", "2001:db8::1 . 10002")]);
    }

    #[test]
    fn networks_are_compared_as_the_kernel_programs_do() {
        use portcullis_ebpf::layout::{Prefix, address};
        let sources = ["0.0.0.0", "192.0.2.77", "198.51.100.7", "::1", "2001:db8::7", "2001:db8:ffff::1"];
        for network in [
            "0.0.0.0/0",
            "192.0.2.0/24",
            "198.51.100.7/32",
            "::/0",
            "::ffff:0:0/96",
            "::ffff:192.0.2.0/120",
            "2001:db8::/32",
            "2001:db8::/48",
            "::/64",
            "::/97",
        ] {
            let network: IpNet = network.parse().expect("a network");
            let prefix = Prefix::new(network.network(), network.prefix_len());
            for source in sources.map(|source| source.parse::<IpAddr>().expect("an address")) {
                // A segment's two addresses are of one family.
                let let_in = match clients(network, source) {
                    Clients::Anyone => true,
                    Clients::Nobody => false,
                    Clients::In(network) => network.contains(&source),
                };
                assert_eq!(let_in, prefix.contains(&address(source)), "{source} in {network}");
            }
        }
    }

    #[test]
    fn what_is_renewed_is_taken_out_and_put_in_by_one_transaction() {
        let entry = entry("192.0.2.1:10001", None);
        let mut elements = Elements::default();
        elements.close(&entry);
        elements.open(&entry);
        let script = elements.script("t");
        let lines: Vec<_> = script.lines().collect();
        assert_eq!(lines[0], "add element inet t anyone_v4 { 192.0.2.1 . 10001 }");
        assert_eq!(lines[1], "delete element inet t anyone_v4 { 192.0.2.1 . 10001 }");
        assert!(
            lines[2].starts_with("add element inet t anyone_v4 { 192.0.2.1 . 10001 timeout 3"),
            "{script}"
        );
        assert_eq!(lines.len(), 3);
    }

    #[test]
    fn what_is_late_or_drains_is_not_open() {
        let entry = entry("192.0.2.1:10001", None);
        assert!(is_open(&entry));
        assert!(!is_open(&Entry { deadline: Deadline(0), ..entry }));
        assert!(!is_open(&Entry { state: portcullis_ebpf::layout::DRAINING, ..entry }));
    }
}
