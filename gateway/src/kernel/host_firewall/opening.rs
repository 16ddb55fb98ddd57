//! The way through a host's firewall that drops by default: a rule for each broker address in the chains that
//! are shut, and never one for each broker. What one chain accepts another one may still drop, so the rule
//! has to stand in theirs.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use serde_json::Value;
use tracing::{info, warn};

use super::{Shut, Wanted, look};
use crate::kernel::filter::FilterError;
use crate::kernel::nft;

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
        let mut script = String::new();
        for chain in look(&wanted).shut {
            info!(%chain, "the host's firewall drops by default");
            for rule in rules(&chain, addresses, range) {
                script += &format!("{rule} comment \"{comment}\"\n");
            }
        }
        nft::run("open the host's firewall", &script)?;
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
pub fn rules(chain: &Shut, addresses: &[IpAddr], range: &RangeInclusive<u16>) -> Vec<String> {
    let Shut::Nft { family, table, chain } = chain else { return Vec::new() };
    let (first, last) = (range.start(), range.end());
    let of = |address: &IpAddr| {
        let protocol = if address.is_ipv4() { "ip" } else { "ip6" };
        let rule = format!(
            "insert rule {family} {table} {chain} {protocol} daddr {address} tcp dport {first}-{last} accept"
        );
        (family == "inet" || family == protocol).then_some(rule)
    };
    addresses.iter().filter_map(of).collect()
}

fn removal<'a>(rules: impl Iterator<Item = &'a Value>) -> String {
    let line = |rule: &Value| {
        let word = |key: &str| rule[key].as_str().unwrap_or_default();
        let (family, table, chain) = (word("family"), word("table"), word("chain"));
        format!("delete rule {family} {table} {chain} handle {}\n", rule["handle"])
    };
    rules.map(line).collect()
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
        let v4 = "filter input ip daddr 192.0.2.1 tcp dport 10000-15000 accept";
        let v6 = "filter input ip6 daddr 2001:db8::1 tcp dport 10000-15000 accept";
        for (family, expected) in [("inet", vec![v4, v6]), ("ip", vec![v4]), ("ip6", vec![v6])] {
            let expected: Vec<_> =
                expected.iter().map(|rule| format!("insert rule {family} {rule}")).collect();
            assert_eq!(rules(&chain(family), &addresses, &(10_000..=15_000)), expected);
        }
        assert!(rules(&Shut::Iptables("iptables"), &addresses, &(1..=1)).is_empty());
    }

    #[test]
    fn a_rule_is_removed_by_its_handle() {
        let rule =
            json!({ "family": "ip", "table": "filter", "chain": "INPUT", "handle": 3, "comment": "x" });
        assert_eq!(removal([&rule].into_iter()), "delete rule ip filter INPUT handle 3\n");
    }
}
