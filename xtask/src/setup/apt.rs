//! Debian packages: whether apt would install them, and doing so, without a service started, a package
//! removed or a question asked.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::setup::policy::NoServices;
use crate::setup::{release, sources};
use crate::{exec, root, signals};

/// How often the package lists are asked for; the lock of another apt does not make this one wait.
const UPDATE_ATTEMPTS: u32 = 4;

/// apt-get, and how we become root for it.
#[derive(Debug)]
pub(crate) struct Apt {
    /// Empty for root, else `sudo` with its options.
    elevate: Vec<&'static str>,
}

/// Where packages come from.
#[derive(Debug)]
pub(crate) struct Origin {
    options: Vec<String>,
    /// Gone with this value.
    _private: Option<Private>,
}

/// A folder with a source file and package lists; removed when dropped.
#[derive(Debug)]
struct Private {
    folder: TempDir,
    /// Removes it as root: apt keeps a folder in it to itself.
    remove: Command,
}

impl Drop for Private {
    fn drop(&mut self) {
        if let Err(error) = exec::run_to_end(&mut self.remove) {
            eprintln!("warning: remove {}: {error:#}", self.folder.path().display());
        }
    }
}

impl Apt {
    /// Finds apt and a way to become root; the error says which of them is missing.
    pub(crate) fn new() -> Result<Self> {
        if exec::find("apt-get").is_none() || exec::find("dpkg-query").is_none() {
            bail!("this is not a Debian-like system");
        }
        Ok(Self { elevate: root::prefix()? })
    }

    /// Fetches the package lists.
    pub(crate) fn update(&self, origin: &Origin) -> Result<()> {
        let mut attempt = 1;
        loop {
            signals::check()?;
            let mut update = self.apt_get(origin);
            let Err(error) = exec::run_to_end(update.arg("update")) else { return Ok(()) };
            signals::check()?;
            if attempt == UPDATE_ATTEMPTS {
                return Err(error.context("fetch the package lists"));
            }
            eprintln!("{error:#}; trying again in {} s", 5 * attempt);
            thread::sleep(Duration::from_secs(u64::from(5 * attempt)));
            attempt += 1;
        }
    }

    /// Whether apt would install these without removing anything; the error is apt's own.
    pub(crate) fn simulate(&self, origin: &Origin, packages: &[String]) -> Result<()> {
        let mut simulation = exec::command("apt-get");
        simulation.args(["--simulate", "--no-remove"]).args(&origin.options);
        let output = exec::output(simulation.args(INSTALL).args(packages))?;
        if !output.status.success() {
            let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
            bail!(
                "apt refuses to install {}:\n{}\n{}",
                packages.join(" "),
                said(&output.stdout),
                said(&output.stderr)
            );
        }
        Ok(())
    }

    /// Installs these. Not interrupted by a stop signal: half-configured packages are a burden.
    pub(crate) fn install(&self, origin: &Origin, packages: &[String]) -> Result<()> {
        signals::check()?;
        let _quiet = NoServices::install(|program| self.as_root(program))?;
        let mut install = self.apt_get(origin);
        if self.elevate.is_empty() {
            // A group of its own, so that the terminal's Ctrl-C does not reach dpkg. Not under sudo, which
            // may have to ask for the password.
            install.process_group(0);
        }
        exec::run_to_end(install.args(["--yes", "--no-remove"]).args(INSTALL).args(packages))?;
        signals::check()
    }

    fn apt_get(&self, origin: &Origin) -> Command {
        let mut command = self.as_root("env");
        command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get", "--option=DPkg::Lock::Timeout=300"]);
        command.args(["--option=Acquire::Retries=3", "--option=Dpkg::Use-Pty=0"]).args(&origin.options);
        command
    }

    fn as_root(&self, program: &str) -> Command {
        match self.elevate.split_first() {
            None => exec::command(program),
            Some((sudo, options)) => {
                let mut command = exec::command(sudo);
                command.args(options).arg(program);
                command
            }
        }
    }
}

/// A configuration file that someone has changed stays as it is, without a question.
const INSTALL: [&str; 4] = [
    "--no-install-recommends",
    "--option=Dpkg::Options::=--force-confdef",
    "--option=Dpkg::Options::=--force-confold",
    "install",
];

impl Origin {
    /// The machine's own sources and lists.
    pub(crate) fn machine() -> Self {
        Self { options: vec![], _private: None }
    }

    /// The machine's own sources and, preferred, the backports of its release, in private files: the
    /// system's sources stay as they are.
    pub(crate) fn backports(apt: &Apt) -> Result<Self> {
        let codename =
            release::field("VERSION_CODENAME").context("/etc/os-release has no VERSION_CODENAME")?;
        let text = sources::with_backports(&sources::read_all(), &codename)
            .with_context(|| format!("no package source for {codename} is configured"))?;
        let folder = tempfile::Builder::new().prefix("pc-apt").tempdir()?;
        // apt fetches as a user of its own, who must be able to reach the lists.
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755))?;
        let (list, lists) = (folder.path().join("backports.sources"), folder.path().join("lists"));
        fs::write(&list, text)?;
        fs::create_dir_all(lists.join("partial"))?;
        let options = vec![
            format!("--option=Dir::Etc::sourcelist={}", list.display()),
            "--option=Dir::Etc::sourceparts=-".into(),
            format!("--option=Dir::State::lists={}", lists.display()),
            // The caches in /var/cache/apt belong to the machine's own lists.
            "--option=Dir::Cache::pkgcache=".into(),
            "--option=Dir::Cache::srcpkgcache=".into(),
            format!("--target-release={}", sources::backports(&codename)),
        ];
        let mut remove = apt.as_root("rm");
        remove.arg("-rf").arg(folder.path());
        Ok(Self { options, _private: Some(Private { folder, remove }) })
    }
}
