//! Filter and steering that `kernel load` pinned: whether `serve` can use them, and what they reach.

use crate::config::Config;
use crate::kernel::hook::{Hook, Interface};
use crate::kernel::object::Plan;
use crate::kernel::pins;

use super::gate::{FILTER, STEERING};
use super::{Check, Would};

/// What stands for privileges where something is pinned.
pub const PINS: &str = "pins";

/// The checks, and what `serve` would run with; `None` if nothing is pinned.
pub fn checks(config: &Config, plan: &Plan) -> Option<(Vec<Check>, Would)> {
    let usable = pins::usable(&config.pins, plan);
    let looked = usable.and_then(|folder| {
        let Some(folder) = folder else { return Ok(None) };
        let links = pins::links(&folder)?;
        Ok(Some((folder, links)))
    });
    match looked {
        Ok(None) => None,
        Ok(Some((folder, links))) => {
            let mut checks =
                vec![Check::ok(PINS, format!("{}: serve needs no privileges", folder.display()))];
            checks.extend(plan.interfaces.iter().map(|name| interface(name, &links)));
            let steered = pins::is_steered(&folder);
            checks.push(steering(steered));
            Some((checks, would(plan, &links, steered)))
        }
        Err(error) => {
            let remedy = "portcullis kernel load, or portcullis kernel clean to do without";
            let checks = vec![Check::missing(PINS, error.to_string(), remedy)];
            let nothing = || "-".to_owned();
            Some((checks, Would { backend: nothing(), hook: nothing(), steering: nothing() }))
        }
    }
}

fn hook_on(name: &str, links: &[(Hook, u32)]) -> Option<Hook> {
    let index = Interface::named(name).ok()?.index;
    links.iter().find(|(_, other)| *other == index).map(|(hook, _)| *hook)
}

fn interface(name: &str, links: &[(Hook, u32)]) -> Check {
    match hook_on(name, links) {
        Some(hook) => Check::ok(FILTER, format!("eBPF, {} on {name}, pinned", hook.name())),
        None => {
            let remedy = "portcullis kernel load takes it there, and with --watch whenever that changes";
            Check::degraded(FILTER, format!("none on {name}: it is not in what is pinned"), remedy)
        }
    }
}

fn steering(steered: bool) -> Check {
    if steered {
        return Check::ok(STEERING, "sk_lookup, pinned");
    }
    let remedy = "a kernel of at least 5.9, and portcullis kernel load again";
    Check::degraded(STEERING, "not pinned: a socket for each broker instead", remedy)
}

fn would(plan: &Plan, links: &[(Hook, u32)], steered: bool) -> Would {
    let mut hooks: Vec<_> =
        plan.interfaces.iter().filter_map(|name| hook_on(name, links)).map(Hook::name).collect();
    hooks.dedup();
    let hook = if hooks.is_empty() { "-".to_owned() } else { hooks.join(",") };
    let steering = if steered { "sk_lookup" } else { "ports" };
    Would { backend: "ebpf".into(), hook, steering: steering.into() }
}
