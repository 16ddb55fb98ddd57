//! Steering: a connection to an open broker goes to one of our listeners, whatever its port.

use aya_ebpf::{bindings::sk_action, macros::sk_lookup, programs::SkLookupContext};
use portcullis_ebpf::{
    layout::{BrokerKey, Family, MAPPED_PREFIX, listener_index},
    verdict::{Tables, Verdict, admit},
};

use crate::maps::{Kernel, LISTENERS, cores};

const AF_INET: u32 = 2;
const AF_INET6: u32 = 10;
const IPPROTO_TCP: u32 = 6;

/// Reads a field of the context. The verifier takes loads at a constant offset and of the field's
/// own width only; a volatile read keeps the compiler from joining two into one load.
macro_rules! read {
    ($lookup:ident, $($field:tt)+) => {
        // SAFETY: the kernel hands over a valid context for the run of the program.
        unsafe { core::ptr::read_volatile(&raw const (*$lookup).$($field)+) }
    };
}

#[sk_lookup]
pub fn portcullis_steer(ctx: SkLookupContext) -> u32 {
    match steer(&ctx) {
        // An open broker without a listener is refused: another's socket on that port must not
        // get its clients.
        Some(false) => sk_action::SK_DROP,
        // Steered, or none of ours: a closed port gets exactly what a closed port gets.
        Some(true) | None => sk_action::SK_PASS,
    }
}

/// `None`: no open broker. Otherwise whether a listener took the connection.
#[inline(always)]
fn steer(ctx: &SkLookupContext) -> Option<bool> {
    let lookup = ctx.lookup;
    if read!(lookup, protocol) != IPPROTO_TCP {
        return None;
    }
    // The fields of the other family read as zero (kernel: net/core/filter.c,
    // sk_lookup_convert_ctx_access), so both are read and joined: a branch between two fields is
    // what the compiler would turn into a computed offset, which the verifier refuses.
    let (family, prefix) = match read!(lookup, family) {
        AF_INET => (Family::V4, MAPPED_PREFIX),
        AF_INET6 => (Family::V6, 0),
        _ => return None,
    };
    let address = [
        read!(lookup, local_ip6[0]),
        read!(lookup, local_ip6[1]),
        read!(lookup, local_ip6[2]) | prefix,
        read!(lookup, local_ip6[3]) | read!(lookup, local_ip4),
    ];
    let key = BrokerKey { address, port: read!(lookup, local_port) };
    let slot = Kernel.slot(&key)?;
    let source = [
        read!(lookup, remote_ip6[0]),
        read!(lookup, remote_ip6[1]),
        read!(lookup, remote_ip6[2]) | prefix,
        read!(lookup, remote_ip6[3]) | read!(lookup, remote_ip4),
    ];
    if admit(&slot, &source, Kernel.now_ns()) != Verdict::Open {
        return None;
    }
    let cores = cores();
    if cores == 0 {
        return Some(false);
    }
    // Spread over the cores by client address and port. The multiplier is 2^32 divided by the
    // golden ratio: neighbours land far apart.
    let client = source[3] ^ u32::from(read!(lookup, remote_port));
    let core = (client.wrapping_mul(0x9e37_79b9) >> 16) % cores;
    Some(LISTENERS.redirect_sk_lookup(ctx, listener_index(core, family), 0).is_ok())
}
