//! The maps, and the rule's view of them. Names and entries are described in `layout`.

use aya_ebpf::{
    btf_maps::{Array, HashMap, PerCpuArray, SockMap},
    helpers::bpf_ktime_get_ns,
    macros::btf_map,
};
use portcullis_ebpf::{
    layout::{Address, BrokerKey, MAX_ADDRESSES, MAX_BROKERS, MAX_CORES, PortRange, Slot},
    verdict::{Tables, Verdict},
};

#[btf_map]
static BROKERS: HashMap<BrokerKey, Slot, MAX_BROKERS> = HashMap::new();
#[btf_map]
static ADDRESSES: HashMap<Address, PortRange, MAX_ADDRESSES> = HashMap::new();
#[btf_map]
static VERDICTS: PerCpuArray<u64, { Verdict::ALL.len() }> = PerCpuArray::new();
#[btf_map]
pub static LISTENERS: SockMap<{ MAX_CORES as usize * 2 }> = SockMap::new();
#[btf_map]
static CORES: Array<u32, 1> = Array::new();

pub struct Kernel;

impl Tables for Kernel {
    #[inline(always)]
    fn range(&self, address: &Address) -> Option<PortRange> {
        // SAFETY: the daemon replaces entries whole; a reader sees the old value or the new one.
        unsafe { ADDRESSES.get(address) }.copied()
    }

    #[inline(always)]
    fn slot(&self, key: &BrokerKey) -> Option<Slot> {
        // SAFETY: as above.
        unsafe { BROKERS.get(key) }.copied()
    }

    #[inline(always)]
    fn now_ns(&self) -> u64 {
        // SAFETY: takes nothing and cannot fail.
        unsafe { bpf_ktime_get_ns() }
    }
}

/// Counts `verdict` on this CPU.
#[inline(always)]
pub fn count(verdict: Verdict) {
    if let Some(counter) = VERDICTS.get_ptr_mut(verdict as u32) {
        // SAFETY: this CPU's own element, which no other program run on it can reach meanwhile
        // (programs of one hook do not preempt each other; a lost count would harm nobody).
        unsafe { *counter += 1 }
    }
}

/// How many cores have listeners.
#[inline(always)]
pub fn cores() -> u32 {
    CORES.get(0).copied().unwrap_or(0)
}
