//! What `iptables-save` prints (iptables-save(8)).

use std::ops::RangeInclusive;

use super::{Shut, Wanted, covered};

pub fn shut_v4(text: &str, wanted: &Wanted) -> Vec<Shut> {
    shut(text, "iptables", wanted)
}

pub fn shut_v6(text: &str, wanted: &Wanted) -> Vec<Shut> {
    shut(text, "ip6tables", wanted)
}

/// The chain INPUT, if it drops what nothing lets in, and nothing lets in what is wanted.
fn shut(text: &str, program: &'static str, wanted: &Wanted) -> Vec<Shut> {
    let lines = text.lines().skip_while(|line| *line != "*filter").take_while(|line| *line != "COMMIT");
    let lines: Vec<_> = lines.collect();
    let rules: Vec<Vec<&str>> = lines
        .iter()
        .filter(|line| line.starts_with("-A "))
        .map(|line| line.split_whitespace().collect())
        .collect();
    let dropped = lines.iter().any(|line| line.starts_with(":INPUT DROP"));
    let last = rules.iter().rfind(|rule| rule.get(1) == Some(&"INPUT"));
    // `-A INPUT -j DROP`, with no condition; REJECT may say how.
    let closed = last
        .is_some_and(|rule| rule.get(2) == Some(&"-j") && matches!(rule.get(3), Some(&("DROP" | "REJECT"))));
    let open = rules.iter().any(|rule| lets_in(rule, wanted));
    if (dropped || closed) && !open { vec![Shut::Iptables(program)] } else { Vec::new() }
}

/// Whether a rule accepts new connections to all of the range. Conditions on addresses are taken as meant.
fn lets_in(rule: &[&str], wanted: &Wanted) -> bool {
    let mut accepts = false;
    for pair in rule.windows(2) {
        let fits = match pair {
            ["-j", target] => {
                accepts = *target == "ACCEPT";
                true
            }
            ["-p", protocol] => matches!(*protocol, "tcp" | "all"),
            ["-i", interface] => (*interface == "lo") == wanted.loopback,
            ["--dport" | "--dports", ports] => covered(&parse(ports), &wanted.range),
            ["--ctstate" | "--state", states] => states.split(',').any(|state| state == "NEW"),
            _ => true,
        };
        if !fits {
            return false;
        }
    }
    accepts
}

/// `22`, `10000:15000`, or some of them with commas between.
fn parse(ports: &str) -> Vec<RangeInclusive<u16>> {
    let parts = ports.split(',').filter_map(|part| {
        let (first, last) = part.split_once(':').unwrap_or((part, part));
        Some(first.parse().ok()?..=last.parse().ok()?)
    });
    parts.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(policy: &str, rules: &[&str], expected: bool) {
        let wanted = Wanted { range: 10_000..=15_000, v4: true, v6: false, loopback: false };
        let text = format!(
            "# by iptables-save\n*nat\n:INPUT DROP [0:0]\nCOMMIT\n*filter\n:INPUT {policy} [0:0]\n\
             :FORWARD DROP [0:0]\n:OUTPUT ACCEPT [0:0]\n{}\nCOMMIT\n",
            rules.join("\n")
        );
        assert_eq!(!shut_v4(&text, &wanted).is_empty(), expected, "{policy} {rules:?}");
    }

    #[test]
    fn a_chain_is_shut_by_policy_or_by_its_last_rule() {
        check("ACCEPT", &[], false);
        check("DROP", &[], true);
        check("ACCEPT", &["-A INPUT -j DROP"], true);
        check("ACCEPT", &["-A INPUT -j REJECT --reject-with icmp-host-prohibited"], true);
        check("ACCEPT", &["-A INPUT -s 10.0.0.9/32 -j DROP"], false);
        check("ACCEPT", &["-A FORWARD -j DROP"], false);
        assert!(shut_v4("", &Wanted { range: 1..=1, v4: true, v6: true, loopback: false }).is_empty());
    }

    #[test]
    fn a_rule_for_the_range_opens_it() {
        check("DROP", &["-A INPUT -p tcp -m tcp --dport 10000:15000 -j ACCEPT"], false);
        check("DROP", &["-A mine -s 10.0.0.0/8 -p tcp -m tcp --dport 1024:65535 -j ACCEPT"], false);
        check("DROP", &["-A INPUT -p tcp -m multiport --dports 22,10000:15000 -j ACCEPT"], false);
        check("DROP", &["-A INPUT -i eth0 -j ACCEPT", "-A INPUT -j DROP"], false);
        for rule in [
            "-A INPUT -p tcp -m tcp --dport 10000:14999 -j ACCEPT",
            "-A INPUT -p udp -m udp --dport 10000:15000 -j ACCEPT",
            "-A INPUT -p tcp -m tcp --dport 10000:15000 -j DROP",
            "-A INPUT -i lo -j ACCEPT",
            "-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
            "-A INPUT -p icmp -j ACCEPT",
        ] {
            check("DROP", &[rule], true);
        }
    }
}
