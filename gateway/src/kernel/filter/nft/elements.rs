//! The elements of the sets: what a transaction takes out and puts in.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net};
use nftables::expr::{Elem, Expression, NamedExpression};
use nftables::schema::{Element, NfListObject};
use nftables::types::NfFamily;
use portcullis_ebpf::layout::OPEN;
use serde_json::Value;

use super::limit::number;
use super::ruleset::{ANYONE, CLIENTS, NAMED, set};
use crate::kernel::filter::{Deadline, Entry};
use crate::kernel::nft::command::{add, delete};
use crate::kernel::nft::expression::{concat, endpoint as parts, network as prefix};

/// Elements by the name of their set.
#[derive(Debug, Default)]
pub struct Elements {
    out: BTreeMap<String, Vec<Expression<'static>>>,
    into: BTreeMap<String, Vec<Expression<'static>>>,
}

/// Whether new connections are let in by `entry`, for any time at all.
pub fn is_open(entry: &Entry) -> bool {
    entry.state == OPEN && left(entry.deadline) > Duration::ZERO
}

impl Elements {
    /// Puts in what `entry` is.
    pub fn open(&mut self, entry: &Entry) {
        let timeout = seconds(left(entry.deadline));
        for (set, element) in elements(entry) {
            self.into.entry(set).or_default().push(until(element, timeout));
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
    pub fn commands(self, table: &str) -> Vec<Value> {
        let mut commands = Vec::new();
        for (set, elements) in self.out {
            // Put in before it is taken out: one that timed out meanwhile would be an error. Not every kernel
            // can prolong a time-out, but an element that one transaction takes out and puts in is there
            // at every moment.
            let elements = of(table, &set, elements);
            commands.extend([add(elements.clone()), delete(elements)]);
        }
        commands.extend(self.into.into_iter().map(|(set, elements)| add(of(table, &set, elements))));
        commands
    }
}

fn of<'a>(table: &'a str, set: &'a str, elements: Vec<Expression<'static>>) -> NfListObject<'a> {
    let (table, name, elem) = (table.into(), set.into(), elements.into());
    NfListObject::Element(Element { family: NfFamily::INet, table, name, elem })
}

/// `element`, which is there for so many seconds.
fn until(element: Expression<'static>, timeout: u32) -> Expression<'static> {
    let val = Box::new(element);
    Expression::Named(NamedExpression::Elem(Elem { val, timeout: Some(timeout), ..Elem::default() }))
}

/// `left`, as nft reads it in JSON: in whole seconds. Rounded up, because zero would be no time-out at all.
fn seconds(left: Duration) -> u32 {
    number(left.as_secs() + u64::from(left.subsec_nanos() > 0))
}

/// In which sets an open broker is, and as what.
fn elements(entry: &Entry) -> Vec<(String, Expression<'static>)> {
    let Entry { endpoint, client, .. } = entry;
    let ip = endpoint.ip();
    match client.map_or(Clients::Anyone, |network| clients(network, ip)) {
        Clients::Anyone => vec![(set(ANYONE, ip), key(*endpoint))],
        Clients::Nobody => vec![(set(NAMED, ip), key(*endpoint))],
        Clients::In(network) => {
            vec![(set(NAMED, ip), key(*endpoint)), (set(CLIENTS, ip), with(*endpoint, network))]
        }
    }
}

fn key(endpoint: SocketAddr) -> Expression<'static> {
    concat(parts(endpoint))
}

fn with(endpoint: SocketAddr, network: IpNet) -> Expression<'static> {
    let mut key = parts(endpoint);
    key.push(prefix(network));
    concat(key)
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
    use serde_json::json;

    use super::*;

    fn entry(endpoint: &str, client: Option<&str>) -> Entry {
        let deadline = Deadline::after(Duration::from_secs(3600)).expect("a clock");
        let client = client.map(|network| network.parse().expect("a network"));
        let endpoint = endpoint.parse().expect("an endpoint");
        Entry { endpoint, state: OPEN, generation: 1, client, deadline }
    }

    #[test]
    fn a_broker_is_in_the_set_of_its_kind() {
        let check = |endpoint: &str, client: Option<&str>, expected: &[(&str, Value)]| {
            let found = elements(&entry(endpoint, client)).into_iter();
            let found: Vec<_> = found.map(|(set, element)| (set, json!(element))).collect();
            let expected: Vec<_> =
                expected.iter().map(|(set, key)| ((*set).to_owned(), json!({ "concat": key }))).collect();
            assert_eq!(found, expected, "{endpoint} {client:?}");
        };
        let (v4, v6) = ("192.0.2.1:10001", "[2001:db8::1]:10002");
        check(v4, None, &[("anyone_v4", json!(["192.0.2.1", 10_001]))]);
        check(v6, None, &[("anyone_v6", json!(["2001:db8::1", 10_002]))]);
        let network = json!({ "prefix": { "addr": "198.51.100.0", "len": 24 } });
        let named = json!(["192.0.2.1", 10_001]);
        let client = json!(["192.0.2.1", 10_001, network]);
        check(v4, Some("198.51.100.7/24"), &[("named_v4", named), ("clients_v4", client)]);
        check(v6, Some("198.51.100.7/24"), &[("named_v6", json!(["2001:db8::1", 10_002]))]);
    }

    #[test]
    fn a_time_out_is_in_whole_seconds_and_never_too_short() {
        for (left_ms, expected) in [(1, 1), (1_000, 1), (1_001, 2), (u64::MAX, u32::MAX)] {
            assert_eq!(seconds(Duration::from_millis(left_ms)), expected, "{left_ms}");
        }
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
        let commands = elements.commands("t");
        let set = |elem: Value| json!({ "element": { "family": "inet", "table": "t", "name": "anyone_v4", "elem": elem } });
        let key = json!({ "concat": ["192.0.2.1", 10_001] });
        assert_eq!(commands[0], json!({ "add": set(json!([key])) }));
        assert_eq!(commands[1], json!({ "delete": set(json!([key])) }));
        let renewed = &commands[2]["add"]["element"]["elem"][0]["elem"];
        assert_eq!(renewed["val"], key);
        assert_eq!(renewed["timeout"], 3600);
        assert_eq!(commands.len(), 3);
    }

    #[test]
    fn what_is_late_or_drains_is_not_open() {
        let entry = entry("192.0.2.1:10001", None);
        assert!(is_open(&entry));
        assert!(!is_open(&Entry { deadline: Deadline(0), ..entry }));
        assert!(!is_open(&Entry { state: portcullis_ebpf::layout::DRAINING, ..entry }));
    }
}
