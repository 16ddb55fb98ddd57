//! What this thread's network namespace saw of packets.

use std::fs;

/// Segments that TCP threw away for their checksum: they were let in.
///
/// # Panics
/// The kernel does not count them.
pub fn bad_checksums() -> u64 {
    let text = read("/proc/thread-self/net/snmp");
    column(&text, "Tcp:", "InCsumErrors").unwrap_or_else(|| panic!("no count of bad checksums in {text}"))
}

/// Packets that came in by `link`.
///
/// # Panics
/// There is no such link.
pub fn arrived(link: &str) -> u64 {
    let text = read("/proc/thread-self/net/dev");
    received(&text, link).unwrap_or_else(|| panic!("no link {link} in {text}"))
}

/// `name` of the pair of lines that begin with `prefix`: names, then values (proc_net(5), `snmp`).
fn column(text: &str, prefix: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(prefix));
    let at = lines.next()?.split_whitespace().position(|column| column == name)?;
    lines.next()?.split_whitespace().nth(at)?.parse().ok()
}

/// The second number of a link: packets received (proc_net(5), `dev`).
fn received(text: &str, link: &str) -> Option<u64> {
    let links = text.lines().filter_map(|line| line.split_once(':'));
    let (_, numbers) = links.into_iter().find(|(name, _)| name.trim() == link)?;
    numbers.split_whitespace().nth(1)?.parse().ok()
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_is_found_by_its_name() {
        let text = "Ip: Forwarding InCsumErrors\nIp: 1 7\nTcp: InErrs OutRsts InCsumErrors\nTcp: 3 4 5\n";
        assert_eq!(column(text, "Tcp:", "InCsumErrors"), Some(5));
        assert_eq!(column(text, "Tcp:", "InSegs"), None);
    }

    #[test]
    fn a_link_is_found_by_its_whole_name() {
        let text = "Inter-|   Receive\n face |bytes    packets errs\nshout: 1 2 3\n  out: 840 12 0\n";
        assert_eq!((received(text, "out"), received(text, "in")), (Some(12), None));
    }
}
