//! What the table counted, from what `nft --json list` prints.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};

use portcullis_ebpf::verdict::Verdict;
use serde_json::Value;

use super::ruleset::{COUNTED, LET_IN, WRONG_SOURCE, set};
use crate::kernel::filter::{BrokerCounts, Counters, FilterError};
use crate::kernel::nft;

/// Packets by verdict, from the named counters of the table.
///
/// # Errors
/// One is not there.
pub fn verdicts(objects: &[Value]) -> Result<Counters, FilterError> {
    let mut counters = Counters::default();
    for verdict in Verdict::ALL {
        let mut named = objects.iter().map(|object| &object["counter"]);
        let packets = named.find(|counter| counter["name"] == verdict.name()).map(|found| &found["packets"]);
        let missing = || FilterError::new(format!("counter {}", verdict.name()), "not in the table");
        counters.0[verdict as usize] = packets.and_then(Value::as_u64).ok_or_else(missing)?;
    }
    Ok(counters)
}

/// What was counted for each broker of `addresses` that something was counted for.
///
/// # Errors
/// See [`nft::list`].
pub fn brokers(table: &str, addresses: &[IpAddr]) -> Result<HashMap<SocketAddr, BrokerCounts>, FilterError> {
    let mut counts: HashMap<SocketAddr, BrokerCounts> = HashMap::new();
    for name in COUNTED {
        let sets: BTreeSet<_> = addresses.iter().map(|ip| set(name, *ip)).collect();
        for set in sets {
            for (endpoint, packets) in elements(&nft::list(&["set", "inet", table, &set])?) {
                *count(counts.entry(endpoint).or_default(), name) = packets;
            }
        }
    }
    Ok(counts)
}

/// What the set `name` is about.
fn count<'a>(counts: &'a mut BrokerCounts, name: &str) -> &'a mut u64 {
    match name {
        LET_IN => &mut counts.open,
        WRONG_SOURCE => &mut counts.wrong_source,
        _ => &mut counts.rate_limited,
    }
}

/// The elements of a set with their counters. One that was not counted yet has none.
fn elements(objects: &[Value]) -> Vec<(SocketAddr, u64)> {
    let sets = objects.iter().filter_map(|object| object["set"]["elem"].as_array());
    let element = |element: &Value| {
        let element = &element["elem"];
        let [ip, port] = element["val"]["concat"].as_array()?.as_slice() else { return None };
        let port = u16::try_from(port.as_u64()?).ok()?;
        Some((SocketAddr::new(ip.as_str()?.parse().ok()?, port), element["counter"]["packets"].as_u64()?))
    };
    sets.flatten().filter_map(element).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn elements_with_counters_are_read() {
        let counted = |ip: &str, packets: u64| json!({ "elem": { "val": { "concat": [ip, 10_001] }, "counter": { "packets": packets, "bytes": 60 } } });
        let objects = [
            json!({ "metainfo": { "version": "1.0.6" } }),
            json!({ "set": { "name": "let_in_v4", "elem": [counted("192.0.2.1", 5_000_000_000), { "concat": ["192.0.2.1", 10_002] }] } }),
            json!({ "set": { "name": "let_in_v6", "elem": [counted("2001:db8::1", 2)] } }),
            json!({ "set": { "name": "empty" } }),
        ];
        let at = |text: &str| text.parse::<SocketAddr>().expect("an endpoint");
        let expected = [(at("192.0.2.1:10001"), 5_000_000_000), (at("[2001:db8::1]:10001"), 2)];
        assert_eq!(elements(&objects), expected);
    }

    #[test]
    fn a_counter_that_is_missing_is_an_error() {
        let counter = |name: &str| json!({ "counter": { "name": name, "packets": 3, "bytes": 180 } });
        let all: Vec<_> = Verdict::ALL.iter().map(|verdict| counter(verdict.name())).collect();
        assert_eq!(verdicts(&all).expect("all of them").0, [3; Verdict::ALL.len()]);
        let error = verdicts(&all[1..]).expect_err("one is missing");
        assert_eq!(error.to_string(), "counter not_judged: not in the table");
    }
}
