//! `cargo xtask setup`: finds out what is missing on this machine, says so, asks, and installs it.

mod apt;
pub(crate) mod autobahn;
mod needs;
mod node;
pub(crate) mod peers;
mod policy;
mod probe;
pub(crate) mod python;
pub(crate) mod release;
mod sources;
mod toolchain;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::{exec, signals, terminal, workspace};
use apt::{Apt, Origin};
pub(crate) use needs::Level;
use needs::Missing;
use sources::Source;
pub(crate) use toolchain::Compiler;

/// Installs what `run` needs, or with --test also what the tests need, or with --bench also what is measured
/// beside the daemon; does nothing when all is there.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Install what the tests need, too.
    #[arg(long)]
    test: bool,
    /// Install the relays of the bench, too.
    #[arg(long)]
    bench: bool,
    #[command(flatten)]
    consent: Consent,
}

/// Whether to ask before something is installed.
#[derive(Debug, Clone, Copy, Default, Args)]
pub(crate) struct Consent {
    /// Install without asking. Without a terminal, or where CI is set, nothing is asked anyway.
    #[arg(long)]
    yes: bool,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let level = match options {
        Options { bench: true, .. } => Level::Bench,
        Options { test: true, .. } => Level::Test,
        _ => Level::Run,
    };
    ensure(level, options.consent)?;
    if options.test {
        python::install_packages()?;
        peers::install_websockify()?;
        autobahn::install()?;
    }
    if options.bench {
        peers::install()?;
    }
    eprintln!("all is there");
    Ok(())
}

/// Makes sure of all that `level` needs, and returns the compiler for the kernel programs.
pub(crate) fn ensure(level: Level, consent: Consent) -> Result<Compiler> {
    let mut missing = Missing::find(level, false);
    if !missing.is_empty() {
        eprintln!("missing: {}", missing.what.join(", "));
        missing = install(level, consent)?;
    }
    if !missing.is_empty() {
        bail!("still missing: {}{}", missing.what.join(", "), by_hand(&missing));
    }
    Ok(missing.compiler.context("a compiler that is not missing was chosen")?.compiler)
}

/// This machine's package sources that serve the release, the main one first.
pub(crate) fn debian_entries(codename: &str) -> Vec<Source> {
    let mut entries = sources::serving(&sources::read_all(), codename);
    entries.sort_by_key(|entry| !entry.suites.iter().any(|suite| suite == codename));
    entries
}

/// The compiler for the kernel programs, if it is ready.
pub(crate) fn compiler() -> Result<Compiler> {
    let choice = toolchain::choose(&probe::facts()).filter(toolchain::Choice::is_ready);
    Ok(choice.with_context(toolchain::advice)?.compiler)
}

/// Installs what is missing and returns what is missing then.
fn install(level: Level, consent: Consent) -> Result<Missing> {
    let mut missing = Missing::find(level, true);
    // Building the linker takes neither root nor fresh package lists.
    if missing.needs_packages() {
        missing = install_packages(level, consent, &missing)?;
    } else {
        ask(consent, &missing)?;
    }
    build_linker(&missing)?;
    Ok(Missing::find(level, false))
}

/// Installs the packages, as fresh package lists offer them, and returns what was missing by these lists.
fn install_packages(level: Level, consent: Consent, known: &Missing) -> Result<Missing> {
    let apt = match Apt::new() {
        Ok(apt) => apt,
        Err(error) => bail!("cannot install packages: {error:#}{}", by_hand(known)),
    };
    apt.update(&Origin::machine())?;
    let missing = Missing::find(level, true);
    if !missing.beyond.is_empty() {
        bail!("cannot install all of it{}", by_hand(&missing));
    }
    let plan = plan(&apt, &missing)?;
    ask(consent, &missing)?;
    for (origin, packages) in &plan {
        apt.install(origin, packages)?;
    }
    Ok(missing)
}

/// Which packages come from where. QEMU's must be of one version, so where some of them are from
/// backports, so must be the others.
fn plan(apt: &Apt, missing: &Missing) -> Result<Vec<(Origin, Vec<String>)>> {
    let all = [missing.packages.clone(), missing.qemu.clone()].concat();
    if all.is_empty() {
        return Ok(vec![]);
    }
    let refusal = match apt.simulate(&Origin::machine(), &all) {
        Ok(()) => return Ok(vec![(Origin::machine(), all)]),
        Err(refusal) if missing.qemu.is_empty() => return Err(refusal),
        Err(refusal) => refusal,
    };
    let mut plan = Vec::new();
    if !missing.packages.is_empty() {
        apt.simulate(&Origin::machine(), &missing.packages)?;
        plan.push((Origin::machine(), missing.packages.clone()));
    }
    eprintln!(
        "QEMU of this release does not go with the QEMU packages that are installed: looking in backports"
    );
    let backports = Origin::backports(apt).map_err(|error| refusal.context(error))?;
    apt.update(&backports)?;
    apt.simulate(&backports, &missing.qemu)?;
    plan.push((backports, missing.qemu.clone()));
    Ok(plan)
}

fn ask(consent: Consent, missing: &Missing) -> Result<()> {
    signals::check()?;
    for (what, packages) in [("packages", &missing.packages), ("packages of QEMU", &missing.qemu)] {
        if !packages.is_empty() {
            eprintln!("to install, {what}: {}", packages.join(" "));
        }
    }
    if let Some(llvm) = missing.compiler.as_ref().and_then(|choice| choice.linker) {
        eprintln!("to build, some minutes: {}", toolchain::linker_command(&llvm.to_string()));
    }
    if consent.yes || !terminal::is_interactive() { Ok(()) } else { terminal::confirm("Go on?") }
}

fn build_linker(missing: &Missing) -> Result<()> {
    let Some(llvm) = missing.compiler.as_ref().and_then(|choice| choice.linker) else { return Ok(()) };
    let mut install = workspace::cargo();
    install.arg("install").args(toolchain::linker_arguments(&llvm.to_string()));
    // One of another version or for another LLVM may be there.
    install.arg("--force").env("LLVM_PREFIX", format!("/usr/lib/llvm-{llvm}"));
    exec::run(&mut install)
}

/// What a person has to do, exactly.
fn by_hand(missing: &Missing) -> String {
    let mut text = String::new();
    let packages = [missing.packages.clone(), missing.qemu.clone()].concat();
    if !packages.is_empty() {
        text += &format!("\n  install the packages: {}", packages.join(" "));
    }
    if let Some(llvm) = missing.compiler.as_ref().and_then(|choice| choice.linker) {
        text += &format!("\n  then: {}", toolchain::linker_command(&llvm.to_string()));
    }
    for advice in &missing.beyond {
        text += &format!("\n  {advice}");
    }
    text
}
