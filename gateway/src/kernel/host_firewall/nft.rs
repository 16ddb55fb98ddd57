//! What `nft --json list ruleset` prints (libnftables-json(5)).

use std::ops::RangeInclusive;

use serde_json::Value;

use super::{Shut, Wanted, covered};

/// The chains that drop what nothing lets in, where nothing in their table lets in what is wanted.
pub fn shut(text: &str, wanted: &Wanted) -> Vec<Shut> {
    let document: Value = serde_json::from_str(text).unwrap_or_default();
    let objects = document["nftables"].as_array().map(Vec::as_slice).unwrap_or_default();
    let chains = objects.iter().map(|object| &object["chain"]).filter(|chain| concerns(chain, wanted));
    let shut = chains.filter(|chain| {
        let rules = || {
            let rules = objects.iter().map(|object| &object["rule"]);
            rules.filter(|rule| same(rule, chain, &["family", "table"]))
        };
        let last = rules().rfind(|rule| rule["chain"] == chain["name"]);
        let closed = chain["policy"] == "drop" || last.is_some_and(drops_all);
        closed && !rules().any(|rule| lets_in(rule, objects, wanted))
    });
    let name = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    let names = shut.map(|chain| Shut::Nft {
        family: name(&chain["family"]),
        table: name(&chain["table"]),
        chain: name(&chain["name"]),
    });
    names.collect()
}

fn same(one: &Value, other: &Value, keys: &[&str]) -> bool {
    keys.iter().all(|key| one[key] == other[key] && one[key].is_string())
}

/// Whether what comes in for our addresses passes the chain.
fn concerns(chain: &Value, wanted: &Wanted) -> bool {
    let family = match chain["family"].as_str() {
        Some("inet") => true,
        Some("ip") => wanted.v4,
        Some("ip6") => wanted.v6,
        _ => false,
    };
    family && chain["type"] == "filter" && matches!(chain["hook"].as_str(), Some("input" | "prerouting"))
}

fn expressions(rule: &Value) -> &[Value] {
    rule["expr"].as_array().map(Vec::as_slice).unwrap_or_default()
}

/// A rule without condition that drops or rejects.
fn drops_all(rule: &Value) -> bool {
    let has = |name: &str| expressions(rule).iter().any(|expression| expression.get(name).is_some());
    (has("drop") || has("reject")) && !has("match") && !has("xt") && !has("limit")
}

/// Whether a rule accepts new connections to all of the range. Conditions on addresses are taken as meant.
fn lets_in(rule: &Value, objects: &[Value], wanted: &Wanted) -> bool {
    let accepts = expressions(rule).iter().any(|expression| expression.get("accept").is_some());
    let fits = |expression: &Value| {
        if let Some(compared) = expression.get("match") {
            return matches(compared, rule, objects, wanted);
        }
        // What iptables wrote in a way that nft cannot read; a comment is harmless.
        expression.get("xt").is_none_or(|extension| extension["name"] == "comment")
    };
    accepts && expressions(rule).iter().all(fits)
}

fn matches(compared: &Value, rule: &Value, objects: &[Value], wanted: &Wanted) -> bool {
    let (left, right) = (&compared["left"], &compared["right"]);
    let (payload, meta) = (&left["payload"], &left["meta"]);
    let negated = compared["op"] == "!=";
    let says = |word: &str| words(right).contains(&word) != negated;
    match (payload["protocol"].as_str(), payload["field"].as_str()) {
        (Some("tcp" | "th"), Some("dport")) => {
            return !negated && covered(&ports(right, rule, objects), &wanted.range);
        }
        (_, Some("protocol" | "nexthdr")) => return says("tcp"),
        (Some("udp" | "icmp" | "icmpv6" | "sctp" | "igmp"), _) => return false,
        _ => {}
    }
    match meta["key"].as_str() {
        Some("l4proto") => says("tcp"),
        Some("iif" | "iifname") => says("lo") == wanted.loopback,
        _ if left["ct"]["key"] == "state" => says("new"),
        _ => true,
    }
}

/// The words of a value: one, a list, or a set.
fn words(value: &Value) -> Vec<&str> {
    let list = value.as_array().or_else(|| value["set"].as_array());
    list.map_or_else(
        || value.as_str().into_iter().collect(),
        |list| list.iter().filter_map(Value::as_str).collect(),
    )
}

