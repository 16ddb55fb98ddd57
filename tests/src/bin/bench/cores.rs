//! Which cores a thread runs on. Threads and processes that it starts inherit them.

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// This thread.
const SELF: Pid = Pid::from_raw(0);

/// The cores of this thread, shared out.
#[derive(Debug, PartialEq, Eq)]
pub struct Cores {
    /// For a sender of packets: the last one.
    pub sender: usize,
    /// For all the rest; empty where there is only one core.
    pub others: Vec<usize>,
}

impl Cores {
    /// Looks at what this thread may use.
    ///
    /// # Panics
    /// Never: a thread has a core.
    pub fn look() -> Self {
        let set = sched_getaffinity(SELF).expect("has cores");
        let mut others: Vec<_> =
            (0..CpuSet::count()).filter(|core| set.is_set(*core).unwrap_or(false)).collect();
        let sender = others.pop().expect("a core");
        Self { sender, others }
    }
}

/// Keeps this thread to these cores.
///
/// # Panics
/// The system refuses.
pub fn pin(cores: &[usize]) {
    let mut set = CpuSet::new();
    cores.iter().for_each(|core| set.set(*core).expect("a core that there is"));
    sched_setaffinity(SELF, &set).expect("takes the cores");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_runs_where_it_is_pinned() {
        let pinned = std::thread::spawn(|| {
            let sender = Cores::look().sender;
            pin(&[sender]);
            (Cores::look(), Cores { sender, others: vec![] })
        });
        let (looked, expected) = pinned.join().expect("pins");
        assert_eq!(looked, expected);
    }
}
