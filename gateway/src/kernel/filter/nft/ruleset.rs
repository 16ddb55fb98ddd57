//! The table without brokers: its counters, sets and chains. The rules in them are in `rules`.

use std::collections::HashSet;
use std::net::IpAddr;

use nftables::schema::{Set, SetFlag, SetType, SetTypeValue};
use portcullis_ebpf::layout::{Limit, MAX_SOURCES};
use portcullis_ebpf::verdict::Verdict;
use serde_json::Value;

use super::draft::Draft;
use super::limit::{memory, number};
use super::rules::{chains, counted, judged};
use crate::kernel::object::Plan;

/// Set: open brokers that are for everybody.
pub const ANYONE: &str = "anyone";
/// Set: open brokers that are for a network.
pub const NAMED: &str = "named";
/// Set: those brokers with their networks.
pub const CLIENTS: &str = "clients";
/// Sets: brokers that new connections were counted for, by what became of them.
pub const LET_IN: &str = "let_in";
/// See [`LET_IN`].
pub const WRONG_SOURCE: &str = "wrong_source";
/// See [`LET_IN`].
pub const RATE_LIMITED: &str = "rate_limited";
/// All sets of counts.
pub const COUNTED: [&str; 3] = [LET_IN, WRONG_SOURCE, RATE_LIMITED];

/// Set: what brokers have paid for new connections.
pub const RATES: &str = "rates";
/// Set: what sources have.
pub const SOURCES: &str = "sources";

/// The sets of what is kept of each broker while it is open.
pub fn kept(plan: &Plan) -> Vec<&'static str> {
    COUNTED.into_iter().chain(plan.limits.broker.is_on().then_some(RATES)).collect()
}

/// Before the priority `filter`, where firewalls of hosts usually stand (nft(8), "Hook types").
const PRIORITY: i32 = -10;

/// Chain: all that comes in.
const INPUT: &str = "input";

/// The name of the set `name` for the family of `ip`.
pub fn set(name: &str, ip: IpAddr) -> String {
    format!("{name}_{}", if ip.is_ipv4() { V4.name } else { V6.name })
}

/// What differs between the families.
pub struct Family {
    pub name: &'static str,
    pub protocol: &'static str,
    address: SetType,
    /// What of a source pays for a new connection, unless it is all of it; see `portcullis_ebpf::rate::source`.
    pub source_mask: Option<&'static str>,
}

const V4: Family = Family { name: "v4", protocol: "ip", address: SetType::Ipv4Addr, source_mask: None };
const V6: Family = Family {
    name: "v6",
    protocol: "ip6",
    address: SetType::Ipv6Addr,
    source_mask: Some("ffff:ffff:ffff:ffff::"),
};

/// Commands that make the table `name` in the place of any that has this name.
pub fn table(name: &str, plan: &Plan) -> Vec<Value> {
    let mut draft = Draft::new(name);
    for verdict in Verdict::ALL {
        draft.counter(verdict.name());
    }
    draft.input(INPUT, PRIORITY);
    for family in [V4, V6] {
        let ours = |ip: &IpAddr| ip.is_ipv4() == (family.name == V4.name);
        let addresses: Vec<_> = plan.addresses.iter().copied().filter(ours).collect();
        if !addresses.is_empty() {
            sets(&mut draft, &family, plan, addresses.len());
            chains(&mut draft, &family, plan);
            draft.rule(INPUT, judged(&family, &addresses, plan));
        }
    }
    draft.rule(INPUT, vec![counted(Verdict::NotJudged)]);
    draft.commands()
}

fn sets(draft: &mut Draft, family: &Family, plan: &Plan, addresses: usize) {
    let ports = usize::from(plan.range.end() - plan.range.start()) + 1;
    // Twice as many as there can be: a transaction puts in before it takes out.
    let size = number((addresses * ports * 2) as u64);
    let broker = || vec![family.address, SetType::InetService];
    let mut add =
        |name: &str, types, kind| draft.set(declared(&format!("{name}_{}", family.name), types, kind));
    add(ANYONE, broker(), Kind::Open);
    add(NAMED, broker(), Kind::Open);
    add(CLIENTS, vec![family.address, SetType::InetService, family.address], Kind::Networks);
    for counted in COUNTED {
        add(counted, broker(), Kind::Counted { size });
    }
    let limits = plan.limits;
    if limits.source.is_on() {
        add(
            SOURCES,
            vec![family.address],
            Kind::Paid { limit: limits.source, size: number(MAX_SOURCES as u64) },
        );
    }
    if limits.broker.is_on() {
        add(RATES, broker(), Kind::Paid { limit: limits.broker, size });
    }
}

/// What a set is for.
enum Kind {
    /// Of brokers, while they are open.
    Open,
    /// The same, with networks.
    Networks,
    /// Of what rules count.
    Counted { size: u32 },
    /// Of what rules remember as paid.
    Paid { limit: Limit, size: u32 },
}

