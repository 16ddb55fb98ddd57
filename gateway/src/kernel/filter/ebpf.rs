//! The filter as an eBPF program: one map entry is one open broker.

use std::net::SocketAddr;

use aya::Ebpf;
use aya::maps::{HashMap, MapData, MapError, PerCpuArray};
use aya::programs::links::FdLink;
use portcullis_ebpf::layout::{BROKERS, BrokerKey, BrokerKeyWords, EXCLUDED, Slot, SlotWords, VERDICTS};
use portcullis_ebpf::verdict::Verdict;

use super::{Backend, Change, Counters, Entry, FilterError};

/// The maps of the attached programs. Dropping it detaches them.
pub struct EbpfFilter {
    brokers: HashMap<MapData, BrokerKeyWords, SlotWords>,
    verdicts: PerCpuArray<MapData, u64>,
    /// Ports that are not ours; part of whatever set is wanted.
    excluded: Vec<BrokerKey>,
    /// Held until the filter is dropped, as are the programs.
    links: Vec<FdLink>,
    /// Holds the steering's link.
    programs: Option<Ebpf>,
}

impl EbpfFilter {
    /// Takes the maps out of `programs`, which need not be attached yet, and marks the ports that are not
    /// ours.
    ///
    /// # Errors
    /// The object has not the maps that `layout` describes, or the kernel refused an entry.
    pub fn new(programs: &mut Ebpf, excluded: &[SocketAddr]) -> Result<Self, FilterError> {
        let (brokers, verdicts) = (take(programs, BROKERS)?, take(programs, VERDICTS)?);
        let excluded: Vec<_> = excluded.iter().map(|endpoint| BrokerKey::new(*endpoint)).collect();
        let mut filter = Self { brokers, verdicts, excluded, links: Vec::new(), programs: None };
        for key in filter.excluded.clone() {
            let slot = Slot { deadline_ns: u64::MAX, generation: 0, state: EXCLUDED, flags: 0 };
            filter.put(key, slot)?;
        }
        Ok(filter)
    }

    /// Keeps attached what is: `programs` by `links`, and steering by its own.
    pub fn hold(&mut self, programs: Ebpf, links: Vec<FdLink>) {
        (self.programs, self.links) = (Some(programs), links);
    }

    fn open(&mut self, entry: &Entry) -> Result<(), FilterError> {
        let slot = Slot {
            deadline_ns: entry.deadline.0,
            generation: entry.generation,
            state: entry.state,
            flags: entry.flags,
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
}

/// Takes the map `name` out of the object.
///
/// # Errors
/// It is not there, or of another kind.
pub(in crate::kernel) fn take<M: TryFrom<aya::maps::Map, Error = MapError>>(
    programs: &mut Ebpf,
    name: &str,
) -> Result<M, FilterError> {
    let map = programs
        .take_map(name)
        .ok_or_else(|| FilterError::new(format!("map {name}"), "not in the object"))?;
    M::try_from(map).map_err(|error| FilterError::new(format!("map {name}"), error))
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
}
