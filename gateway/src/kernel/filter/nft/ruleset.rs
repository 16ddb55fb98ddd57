//! The table as text, in the language of nft(8). What it judges is what `portcullis_ebpf::verdict` judges.

use std::fmt::Write;
use std::net::IpAddr;

use portcullis_ebpf::layout::{Limit, MAX_SOURCES};
use portcullis_ebpf::verdict::Verdict;

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
const RATES: &str = "rates";
/// Set: what sources have.
const SOURCES: &str = "sources";

/// The sets of what is kept of each broker while it is open.
pub fn kept(plan: &Plan) -> Vec<&'static str> {
    COUNTED.into_iter().chain(plan.limits.broker.is_on().then_some(RATES)).collect()
}

/// Before the priority `filter`, where firewalls of hosts usually stand (nft(8), "Hook types").
const PRIORITY: i32 = -10;

/// The name of the set `name` for the family of `ip`.
pub fn set(name: &str, ip: IpAddr) -> String {
    format!("{name}_{}", if ip.is_ipv4() { V4.name } else { V6.name })
}

/// What differs between the families.
struct Family {
    name: &'static str,
    protocol: &'static str,
    address_type: &'static str,
    /// Who pays for a new connection; see `portcullis_ebpf::rate::source`.
    source: &'static str,
}

const V4: Family = Family { name: "v4", protocol: "ip", address_type: "ipv4_addr", source: "ip saddr" };
const V6: Family = Family {
    name: "v6",
    protocol: "ip6",
    address_type: "ipv6_addr",
    source: "ip6 saddr & ffff:ffff:ffff:ffff::",
};

/// Commands that make the table `name` in the place of any that has this name.
pub fn table(name: &str, plan: &Plan) -> String {
    let of = |v4: bool| {
        let addresses = plan.addresses.iter().filter(move |ip| ip.is_ipv4() == v4);
        addresses.map(IpAddr::to_string).collect::<Vec<_>>()
    };
    let families = [(V4, of(true)), (V6, of(false))];
    let mut body = String::new();
    for verdict in Verdict::ALL {
        put(&mut body, &format!("counter {} {{ }}", verdict.name()));
    }
    let mut judge = String::new();
    for (family, addresses) in families.iter().filter(|(_, addresses)| !addresses.is_empty()) {
        body += &sets(family, plan, addresses.len());
        body += &chains(family, plan);
        judge += &judged(family, addresses, plan);
    }
    format!(
        "add table inet {name}\ndelete table inet {name}\ntable inet {name} {{\n{body}\
         chain input {{\ntype filter hook input priority {PRIORITY}; policy accept;\n{judge}\
         counter name {}\n}}\n}}\n",
        Verdict::NotJudged.name()
    )
}

fn put(text: &mut String, line: &str) {
    // Writing to a string does not fail.
    let _ = writeln!(text, "{line}");
}

/// New connections to our addresses and range, and the odd flags of scanners.
fn judged(family: &Family, addresses: &[String], plan: &Plan) -> String {
    let Family { name, protocol, .. } = family;
    let (first, last) = (plan.range.start(), plan.range.end());
    let excluded: Vec<_> = plan.exclude.iter().map(u16::to_string).collect();
    let but = if excluded.is_empty() {
        String::new()
    } else {
        format!(" tcp dport != {{ {} }}", excluded.join(", "))
    };
    format!(
        "tcp flags & (ack | rst) == 0 {protocol} daddr {{ {} }} tcp dport {first}-{last}{but} goto judge_{name}\n",
        addresses.join(", ")
    )
}

fn sets(family: &Family, plan: &Plan, addresses: usize) -> String {
    let Family { name, address_type, .. } = family;
    let ports = usize::from(plan.range.end() - plan.range.start()) + 1;
    // Twice as many as there can be: a transaction puts in before it takes out.
    let size = addresses * ports * 2;
    let mut text = String::new();
    let mut set = |set: &str, what: String| put(&mut text, &format!("set {set}_{name} {{ {what} }}"));
    let broker = format!("type {address_type} . inet_service");
    set(ANYONE, format!("{broker}; flags timeout;"));
    set(NAMED, format!("{broker}; flags timeout;"));
    set(CLIENTS, format!("{broker} . {address_type}; flags interval, timeout;"));
    for counted in COUNTED {
        set(counted, format!("{broker}; flags dynamic; size {size};"));
    }
    let paid = |limit: Limit| format!("flags dynamic, timeout; timeout {}s;", memory(limit));
    if plan.limits.source.is_on() {
        let paid = paid(plan.limits.source);
        set(SOURCES, format!("type {address_type}; {paid} size {MAX_SOURCES};"));
    }
    if plan.limits.broker.is_on() {
        set(RATES, format!("{broker}; {} size {size};", paid(plan.limits.broker)));
    }
    text
}