/// The set `name`, whose elements have `types`. Sets that rules put something in are not flagged `dynamic`:
/// nft 1.0.6 cannot read that word in JSON, and sets the flag by itself for a set that a rule of the same
/// transaction changes.
fn declared(name: &str, types: Vec<SetType>, kind: Kind) -> Set<'static> {
    let (flags, timeout, size): (&[SetFlag], _, _) = match kind {
        Kind::Open => (&[SetFlag::Timeout], None, None),
        Kind::Networks => (&[SetFlag::Interval, SetFlag::Timeout], None, None),
        Kind::Counted { size } => (&[], None, Some(size)),
        Kind::Paid { limit, size } => (&[SetFlag::Timeout], Some(memory(limit)), Some(size)),
    };
    let flags = HashSet::from_iter(flags.iter().copied());
    let set_type = match types[..] {
        [one] => SetTypeValue::Single(one),
        _ => SetTypeValue::Concatenated(types.into()),
    };
    Set {
        name: name.to_owned().into(),
        set_type,
        flags: Some(flags).filter(|flags| !flags.is_empty()),
        timeout,
        size,
        ..Set::default()
    }
}

#[cfg(test)]
mod tests {
    use portcullis_ebpf::layout::Limits;
    use serde_json::json;

    use super::*;

    fn plan(addresses: &[&str]) -> Plan {
        Plan {
            addresses: addresses.iter().map(|ip| ip.parse().expect("an address")).collect(),
            range: 10_000..=15_000,
            exclude: Vec::new(),
            interfaces: Vec::new(),
            hook: None,
            limits: Limits::default(),
        }
    }

    fn found<'a>(commands: &'a [Value], object: &str, key: &str, name: &str) -> Vec<&'a Value> {
        let objects = commands.iter().map(|command| &command["add"][object]);
        objects.filter(|object| object[key] == name).collect()
    }

    fn names(commands: &[Value], object: &str) -> Vec<String> {
        let names = commands.iter().filter_map(|command| command["add"][object]["name"].as_str());
        names.map(str::to_owned).collect()
    }

    #[test]
    fn a_table_has_what_its_plan_names_and_nothing_else() {
        let commands = table("t", &plan(&["192.0.2.1"]));
        let named = json!({ "table": { "family": "inet", "name": "t" } });
        assert_eq!(
            commands[..3],
            [json!({ "add": named }), json!({ "delete": named }), json!({ "add": named })]
        );
        let sets = ["anyone", "named", "clients", "let_in", "wrong_source", "rate_limited"];
        assert_eq!(names(&commands, "set"), sets.map(|set| format!("{set}_v4")));
        let chains = ["input", "over_v4", "stranger_v4", "admit_v4", "judge_v4"];
        assert_eq!(names(&commands, "chain"), chains);
        let text = json!(commands).to_string();
        assert!(!text.contains("_v6") && !text.contains("limit\"") && !text.contains("!="), "{text}");
    }

    #[test]
    fn what_is_judged_is_of_our_addresses_and_range() {
        let mut both = plan(&["192.0.2.1", "2001:db8::1", "192.0.2.2"]);
        both.exclude = vec![14_000, 14_001];
        let commands = table("t", &both);
        let rules = found(&commands, "rule", "chain", "input");
        let field =
            |protocol: &str, field: &str| json!({ "payload": { "protocol": protocol, "field": field } });
        let flags = json!({ "&": [field("tcp", "flags"), { "|": ["ack", "rst"] }] });
        let expected = |protocol: &str, addresses: &[&str], chain: &str| {
            json!([
                { "match": { "op": "==", "left": flags, "right": 0 } },
                { "match": { "op": "==", "left": field(protocol, "daddr"), "right": { "set": addresses } } },
                { "match": { "op": "==", "left": field("tcp", "dport"), "right": { "range": [10_000, 15_000] } } },
                { "match": { "op": "!=", "left": field("tcp", "dport"), "right": { "set": [14_000, 14_001] } } },
                { "goto": { "target": chain } },
            ])
        };
        assert_eq!(rules.len(), 3);
        assert_eq!(rules[0]["expr"], expected("ip", &["192.0.2.1", "192.0.2.2"], "judge_v4"));
        assert_eq!(rules[1]["expr"], expected("ip6", &["2001:db8::1"], "judge_v6"));
        assert_eq!(rules[2]["expr"], json!([{ "counter": "not_judged" }]));
    }

    #[test]
    fn a_limit_is_kept_by_source_and_by_broker() {
        let mut both = plan(&["192.0.2.1", "2001:db8::1"]);
        both.limits = Limits { source: Limit::new(200, 2_000), broker: Limit::new(20, 100) };
        let commands = table("t", &both);
        let rules = found(&commands, "rule", "chain", "admit_v6");
        let field =
            |protocol: &str, field: &str| json!({ "payload": { "protocol": protocol, "field": field } });
        let expected = |key: Value, set: &str, rate: u32, burst: u32| {
            let limit = json!({ "rate": rate, "per": "second", "burst": burst, "inv": true });
            let update = json!({ "op": "update", "elem": key, "set": set, "stmt": [{ "limit": limit }] });
            json!([{ "set": update }, { "goto": { "target": "over_v6" } }])
        };
        let source = json!({ "&": [field("ip6", "saddr"), "ffff:ffff:ffff:ffff::"] });
        let broker = json!({ "concat": [field("ip6", "daddr"), field("tcp", "dport")] });
        assert_eq!(rules[1]["expr"], expected(source, "@sources_v6", 200, 2_000));
        assert_eq!(rules[2]["expr"], expected(broker, "@rates_v6", 20, 100));
        let rates = json!({ "family": "inet", "table": "t", "name": "rates_v4", "flags": ["timeout"],
                            "type": ["ipv4_addr", "inet_service"], "timeout": 60, "size": 2 * 5_001 });
        assert_eq!(found(&commands, "set", "name", "rates_v4"), [&rates]);
    }
}
