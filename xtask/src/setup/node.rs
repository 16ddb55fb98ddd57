//! Node.js, which builds the page and drives the browser. One that is there is used as it is.

use std::path::Path;

use anyhow::{Result, bail};

use crate::exec;
use crate::setup::toolchain::Version;

/// The oldest that our packages run on.
const OLDEST: u32 = 18;

/// The packages that are missing; an error if what is there cannot be mended by a package.
pub(crate) fn missing() -> Result<Vec<&'static str>> {
    let version = exec::find("node").and_then(|_| exec::read(exec::command("node").arg("--version")).ok());
    let version = version.as_deref().and_then(Version::parse);
    need(version, exec::find("npm").is_some(), is_debians)
}

fn need(version: Option<Version>, npm: bool, debians: impl FnOnce() -> bool) -> Result<Vec<&'static str>> {
    match version {
        None => Ok(vec!["nodejs", "npm"]),
        Some(Version { major, .. }) if major < OLDEST => {
            bail!("node {major} is too old: install Node.js {OLDEST} or newer, with its npm")
        }
        Some(_) if npm => Ok(vec![]),
        Some(_) if debians() => Ok(vec!["npm"]),
        // Debian's npm would pull in, or clash with, another node.
        Some(_) => bail!("npm is missing beside node: install the npm that belongs to this node"),
    }
}

/// Whether node is Debian's own package: only then Debian's npm fits. Others name themselves in the version.
fn is_debians() -> bool {
    let Some(node) = exec::find("node").and_then(|node| node.canonicalize().ok()) else { return false };
    let query = ["--show", "--showformat=${Version}", "nodejs"];
    node.starts_with(Path::new("/usr/bin"))
        && exec::read(exec::command("dpkg-query").args(query))
            .is_ok_and(|version| !version.contains("nodesource"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_present_node_is_never_replaced() {
        let version = |major| Some(Version { major, minor: 0 });
        assert_eq!(need(None, false, || false).expect("can be installed"), ["nodejs", "npm"]);
        assert!(need(version(20), true, || false).expect("complete").is_empty());
        assert_eq!(need(version(18), false, || true).expect("can be installed"), ["npm"]);
        assert!(need(version(20), false, || false).is_err());
        assert!(need(version(16), true, || true).is_err());
    }
}
