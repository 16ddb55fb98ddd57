//! Which compiler makes the kernel object, and what it still needs. Pure: the facts are gathered in
//! `probe.rs`.
//!
//! The object needs `core` built from source (`-Z build-std`), which a stable rustup toolchain cannot
//! do, and a bpf-linker whose LLVM reads what the compiler's LLVM wrote.

/// bpf-linker's version, and the LLVM versions it can be built for (its features `llvm-N`).
pub(crate) const LINKER_VERSION: &str = "0.13.0";
const LINKER_LLVM: std::ops::RangeInclusive<u32> = 21..=23;

/// The oldest compiler that builds the workspace, `rust-version` in Cargo.toml.
const OLDEST: Version = Version { major: 1, minor: 95 };

/// What Debian packages the compiler in; the plain `rustc` of the release is too old.
const DEBIAN: [&str; 3] = ["rustc-web", "cargo-web", "rust-web-src"];

/// The two numbers that decide about a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version {
    pub(crate) major: u32,
    pub(crate) minor: u32,
}

impl Version {
    /// Reads `v20.1.2`, `1.97.0-nightly`, `1:22.1.8-1~deb12u1` (Debian's epoch is passed over).
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let text = text.split_once(':').map_or(text, |(_, text)| text).trim_start_matches('v');
        let mut numbers = text.split(|c: char| !c.is_ascii_digit());
        let major = numbers.next()?.parse().ok()?;
        Some(Self { major, minor: numbers.next().and_then(|minor| minor.parse().ok()).unwrap_or(0) })
    }
}

/// A compiler that is installed, or that Debian offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rustc {
    pub(crate) version: Version,
    pub(crate) llvm: u32,
}

impl Rustc {
    /// Reads `rustc -vV`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let field = |name| text.lines().find_map(|line| line.strip_prefix(name)).and_then(Version::parse);
        Some(Self { version: field("release: ")?, llvm: field("LLVM version: ")?.major })
    }
}

/// A rustup nightly.
#[derive(Debug, Clone)]
pub(crate) struct Nightly {
    pub(crate) name: String,
    pub(crate) rustc: Rustc,
    pub(crate) has_source: bool,
}

/// The bpf-linker that is installed.
#[derive(Debug, Clone)]
pub(crate) struct Linker {
    pub(crate) version: String,
    /// The LLVM it is linked to; not known when that is built in.
    pub(crate) llvm: Option<u32>,
}

/// All that the choice depends on.
#[derive(Debug, Clone, Default)]
pub(crate) struct Facts {
    pub(crate) nightlies: Vec<Nightly>,
    /// `/usr/bin/rustc` when `/usr/bin/cargo` and the sources are there as well.
    pub(crate) debian: Option<Rustc>,
    /// What `apt-get install rustc-web` would give.
    pub(crate) debian_offered: Option<Rustc>,
    /// The N of the packages `llvm-N-dev`.
    pub(crate) llvm_dev: Vec<u32>,
    pub(crate) llvm_dev_offered: Vec<u32>,
    pub(crate) linker: Option<Linker>,
}

/// Who compiles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Compiler {
    /// A rustup toolchain of this name.
    Nightly(String),
    /// `/usr/bin/cargo` and `/usr/bin/rustc`.
    Debian,
}

/// A compiler, and what is missing for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Choice {
    pub(crate) compiler: Compiler,
    pub(crate) packages: Vec<String>,
    /// The LLVM to build bpf-linker for, if it must be built.
    pub(crate) linker: Option<u32>,
}

impl Choice {
    pub(crate) fn is_ready(&self) -> bool {
        self.packages.is_empty() && self.linker.is_none()
    }
}

/// What is ready comes first, then a nightly, then Debian's compiler.
pub(crate) fn choose(facts: &Facts) -> Option<Choice> {
    let nightlies = facts.nightlies.iter().filter(|nightly| nightly.has_source);
    let mut choices: Vec<_> = nightlies
        .filter_map(|nightly| choice(facts, Compiler::Nightly(nightly.name.clone()), &nightly.rustc, &[]))
        .collect();
    choices.extend(match (&facts.debian, &facts.debian_offered) {
        (Some(here), _) if here.version >= OLDEST => choice(facts, Compiler::Debian, here, &[]),
        (_, Some(offered)) => choice(facts, Compiler::Debian, offered, &DEBIAN),
        _ => None,
    });
    choices.sort_by_key(|choice| !choice.is_ready());
    choices.into_iter().next()
}

fn choice(facts: &Facts, compiler: Compiler, rustc: &Rustc, packages: &[&str]) -> Option<Choice> {
    if rustc.version < OLDEST {
        return None;
    }
    let mut packages: Vec<_> = packages.iter().copied().map(String::from).collect();
    if facts.linker.as_ref().is_some_and(|linker| linker.reads(rustc.llvm)) {
        return Some(Choice { compiler, packages, linker: None });
    }
    let llvm = rustc.llvm;
    if !facts.llvm_dev.contains(&llvm) {
        if !facts.llvm_dev_offered.contains(&llvm) {
            return None;
        }
        packages.push(format!("llvm-{llvm}-dev"));
    }
    LINKER_LLVM.contains(&llvm).then_some(Choice { compiler, packages, linker: Some(llvm) })
}

