//! How much memory is left to this process: on its machine, and in the control groups that it is in. Who runs out of
//! it is ended by the kernel, with all sessions; so the last of it is kept for those that run.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use procfs::process::{MountInfo, Process};
use procfs::{Current, Meminfo, ProcResult, ProcessCGroup};
use tracing::{info, warn};

use crate::broker::session::Sessions;
use crate::every::every;
use crate::metrics::Metrics;

/// Bytes that new sessions leave; of little, a quarter.
const RESERVE: u64 = 64 * 1024 * 1024;

/// How often it is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Keeps new sessions out while there is no memory for them, for ever.
pub async fn watch(sessions: Arc<Sessions>, metrics: Arc<Metrics>) {
    let places = Places::of_this_process().unwrap_or_else(|error| {
        warn!(%error, "limits of control groups are not known: only the machine's memory is watched");
        Places::default()
    });
    let mut clock = every(LOOK);
    let mut was_short = false;
    loop {
        clock.tick().await;
        let Some(least) = places.least() else { continue };
        let is_short = least.is_short();
        if is_short && !was_short {
            warn!(left_bytes = least.left, "no memory is left for new sessions");
        } else if was_short && !is_short {
            info!(left_bytes = least.left, "there is memory for new sessions again");
        }
        sessions.admit_no_more(is_short);
        metrics.memory_left(least.left);
        was_short = is_short;
    }
}

/// Bytes of one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Room {
    all: u64,
    left: u64,
}

impl Room {
    const fn is_short(self) -> bool {
        let quarter = self.all / 4;
        self.left < if quarter < RESERVE { quarter } else { RESERVE }
    }
}

/// Where memory may run out, beside the machine itself.
#[derive(Debug, Default, PartialEq, Eq)]
struct Places(Vec<Group>);

impl Places {
    fn of_this_process() -> ProcResult<Self> {
        let me = Process::myself()?;
        let mounts = me.mountinfo()?;
        let groups = me.cgroups()?;
        Ok(Self(groups.0.iter().filter_map(|group| Group::all_of(group, &mounts.0)).flatten().collect()))
    }

    /// The one that is short, or else has the least. What cannot be read has no limit.
    fn least(&self) -> Option<Room> {
        let groups = self.0.iter().filter_map(Group::room);
        groups.chain(machine()).min_by_key(|room| (!room.is_short(), room.left))
    }
}

/// The machine's (proc_meminfo(5)).
fn machine() -> Option<Room> {
    let memory = Meminfo::current().ok()?;
    Some(Room { all: memory.mem_total, left: memory.mem_available? })
}

/// The files of a control group, by the version of its hierarchy (cgroups(7)).
#[derive(Debug, PartialEq, Eq)]
struct Files {
    limit: &'static str,
    usage: &'static str,
    /// In `memory.stat`: what of the usage is given back when somebody wants it. As in the machine's `MemAvailable`
    /// it is all that stands in files, also what was looked at lately: a cache in use must not keep anybody out.
    spare: [&'static str; 2],
}

/// Linux, `admin-guide/cgroup-v2.rst`, "Memory Interface Files".
const TWO: Files =
    Files { limit: "memory.max", usage: "memory.current", spare: ["inactive_file", "active_file"] };
/// Linux, `admin-guide/cgroup-v1/memory.rst`.
const ONE: Files = Files {
    limit: "memory.limit_in_bytes",
    usage: "memory.usage_in_bytes",
    spare: ["total_inactive_file", "total_active_file"],
};

#[derive(Debug, PartialEq, Eq)]
struct Group {
    folder: PathBuf,
    files: &'static Files,
}

impl Group {
    /// The group and those above it, as far as they are seen here, which bind it too. `None` where it has nothing to
    /// do with memory.
    fn all_of(group: &ProcessCGroup, mounts: &[MountInfo]) -> Option<Vec<Self>> {
        let (kind, files) = match group.controllers.as_slice() {
            [] => ("cgroup2", &TWO),
            many if many.iter().any(|name| name == "memory") => ("cgroup", &ONE),
            _ => return None,
        };
        let has_memory = |mount: &&MountInfo| kind == "cgroup2" || mount.super_options.contains_key("memory");
        let mount = mounts.iter().filter(|mount| mount.fs_type == kind).find(has_memory)?;
        // A container may see its own part of the hierarchy only, and know its whole name.
        let below = Path::new(&group.pathname).strip_prefix(&mount.root).unwrap_or(Path::new(""));
        let own = mount.mount_point.join(below);
        let above = own.ancestors().take_while(|folder| folder.starts_with(&mount.mount_point));
        Some(above.map(|folder| Self { folder: folder.to_owned(), files }).collect())
    }

