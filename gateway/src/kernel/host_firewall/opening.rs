//! The way through a host's firewall that drops by default: a rule for each broker address in the chains that
//! are shut, and never one for each broker. What one chain accepts another one may still drop, so the rule
//! has to stand in theirs.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use nftables::schema::Rule;
use nftables::stmt::Statement;
use nftables::types::NfFamily;
use serde_json::Value;
use tracing::{info, warn};

use super::{Shut, Wanted, look};
use crate::kernel::filter::FilterError;
use crate::kernel::nft;
use crate::kernel::nft::command::{delete_rule, insert};
use crate::kernel::nft::expression::{field, is, ports, text};

/// Rules of ours in chains of others, removed when the value is dropped.
#[derive(Debug)]
pub struct Opening {
    comment: String,
}

impl Opening {
    /// Lets `range` of `addresses` in wherever a chain drops by default. `comment` tells our rules from all
    /// others: those that a dead daemon left are replaced.
    ///
    /// # Errors
    /// There is no nft, or it or the kernel refused.
    pub fn new(
        addresses: &[IpAddr],
        range: &RangeInclusive<u16>,
        comment: &str,
    ) -> Result<Self, FilterError> {
        // Whoever looks must not see what is replaced.
        close(comment)?;
        let wanted = Wanted::new(addresses, range);
        let mut commands = Vec::new();
        for chain in look(&wanted).shut {
            info!(%chain, "the host's firewall drops by default");
            let rules = rules(&chain, addresses, range).into_iter();
            commands.extend(rules.map(|rule| insert(Rule { comment: Some(comment.into()), ..rule })));
        }
        nft::run("open the host's firewall", &commands)?;
        for chain in look(&wanted).shut {
            warn!(%chain, "the host's firewall drops the range, and has no place for a rule of ours");
        }
        Ok(Self { comment: comment.to_owned() })
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        if let Err(error) = close(&self.comment) {
            warn!(%error, "the host's firewall stays open for the range");
        }
    }
}

/// Removes the rules that have `comment`.
fn close(comment: &str) -> Result<(), FilterError> {
    let objects = nft::list(&["ruleset"])?;
    let ours = objects.iter().map(|object| &object["rule"]).filter(|rule| rule["comment"] == comment);
    nft::run("close the host's firewall", &removal(ours))
}

/// What nft is told to let `range` of those of `addresses` in that come by `chain`: a rule for each, because
/// iptables cannot read one with a set of them, and shows it as one for all.
pub fn rules<'a>(chain: &'a Shut, addresses: &[IpAddr], range: &RangeInclusive<u16>) -> Vec<Rule<'a>> {
    let Shut::Nft { family, table, chain } = chain else { return Vec::new() };
    let rule = |(protocol, address): (&'static str, &IpAddr)| {
        let to = is(field(protocol, "daddr"), text(address.to_string()));
        let expr = vec![to, is(field("tcp", "dport"), ports(range)), Statement::Accept(None)].into();
        Rule { family: named(family), table: table.into(), chain: chain.into(), expr, ..Rule::default() }
    };
    of_family(family, addresses).map(rule).collect()
}

/// The first of [`rules`] as a person tells it to nft, in the language of nft(8).
pub fn spoken(chain: &Shut, addresses: &[IpAddr], range: &RangeInclusive<u16>) -> Option<String> {
    let Shut::Nft { family, table, chain } = chain else { return None };
    let (protocol, address) = of_family(family, addresses).next()?;
    let (first, last) = (range.start(), range.end());
    let condition = format!("{protocol} daddr {address} tcp dport {first}-{last}");
    Some(format!("insert rule {family} {table} {chain} {condition} accept"))
}

/// Those of `addresses` that come by chains of `family`, with their protocol.
fn of_family<'a>(family: &str, addresses: &'a [IpAddr]) -> impl Iterator<Item = (&'static str, &'a IpAddr)> {
    let protocol = |address: &'a IpAddr| (if address.is_ipv4() { "ip" } else { "ip6" }, address);
    addresses.iter().map(protocol).filter(move |(protocol, _)| family == "inet" || family == *protocol)
}

/// The family `name`, of those that have chains for what comes in by IP.
fn named(name: &str) -> NfFamily {
    match name {
        "ip" => NfFamily::IP,
        "ip6" => NfFamily::IP6,
        _ => NfFamily::INet,
    }
}

fn removal<'a>(rules: impl Iterator<Item = &'a Value>) -> Vec<Value> {
    let command = |rule: &Value| {
        let word = |key: &str| rule[key].as_str().unwrap_or_default();
        let (family, table, chain) = (named(word("family")), word("table").into(), word("chain").into());
        delete_rule(Rule { family, table, chain, ..Rule::default() }, &rule["handle"])
    };
    rules.map(command).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_address_has_a_rule_in_the_chains_of_its_family() {
        let addresses = ["192.0.2.1", "2001:db8::1"].map(|ip| ip.parse().expect("an address"));
        let chain =
            |family: &str| Shut::Nft { family: family.into(), table: "filter".into(), chain: "input".into() };
        let (v4, v6) = (("ip", "192.0.2.1"), ("ip6", "2001:db8::1"));
        for (family, expected) in [("inet", vec![v4, v6]), ("ip", vec![v4]), ("ip6", vec![v6])] {
            let rule = |(protocol, address): &(&str, &str)| {
                let is = |protocol: &str, field: &str, right: Value| {
                    let left = json!({ "payload": { "protocol": protocol, "field": field } });
                    json!({ "match": { "op": "==", "left": left, "right": right } })
                };
                let range = json!({ "range": [10_000, 15_000] });
                let expr = [
                    is(protocol, "daddr", json!(address)),
                    is("tcp", "dport", range),
                    json!({ "accept": null }),
                ];
                json!({ "family": family, "table": "filter", "chain": "input", "expr": expr })
            };
            let expected: Vec<_> = expected.iter().map(rule).collect();
            assert_eq!(json!(rules(&chain(family), &addresses, &(10_000..=15_000))), json!(expected));
        }
        assert!(rules(&Shut::Iptables("iptables"), &addresses, &(1..=1)).is_empty());
        let told = "insert rule ip6 filter input ip6 daddr 2001:db8::1 tcp dport 1-2 accept";
        assert_eq!(spoken(&chain("ip6"), &addresses, &(1..=2)).as_deref(), Some(told));
    }

    #[test]
    fn a_rule_is_removed_by_its_handle() {
        let rule =
            json!({ "family": "ip", "table": "filter", "chain": "INPUT", "handle": 3, "comment": "x" });
        let deleted = json!({ "family": "ip", "table": "filter", "chain": "INPUT", "handle": 3, "expr": [] });
        assert_eq!(removal([&rule].into_iter()), [json!({ "delete": { "rule": deleted } })]);
    }
}
