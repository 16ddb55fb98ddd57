//! Loading for one process: from the embedded object to an attached filter and steering, all of which goes
//! with the process.

use aya::Ebpf;
use aya::programs::SchedClassifier;
use aya::programs::tc::TcAttachType;

use super::filter::FilterError;
use super::filter::ebpf::EbpfFilter;
use super::hook::{Hook, Hooks, Interface, chosen};
use super::object::{self, Plan, set_addresses};
use super::steering::Steering;

/// What was loaded.
pub struct Loaded {
    /// The filter's maps.
    pub filter: EbpfFilter,
    /// Where the filter is attached.
    pub hooks: Hooks,
    /// The steering, or why there is none.
    pub steering: Result<Steering, FilterError>,
}

/// Loads the programs and attaches them. Nothing is pinned: everything goes with the returned values,
/// and with the process in any case.
///
/// # Errors
/// Which program or map the kernel refused, and why. Nothing is attached then.
pub fn load(plan: &Plan) -> Result<Loaded, FilterError> {
    let mut programs = object::open(plan, None)?;
    set_addresses(&mut programs, plan)?;
    let mut filter = EbpfFilter::new(&mut programs, plan.places(), &plan.excluded())?;
    filter.limit(plan.limits)?;
    // Steering first: once the filter stands, what it lets in has somewhere to go.
    let steering = Steering::attach(&mut programs);
    let interfaces = plan.interfaces.iter().map(|name| Interface::named(name));
    let interfaces = interfaces.collect::<Result<Vec<_>, _>>()?;
    let mut hooks = Hooks::new(programs, plan.hook);
    match hooks.set(&interfaces).into_iter().next() {
        Some((_, error)) => Err(error),
        None => Ok(Loaded { filter, hooks, steering }),
    }
}

/// What [`load`] would come to.
pub struct Rehearsal {
    /// Interface and hook, or why there is none, for each interface.
    pub hooks: Vec<(String, Result<Hook, FilterError>)>,
    /// Why there would be no steering.
    pub steering: Result<(), FilterError>,
}

/// Does all of [`load`] but attach: the kernel checks the programs, and says whether it has the hooks.
/// Whether a driver takes native XDP shows only when it is tried; where `auto` would, the answer is
/// [`Hook::Xdp`].
///
/// # Errors
/// As [`load`].
pub fn rehearse(plan: &Plan) -> Result<Rehearsal, FilterError> {
    let mut programs = object::open(plan, None)?;
    let steering = Steering::load(&mut programs).map(drop);
    // `auto` needs it on any interface, if only to fall back on.
    if plan.hook.is_none_or(|hook| hook == Hook::Tc) {
        object::tc(&mut programs)?;
    }
    let hooks = plan.interfaces.iter().map(|interface| {
        let hook = chosen(interface, plan.hook);
        (interface.clone(), rehearse_hook(&mut programs, interface, hook).map(|()| hook))
    });
    Ok(Rehearsal { hooks: hooks.collect(), steering })
}

fn rehearse_hook(programs: &mut Ebpf, interface: &str, hook: Hook) -> Result<(), FilterError> {
    match hook {
        Hook::Tc => SchedClassifier::query_tcx(interface, TcAttachType::Ingress)
            .map(drop)
            .map_err(|error| FilterError::new(format!("ask for tcx on {interface}"), error)),
        Hook::Xdp | Hook::XdpGeneric => {
            Interface::named(interface)?;
            object::xdp(programs).map(drop)
        }
    }
}