/// The ports of a value: one, a range, a set of them, or the name of a set of the same table.
fn ports(value: &Value, rule: &Value, objects: &[Value]) -> Vec<RangeInclusive<u16>> {
    if let Some(name) = value.as_str().and_then(|name| name.strip_prefix('@')) {
        let mut sets = objects.iter().map(|object| &object["set"]);
        let set = sets.find(|set| set["name"] == name && same(set, rule, &["family", "table"]));
        return set.map(|set| parts(&set["elem"])).unwrap_or_default();
    }
    if value["set"].is_array() { parts(&value["set"]) } else { part(value).into_iter().collect() }
}

fn parts(list: &Value) -> Vec<RangeInclusive<u16>> {
    list.as_array().into_iter().flatten().filter_map(part).collect()
}

fn part(value: &Value) -> Option<RangeInclusive<u16>> {
    let port = |value: &Value| u16::try_from(value.as_u64()?).ok();
    match value["range"].as_array().map(Vec::as_slice) {
        Some([first, last]) => Some(port(first)?..=port(last)?),
        Some(_) => None,
        None => port(value).map(|port| port..=port),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn wanted() -> Wanted {
        Wanted { range: 10_000..=15_000, v4: true, v6: false, loopback: false }
    }

    fn chain(family: &str, policy: &str) -> Value {
        json!({ "chain": { "family": family, "table": "filter", "name": "input", "handle": 1,
                           "type": "filter", "hook": "input", "prio": 0, "policy": policy } })
    }

    fn rule(chain: &str, expr: Value) -> Value {
        json!({ "rule": { "family": "inet", "table": "filter", "chain": chain, "handle": 2, "expr": expr } })
    }

    fn dport(right: Value) -> Value {
        json!({ "match": { "op": "==", "left": { "payload": { "protocol": "tcp", "field": "dport" } },
                           "right": right } })
    }

    fn check(objects: &[Value], expected: &[&str]) {
        let text = json!({ "nftables": objects }).to_string();
        let found: Vec<_> = shut(&text, &wanted()).iter().map(Shut::to_string).collect();
        assert_eq!(found, expected, "{text}");
    }

    const SHUT: [&str; 1] = ["nft inet filter input"];

    #[test]
    fn a_chain_is_shut_by_policy_or_by_its_last_rule() {
        check(&[], &[]);
        check(&[chain("inet", "accept")], &[]);
        check(&[chain("inet", "drop")], &SHUT);
        check(&[chain("ip", "drop")], &["nft ip filter input"]);
        check(&[chain("ip6", "drop")], &[]);
        check(&[chain("inet", "accept"), rule("input", json!([{ "drop": null }]))], &SHUT);
        check(&[chain("inet", "accept"), rule("input", json!([{ "reject": { "type": "icmpx" } }]))], &SHUT);
        check(&[chain("inet", "accept"), rule("input", json!([dport(json!(25)), { "drop": null }]))], &[]);
        check(&[chain("inet", "accept"), rule("other", json!([{ "drop": null }]))], &[]);
        assert!(shut("no JSON", &wanted()).is_empty());
    }

    #[test]
    fn a_rule_for_the_range_opens_it() {
        let set = json!({ "set": { "family": "inet", "table": "filter", "name": "open", "type": "inet_service",
                                   "elem": [22, { "range": [10_000, 15_000] }] } });
        let interface = |op: &str, name: &str| json!({ "match": { "op": op, "left": { "meta": { "key": "iifname" } }, "right": name } });
        let state = |right: Value| json!({ "match": { "op": "in", "left": { "ct": { "key": "state" } }, "right": right } });
        let protocol = |name: &str| json!({ "match": { "op": "==", "left": { "meta": { "key": "l4proto" } }, "right": name } });
        for (condition, opens) in [
            (dport(json!({ "range": [10_000, 15_000] })), true),
            (
                dport(json!({ "set": [22, { "range": [10_000, 12_000] }, { "range": [12_001, 15_000] }] })),
                true,
            ),
            (dport(json!("@open")), true),
            (dport(json!("@other")), false),
            (dport(json!({ "range": [10_000, 14_999] })), false),
            (dport(json!(22)), false),
            (interface("==", "eth0"), true),
            (interface("==", "lo"), false),
            (interface("!=", "lo"), true),
            (state(json!(["established", "related"])), false),
            (state(json!("new")), true),
            (protocol("icmp"), false),
            (protocol("tcp"), true),
            (json!({ "xt": { "type": "match", "name": "owner" } }), false),
        ] {
            let expected: &[&str] = if opens { &[] } else { &SHUT };
            let open = rule("mine", json!([condition, { "counter": { "packets": 0 } }, { "accept": null }]));
            check(&[chain("inet", "drop"), set.clone(), open], expected);
        }
    }
}
