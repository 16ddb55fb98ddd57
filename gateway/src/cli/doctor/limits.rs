//! Descriptors: what a full range takes.

use nix::sys::resource::{Resource, getrlimit};

use crate::config::Config;

use super::Check;

/// Store, log, listeners, maps, API clients and the like.
const OTHERS: u64 = 256;

pub fn descriptors(config: &Config, steered: bool) -> Check {
    const NAME: &str = "descriptors";
    // `serve` raises the soft limit to the hard one.
    let hard = match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok((_, hard)) => hard,
        Err(error) => return Check::degraded(NAME, format!("getrlimit: {error}"), "ask with `ulimit -Hn`"),
    };
    let wanted = wanted(config, steered);
    let seen = format!("{hard} allowed here, a full range takes {wanted}");
    if hard >= wanted {
        return Check::ok(NAME, seen);
    }
    Check::degraded(NAME, seen, format!("LimitNOFILE={wanted} in the unit of serve, or a smaller range"))
}

/// A session takes two; without steering, a broker has a listener on each core.
fn wanted(config: &Config, steered: bool) -> u64 {
    let lent = config.range.clone().filter(|port| !config.exclude.contains(port)).count();
    let brokers = (lent * config.addresses.len()) as u64;
    let listeners = if steered { 0 } else { config.cores as u64 };
    brokers * (2 + listeners) + OTHERS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_range_is_reckoned() {
        let text = "addresses = [\"127.0.80.1\", \"127.0.80.2\"]\ncores = 4\n\
                    range.first = 10000\nrange.last = 10009\nrange.exclude = [10005, 9999]\n";
        let config = Config::parse(text, |_| None).expect("is sound");
        assert_eq!(wanted(&config, true), 18 * 2 + OTHERS);
        assert_eq!(wanted(&config, false), 18 * 6 + OTHERS);
    }
}
