//! The kernel object: maps and entry points. The rule is `portcullis_ebpf::verdict`.
#![no_std]
#![no_main]

mod filter;
mod maps;
mod steer;

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // Nothing here panics; without a place to go the verifier would refuse the program if it did.
    loop {}
}

/// Helpers used here (map access, ktime, sk_assign) are open to any licence, the verifier still
/// asks for a declaration.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
