//! Filter and steering, tried in earnest: the kernel checks the programs, and nothing is attached.

use std::net::Ipv4Addr;

use portcullis_ebpf::layout::Limits;

use crate::config::{Backend, Config};
use crate::kernel::address::AddressError;
use crate::kernel::filter::FilterError;
use crate::kernel::filter::nft::NftFilter;
use crate::kernel::hook::Hook;
use crate::kernel::load::{Rehearsal, rehearse};
use crate::kernel::object::{Plan, object};

use super::{Check, Would, addresses, pinned};

pub(super) const FILTER: &str = "filter";
pub(super) const STEERING: &str = "steering";

/// The checks, and what `serve` would run with.
pub fn checks(config: Option<&Config>) -> (Vec<Check>, Would) {
    let backend = config.map_or(Backend::Auto, |config| config.backend);
    if backend == Backend::None {
        let seen = "plain listeners: filter.backend = \"none\"";
        return (vec![Check::ok(FILTER, seen)], without_filter(backend));
    }
    let plan = match plan(config) {
        Ok(plan) => plan,
        Err(error) => return (vec![refused(backend, &error.to_string())], without_filter(backend)),
    };
    if backend == Backend::Nft {
        let (check, would) = instead(backend, NftFilter::rehearse(&plan));
        return (vec![check], would);
    }
    if let Some(pinned) = config.and_then(|config| pinned::checks(config, &plan)) {
        return pinned;
    }
    let (mut checks, mut would) = match rehearse(&plan) {
        Ok(rehearsal) => judge(backend, rehearsal),
        Err(error) => (vec![refused(backend, &error.to_string())], without_filter(backend)),
    };
    if backend == Backend::Auto && would.backend == "none" {
        let (check, second) = instead(backend, NftFilter::rehearse(&plan));
        checks.push(check);
        would = second;
    }
    (checks, would)
}

/// What nftables comes to.
fn instead(backend: Backend, tried: Result<(), FilterError>) -> (Check, Would) {
    match tried {
        Ok(()) => {
            let would = Would { backend: "nft".into(), hook: "-".into(), steering: "ports".into() };
            (Check::ok(FILTER, "nftables, and a socket for each broker"), would)
        }
        Err(error) => {
            let remedy = "package nftables and CAP_NET_ADMIN; filter.backend = \"none\" does without";
            (Check::gate(backend, FILTER, error.to_string(), remedy), without_filter(backend))
        }
    }
}

/// As `serve` makes it. Without a configuration the programs alone are tried.
fn plan(config: Option<&Config>) -> Result<Plan, AddressError> {
    let Some(config) = config else {
        return Ok(Plan {
            addresses: vec![Ipv4Addr::LOCALHOST.into()],
            range: 1..=1,
            exclude: Vec::new(),
            interfaces: Vec::new(),
            hook: None,
            limits: Limits::default(),
        });
    };
    let interfaces = match config.interfaces.as_slice() {
        [] => addresses::interfaces(config)?,
        named => named.to_vec(),
    };
    let (addresses, range, limits) = (config.addresses.clone(), config.range.clone(), config.filter_limits);
    Ok(Plan { addresses, range, exclude: Vec::new(), interfaces, hook: config.hook, limits })
}

fn judge(backend: Backend, rehearsal: Rehearsal) -> (Vec<Check>, Would) {
    let Rehearsal { hooks, steering } = rehearsal;
    let mut checks = Vec::new();
    let mut names: Vec<&str> = Vec::new();
    let mut complete = true;
    for (interface, hook) in &hooks {
        match hook {
            Ok(hook) => {
                let if_taken = if *hook == Hook::Xdp { ", if its driver takes it" } else { "" };
                checks.push(Check::ok(FILTER, format!("eBPF, {} on {interface}{if_taken}", hook.name())));
            }
            Err(error) => {
                complete = false;
                checks.push(refused(backend, &error.to_string()));
            }
        }
        names.extend(hook.as_ref().map(|hook| hook.name()));
    }
    if hooks.is_empty() {
        checks.push(Check::ok(FILTER, "the eBPF programs load"));
    }
    if !complete {
        return (checks, without_filter(backend));
    }
    names.dedup();
    let hook = if names.is_empty() { "-".to_owned() } else { names.join(",") };
    let steered = steering.is_ok();
    checks.push(steers(steering));
    let steering = if steered { "sk_lookup" } else { "ports" };
    (checks, Would { backend: "ebpf".into(), hook, steering: steering.into() })
}