/// What becomes of what is judged. What does not begin a connection is neither limited nor counted for its
/// broker. The limits come last: only who may come in can use up what others have.
fn chains(family: &Family, plan: &Plan) -> String {
    let Family { name, protocol, source, .. } = family;
    let broker = format!("{protocol} daddr . tcp dport");
    let count = |set: &str| format!("add @{set}_{name} {{ {broker} counter }}");
    let limit = |set: &str, key: &str, limit: Limit| {
        let rule = || format!("update @{set}_{name} {{ {key} {} }} goto over_{name}", over(limit));
        limit.is_on().then(rule).unwrap_or_default()
    };
    let open = format!("counter name {} accept", Verdict::Open.name());
    let drops = |verdict: Verdict| format!("counter name {} drop", verdict.name());
    let chain =
        |chain: &str, rules: &[String]| format!("chain {chain}_{name} {{\n{}\n}}\n", rules.join("\n"));
    [
        chain("over", &[count(RATE_LIMITED), drops(Verdict::RateLimited)]),
        chain(
            "stranger",
            &[format!("tcp flags & syn == syn {}", count(WRONG_SOURCE)), drops(Verdict::WrongSource)],
        ),
        chain(
            "admit",
            &[
                format!("tcp flags & syn == 0 {open}"),
                limit(SOURCES, source, plan.limits.source),
                limit(RATES, &broker, plan.limits.broker),
                count(LET_IN),
                open,
            ],
        ),
        chain(
            "judge",
            &[
                format!("{broker} @{ANYONE}_{name} goto admit_{name}"),
                format!("{broker} . {protocol} saddr @{CLIENTS}_{name} goto admit_{name}"),
                format!("{broker} @{NAMED}_{name} goto stranger_{name}"),
                drops(Verdict::Closed),
            ],
        ),
    ]
    .concat()
}

/// The units of a limit, and how long they are in nanoseconds.
const UNITS: [(&str, u64); 4] = [
    ("second", 1_000_000_000),
    ("minute", 60_000_000_000),
    ("hour", 3_600_000_000_000),
    ("day", 86_400_000_000_000),
];

/// `limit`, as a condition that holds for what is over it.
fn over(limit: Limit) -> String {
    let Limit { interval_ns, ahead_ns } = limit;
    let fits = |(_, unit_ns): &(&str, u64)| *unit_ns >= interval_ns;
    let (unit, unit_ns) = UNITS.into_iter().find(fits).unwrap_or(UNITS[3]);
    let rate = (unit_ns / interval_ns).max(1);
    let burst = (ahead_ns / interval_ns + 1).min(u32::MAX.into());
    format!("limit rate over {rate}/{unit} burst {burst} packets")
}

/// How long it has to be remembered what somebody has paid, in seconds: then all of it is given back. A day
/// at most.
fn memory(limit: Limit) -> u64 {
    let whole_ns = limit.ahead_ns.saturating_add(limit.interval_ns);
    whole_ns.div_ceil(1_000_000_000).clamp(60, 24 * 60 * 60)
}

#[cfg(test)]
mod tests {
    use portcullis_ebpf::layout::Limits;

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

    #[test]
    fn a_limit_is_written_in_the_unit_that_holds_it() {
        let hour = 3_600_000_000_000;
        for (limit, expected, remembered) in [
            (Limit::new(200, 2_000), "200/second burst 2000", 60),
            (Limit::new(1, 1), "1/second burst 1", 60),
            (Limit::new(3, 100), "3/second burst 100", 60),
            (Limit::new(1, 600), "1/second burst 600", 600),
            (Limit { interval_ns: hour, ahead_ns: 3 * hour }, "1/hour burst 4", 4 * 3600),
            (Limit { interval_ns: hour, ahead_ns: 30 * hour }, "1/hour burst 31", 24 * 3600),
            (Limit { interval_ns: hour / 2, ahead_ns: 0 }, "2/hour burst 1", 1800),
            (Limit { interval_ns: 48 * hour, ahead_ns: 0 }, "1/day burst 1", 24 * 3600),
            (Limit::new(u32::MAX, 7), "1000000000/second burst 7", 60),
        ] {
            assert_eq!(over(limit), format!("limit rate over {expected} packets"), "{limit:?}");
            assert_eq!(memory(limit), remembered, "{limit:?}");
        }
    }

    #[test]
    fn a_table_has_what_its_plan_names_and_nothing_else() {
        let text = table("t", &plan(&["192.0.2.1"]));
        assert!(text.starts_with("add table inet t\ndelete table inet t\ntable inet t {\n"), "{text}");
        assert!(!text.contains("_v6") && !text.contains("limit rate") && !text.contains("!="), "{text}");
        let mut both = plan(&["192.0.2.1", "2001:db8::1", "192.0.2.2"]);
        both.limits = Limits { source: Limit::new(200, 2_000), broker: Limit::new(20, 100) };
        both.exclude = vec![14_000, 14_001];
        let text = table("t", &both);
        for part in [
            "ip daddr { 192.0.2.1, 192.0.2.2 } tcp dport 10000-15000 tcp dport != { 14000, 14001 } goto judge_v4",
            "ip6 daddr { 2001:db8::1 } tcp dport 10000-15000 tcp dport != { 14000, 14001 } goto judge_v6",
            "update @sources_v6 { ip6 saddr & ffff:ffff:ffff:ffff:: limit rate over 200/second burst 2000 packets }",
            "update @rates_v4 { ip daddr . tcp dport limit rate over 20/second burst 100 packets } goto over_v4",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }
}
