//! A firewall of the host that drops what nothing lets in. It has to let the range in by a rule, which `serve`
//! adds only if it is told to.

use crate::config::Config;
use crate::kernel::host_firewall::opening::spoken;
use crate::kernel::host_firewall::{Look, Shut, Wanted, look};

use super::Check;

const NAME: &str = "firewall";

pub fn check(config: &Config) -> Check {
    let wanted = Wanted::new(&config.addresses, &config.range);
    let Look { shut, looked, refused } = look(&wanted);
    if !shut.is_empty() {
        return judge(config, &shut);
    }
    if !refused.is_empty() {
        return Check::not_known(NAME, format!("not known, {}", refused.join(", ")), "ask as root");
    }
    if looked.is_empty() {
        return Check::ok(NAME, "neither nft nor iptables is here");
    }
    Check::ok(NAME, format!("nothing that drops by default ({})", looked.join(", ")))
}

fn judge(config: &Config, shut: &[Shut]) -> Check {
    let names: Vec<_> = shut.iter().map(Shut::to_string).collect();
    let seen = format!("drops by default: {}", names.join(", "));
    let ours = shut.iter().all(|chain| matches!(chain, Shut::Nft { .. }));
    if config.open_host_firewall && ours {
        return Check::ok(NAME, format!("{seen}; serve lets the range in"));
    }
    Check::degraded(NAME, seen, remedy(config, &shut[0]))
}

fn remedy(config: &Config, shut: &Shut) -> String {
    let (first, last) = (config.range.start(), config.range.end());
    match shut {
        Shut::Nft { .. } => {
            let rule = spoken(shut, &config.addresses, &config.range).unwrap_or_default();
            format!("filter.open_host_firewall = true, or for each address: nft {rule}")
        }
        Shut::Iptables(program) => {
            format!("one rule: {program} -I INPUT -p tcp --dport {first}:{last} -j ACCEPT")
        }
    }
}
