//! A temporary folder with a short path, which goes with everything that is still mounted in it.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::mount::{MntFlags, umount2};
use tempfile::TempDir;

/// A Unix socket's path has at most 107 bytes (unix(7)); this leaves room for what tests put below.
const LONGEST_BASE: usize = 40;

/// The folder; removed when dropped.
#[derive(Debug)]
pub(crate) struct Scratch(TempDir);

impl Scratch {
    /// Makes the folder below the system's one for temporary files, open to this user only.
    pub(crate) fn new() -> Result<Self> {
        let base = Some(env::temp_dir()).filter(|base| base.as_os_str().len() <= LONGEST_BASE);
        let base = base.unwrap_or_else(|| PathBuf::from("/tmp"));
        let folder = tempfile::Builder::new().prefix("pc").tempdir_in(&base);
        Ok(Self(folder.with_context(|| format!("make a temporary folder in {}", base.display()))?))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Removes the folder now and says whether that worked.
    pub(crate) fn remove(self) -> Result<()> {
        self.unmount();
        let path = self.path().to_owned();
        // Here, because closing consumes what Drop would look at.
        fs::remove_dir_all(&path).with_context(|| format!("remove {}", path.display()))
    }

    /// Otherwise the removal would reach through the mount into what is not ours.
    fn unmount(&self) {
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        for mount in mounts_below(&table, self.path()).into_iter().rev() {
            if let Err(error) = umount2(&mount, MntFlags::MNT_DETACH) {
                eprintln!("warning: unmount {}: {error}", mount.display());
            }
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        self.unmount();
    }
}

/// The mount points below `folder` in the order they were made; field 5 of proc_pid_mountinfo(5).
pub(crate) fn mounts_below(mountinfo: &str, folder: &Path) -> Vec<PathBuf> {
    let points = mountinfo.lines().filter_map(|line| line.split(' ').nth(4)).map(PathBuf::from);
    points.filter(|point| point.starts_with(folder) && point != folder).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_mounts_below_the_folder_count() {
        let table = "1 0 8:1 / / rw - ext4 x rw\n2 1 0:9 / /tmp/pcA/bpf rw - bpf bpf rw\n\
                     3 1 0:9 / /tmp/pcAB rw - bpf bpf rw\n";
        assert_eq!(mounts_below(table, Path::new("/tmp/pcA")), [PathBuf::from("/tmp/pcA/bpf")]);
    }

    #[test]
    fn the_folder_is_gone_after_its_removal() {
        let scratch = Scratch::new().expect("a folder");
        let path = scratch.path().to_owned();
        fs::write(path.join("file"), "x").expect("a file");
        scratch.remove().expect("removed");
        assert!(!path.exists());
    }
}
