//! The ports that the kernel takes for outgoing connections, and ours.

use std::ops::RangeInclusive;

use crate::config::Config;

use super::Check;

const LOCAL: &str = "/proc/sys/net/ipv4/ip_local_port_range";
const RESERVED: &str = "/proc/sys/net/ipv4/ip_local_reserved_ports";

pub fn local(config: &Config) -> Check {
    const NAME: &str = "local ports";
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let Some(local) = range(&read(LOCAL)) else {
        return Check::degraded(NAME, format!("{LOCAL} is not readable"), "mount /proc");
    };
    let shared = shared(&config.range, &local, &reserved(&read(RESERVED)));
    let seen = format!("the kernel takes {}-{} for outgoing connections", local.start(), local.end());
    if shared == 0 {
        return Check::ok(NAME, seen);
    }
    let (first, last) = (config.range.start(), config.range.end());
    Check::degraded(
        NAME,
        format!("{seen}, {shared} of them are broker ports"),
        format!("sysctl net.ipv4.ip_local_reserved_ports={first}-{last}, beside those that are in it"),
    )
}

/// Two numbers, as in `ip_local_port_range` (the kernel's Documentation/networking/ip-sysctl.rst).
fn range(text: &str) -> Option<RangeInclusive<u16>> {
    let mut numbers = text.split_whitespace().map(str::parse);
    Some(numbers.next()?.ok()?..=numbers.next()?.ok()?)
}

/// Ports and ranges with commas between, as in `ip_local_reserved_ports` (the same page).
fn reserved(text: &str) -> Vec<RangeInclusive<u16>> {
    let parts = text.trim().split(',').filter_map(|part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.trim().parse().ok()?..=last.trim().parse().ok()?)
    });
    parts.collect()
}

/// How many ports are in both, and not reserved.
fn shared(
    ours: &RangeInclusive<u16>,
    local: &RangeInclusive<u16>,
    reserved: &[RangeInclusive<u16>],
) -> usize {
    let free = |port: &u16| !reserved.iter().any(|range| range.contains(port));
    ours.clone().filter(|port| local.contains(port) && free(port)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read() {
        assert_eq!(range("32768\t60999\n"), Some(32_768..=60_999));
        assert_eq!(range("32768"), None);
        assert_eq!(range(""), None);
        assert_eq!(reserved("\n"), []);
        assert_eq!(reserved("8080,9148-9150\n"), [8080..=8080, 9148..=9150]);
    }

    #[test]
    fn what_is_reserved_is_not_shared() {
        let ours = 10_000..=15_000;
        for (local, reserved, expected) in [
            (32_768..=60_999, vec![], 0),
            (1_024..=65_535, vec![], 5_001),
            (14_000..=60_999, vec![], 1_001),
            (1_024..=65_535, vec![10_000..=15_000], 0),
            (1_024..=65_535, vec![10_000..=12_000, 12_002..=15_000], 1),
        ] {
            assert_eq!(shared(&ours, &local, &reserved), expected, "{local:?} {reserved:?}");
        }
    }
}
