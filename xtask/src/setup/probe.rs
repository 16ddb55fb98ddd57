//! The facts of this machine that the choice of a compiler for the kernel programs depends on.

use std::path::Path;

use crate::exec;
use crate::setup::toolchain::{Facts, LINKER_VERSION, Linker, Nightly, Rustc, Version};

/// Looks at all of them. What a package source offers is as fresh as the machine's package lists.
pub(crate) fn facts() -> Facts {
    let llvm_dev: Vec<_> =
        (15..40).filter(|n| Path::new(&format!("/usr/lib/llvm-{n}/include/llvm")).exists()).collect();
    Facts { nightlies: nightlies(), debian: debian(), llvm_dev, linker: linker(), ..Facts::default() }
}

/// Adds what could be installed; slower, and only of use when something is missing.
pub(crate) fn offers(facts: &mut Facts) {
    facts.debian_offered = debian_offered();
    facts.llvm_dev_offered = (21..=23).filter(|n| candidate(&format!("llvm-{n}-dev")).is_some()).collect();
}

fn nightlies() -> Vec<Nightly> {
    let list = exec::find("rustup")
        .and_then(|_| exec::read(exec::command("rustup").args(["toolchain", "list"])).ok());
    let list = list.unwrap_or_default();
    let names = list.lines().filter_map(|line| line.split_whitespace().next());
    names.filter(|name| name.starts_with("nightly")).filter_map(nightly).collect()
}

fn nightly(name: &str) -> Option<Nightly> {
    let ask = |question: &[&str]| {
        let mut rustc = exec::command("rustup");
        rustc.args(["run", name, "rustc"]).args(question).env_remove("RUSTUP_TOOLCHAIN");
        exec::read(&mut rustc).ok()
    };
    let rustc = Rustc::parse(&ask(&["-vV"])?)?;
    let sysroot = ask(&["--print", "sysroot"])?;
    let source = Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/Cargo.toml");
    Some(Nightly { name: name.to_owned(), rustc, has_source: source.exists() })
}

fn debian() -> Option<Rustc> {
    let parts = ["/usr/bin/rustc", "/usr/bin/cargo", "/usr/lib/rustlib/src/rust/library/Cargo.toml"];
    if !parts.iter().all(|part| Path::new(part).exists()) {
        return None;
    }
    // A rustup toolchain's libraries must not stand in for the compiler's own.
    let mut rustc = std::process::Command::new("/usr/bin/rustc");
    Rustc::parse(&exec::read(rustc.arg("-vV").env_remove("LD_LIBRARY_PATH")).ok()?)
}

fn debian_offered() -> Option<Rustc> {
    let version = Version::parse(&candidate("rustc-web")?)?;
    // Only the library package that the compiler is linked to names its LLVM.
    let depends = ["depends", "--recurse", "--important", "rustc-web"];
    let depends = exec::read(exec::command("apt-cache").args(depends)).ok()?;
    let llvm = depends.lines().filter_map(|line| line.strip_prefix("libllvm")?.parse().ok()).max()?;
    Some(Rustc { version, llvm })
}

/// The version of a package that apt would install.
fn candidate(package: &str) -> Option<String> {
    let policy = exec::read(exec::command("apt-cache").args(["policy", package])).ok()?;
    let candidate = policy.lines().find_map(|line| line.trim().strip_prefix("Candidate: "))?;
    (candidate != "(none)").then(|| candidate.to_owned())
}

fn linker() -> Option<Linker> {
    let file = exec::find("bpf-linker")?;
    // One whose LLVM was removed does not start.
    let said = exec::read(exec::command("bpf-linker").arg("--version")).ok()?;
    let version = said.split_whitespace().last()?.to_owned();
    if version != LINKER_VERSION {
        return Some(Linker { version, llvm: None });
    }
    let libraries = exec::read(exec::command("ldd").arg(file)).unwrap_or_default();
    Some(Linker { version, llvm: linked_llvm(&libraries) })
}

/// Reads `libLLVM.so.22.1 => ...` or the older `libLLVM-15.so.1 => ...` from ldd's list.
fn linked_llvm(libraries: &str) -> Option<u32> {
    let name = libraries.lines().find_map(|line| line.trim().strip_prefix("libLLVM"))?;
    let number = name.strip_prefix(".so.").or_else(|| name.strip_prefix('-'))?;
    Version::parse(number).map(|version| version.major)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_llvm_of_a_linker_is_in_the_list_of_its_libraries() {
        let check = |list, expected| assert_eq!(linked_llvm(list), expected, "{list}");
        check("\tlinux-vdso.so.1 (0x1)\n\tlibLLVM.so.22.1 => /usr/lib/x (0x1)\n", Some(22));
        check("\tlibLLVM-15.so.1 => /usr/lib/x (0x1)\n", Some(15));
        check("\tlibc.so.6 => /lib/libc.so.6 (0x1)\n", None);
    }
}
