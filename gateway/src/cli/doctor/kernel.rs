//! The kernel: its version, and its type information.

use std::path::Path;

use crate::config::Backend;
use crate::kernel::hook::Hook;

use super::Check;

/// The first kernel with sk_lookup and with links for XDP, and the first with tcx.
const STEERING: (u32, u32) = (5, 9);
const TCX: (u32, u32) = (6, 6);

/// Type information of the running kernel.
const BTF: &str = "/sys/kernel/btf/vmlinux";

pub fn version(backend: Backend, hook: Option<Hook>) -> Check {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    judge(release.trim(), backend, hook)
}

fn judge(release: &str, backend: Backend, hook: Option<Hook>) -> Check {
    const NAME: &str = "kernel";
    let seen = format!("Linux {release}");
    let with_tc = hook.is_none_or(|hook| hook == Hook::Tc);
    match parse(release) {
        // No program of ours would run there.
        _ if matches!(backend, Backend::Nft | Backend::None) => Check::ok(NAME, seen),
        Some(version) if version < STEERING => {
            let remedy = "a kernel of at least 5.9, better 6.6";
            Check::gate(backend, NAME, format!("{seen}, without sk_lookup and links for XDP"), remedy)
        }
        Some(version) if version < TCX && with_tc => {
            let remedy = "a kernel of at least 6.6, or filter.hook = \"xdp\" or \"xdp-generic\"";
            Check::gate(backend, NAME, format!("{seen}, without tcx"), remedy)
        }
        _ => Check::ok(NAME, seen),
    }
}

fn parse(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// `loads` says whether the programs do, which has the last word.
pub fn btf(backend: Backend, loads: bool) -> Check {
    match (Path::new(BTF).exists(), loads) {
        (true, _) => Check::ok("btf", BTF),
        (false, true) => Check::ok("btf", format!("no {BTF}, the programs load without")),
        (false, false) => {
            Check::gate(backend, "btf", format!("no {BTF}"), "a kernel with CONFIG_DEBUG_INFO_BTF")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    #[test]
    fn versions_are_read() {
        for (release, expected) in [
            ("6.18.44", Some((6, 18))),
            ("6.1.0-23-amd64", Some((6, 1))),
            ("5.15-generic", Some((5, 15))),
            ("6", None),
            ("", None),
        ] {
            assert_eq!(parse(release), expected, "{release}");
        }
    }

    #[test]
    fn a_kernel_is_as_good_as_the_hook_it_has() {
        for (release, backend, hook, expected) in [
            ("6.6.0", Backend::Auto, None, State::Ok),
            ("6.5.0", Backend::Auto, None, State::Degraded),
            ("6.5.0", Backend::Ebpf, Some(Hook::Tc), State::Missing),
            ("6.5.0", Backend::Ebpf, Some(Hook::XdpGeneric), State::Ok),
            ("5.8.0", Backend::Auto, Some(Hook::Xdp), State::Degraded),
            ("4.19.0", Backend::None, None, State::Ok),
            ("5.6.0", Backend::Nft, None, State::Ok),
        ] {
            assert_eq!(judge(release, backend, hook).state, expected, "{release} {backend:?} {hook:?}");
        }
    }
}
