//! A firewall of the host that drops what nothing lets in. It has to let the range in by one rule; ours
//! adds none.

mod iptables;
mod nft;

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::config::Config;
use crate::kernel::nft::find;

use super::Check;

const NAME: &str = "firewall";

/// New connections that have to come in.
#[derive(Clone, Debug)]
struct Wanted {
    range: RangeInclusive<u16>,
    v4: bool,
    v6: bool,
    /// All of them by the loopback interface.
    loopback: bool,
}

pub fn check(config: &Config) -> Check {
    let addresses = &config.addresses;
    let wanted = Wanted {
        range: config.range.clone(),
        v4: addresses.iter().any(|address| address.is_ipv4()),
        v6: addresses.iter().any(|address| address.is_ipv6()),
        loopback: addresses.iter().all(|address| address.is_loopback()),
    };
    let (mut looked, mut shut, mut refused) = (Vec::new(), Vec::new(), Vec::new());
    for source in sources(&wanted) {
        match output(&source.program, source.arguments) {
            Ok(text) => {
                shut.extend((source.read)(&text, &wanted));
                looked.push(source.name);
            }
            Err(why) => refused.push(format!("{}: {why}", source.name)),
        }
    }
    shut.retain(|chain| !iptables_knows_better(chain, &wanted));
    if !shut.is_empty() {
        return Check::degraded(
            NAME,
            format!("drops by default: {}", shut.join(", ")),
            remedy(&wanted, &shut),
        );
    }
    if !refused.is_empty() {
        return Check::not_known(NAME, format!("not known, {}", refused.join(", ")), "ask as root");
    }
    if looked.is_empty() {
        return Check::ok(NAME, "neither nft nor iptables is here");
    }
    Check::ok(NAME, format!("nothing that drops by default ({})", looked.join(", ")))
}

/// Whether `chain`, shut as nft shows it, is open as iptables shows it: nft cannot read all that iptables
/// wrote.
fn iptables_knows_better(chain: &str, wanted: &Wanted) -> bool {
    let (name, read): (_, fn(&str, &Wanted) -> Vec<String>) = match chain {
        "nft ip filter INPUT" => ("iptables-nft-save", iptables::shut_v4),
        "nft ip6 filter INPUT" => ("ip6tables-nft-save", iptables::shut_v6),
        _ => return false,
    };
    let listed = find(name).and_then(|program| output(&program, &[]).ok());
    listed.is_some_and(|text| text.contains(":INPUT ") && read(&text, wanted).is_empty())
}

fn remedy(wanted: &Wanted, shut: &[String]) -> String {
    let (first, last) = (wanted.range.start(), wanted.range.end());
    if shut[0].starts_with("nft") {
        return format!("one rule in that chain, in front: tcp dport {first}-{last} accept");
    }
    format!("one rule: iptables -I INPUT -p tcp --dport {first}:{last} -j ACCEPT (ip6tables for IPv6)")
}

/// A program that lists rules.
struct Source {
    name: &'static str,
    program: PathBuf,
    arguments: &'static [&'static str],
    /// The chains that let nothing of what is wanted in.
    read: fn(&str, &Wanted) -> Vec<String>,
}

/// What there is to ask. nft shows what iptables wrote too, unless that is the old iptables, whose tables
/// are looked at only where there are any: to list them would make them.
fn sources(wanted: &Wanted) -> Vec<Source> {
    let source =
        |name: &'static str, arguments, read| Some(Source { name, program: find(name)?, arguments, read });
    let old = |list: &str| std::fs::read_to_string(list).is_ok_and(|names| !names.trim().is_empty());
    let nft = source("nft", &["--json", "list", "ruleset"], nft::shut as fn(&str, &Wanted) -> _);
    let mut sources = Vec::new();
    if wanted.v4 && old("/proc/net/ip_tables_names") {
        sources.extend(source("iptables-legacy-save", &[], iptables::shut_v4));
    }
    if wanted.v6 && old("/proc/net/ip6_tables_names") {
        sources.extend(source("ip6tables-legacy-save", &[], iptables::shut_v6));
    }
    match nft {
        Some(nft) => sources.push(nft),
        None => {
            sources.extend(wanted.v4.then(|| source("iptables-save", &[], iptables::shut_v4)).flatten());
            sources.extend(wanted.v6.then(|| source("ip6tables-save", &[], iptables::shut_v6)).flatten());
        }
    }
    sources
}

fn output(program: &Path, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let output = output.map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(said.lines().next().map_or_else(|| output.status.to_string(), |line| line.trim().to_owned()))
}

/// Whether `parts` hold all of `range`.
fn covered(parts: &[RangeInclusive<u16>], range: &RangeInclusive<u16>) -> bool {
    range.clone().all(|port| parts.iter().any(|part| part.contains(&port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_may_cover_together() {
        assert!(covered(&[1..=5, 6..=9], &(2..=8)));
        assert!(!covered(&[1..=5, 7..=9], &(2..=8)));
        assert!(!covered(&[], &(2..=8)));
    }
}
