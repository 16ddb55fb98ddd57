//! Hands the kernel object to the daemon, if `cargo xtask build` made one. Without it the daemon works
//! on its fallback, so that a plain `cargo build` needs nothing but Rust.

use std::path::Path;
use std::{env, fs};

fn main() {
    // Asked when it runs: cargo keeps this program when the folder is moved or copied.
    let folder = env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR");
    let workspace = Path::new(&folder).parent().expect("the crate lies in the workspace");
    let made = workspace.join("target/embed/portcullis.bpf.o");
    let out = env::var_os("OUT_DIR").expect("cargo sets OUT_DIR");
    let embedded = Path::new(&out).join("portcullis.bpf.o");
    let object = fs::read(&made).unwrap_or_default();
    fs::write(&embedded, object).unwrap_or_else(|error| panic!("write {}: {error}", embedded.display()));

    println!("cargo::rerun-if-changed={}", made.display());
    // The macros that embed pages and migrations do not see files that appear later.
    println!("cargo::rerun-if-changed=web/dist");
    println!("cargo::rerun-if-changed=migrations");
}
