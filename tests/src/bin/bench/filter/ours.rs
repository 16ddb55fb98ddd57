//! Our filter by its maps, as the daemon's keeper has it.

use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use portcullis::kernel::filter::ebpf::EbpfFilter;
use portcullis::kernel::filter::{Backend, Change, Deadline, Entry};
use portcullis::kernel::hook::Hook;
use portcullis::kernel::load::{Loaded, load};
use portcullis::kernel::object::Plan;
use portcullis_ebpf::layout::{Limits, OPEN};

use super::gate::Gate;
use super::{ADDRESS, FIRST, LAST};

/// Longer than any sample takes.
const LIFE: Duration = Duration::from_secs(3600);

/// Attached at the gateway's end of the veth pair.
struct Ours(Loaded);

/// At tc ingress, as the daemon chooses there.
pub fn tc() -> Box<dyn Gate> {
    Box::new(Ours(load(&plan(&["out"], Some(Hook::Tc))).expect("the kernel takes it")))
}

/// Behind the driver.
pub fn xdp_generic() -> Box<dyn Gate> {
    Box::new(Ours(load(&plan(&["out"], Some(Hook::XdpGeneric))).expect("the kernel takes it")))
}

/// All broker ports of the one address, without limits.
pub fn plan(interfaces: &[&str], hook: Option<Hook>) -> Plan {
    Plan {
        addresses: vec![ADDRESS.parse().expect("an address")],
        range: FIRST..=LAST,
        exclude: vec![],
        interfaces: interfaces.iter().map(ToString::to_string).collect(),
        hook,
        limits: Limits::default(),
    }
}

/// Opens `port` to `client`, an address or network; to all without one.
pub fn open(filter: &mut EbpfFilter, port: u16, client: Option<&str>) {
    let entry = Entry {
        endpoint: endpoint(port),
        state: OPEN,
        generation: 1,
        client: client.map(|client| client.parse().expect("a network")),
        deadline: Deadline::after(LIFE).expect("a clock"),
    };
    filter.apply(&[Change::Open(entry)]).expect("opens");
}

/// A broker port of ours.
pub fn endpoint(port: u16) -> SocketAddr {
    SocketAddr::new(ADDRESS.parse().expect("an address"), port)
}

impl Gate for Ours {
    fn fill(&mut self, ports: Range<u16>) {
        ports.for_each(|port| self.open(port));
    }

    fn open(&mut self, port: u16) {
        open(&mut self.0.filter, port, None);
    }

    fn close(&mut self, port: u16) {
        self.0.filter.apply(&[Change::Close(endpoint(port))]).expect("closes");
    }
}
