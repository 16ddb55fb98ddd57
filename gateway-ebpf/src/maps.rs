//! The maps, and the rule's view of them. Names and entries are described in `layout`.

use aya_ebpf::{
    btf_maps::{Array, HashMap, LruHashMap, PerCpuArray, SockMap},
    helpers::bpf_ktime_get_ns,
    macros::btf_map,
};
use portcullis_ebpf::{
    layout::{
        Address, Bounds, BrokerKey, Counts, Limits, MAX_ADDRESSES, MAX_BROKERS, MAX_CORES, MAX_SOURCES,
        PortRange, Slot,
    },
    rate::{Limit, source},
    verdict::{Tables, Verdict},
};

#[btf_map]
static BROKERS: HashMap<BrokerKey, Slot, MAX_BROKERS> = HashMap::new();
#[btf_map]
static ADDRESSES: HashMap<Address, PortRange, MAX_ADDRESSES> = HashMap::new();
#[btf_map]
static BOUNDS: Array<Bounds, 1> = Array::new();
#[btf_map]
static VERDICTS: PerCpuArray<u64, { Verdict::ALL.len() }> = PerCpuArray::new();
#[btf_map]
static COUNTS: Array<Counts, MAX_BROKERS> = Array::new();
#[btf_map]
static SOURCES: LruHashMap<Address, u64, MAX_SOURCES> = LruHashMap::new();
#[btf_map]
static LIMITS: Array<Limits, 1> = Array::new();
#[btf_map]
pub static LISTENERS: SockMap<{ MAX_CORES as usize * 2 }> = SockMap::new();
#[btf_map]
static CORES: Array<u32, 1> = Array::new();

pub struct Kernel;

impl Tables for Kernel {
    #[inline(always)]
    fn may_be_judged(&self, address: &Address, port: u16) -> bool {
        BOUNDS.get(0).is_some_and(|bounds| bounds.may_hold(address, port))
    }

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

    #[inline(always)]
    fn pays(&self, slot: &Slot, address: &Address, now_ns: u64) -> bool {
        let Some(limits) = LIMITS.get(0) else { return true };
        let source_pays = !limits.source.is_on() || pay_for_source(&limits.source, &source(address), now_ns);
        source_pays && (!limits.broker.is_on() || pay_for_broker(&limits.broker, slot, now_ns))
    }

    #[inline(always)]
    fn count(&self, slot: &Slot, verdict: Verdict) {
        let Some(counts) = counts(slot) else { return };
        // SAFETY: as for `paid_ns` below: plain integers, and a lost count would harm nobody.
        if let Some(count) = unsafe { (*counts).of(verdict) } {
            *count += 1;
        }
    }
}

/// What a source has paid lives in one number that CPUs may change at once: then one connection more than
/// the limit gets through.
#[inline(always)]
fn pay_for_source(limit: &Limit, source: &Address, now_ns: u64) -> bool {
    let Some(paid) = SOURCES.get_ptr_mut(source) else {
        // Who is new may always. A full map has forgotten somebody else for it.
        let _ = SOURCES.insert(source, now_ns + limit.interval_ns, 0);
        return true;
    };
    // SAFETY: an element lives until the program has run; it is an integer.
    match limit.pay(unsafe { *paid }, now_ns) {
        // SAFETY: as above.
        Some(now_paid) => unsafe {
            *paid = now_paid;
            true
        },
        None => false,
    }
}

#[inline(always)]
fn pay_for_broker(limit: &Limit, slot: &Slot, now_ns: u64) -> bool {
    let Some(counts) = counts(slot) else { return true };
    // SAFETY: an element of an array lives as long as the map; it is an integer.
    match limit.pay(unsafe { (*counts).paid_ns }, now_ns) {
        // SAFETY: as above.
        Some(paid) => unsafe {
            (*counts).paid_ns = paid;
            true
        },
        None => false,
    }
}

/// The counts of the broker behind `slot`, begun anew if they are still another's. Two CPUs may begin at
/// once: a count of the first moment is lost then.
#[inline(always)]
fn counts(slot: &Slot) -> Option<*mut Counts> {
    let counts = COUNTS.get_ptr_mut(slot.place)?;
    // SAFETY: an element of an array lives as long as the map; all of it are integers.
    unsafe {
        if (*counts).generation != slot.generation {
            *counts = Counts { generation: slot.generation, ..Counts::default() };
        }
    }
    Some(counts)
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
