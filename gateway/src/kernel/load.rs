//! Loading: from the embedded object to an attached filter and steering.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::Path;

use aya::maps::{HashMap, MapData};
use aya::programs::links::{FdLink, LinkError};
use aya::programs::tc::TcAttachType;
use aya::programs::{SchedClassifier, Xdp, XdpMode};
use aya::{Ebpf, EbpfLoader};
use portcullis_ebpf::layout::{
    ADDRESSES, Address, BROKERS, FILTER_TC, FILTER_XDP, MAX_ADDRESSES, PortRange, address,
};

use super::filter::FilterError;
use super::filter::ebpf::{EbpfFilter, take};
use super::steering::Steering;

/// The kernel object, as `cargo xtask build` made it. Empty in a build without the BPF toolchain.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/portcullis.bpf.o"));

/// The kernel object that [`load`] loads; empty if this build has none.
pub fn object() -> &'static [u8] {
    OBJECT
}

/// Where the filter is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// XDP in the driver.
    Xdp,
    /// XDP behind the driver, on any interface.
    XdpGeneric,
    /// tc ingress (tcx).
    Tc,
}

impl Hook {
    /// Name in configuration, logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Xdp => "xdp",
            Self::XdpGeneric => "xdp-generic",
            Self::Tc => "tc",
        }
    }
}

/// What the filter is to judge, and where.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Broker addresses.
    pub addresses: Vec<IpAddr>,
    /// Broker ports.
    pub range: RangeInclusive<u16>,
    /// Ports of the range that other services have.
    pub exclude: Vec<u16>,
    /// Interfaces that the packets come in by.
    pub interfaces: Vec<String>,
    /// `None` chooses: native XDP on physical interfaces whose driver has it, tc on all others.
    pub hook: Option<Hook>,
}

/// What was loaded.
pub struct Loaded {
    /// The filter.
    pub filter: EbpfFilter,
    /// Interface and hook, for each interface.
    pub hooks: Vec<(String, Hook)>,
    /// The steering, or why there is none.
    pub steering: Result<Steering, FilterError>,
}

/// Loads the programs and attaches them. Nothing is pinned: everything goes with the returned values,
/// and with the process in any case.
///
/// # Errors
/// Which program or map the kernel refused, and why. Nothing is attached then.
pub fn load(plan: &Plan) -> Result<Loaded, FilterError> {
    let mut programs = open_object(plan)?;
    let mut addresses: HashMap<MapData, Address, [u16; 2]> = take(&mut programs, ADDRESSES)?;
    let range = PortRange { first: *plan.range.start(), last: *plan.range.end() }.to_words();
    for ip in &plan.addresses {
        addresses
            .insert(address(*ip), range, 0)
            .map_err(|error| FilterError::new(format!("map {ADDRESSES}: update {ip}"), error))?;
    }
    let excluded: Vec<SocketAddr> = (plan.addresses.iter())
        .flat_map(|ip| plan.exclude.iter().map(|port| SocketAddr::new(*ip, *port)))
        .collect();
    let mut filter = EbpfFilter::new(&mut programs, &excluded)?;
    // Steering first: once the filter stands, what it lets in has somewhere to go.
    let steering = Steering::attach(&mut programs);
    let (mut hooks, mut links) = (Vec::new(), Vec::new());
    for interface in &plan.interfaces {
        let (hook, link) = attach(&mut programs, interface, plan.hook)?;
        hooks.push((interface.clone(), hook));
        links.push(link);
    }
    filter.hold(programs, links);
    Ok(Loaded { filter, hooks, steering })
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
    let mut programs = open_object(plan)?;
    let steering = Steering::load(&mut programs).map(drop);
    // `auto` needs it on any interface, if only to fall back on.
    if plan.hook.is_none_or(|hook| hook == Hook::Tc) {
        load_tc(&mut programs)?;
    }
    let hooks = plan.interfaces.iter().map(|interface| {
        let hook = plan.hook.unwrap_or(if is_physical(interface) { Hook::Xdp } else { Hook::Tc });
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
            nix::net::if_::if_nametoindex(interface)
                .map_err(|error| FilterError::new(format!("interface {interface}"), error))?;
            load_xdp(programs).map(drop)
        }
    }
}

fn open_object(plan: &Plan) -> Result<Ebpf, FilterError> {
    if OBJECT.is_empty() {
        return Err(FilterError::new(
            "kernel programs",
            "this build has none; `cargo xtask build` makes them and needs the BPF toolchain",
        ));
    }
    if plan.addresses.len() > MAX_ADDRESSES {
        return Err(FilterError::new(
            "broker addresses",
            format!("{} are more than {MAX_ADDRESSES}", plan.addresses.len()),
        ));
    }
    let ports = u32::from(plan.range.end() - plan.range.start()) + 1;
    let brokers = ports.saturating_mul(plan.addresses.len() as u32);
    EbpfLoader::new()
        .map_max_entries(BROKERS, brokers)
        .load(OBJECT)
        .map_err(|error| FilterError::new("load the kernel object", error))
}

