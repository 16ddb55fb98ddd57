//! The filter as an eBPF program: one map entry is one open broker.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::os::fd::AsFd;

use aya::Ebpf;
use aya::maps::{Array, HashMap, Map, MapData, MapError, PerCpuArray};
use ipnet::IpNet;
use portcullis_ebpf::layout::{
    ANYWHERE, BROKERS, BrokerKey, BrokerKeyWords, COUNTS, Counts, CountsWords, EXCLUDED, LIMITS, Limits,
    LimitsWords, Prefix, Slot, SlotWords, VERDICTS,
};
use portcullis_ebpf::verdict::Verdict;

use super::{Backend, BrokerCounts, BrokerId, Change, Counters, Entry, FilterError};

/// The maps of the filter's programs, which are attached by somebody else.
pub struct EbpfFilter {
    brokers: HashMap<MapData, BrokerKeyWords, SlotWords>,
    verdicts: PerCpuArray<MapData, u64>,
    counts: Array<MapData, CountsWords>,
    limits: Array<MapData, LimitsWords>,
    places: Places,
    /// Ports that are not ours; part of whatever set is wanted.
    excluded: Vec<BrokerKey>,
}

/// Where the counts of each broker are: one place for each port of each address.
#[derive(Clone, Debug)]
pub struct Places {
    /// Broker addresses.
    pub addresses: Vec<IpAddr>,
    /// Broker ports.
    pub range: RangeInclusive<u16>,
}

impl Places {
    /// How many there are.
    pub fn count(&self) -> u32 {
        (self.addresses.len() as u32).saturating_mul(self.ports())
    }

    fn ports(&self) -> u32 {
        u32::from(*self.range.end()).saturating_sub((*self.range.start()).into()) + 1
    }

    /// The place of `endpoint`; one that does not exist if it is not a broker's.
    fn of(&self, endpoint: SocketAddr) -> u32 {
        let address = self.addresses.iter().position(|address| *address == endpoint.ip());
        match address {
            Some(address) if self.range.contains(&endpoint.port()) => {
                let port = endpoint.port() - self.range.start();
                address as u32 * self.ports() + u32::from(port)
            }
            _ => u32::MAX,
        }
    }
}

impl EbpfFilter {
    /// Takes the maps out of `maps`, whose programs need not be attached yet, and marks the ports that are
    /// not ours.
    ///
    /// # Errors
    /// The object has not the maps that `layout` describes, or the kernel refused an entry.
    pub fn new(maps: &mut impl Maps, places: Places, excluded: &[SocketAddr]) -> Result<Self, FilterError> {
        let mut filter = Self {
            brokers: take(maps, BROKERS)?,
            verdicts: take(maps, VERDICTS)?,
            counts: take(maps, COUNTS)?,
            limits: take(maps, LIMITS)?,
            places,
            excluded: excluded.iter().map(|endpoint| BrokerKey::new(*endpoint)).collect(),
        };
        for key in filter.excluded.clone() {
            let slot = Slot {
                deadline_ns: u64::MAX,
                client: ANYWHERE,
                generation: 0,
                place: u32::MAX,
                state: EXCLUDED,
            };
            filter.put(key, slot)?;
        }
        Ok(filter)
    }

    /// Sets how fast new connections may come, from now on.
    ///
    /// # Errors
    /// The kernel refused.
    pub fn limit(&mut self, limits: Limits) -> Result<(), FilterError> {
        let failed = |error| FilterError::new(format!("map {LIMITS}: update"), error);
        self.limits.set(0, limits.to_words(), 0).map_err(failed)
    }

    fn open(&mut self, entry: &Entry) -> Result<(), FilterError> {
        let slot = Slot {
            deadline_ns: entry.deadline.0,
            client: entry.client.map_or(ANYWHERE, prefix),
            generation: entry.generation,
            place: self.places.of(entry.endpoint),
            state: entry.state,
        };
        self.put(BrokerKey::new(entry.endpoint), slot)
    }

    fn put(&mut self, key: BrokerKey, slot: Slot) -> Result<(), FilterError> {
        let failed = |error| FilterError::new(format!("map {BROKERS}: update {key:?}"), error);
        self.brokers.insert(key.to_words(), slot.to_words(), 0).map_err(failed)
    }

    fn close(&mut self, key: BrokerKey) -> Result<(), FilterError> {
        match self.brokers.remove(&key.to_words()) {
            Ok(()) | Err(MapError::KeyNotFound) => Ok(()),
            // That is how aya hands on the kernel's "no such key".
            Err(MapError::SyscallError(error))
                if error.io_error.raw_os_error() == Some(nix::libc::ENOENT) =>
            {
                Ok(())
            }
            Err(error) => Err(FilterError::new(format!("map {BROKERS}: delete {key:?}"), error)),
        }
    }

