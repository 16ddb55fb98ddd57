//! The kernel object: maps made to measure, programs checked by the kernel, nothing attached.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::Path;

use aya::maps::{Array, HashMap, MapData};
use aya::programs::{Program, SchedClassifier, Xdp};
use aya::{Ebpf, EbpfLoader};
use portcullis_ebpf::layout::{
    ADDRESSES, Address, BOUNDS, BROKERS, Bounds, BoundsWords, CORES, COUNTS, FILTER_TC, FILTER_XDP, LIMITS,
    LISTENERS, Limits, MAX_ADDRESSES, PortRange, SOURCES, VERDICTS, address, ip_address,
};

use super::filter::FilterError;
use super::filter::ebpf::{Maps, Places, take};
use super::hook::Hook;

/// The kernel object, as `cargo xtask build` made it. Empty in a build without the BPF toolchain.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/portcullis.bpf.o"));

/// All maps of the object.
pub const MAPS: [&str; 9] = [BROKERS, ADDRESSES, BOUNDS, VERDICTS, COUNTS, SOURCES, LIMITS, LISTENERS, CORES];

/// The kernel object that is loaded; empty if this build has none.
pub fn object() -> &'static [u8] {
    OBJECT
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
    /// How fast new connections may come.
    pub limits: Limits,
}

impl Plan {
    /// Where each broker's counts are.
    pub fn places(&self) -> Places {
        Places { addresses: self.addresses.clone(), range: self.range.clone() }
    }

    /// Ports of our addresses and range that are not ours.
    pub fn excluded(&self) -> Vec<SocketAddr> {
        let ports = |ip: &IpAddr| {
            let ip = *ip;
            self.exclude.iter().map(move |port| SocketAddr::new(ip, *port))
        };
        self.addresses.iter().flat_map(ports).collect()
    }
}

/// Loads the maps and reads the programs of the object. With `pins`, maps that are pinned in that folder are
/// taken instead, and others are pinned there.
///
/// # Errors
/// This build has no object, there are too many addresses, or the kernel refused a map.
pub fn open(plan: &Plan, pins: Option<&Path>) -> Result<Ebpf, FilterError> {
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
    let brokers = plan.places().count();
    let mut loader = EbpfLoader::new();
    loader.map_max_entries(BROKERS, brokers).map_max_entries(COUNTS, brokers);
    for map in pins.iter().flat_map(|_| MAPS) {
        loader.map_pin_path(map, pins.map(|pins| pins.join(map)).unwrap_or_default());
    }
    loader.load(OBJECT).map_err(|error| FilterError::new("load the kernel object", error))
}

/// Makes the addresses that are judged equal to those of `plan`.
///
/// # Errors
/// The kernel refused one.
pub fn set_addresses(maps: &mut impl Maps, plan: &Plan) -> Result<(), FilterError> {
    let mut addresses: HashMap<MapData, Address, [u16; 2]> = take(maps, ADDRESSES)?;
    let range = PortRange { first: *plan.range.start(), last: *plan.range.end() };
    let mut bounds: Array<MapData, BoundsWords> = take(maps, BOUNDS)?;
    let words = Bounds::new(range, plan.addresses.iter().map(|ip| address(*ip))).to_words();
    bounds.set(0, words, 0).map_err(|error| FilterError::new(format!("map {BOUNDS}: update"), error))?;
    let range = range.to_words();
    for ip in &plan.addresses {
        addresses
            .insert(address(*ip), range, 0)
            .map_err(|error| FilterError::new(format!("map {ADDRESSES}: update {ip}"), error))?;
    }
    let present = addresses.keys().collect::<Result<Vec<_>, _>>();
    let present = present.map_err(|error| FilterError::new(format!("map {ADDRESSES}: list"), error))?;
    for old in present.into_iter().filter(|old| !plan.addresses.contains(&ip_address(*old))) {
        addresses.remove(&old).map_err(|error| {
            FilterError::new(format!("map {ADDRESSES}: delete {}", ip_address(old)), error)
        })?;
    }
    Ok(())
}

/// The filter for tc, which the kernel has checked.
///
/// # Errors
/// The kernel refused it.
pub fn tc(programs: &mut Ebpf) -> Result<&mut SchedClassifier, FilterError> {
    let failed = |error| FilterError::new(format!("program {FILTER_TC}: load"), error);
    let program: &mut SchedClassifier = find(programs, FILTER_TC)?.try_into().map_err(failed)?;
    if program.fd().is_err() {
        program.load().map_err(failed)?;
    }
    Ok(program)
}

/// The filter for XDP, which the kernel has checked.
///
/// # Errors
/// The kernel refused it.
pub fn xdp(programs: &mut Ebpf) -> Result<&mut Xdp, FilterError> {
    let failed = |error| FilterError::new(format!("program {FILTER_XDP}: load"), error);
    let program: &mut Xdp = find(programs, FILTER_XDP)?.try_into().map_err(failed)?;
    if program.fd().is_err() {
        program.load().map_err(failed)?;
    }
    Ok(program)
}

/// The program `name` of the object, whatever its kind.
///
/// # Errors
/// The object has none.
pub fn find<'a>(programs: &'a mut Ebpf, name: &str) -> Result<&'a mut Program, FilterError> {
    programs.program_mut(name).ok_or_else(|| FilterError::new(format!("program {name}"), "not in the object"))
}