/// Attaches the filter to one interface. It is detached when the link is dropped.
fn attach(programs: &mut Ebpf, interface: &str, hook: Option<Hook>) -> Result<(Hook, FdLink), FilterError> {
    has_ethernet_header(interface)?;
    let hook = match hook {
        Some(hook) => hook,
        // Native XDP on veth and virtio costs bulk TCP most of its speed, so it is tried only where a
        // device with a driver of its own stands behind the interface.
        None if is_physical(interface) => match attach_xdp(programs, interface, XdpMode::Driver) {
            Ok(link) => return Ok((Hook::Xdp, link)),
            Err(error) => {
                tracing::info!(interface, %error, "no native XDP, the filter goes to tc");
                Hook::Tc
            }
        },
        None => Hook::Tc,
    };
    let link = match hook {
        Hook::Tc => attach_tc(programs, interface)?,
        Hook::Xdp => attach_xdp(programs, interface, XdpMode::Driver)?,
        Hook::XdpGeneric => attach_xdp(programs, interface, XdpMode::Skb)?,
    };
    Ok((hook, link))
}

/// ARPHRD_ETHER and ARPHRD_LOOPBACK (include/uapi/linux/if_arp.h).
const WITH_ETHERNET_HEADER: [&str; 2] = ["1", "772"];

/// The filter reads an Ethernet header first. On an interface without one it would pass everything, and
/// nobody would know.
fn has_ethernet_header(interface: &str) -> Result<(), FilterError> {
    let path = Path::new("/sys/class/net").join(interface).join("type");
    match std::fs::read_to_string(&path) {
        Ok(kind) if !WITH_ETHERNET_HEADER.contains(&kind.trim()) => {
            let what = format!("interface {interface}");
            Err(FilterError::new(
                what,
                "it has no Ethernet header, and such interfaces cannot be filtered yet",
            ))
        }
        // In a namespace whose /sys is another's the type is not to be had; attaching tells the rest.
        Ok(_) | Err(_) => Ok(()),
    }
}

fn is_physical(interface: &str) -> bool {
    let driver = std::fs::read_link(Path::new("/sys/class/net").join(interface).join("device/driver"));
    driver.is_ok_and(|driver| driver.file_name().is_some_and(|name| name != "virtio_net"))
}

fn attach_tc(programs: &mut Ebpf, interface: &str) -> Result<FdLink, FilterError> {
    let failed = |error| FilterError::new(format!("program {FILTER_TC}: attach to {interface}"), error);
    let program = load_tc(programs)?;
    let link = program.attach(interface, TcAttachType::Ingress).map_err(failed)?;
    let link = program.take_link(link).map_err(failed)?;
    link.try_into().map_err(|error| no_link(FILTER_TC, interface, error))
}

fn attach_xdp(programs: &mut Ebpf, interface: &str, mode: XdpMode) -> Result<FdLink, FilterError> {
    let failed = |error| FilterError::new(format!("program {FILTER_XDP}: attach to {interface}"), error);
    let program = load_xdp(programs)?;
    let link = program.attach(interface, mode).map_err(failed)?;
    let link = program.take_link(link).map_err(failed)?;
    link.try_into().map_err(|error| no_link(FILTER_XDP, interface, error))
}

fn load_tc(programs: &mut Ebpf) -> Result<&mut SchedClassifier, FilterError> {
    let failed = |error| FilterError::new(format!("program {FILTER_TC}: load"), error);
    let program: &mut SchedClassifier = find(programs, FILTER_TC)?.try_into().map_err(failed)?;
    if program.fd().is_err() {
        program.load().map_err(failed)?;
    }
    Ok(program)
}

fn load_xdp(programs: &mut Ebpf) -> Result<&mut Xdp, FilterError> {
    let failed = |error| FilterError::new(format!("program {FILTER_XDP}: load"), error);
    let program: &mut Xdp = find(programs, FILTER_XDP)?.try_into().map_err(failed)?;
    if program.fd().is_err() {
        program.load().map_err(failed)?;
    }
    Ok(program)
}

/// Where the kernel has no link for a hook, aya attaches by netlink. That would outlive a daemon that
/// dies, so it is refused; the failed conversion detached it.
fn no_link(program: &str, interface: &str, error: LinkError) -> FilterError {
    FilterError::new(
        format!("program {program}: the kernel has no BPF link for this hook on {interface}"),
        error,
    )
}

fn find<'a>(programs: &'a mut Ebpf, name: &str) -> Result<&'a mut aya::programs::Program, FilterError> {
    programs.program_mut(name).ok_or_else(|| FilterError::new(format!("program {name}"), "not in the object"))
}
