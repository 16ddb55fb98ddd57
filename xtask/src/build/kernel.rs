//! The kernel object: built for the BPF target and put where gateway/build.rs embeds it from.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::setup::Compiler;
use crate::{exec, workspace};

const TARGET: &str = "bpfel-unknown-none";
/// The profile in the workspace's Cargo.toml, and the folder of its output.
const PROFILE: &str = "bpf";
const BINARY: &str = "portcullis-kernel";

pub(crate) fn build(compiler: &Compiler) -> Result<()> {
    let folder = workspace::target().join("kernel");
    let mut cargo = cargo(compiler);
    cargo.current_dir(workspace::root());
    cargo.args([
        "build",
        "--locked",
        "--package",
        "portcullis-ebpf",
        "--bin",
        BINARY,
        "--features",
        "kernel",
    ]);
    cargo
        .args(["--profile", PROFILE, "-Zbuild-std=core", "--target", TARGET])
        .arg("--target-dir")
        .arg(&folder);
    cargo.env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", "bpf-linker").env("PATH", path()?);
    // Takes the place of all other flags, of which those for the host would be wrong here. The parts are
    // set apart by U+001F.
    cargo.env("CARGO_ENCODED_RUSTFLAGS", "-Clink-arg=--btf\u{1f}-Cdebuginfo=2");
    exec::run(&mut cargo)?;
    copy_if_changed(&folder.join(TARGET).join(PROFILE).join(BINARY), &workspace::kernel_object())
}

/// Cargo and rustc of the compiler, free of what the toolchain that runs us has set for itself.
fn cargo(compiler: &Compiler) -> Command {
    let mut command = match compiler {
        Compiler::Nightly(name) => {
            let mut rustup = exec::command("rustup");
            rustup.args(["run", name, "cargo"]);
            rustup.env_remove("RUSTC");
            rustup
        }
        Compiler::Debian => {
            let mut cargo = Command::new("/usr/bin/cargo");
            // A stable compiler takes -Z build-std only when told that it may.
            cargo.env("RUSTC", "/usr/bin/rustc").env("RUSTC_BOOTSTRAP", "1");
            cargo
        }
    };
    workspace::forget_package(&mut command);
    for key in ["RUSTUP_TOOLCHAIN", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "LD_LIBRARY_PATH"] {
        command.env_remove(key);
    }
    command
}

/// `PATH` with cargo's folder, where bpf-linker is.
fn path() -> Result<OsString> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::join_paths(env::split_paths(&path).chain(exec::cargo_bin())).context("lengthen PATH")
}

/// An unchanged object keeps its time, so that the daemon is not built anew for it; a changed one
/// appears whole.
fn copy_if_changed(from: &Path, to: &Path) -> Result<()> {
    let object = fs::read(from).with_context(|| format!("read {}", from.display()))?;
    if fs::read(to).is_ok_and(|present| present == object) {
        return Ok(());
    }
    let write = || {
        fs::create_dir_all(to.parent().unwrap_or(to))?;
        let part = to.with_extension("part");
        fs::write(&part, object)?;
        fs::rename(part, to)
    };
    write().with_context(|| format!("write {}", to.display()))
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn an_unchanged_object_keeps_its_time() {
        let folder = tempfile::tempdir().expect("a folder");
        let (from, to) = (folder.path().join("from"), folder.path().join("deep/to"));
        fs::write(&from, "one").expect("written");
        copy_if_changed(&from, &to).expect("copied");
        fs::File::open(&to).and_then(|file| file.set_modified(SystemTime::UNIX_EPOCH)).expect("made old");
        copy_if_changed(&from, &to).expect("left alone");
        assert_eq!(
            fs::metadata(&to).and_then(|meta| meta.modified()).expect("a time"),
            SystemTime::UNIX_EPOCH
        );
        fs::write(&from, "two").expect("written");
        copy_if_changed(&from, &to).expect("copied");
        assert_eq!(fs::read_to_string(&to).expect("there"), "two");
    }
}
