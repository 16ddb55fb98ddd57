//! A control group that limits memory (cgroups(7)), of either version, whichever this machine has.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::require;

/// By version: the folder of its root, and the file of a group that sets its limit.
const KINDS: [(&str, &str); 2] =
    [("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")];

/// One of a machine's groups below its root, which is removed with the value.
pub struct MemoryGroup(PathBuf);

impl MemoryGroup {
    /// One whose processes have `bytes` together; `None` where there are no such groups.
    ///
    /// # Panics
    /// It cannot be made; or there are none, where everything is required.
    pub fn new(bytes: u64) -> Option<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        if !require::root() {
            return None;
        }
        let is_first = |folder: &Path| {
            let children = fs::read_to_string(folder.join("cgroup.subtree_control"));
            folder.ends_with("memory") && folder.join("memory.stat").exists()
                || children.is_ok_and(|all| all.split_whitespace().any(|name| name == "memory"))
        };
        let kind = KINDS.into_iter().find(|(root, _)| is_first(Path::new(root)));
        if !require::memory_groups(kind.is_some()) {
            return None;
        }
        let (root, limit) = kind?;
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = Path::new(root).join(format!("portcullis-test-{}-{number}", std::process::id()));
        fs::create_dir(&folder).expect("a control group");
        let group = Self(folder);
        fs::write(group.0.join(limit), bytes.to_string()).expect("a limit");
        Some(group)
    }

    /// The same command, as one of the group.
    pub fn wrap(&self, command: &Command) -> Command {
        let mut inside = Command::new("sh");
        inside.args(["-c", "echo $$ > \"$0\"/cgroup.procs && exec \"$@\""]).arg(&self.0);
        inside.arg(command.get_program()).args(command.get_args());
        inside
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        // Whoever was in it was ended, and may not be gone yet; a test that failed is not to fail once more.
        let gone = (0..500).any(|_| {
            std::thread::sleep(Duration::from_millis(20));
            fs::remove_dir(&self.0).is_ok()
        });
        assert!(gone || std::thread::panicking(), "{} is not empty", self.0.display());
    }
}
