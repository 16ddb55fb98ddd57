//! What this process may.

use crate::config::Backend;

use super::Check;

/// Bits of capabilities(7).
const SYS_ADMIN: u32 = 21;
pub const NET_ADMIN: u32 = 12;
pub const NET_RAW: u32 = 13;
const NEEDED: [(u32, &str); 3] = [(NET_ADMIN, "CAP_NET_ADMIN"), (39, "CAP_BPF"), (38, "CAP_PERFMON")];

/// Those that the filter `backend` needs; nftables the first alone.
fn needed(backend: Backend) -> &'static [(u32, &'static str)] {
    if backend == Backend::Nft { &NEEDED[..1] } else { &NEEDED }
}

pub fn capabilities(backend: Backend) -> Check {
    const NAME: &str = "capabilities";
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let Some(effective) = effective(&status) else {
        return Check::gate(backend, NAME, "no CapEff in /proc/self/status", "mount /proc");
    };
    let needed = needed(backend);
    let missing = missing(effective, needed);
    if missing.is_empty() {
        let names: Vec<_> = needed.iter().map(|(_, name)| *name).collect();
        return Check::ok(NAME, names.join(", "));
    }
    let remedy = format!("run serve as root, or with AmbientCapabilities={} in its unit", missing.join(" "));
    Check::gate(backend, NAME, format!("without {}", missing.join(", ")), remedy)
}

/// Whether this process has the capability with this number. What cannot be known is not in the way.
pub fn may(capability: u32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    effective(&status).is_none_or(|set| set & (1 << capability) != 0)
}

/// The effective set, from /proc/PID/status (proc(5)).
fn effective(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

fn missing(effective: u64, needed: &[(u32, &'static str)]) -> Vec<&'static str> {
    let has = |bit: u32| effective & (1 << bit) != 0;
    let needed = needed.iter().filter(|(bit, name)| {
        // CAP_SYS_ADMIN holds what was split off from it, and the network is no part of that.
        !has(*bit) && (*name == "CAP_NET_ADMIN" || !has(SYS_ADMIN))
    });
    needed.map(|(_, name)| *name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_effective_set_is_read() {
        let status = "Name:\tx\nCapPrm:\t0000000000000001\nCapEff:\t000001ffffffffff\nCapBnd:\t0\n";
        assert_eq!(effective(status), Some(0x1ff_ffff_ffff));
        assert_eq!(effective("CapEff:\tnonsense\n"), None);
        assert_eq!(effective(""), None);
    }

    #[test]
    fn programs_need_three_capabilities_and_nftables_one() {
        for (effective, of_programs, of_nftables) in [
            (0x1ff_ffff_ffff, &[][..], &[][..]),
            (0, &["CAP_NET_ADMIN", "CAP_BPF", "CAP_PERFMON"], &["CAP_NET_ADMIN"]),
            (1 << 12 | 1 << 38 | 1 << 39, &[], &[]),
            (1 << 12 | 1 << 39, &["CAP_PERFMON"], &[]),
            (1 << 12, &["CAP_BPF", "CAP_PERFMON"], &[]),
            (1 << 21, &["CAP_NET_ADMIN"], &["CAP_NET_ADMIN"]),
        ] {
            assert_eq!(missing(effective, needed(Backend::Auto)), of_programs, "{effective:x}");
            assert_eq!(missing(effective, needed(Backend::Nft)), of_nftables, "{effective:x}");
        }
    }
}
