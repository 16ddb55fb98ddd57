//! Daemons that loaded for themselves: two filters for one address each drop what the other lets in.

use std::collections::HashSet;
use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use aya::maps::{HashMap, Map, MapData, MapInfo};
use aya::programs::SchedClassifier;
use aya::programs::tc::TcAttachType;
use portcullis_ebpf::layout::{ADDRESSES, Address, FILTER_TC, ip_address};

use super::load::{held, open_link};
use crate::kernel::filter::FilterError;
use crate::kernel::hook::Interface;
use crate::kernel::object::Plan;

/// One that died just now is gone from the kernel after a moment.
const MOMENT: Duration = Duration::from_secs(2);
const AGAIN: Duration = Duration::from_millis(50);

/// Refuses if a filter that is not pinned below `base` judges one of the plan's addresses at tc. At XDP there
/// is room for one filter anyway. What this process may not look at is taken for somebody else's.
pub fn refuse(base: &Path, plan: &Plan, interfaces: &[Interface]) -> Result<(), FilterError> {
    let ours = pinned_ids(base)?;
    for interface in interfaces {
        let began = Instant::now();
        while let Some(address) = rival(&interface.name, &ours, plan) {
            if began.elapsed() > MOMENT {
                return Err(FilterError::new(
                    format!("interface {}", interface.name),
                    format!("a daemon that loaded for itself filters {address} there: stop it first"),
                ));
            }
            std::thread::sleep(AGAIN);
        }
    }
    Ok(())
}

/// The programs of the links that are pinned, of all versions.
fn pinned_ids(base: &Path) -> Result<HashSet<u32>, FilterError> {
    let mut ids = HashSet::new();
    for held in held(base, None)? {
        let info = open_link(&held.pin)?.info();
        let info = info.map_err(|error| FilterError::new(format!("link {}", held.pin.display()), error))?;
        ids.insert(info.program_id());
    }
    Ok(ids)
}

fn rival(interface: &str, ours: &HashSet<u32>, plan: &Plan) -> Option<IpAddr> {
    let (_, programs) = SchedClassifier::query_tcx(interface, TcAttachType::Ingress).ok()?;
    let filters = programs.iter().filter(|program| program.name_as_str() == Some(FILTER_TC));
    let maps = filters.filter(|program| !ours.contains(&program.id()));
    maps.filter_map(|program| program.map_ids().ok()?).flatten().find_map(|id| judged(id, plan))
}

/// An address of the plan's in the map `id`, if that is a map of addresses.
fn judged(id: u32, plan: &Plan) -> Option<IpAddr> {
    if MapInfo::from_id(id).ok()?.name_as_str() != Some(ADDRESSES) {
        return None;
    }
    let map = Map::from_map_data(MapData::from_id(id).ok()?).ok()?;
    let map: HashMap<MapData, Address, [u16; 2]> = map.try_into().ok()?;
    map.keys().filter_map(Result::ok).map(ip_address).find(|address| plan.addresses.contains(address))
}
