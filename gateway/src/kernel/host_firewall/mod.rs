//! A firewall of the host that drops what nothing lets in, as nft and iptables list it. It has to let the
//! range in by a rule; [`opening`] puts it there.

mod iptables;
mod nft;
pub mod opening;

use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::nft::find;

/// New connections that have to come in.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Broker ports.
    pub range: RangeInclusive<u16>,
    /// To addresses of IPv4.
    pub v4: bool,
    /// To addresses of IPv6.
    pub v6: bool,
    /// All of them by the loopback interface.
    pub loopback: bool,
}

impl Wanted {
    /// To `range` of `addresses`.
    pub fn new(addresses: &[IpAddr], range: &RangeInclusive<u16>) -> Self {
        Self {
            range: range.clone(),
            v4: addresses.iter().any(IpAddr::is_ipv4),
            v6: addresses.iter().any(IpAddr::is_ipv6),
            loopback: addresses.iter().all(IpAddr::is_loopback),
        }
    }
}

/// A chain that drops what nothing lets in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shut {
    /// As nft names it.
    Nft {
        /// `inet`, `ip` or `ip6`.
        family: String,
        /// Its table.
        table: String,
        /// Its name.
        chain: String,
    },
    /// INPUT of the program `iptables` or `ip6tables`, which nft does not see.
    Iptables(&'static str),
}

impl fmt::Display for Shut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nft { family, table, chain } => write!(f, "nft {family} {table} {chain}"),
            Self::Iptables(program) => write!(f, "{program} INPUT"),
        }
    }
}

/// What a look at the firewall showed.
#[derive(Debug, Default)]
pub struct Look {
    /// The chains that let nothing of what is wanted in.
    pub shut: Vec<Shut>,
    /// Programs that told of their rules.
    pub looked: Vec<&'static str>,
    /// Those that did not, and why.
    pub refused: Vec<String>,
}

/// Asks all programs that know of rules.
pub fn look(wanted: &Wanted) -> Look {
    let mut look = Look::default();
    for source in sources(wanted) {
        match output(&source.program, source.arguments) {
            Ok(text) => {
                look.shut.extend((source.read)(&text, wanted));
                look.looked.push(source.name);
            }
            Err(why) => look.refused.push(format!("{}: {why}", source.name)),
        }
    }
    look.shut.retain(|chain| !iptables_knows_better(chain, wanted));
    look
}

/// Whether `chain`, shut as nft shows it, is open as iptables shows it: nft cannot read all that iptables
/// wrote.
fn iptables_knows_better(chain: &Shut, wanted: &Wanted) -> bool {
    let (name, read): (_, fn(&str, &Wanted) -> Vec<Shut>) = match chain.to_string().as_str() {
        "nft ip filter INPUT" => ("iptables-nft-save", iptables::shut_v4),
        "nft ip6 filter INPUT" => ("ip6tables-nft-save", iptables::shut_v6),
        _ => return false,
    };
    let listed = find(name).and_then(|program| output(&program, &[]).ok());
    listed.is_some_and(|text| text.contains(":INPUT ") && read(&text, wanted).is_empty())
}

/// A program that lists rules.
struct Source {
    name: &'static str,
    program: PathBuf,
    arguments: &'static [&'static str],
    /// The chains that let nothing of what is wanted in.
    read: fn(&str, &Wanted) -> Vec<Shut>,
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