    /// `None` without a limit.
    fn room(&self) -> Option<Room> {
        let Files { limit, usage, spare } = self.files;
        let number = |name: &str| fs::read_to_string(self.folder.join(name)).ok()?.trim().parse::<u64>().ok();
        let (all, used) = (number(limit)?, number(usage)?);
        let stat = fs::read_to_string(self.folder.join("memory.stat")).unwrap_or_default();
        let values = stat.lines().filter_map(|line| line.split_once(' '));
        let values = values.filter(|(name, _)| spare.contains(name));
        let spare: u64 = values.filter_map(|(_, value)| value.parse::<u64>().ok()).sum();
        let used = used.saturating_sub(spare);
        Some(Room { all, left: all.saturating_sub(used) })
    }
}

#[cfg(test)]
mod tests {
    use procfs::process::MountInfos;
    use procfs::{FromRead, ProcessCGroups};

    use super::*;

    const MIB: u64 = 1024 * 1024;

    fn folders(groups: &str, mounts: &str) -> Vec<(PathBuf, &'static str)> {
        let groups = ProcessCGroups::from_read(groups.as_bytes()).expect("groups");
        let mounts = MountInfos::from_read(mounts.as_bytes()).expect("mounts");
        let all = groups.0.iter().filter_map(|group| Group::all_of(group, &mounts.0)).flatten();
        all.map(|group| (group.folder, group.files.limit)).collect()
    }

    #[test]
    fn a_process_is_bound_by_its_group_and_those_above() {
        let two = "30 25 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";
        let base = |name: &str| (PathBuf::from("/sys/fs/cgroup").join(name), "memory.max");
        assert_eq!(
            folders("0::/system.slice/portcullis.service\n", two),
            [base("system.slice/portcullis.service"), base("system.slice"), base("")]
        );
        // A container that sees its own group only, and one that does not know where it is.
        let inside = "30 25 0:26 /docker/4f /sys/fs/cgroup ro - cgroup2 cgroup rw\n";
        assert_eq!(folders("0::/docker/4f\n", inside), [base("")]);
        assert_eq!(folders("0::/elsewhere\n", inside), [base("")]);
        let one = "31 25 0:27 / /cg/memory rw - cgroup cgroup rw,memory\n\
                   32 25 0:28 / /cg/cpu rw - cgroup cgroup rw,cpu\n";
        let base = |name: &str| (PathBuf::from("/cg/memory").join(name), "memory.limit_in_bytes");
        assert_eq!(folders("4:memory:/a\n3:cpu:/a\n0::/\n", one), [base("a"), base("")]);
    }

    #[test]
    fn what_files_leave_at_once_is_left() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).expect("writes");
        let places = Places(vec![Group { folder: folder.path().to_owned(), files: &TWO }]);
        let room = || places.0[0].room();
        assert_eq!(room(), None);
        write("memory.max", "max\n");
        write("memory.current", &format!("{}\n", 200 * MIB));
        assert_eq!(room(), None, "no limit");
        write("memory.max", &format!("{}\n", 256 * MIB));
        assert_eq!(room(), Some(Room { all: 256 * MIB, left: 56 * MIB }));
        assert!(places.least().expect("some").is_short());
        write("memory.stat", &format!("anon 5\ninactive_file {}\nactive_file {}\n", 30 * MIB, 10 * MIB));
        assert_eq!(room(), Some(Room { all: 256 * MIB, left: 96 * MIB }));
        // Of little, a quarter is kept.
        write("memory.max", &format!("{}\n", 180 * MIB));
        assert_eq!(room(), Some(Room { all: 180 * MIB, left: 20 * MIB }));
        assert!(places.least().expect("some").is_short());
        assert!(!Room { all: 100 * MIB, left: 25 * MIB }.is_short());
        assert!(!Room { all: 1 << 40, left: 64 * MIB }.is_short());
    }

    #[test]
    fn this_process_is_found() {
        assert!(Places::of_this_process().is_ok());
        let machine = machine().expect("a machine has memory");
        assert!(machine.left <= machine.all && machine.all > 64 * MIB, "{machine:?}");
    }
}
