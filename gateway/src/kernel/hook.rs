//! Where the filter is attached: hooks, and the interfaces that have one of ours.

use std::collections::BTreeMap;
use std::path::Path;

use aya::Ebpf;
use aya::programs::XdpMode;
use aya::programs::links::{FdLink, LinkError};
use aya::programs::tc::TcAttachType;
use nix::errno::Errno;
use portcullis_ebpf::layout::{FILTER_TC, FILTER_XDP};

use super::filter::FilterError;
use super::object;

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
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Xdp, Self::XdpGeneric, Self::Tc];

    /// Name in configuration, logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Xdp => "xdp",
            Self::XdpGeneric => "xdp-generic",
            Self::Tc => "tc",
        }
    }
}

/// An interface as the kernel numbers it. A number is never another interface's; a name may be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Interface {
    /// Its number in this network namespace.
    pub index: u32,
    /// Its name at the time.
    pub name: String,
}

impl Interface {
    /// The interface `name`.
    ///
    /// # Errors
    /// There is none.
    pub fn named(name: &str) -> Result<Self, FilterError> {
        let index = nix::net::if_::if_nametoindex(name)
            .map_err(|error| FilterError::new(format!("interface {name}"), error))?;
        Ok(Self { index, name: name.into() })
    }
}

/// The interfaces that have the filter. It is detached from them when this is dropped.
pub struct Hooks {
    programs: Ebpf,
    wanted: Option<Hook>,
    attached: BTreeMap<u32, Attached>,
}

struct Attached {
    hook: Hook,
    /// Held until the filter is taken off.
    _link: FdLink,
}

impl Hooks {
    /// On no interface yet. `wanted` as in [`super::object::Plan::hook`].
    pub fn new(programs: Ebpf, wanted: Option<Hook>) -> Self {
        Self { programs, wanted, attached: BTreeMap::new() }
    }

    /// Takes the filter to all of `interfaces` and off all others. What fails is told, and does not keep it
    /// from the rest.
    pub fn set(&mut self, interfaces: &[Interface]) -> Vec<(Interface, FilterError)> {
        self.attached.retain(|index, _| interfaces.iter().any(|interface| interface.index == *index));
        let mut failed = Vec::new();
        for interface in interfaces {
            if self.attached.contains_key(&interface.index) {
                continue;
            }
            match attach(&mut self.programs, &interface.name, self.wanted) {
                Ok((hook, link)) => {
                    self.attached.insert(interface.index, Attached { hook, _link: link });
                }
                Err(error) => failed.push((interface.clone(), error)),
            }
        }
        failed
    }

    /// Hooks and numbers of the interfaces, in the order of these.
    pub fn list(&self) -> Vec<(Hook, u32)> {
        self.attached.iter().map(|(index, attached)| (attached.hook, *index)).collect()
    }
}

/// Attaches the filter to one interface. It is detached when the link is dropped.
///
/// # Errors
/// The kernel refused, or it is an interface that the filter cannot read.
pub fn attach(
    programs: &mut Ebpf,
    interface: &str,
    wanted: Option<Hook>,
) -> Result<(Hook, FdLink), FilterError> {
    has_ethernet_header(interface)?;
    let hook = match wanted {
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

/// Replaces the program of `link`, which is at `hook`, in one step. Dropping the link afterwards detaches
/// nothing as long as a pin holds it.
///
/// # Errors
/// The kernel refused: the old program stays.
pub fn replace(link: FdLink, hook: Hook, programs: &mut Ebpf) -> Result<(), FilterError> {
    let failed = |name| move |error| FilterError::new(format!("program {name}: replace"), error);
    let wrong = |error: LinkError| FilterError::new(format!("link of {}", hook.name()), error);
    match hook {
        Hook::Tc => {
            let link = link.try_into().map_err(wrong)?;
            object::tc(programs)?.attach_to_link(link).map(drop).map_err(failed(FILTER_TC))
        }
        Hook::Xdp | Hook::XdpGeneric => {
            let link = link.try_into().map_err(wrong)?;
            object::xdp(programs)?.attach_to_link(link).map(drop).map_err(failed(FILTER_XDP))
        }
    }
}

/// Where `auto` would attach: whether a driver takes native XDP shows only when it is tried.
pub fn chosen(interface: &str, wanted: Option<Hook>) -> Hook {
    wanted.unwrap_or(if is_physical(interface) { Hook::Xdp } else { Hook::Tc })
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
    let program = object::tc(programs)?;
    let link = program.attach(interface, TcAttachType::Ingress).map_err(failed)?;
    let link = program.take_link(link).map_err(failed)?;
    link.try_into().map_err(|error| no_link(FILTER_TC, interface, error))
}

fn attach_xdp(programs: &mut Ebpf, interface: &str, mode: XdpMode) -> Result<FdLink, FilterError> {
    let failed = |error| FilterError::new(format!("program {FILTER_XDP}: attach to {interface}"), error);
    let program = object::xdp(programs)?;
    let link = program.attach(interface, mode).map_err(|error| match errno(&error) {
        Some(Errno::EBUSY | Errno::EEXIST) => FilterError::new(
            format!("program {FILTER_XDP}: attach to {interface}"),
            format!(
                "an interface has room for one XDP program, and another is there: `ip link show dev \
                 {interface}` names it; take it off, or set filter.hook = \"tc\""
            ),
        ),
        _ => failed(error),
    })?;
    let link = program.take_link(link).map_err(failed)?;
    link.try_into().map_err(|error| no_link(FILTER_XDP, interface, error))
}

/// The system error that is behind `error`.
fn errno(error: &(dyn std::error::Error + 'static)) -> Option<Errno> {
    let system = |error: &std::io::Error| error.raw_os_error().map(Errno::from_raw);
    match error.downcast_ref::<std::io::Error>() {
        Some(error) => system(error),
        None => errno(error.source()?),
    }
}

/// Where the kernel has no link for a hook, aya attaches by netlink. That would outlive a daemon that
/// dies, so it is refused; the failed conversion detached it.
fn no_link(program: &str, interface: &str, error: LinkError) -> FilterError {
    FilterError::new(
        format!("program {program}: the kernel has no BPF link for this hook on {interface}"),
        error,
    )
}