fn steers(steering: Result<(), FilterError>) -> Check {
    match steering {
        Ok(()) => Check::ok(STEERING, "sk_lookup"),
        Err(error) => {
            let remedy = "a kernel of at least 5.9 with CONFIG_BPF_SYSCALL and CONFIG_INET";
            Check::degraded(STEERING, format!("{error}: a socket for each broker instead"), remedy)
        }
    }
}

fn refused(backend: Backend, error: &str) -> Check {
    let remedy = if object().is_empty() {
        "a build with them"
    } else {
        "see kernel, capabilities, addresses here and `interfaces` there; filter.backend = \"none\" does without"
    };
    // Behind the first line the kernel tells how it came to its verdict, step by step.
    Check::gate(backend, FILTER, error.lines().next().unwrap_or_default(), remedy)
}

fn without_filter(backend: Backend) -> Would {
    let demanded = matches!(backend, Backend::Ebpf | Backend::Nft);
    let (name, steering) = if demanded { ("-", "-") } else { ("none", "ports") };
    Would { backend: name.into(), hook: "-".into(), steering: steering.into() }
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    fn error() -> FilterError {
        FilterError::new("load", "refused")
    }

    fn would(backend: &str, hook: &str, steering: &str) -> Would {
        Would { backend: backend.into(), hook: hook.into(), steering: steering.into() }
    }

    #[test]
    fn what_would_run_follows_from_what_was_tried() {
        let hooks = |hooks: [Result<Hook, FilterError>; 2]| {
            hooks.into_iter().map(|hook| ("eth0".to_owned(), hook)).collect()
        };
        let both = Rehearsal { hooks: hooks([Ok(Hook::Tc), Ok(Hook::Tc)]), steering: Ok(()) };
        let (checks, runs) = judge(Backend::Auto, both);
        assert!(checks.iter().all(|check| check.state == State::Ok));
        assert_eq!(runs, would("ebpf", "tc", "sk_lookup"));

        let unsteered = Rehearsal { hooks: hooks([Ok(Hook::Xdp), Ok(Hook::Tc)]), steering: Err(error()) };
        let (checks, runs) = judge(Backend::Auto, unsteered);
        assert_eq!(checks.last().map(|check| check.state), Some(State::Degraded));
        assert_eq!(runs, would("ebpf", "xdp,tc", "ports"));

        for (backend, state, expected) in [
            (Backend::Auto, State::Degraded, would("none", "-", "ports")),
            (Backend::Ebpf, State::Missing, would("-", "-", "-")),
        ] {
            let half = Rehearsal { hooks: hooks([Ok(Hook::Tc), Err(error())]), steering: Ok(()) };
            let (checks, runs) = judge(backend, half);
            assert_eq!((checks[1].state, runs), (state, expected));
        }
    }

    #[test]
    fn nftables_comes_after_the_programs() {
        for (backend, tried, state, expected) in [
            (Backend::Auto, Ok(()), State::Ok, would("nft", "-", "ports")),
            (Backend::Nft, Ok(()), State::Ok, would("nft", "-", "ports")),
            (Backend::Auto, Err(error()), State::Degraded, would("none", "-", "ports")),
            (Backend::Nft, Err(error()), State::Missing, would("-", "-", "-")),
        ] {
            let (check, runs) = instead(backend, tried);
            assert_eq!((check.state, runs), (state, expected), "{backend:?}");
        }
    }
}
