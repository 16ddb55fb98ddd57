//! Our descendants, also those whose own parent is gone: as a child subreaper we inherit them, so that
//! none of them outlives the task.

use std::collections::BTreeMap;
use std::fs;
use std::process;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::prctl::set_child_subreaper;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::Pid;

/// Whether orphans come to us, and must be reaped by us.
static ADOPTING: AtomicBool = AtomicBool::new(false);

/// What descendants get between SIGTERM and SIGKILL. The gateway's own grace is 10 s.
const GRACE: Duration = Duration::from_secs(12);

/// While this lives, orphaned descendants become our children; when it goes, all of them are ended.
#[derive(Debug)]
pub(crate) struct Family(());

impl Family {
    /// Becomes the child subreaper. See PR_SET_CHILD_SUBREAPER(2const).
    pub(crate) fn adopt() -> Result<Self> {
        set_child_subreaper(true).context("become a child subreaper")?;
        ADOPTING.store(true, Ordering::Relaxed);
        Ok(Self(()))
    }

    /// Waits up to `patience` for descendants to end by themselves, then ends the others by their ids.
    /// Returns the names of those, `name (pid)`.
    pub(crate) fn end(&self, patience: Duration) -> Vec<String> {
        if wait_for_none(patience) {
            return Vec::new();
        }
        let stragglers = living();
        signal_all(Signal::SIGTERM);
        let mut deadline = GRACE;
        // What forks while we look is found in the next round.
        while !wait_for_none(deadline) {
            signal_all(Signal::SIGKILL);
            deadline = Duration::from_millis(200);
        }
        stragglers.into_iter().map(|(pid, name)| format!("{name} ({pid})")).collect()
    }
}

impl Drop for Family {
    fn drop(&mut self) {
        self.end(Duration::ZERO);
        ADOPTING.store(false, Ordering::Relaxed);
    }
}

/// Reaps adopted children that have ended, so that who looks for them by pid sees them gone.
/// `own` is the child that the caller itself waits for.
pub(crate) fn reap_orphans(own: u32) {
    if !ADOPTING.load(Ordering::Relaxed) {
        return;
    }
    let peek = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    while let Some(pid) = waitid(Id::All, peek).ok().as_ref().and_then(WaitStatus::pid) {
        if i64::from(pid.as_raw()) == i64::from(own) || waitpid(pid, Some(WaitPidFlag::WNOHANG)).is_err() {
            return;
        }
    }
}

/// Reaps every child that has ended; only when no `Child` is being waited for.
fn reap_all() {
    while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
        if status == WaitStatus::StillAlive {
            return;
        }
    }
}

fn wait_for_none(patience: Duration) -> bool {
    let deadline = Instant::now() + patience;
    loop {
        reap_all();
        if living().is_empty() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        thread::sleep(Duration::from_millis(20));
    }
}

fn signal_all(signal: Signal) {
    for pid in living().into_keys() {
        // It may have ended since we looked.
        let _ = kill(Pid::from_raw(pid), signal);
    }
}

/// Pid and name of every descendant.
fn living() -> BTreeMap<i32, String> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let stats = entries
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(|c: char| c.is_ascii_digit()))
        .filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok())
        .filter_map(|stat| Stat::parse(&stat));
    descendants(stats.collect(), i32::try_from(process::id()).unwrap_or(i32::MAX))
}

/// The fields of /proc/PID/stat that we need, see proc_pid_stat(5).
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stat {
    pid: i32,
    name: String,
    parent: i32,
}

impl Stat {
    fn parse(line: &str) -> Option<Self> {
        // The name may hold blanks and brackets of its own.
        let (pid, rest) = line.split_once(" (")?;
        let (name, rest) = rest.rsplit_once(") ")?;
        let parent = rest.split(' ').nth(1)?;
        Some(Self { pid: pid.parse().ok()?, name: name.to_owned(), parent: parent.parse().ok()? })
    }
}

fn descendants(mut stats: Vec<Stat>, root: i32) -> BTreeMap<i32, String> {
    let mut found = BTreeMap::new();
    let mut before = usize::MAX;
    // Each round finds at least one more generation.
    while before != stats.len() {
        before = stats.len();
        stats.retain(|stat| {
            let ours = stat.parent == root || found.contains_key(&stat.parent);
            if ours {
                found.insert(stat.pid, stat.name.clone());
            }
            !ours
        });
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_is_read_whole() {
        let stat = Stat::parse("77 (a (b) c) S 5 77 77 0 -1").expect("a stat line");
        assert_eq!(stat, Stat { pid: 77, name: "a (b) c".into(), parent: 5 });
        assert_eq!(Stat::parse("garbage"), None);
    }

    #[test]
    fn descendants_are_found_in_any_order() {
        let stat = |pid, parent| Stat { pid, name: format!("p{pid}"), parent };
        let all = vec![stat(9, 8), stat(8, 7), stat(7, 5), stat(6, 1), stat(5, 1)];
        assert_eq!(descendants(all, 5).into_keys().collect::<Vec<_>>(), [7, 8, 9]);
    }
}