impl Linker {
    /// LLVM reads the bitcode of its own version and of those before.
    fn reads(&self, llvm: u32) -> bool {
        self.version == LINKER_VERSION && self.llvm.is_none_or(|own| own >= llvm)
    }
}

/// What to do by hand when there is no choice.
pub(crate) fn advice() -> String {
    format!(
        "no compiler for the kernel programs: install either Debian's packages {} (Rust 1.95 or newer) or a rustup \
         nightly (`rustup toolchain install nightly --profile minimal --component rust-src`); then the package \
         llvm-N-dev, where N ({} to {}) is the LLVM version that `rustc -vV` of that compiler shows; then `{}`",
        DEBIAN.join(" "),
        LINKER_LLVM.start(),
        LINKER_LLVM.end(),
        linker_command("N"),
    )
}

/// How bpf-linker is built for an LLVM.
pub(crate) fn linker_command(llvm: &str) -> String {
    format!("LLVM_PREFIX=/usr/lib/llvm-{llvm} cargo install {}", linker_arguments(llvm).join(" "))
}

/// The arguments of `cargo install` for that.
pub(crate) fn linker_arguments(llvm: &str) -> Vec<String> {
    let fixed =
        ["--locked", "bpf-linker", "--version", LINKER_VERSION, "--no-default-features", "--features"];
    fixed.map(String::from).into_iter().chain([format!("llvm-{llvm}")]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rustc(minor: u32, llvm: u32) -> Rustc {
        Rustc { version: Version { major: 1, minor }, llvm }
    }

    fn nightly(has_source: bool, llvm: u32) -> Nightly {
        Nightly { name: "nightly".into(), rustc: rustc(97, llvm), has_source }
    }

    fn linker(llvm: Option<u32>) -> Option<Linker> {
        Some(Linker { version: LINKER_VERSION.into(), llvm })
    }

    #[test]
    fn versions_compare_by_number() {
        let version = |text| Version::parse(text).expect(text);
        assert!(version("1.100.0") > version("1.95.0"));
        assert_eq!(version("1:22.1.8-1~deb12u1"), Version { major: 22, minor: 1 });
        assert_eq!(version("v20.20.2\n"), Version { major: 20, minor: 20 });
        assert_eq!(version("1.97.0-nightly"), Version { major: 1, minor: 97 });
        assert_eq!(version("18"), Version { major: 18, minor: 0 });
        assert_eq!(Version::parse("none"), None);
    }

    #[test]
    fn the_compiler_describes_itself() {
        let text = "rustc 1.96.0 (x) (built from a source tarball)\nrelease: 1.96.0\nLLVM version: 22.1.8\n";
        assert_eq!(Rustc::parse(text), Some(rustc(96, 22)));
        assert_eq!(Rustc::parse("release: 1.96.0\n"), None);
    }

    #[test]
    fn a_fresh_machine_takes_what_debian_offers() {
        let facts = Facts {
            nightlies: vec![nightly(false, 22)],
            debian_offered: Some(rustc(96, 22)),
            llvm_dev_offered: vec![22],
            ..Facts::default()
        };
        let choice = choose(&facts).expect("a way");
        assert_eq!(choice.compiler, Compiler::Debian);
        assert_eq!(choice.packages, ["rustc-web", "cargo-web", "rust-web-src", "llvm-22-dev"]);
        assert_eq!(choice.linker, Some(22));
    }

    #[test]
    fn a_nightly_with_source_comes_before_debian() {
        let facts = Facts {
            nightlies: vec![nightly(true, 23)],
            debian_offered: Some(rustc(96, 22)),
            llvm_dev_offered: vec![22, 23],
            ..Facts::default()
        };
        let choice = choose(&facts).expect("a way");
        assert_eq!(choice.compiler, Compiler::Nightly("nightly".into()));
        assert_eq!((choice.packages, choice.linker), (vec!["llvm-23-dev".to_owned()], Some(23)));
    }

    #[test]
    fn what_is_ready_comes_before_what_must_be_installed() {
        let facts = Facts {
            nightlies: vec![nightly(true, 23)],
            debian: Some(rustc(96, 22)),
            llvm_dev_offered: vec![23],
            linker: linker(Some(22)),
            ..Facts::default()
        };
        let choice = choose(&facts).expect("a way");
        assert_eq!(choice, Choice { compiler: Compiler::Debian, packages: vec![], linker: None });
    }

    #[test]
    fn an_old_compiler_or_an_unknown_llvm_does_not_count() {
        let facts = Facts {
            debian: Some(rustc(85, 19)),
            llvm_dev: vec![19],
            linker: linker(None),
            ..Facts::default()
        };
        assert_eq!(choose(&facts), None);
        let facts = Facts { nightlies: vec![nightly(true, 24)], llvm_dev: vec![24], ..Facts::default() };
        assert_eq!(choose(&facts), None);
    }

    #[test]
    fn a_linker_of_another_version_or_an_older_llvm_is_built_anew() {
        for linker in [linker(Some(21)), Some(Linker { version: "0.10.1".into(), llvm: None })] {
            let facts = Facts { debian: Some(rustc(96, 22)), llvm_dev: vec![22], linker, ..Facts::default() };
            assert_eq!(choose(&facts).expect("a way").linker, Some(22));
        }
    }
}