    /// None yet where no segment of this broker came: the place still has another's.
    fn counts_of(&self, broker: &BrokerId) -> Result<Option<BrokerCounts>, FilterError> {
        let place = self.places.of(broker.endpoint);
        if place == u32::MAX {
            return Ok(None);
        }
        let words = self.counts.get(&place, 0);
        let words = words.map_err(|error| FilterError::new(format!("map {COUNTS}: read {place}"), error))?;
        let Counts { generation, open, wrong_source, expired, rate_limited, .. } = Counts::from_words(words);
        if generation != broker.generation {
            return Ok(Some(BrokerCounts::default()));
        }
        Ok(Some(BrokerCounts { open, wrong_source, expired, rate_limited }))
    }
}

/// `client` as the kernel compares it. A network of addresses that are IPv4 in IPv6's clothes is one of
/// IPv4, since that is how all of them are compared.
fn prefix(client: IpNet) -> Prefix {
    Prefix::new(client.network(), client.prefix_len())
}

/// Where maps are taken from by name: a loaded object, or pins.
pub trait Maps {
    /// The map `name`.
    ///
    /// # Errors
    /// There is none, or it cannot be had.
    fn take(&mut self, name: &str) -> Result<Map, FilterError>;
}

/// A handle of its own: programs that are still to be loaded name maps by the descriptors that the object
/// holds, so these stay where they are.
impl Maps for Ebpf {
    fn take(&mut self, name: &str) -> Result<Map, FilterError> {
        let none = || FilterError::new(format!("map {name}"), "not in the object");
        let (Map::Array(data)
        | Map::HashMap(data)
        | Map::LruHashMap(data)
        | Map::PerCpuArray(data)
        | Map::SockMap(data)) = self.map(name).ok_or_else(none)?
        else {
            return Err(FilterError::new(format!("map {name}"), "of a kind that this layout has not"));
        };
        let fd = data.fd().as_fd().try_clone_to_owned();
        let fd = fd.map_err(|error| FilterError::new(format!("map {name}: duplicate"), error))?;
        MapData::from_fd(fd)
            .and_then(Map::from_map_data)
            .map_err(|error| FilterError::new(format!("map {name}"), error))
    }
}

/// Takes the map `name` as what it is.
///
/// # Errors
/// It is not there, or of another kind.
pub(in crate::kernel) fn take<M: TryFrom<Map, Error = MapError>>(
    maps: &mut impl Maps,
    name: &str,
) -> Result<M, FilterError> {
    M::try_from(maps.take(name)?).map_err(|error| FilterError::new(format!("map {name}"), error))
}

impl Backend for EbpfFilter {
    fn name(&self) -> &'static str {
        "ebpf"
    }

    fn replace(&mut self, open: &[Entry]) -> Result<(), FilterError> {
        let wanted: std::collections::HashSet<_> = open
            .iter()
            .map(|entry| BrokerKey::new(entry.endpoint))
            .chain(self.excluded.iter().copied())
            .map(BrokerKey::to_words)
            .collect();
        let present = self.brokers.keys().collect::<Result<Vec<_>, _>>();
        let present = present.map_err(|error| FilterError::new(format!("map {BROKERS}: list"), error))?;
        for key in present.into_iter().filter(|key| !wanted.contains(key)) {
            self.close(BrokerKey::from_words(key))?;
        }
        open.iter().try_for_each(|entry| self.open(entry))
    }

    fn apply(&mut self, changes: &[Change]) -> Result<(), FilterError> {
        changes.iter().try_for_each(|change| match change {
            Change::Open(entry) => self.open(entry),
            Change::Close(endpoint) => self.close(BrokerKey::new(*endpoint)),
        })
    }

    fn counters(&self) -> Result<Counters, FilterError> {
        let mut counters = Counters::default();
        for verdict in Verdict::ALL {
            let by_cpu = self.verdicts.get(&(verdict as u32), 0);
            let by_cpu = by_cpu.map_err(|error| {
                FilterError::new(format!("map {VERDICTS}: read {}", verdict.name()), error)
            })?;
            counters.0[verdict as usize] = by_cpu.iter().sum();
        }
        Ok(counters)
    }

    fn broker_counts(&self, brokers: &[BrokerId]) -> Result<Vec<Option<BrokerCounts>>, FilterError> {
        brokers.iter().map(|broker| self.counts_of(broker)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_port_of_every_address_has_a_place_of_its_own() {
        let addresses = ["192.0.2.1", "2001:db8::1"].map(|ip| ip.parse().expect("an address")).to_vec();
        let places = Places { addresses: addresses.clone(), range: 10_000..=10_002 };
        let endpoints = addresses.iter().flat_map(|ip| (10_000..=10_002).map(|port| (*ip, port).into()));
        let found: Vec<_> = endpoints.map(|endpoint| places.of(endpoint)).collect();
        assert_eq!(found, (0..places.count()).collect::<Vec<_>>());
        for stranger in ["192.0.2.1:9999", "192.0.2.1:10003", "192.0.2.2:10000"] {
            assert_eq!(places.of(stranger.parse().expect("an endpoint")), u32::MAX);
        }
    }
}
