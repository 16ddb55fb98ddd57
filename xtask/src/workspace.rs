//! Where things are in this checkout.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The root of the checkout: the folder above this crate's own.
pub(crate) fn root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}

/// The folder for what we make ourselves; gateway/build.rs looks for `embed` in it.
pub(crate) fn target() -> PathBuf {
    root().join("target")
}

/// The kernel object that gateway/build.rs embeds.
pub(crate) fn kernel_object() -> PathBuf {
    target().join("embed/portcullis.bpf.o")
}

/// The daemon of a profile, `debug` or `release`, where cargo puts it.
pub(crate) fn gateway(profile: &str) -> PathBuf {
    // Our children run in the root, so that is what a relative folder is relative to.
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(target, |folder| root().join(folder));
    target.join(profile).join("portcullis")
}

/// Cargo, at the root, of the toolchain that runs us, without what `cargo run` has told us about the
/// xtask package.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new("cargo");
    command.current_dir(root());
    forget_package(&mut command);
    command
}

/// Removes what `cargo run` sets for the package it runs; a build script that reads one of these would be
/// built anew each time cargo is called from elsewhere.
pub(crate) fn forget_package(command: &mut Command) {
    for (key, _) in env::vars_os() {
        let name = key.to_string_lossy();
        let one = ["CARGO", "CARGO_MANIFEST_DIR", "CARGO_MANIFEST_PATH", "CARGO_BIN_NAME", "OUT_DIR"];
        if one.contains(&&*name) || name.starts_with("CARGO_PKG_") {
            command.env_remove(&key);
        }
    }
}
