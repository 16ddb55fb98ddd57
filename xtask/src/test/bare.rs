//! `cargo xtask test --bare`: the two commands of a newcomer, in a Debian 12 that was made for it and has
//! nothing but rustup's toolchain and a C linker. It takes a quarter of an hour, and is no part of the
//! everyday run.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use crate::scratch::Scratch;
use crate::setup::debian_entries;
use crate::{exec, workspace};

const RELEASE: &str = "bookworm";
/// What the README asks for before the first command.
const LINKER: &str = "apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev";
const COMMANDS: &str = "cargo xtask setup --yes && cargo xtask build";
/// Home of who sits there.
const HOME: &str = "/newcomer";
/// What rustup puts into its folder of programs beside itself.
const PROXIES: [&str; 6] = ["cargo", "rustc", "rustdoc", "rustfmt", "cargo-clippy", "clippy-driver"];

pub(crate) fn run() -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!("--bare needs root: it makes a system in a folder");
    }
    let scratch = Scratch::new()?;
    // What is mounted below is mounted for us and our children alone.
    unshare(CloneFlags::CLONE_NEWNS).context("make a mount namespace")?;
    bind(Path::new("/"), None, MsFlags::MS_REC | MsFlags::MS_PRIVATE)?;
    let system = System(scratch.path().join("root"));
    system.bootstrap()?;
    system.add_toolchain()?;
    system.add_checkout()?;
    system.shell("/", LINKER)?;
    system.shell("/src", COMMANDS)?;
    system.shell("/src", "test -s target/embed/portcullis.bpf.o && target/release/portcullis --version")?;
    scratch.remove()?;
    eprintln!("a bare {RELEASE} sets itself up and builds all");
    Ok(())
}

/// A system in a folder.
struct System(PathBuf);

impl System {
    fn path(&self, inside: &str) -> PathBuf {
        self.0.join(inside.trim_start_matches('/'))
    }

    fn home(&self, inside: &str) -> PathBuf {
        self.path(HOME).join(inside)
    }

    /// From where this machine has its packages.
    fn bootstrap(&self) -> Result<()> {
        let entries = debian_entries(RELEASE);
        let main = entries.first().with_context(|| format!("this machine has no source for {RELEASE}"))?;
        let mut debootstrap = exec::command("debootstrap");
        debootstrap.args(["--variant=minbase", "--include=ca-certificates", RELEASE]).arg(&self.0);
        exec::run(debootstrap.arg(main.uris.split_whitespace().next().unwrap_or_default()))?;

        let text: Vec<String> = entries.iter().map(|entry| entry.deb822()).collect();
        let _ = fs::remove_file(self.path("/etc/apt/sources.list"));
        fs::write(self.path("/etc/apt/sources.list.d/debian.sources"), text.join("\n"))?;
        // How names are resolved and who is trusted here holds in there too.
        for file in ["/etc/resolv.conf", "/etc/hosts", "/etc/ssl/certs/ca-certificates.crt"] {
            fs::copy(file, self.path(file)).with_context(|| format!("copy {file}"))?;
        }
        for folder in ["/proc", "/dev"] {
            bind(&self.path(folder), Some(Path::new(folder)), MsFlags::MS_BIND | MsFlags::MS_REC)?;
        }
        Ok(())
    }

    /// The toolchains as they are, cargo without anything that it has installed, and its cache of sources.
    fn add_toolchain(&self) -> Result<()> {
        let home = |variable: &str, usual: &str| {
            let named = std::env::var_os(variable).map(PathBuf::from);
            named.or_else(|| Some(Path::new(&std::env::var_os("HOME")?).join(usual))).context("no HOME")
        };
        let (rustup, cargo) = (home("RUSTUP_HOME", ".rustup")?, home("CARGO_HOME", ".cargo")?);
        let bin = self.home(".cargo/bin");
        fs::create_dir_all(&bin)?;
        fs::copy(cargo.join("bin/rustup"), bin.join("rustup")).context("copy rustup")?;
        for proxy in PROXIES {
            symlink("rustup", bin.join(proxy))?;
        }
        if cargo.join("config.toml").exists() {
            fs::copy(cargo.join("config.toml"), self.home(".cargo/config.toml"))?;
        }
        for (from, to) in [(rustup, ".rustup"), (cargo.join("registry"), ".cargo/registry")] {
            let to = self.home(to);
            fs::create_dir_all(&to)?;
            bind(&to, Some(&from), MsFlags::MS_BIND)?;
        }
        Ok(())
    }

    /// What is committed, and nothing else.
    fn add_checkout(&self) -> Result<()> {
        let mut clone = exec::command("git");
        clone.args(["clone", "--quiet", "--no-hardlinks"]).arg(workspace::root()).arg(self.path("/src"));
        exec::run(&mut clone)
    }

    fn shell(&self, folder: &str, script: &str) -> Result<()> {
        let mut chroot = Command::new("chroot");
        chroot.arg(&self.0).args(["/usr/bin/env", "-i", "-C", folder, "CI=1"]);
        chroot.arg(format!("HOME={HOME}"));
        chroot.arg(format!(
            "PATH={HOME}/.cargo/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        ));
        exec::run(chroot.args(["sh", "-c", script]))
    }
}

fn bind(place: &Path, from: Option<&Path>, how: MsFlags) -> Result<()> {
    mount(from, place, None::<&str>, how, None::<&str>).with_context(|| format!("mount {}", place.display()))
}
