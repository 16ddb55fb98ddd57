//! Where the figures come from: machine, kernel, commit.

use std::fs;

use nix::sys::utsname::uname;

use crate::{exec, workspace};

#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) processor: String,
    pub(crate) cores: usize,
    pub(crate) kernel: String,
    pub(crate) commit: String,
    /// Processes that wanted a core, on the average of the last minute: more than a few of others' is noise.
    pub(crate) load: String,
}

impl Machine {
    pub(crate) fn look() -> Self {
        let unknown = || "unknown".to_owned();
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        Self {
            processor: field(&cpuinfo, "model name").unwrap_or_else(unknown),
            cores: std::thread::available_parallelism().map_or(1, Into::into),
            kernel: uname().map_or_else(|_| unknown(), |name| name.release().to_string_lossy().into_owned()),
            commit: commit().unwrap_or_else(unknown),
            load: load.split(' ').next().filter(|load| !load.is_empty()).map_or_else(unknown, str::to_owned),
        }
    }
}

/// The commit that was measured, and whether the tree differs from it.
fn commit() -> Option<String> {
    let git = |arguments: &[&str]| {
        exec::read(exec::command("git").args(arguments).current_dir(workspace::root())).ok()
    };
    let commit = git(&["rev-parse", "--short=12", "HEAD"])?.trim().to_owned();
    // The page of figures is no part of what is measured.
    let changed = git(&["status", "--porcelain", "--", ".", ":!BENCH.md"])?;
    Some(if changed.trim().is_empty() { commit } else { format!("{commit}, changed") })
}

/// A field of /proc/cpuinfo, `name : value`.
fn field(text: &str, name: &str) -> Option<String> {
    let mut fields = text.lines().filter_map(|line| line.split_once(':'));
    fields.find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_is_read_from_its_field() {
        let text = "processor\t: 0\nmodel name\t: Some CPU @ 2.0 GHz\nprocessor\t: 1\n";
        assert_eq!(field(text, "model name").as_deref(), Some("Some CPU @ 2.0 GHz"));
        assert_eq!(field(text, "model"), None);
    }
}
