//! One program for all targets: `PORTCULLIS_FUZZ` names the one to run, its arguments are libFuzzer's.

#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;

static TARGET: OnceLock<portcullis_fuzz::Target> = OnceLock::new();

fuzz_target!(|bytes: &[u8]| {
    let run = TARGET.get_or_init(|| {
        let name = std::env::var("PORTCULLIS_FUZZ").unwrap_or_default();
        portcullis_fuzz::target(&name).unwrap_or_else(|| panic!("PORTCULLIS_FUZZ={name}: no such target"))
    });
    run(bytes);
});
