//! The clock. Times in the store and in answers are the wall clock's.

use std::path::Path;

use super::Check;

/// Where systemd-timesyncd keeps its state, and the mark of a clock that it has set
/// (systemd-timesyncd.service(8)).
const TIMESYNC: &str = "/run/systemd/timesync";

/// Nothing where nobody says: the kernel tells only by a system call that no safe crate offers, and other
/// time services leave no mark.
pub fn check() -> Option<Check> {
    judge(Path::new(TIMESYNC))
}

fn judge(state: &Path) -> Option<Check> {
    const NAME: &str = "clock";
    if state.join("synchronized").exists() {
        return Some(Check::ok(NAME, "set by systemd-timesyncd"));
    }
    state.exists().then(|| {
        let remedy = "let systemd-timesyncd reach a time server: see its journal";
        Check::degraded(NAME, "systemd-timesyncd has not set it yet", remedy)
    })
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    #[test]
    fn a_clock_is_judged_where_somebody_says() {
        let folder = tempfile::tempdir().expect("a folder");
        let state = folder.path().join("timesync");
        let judged = || judge(&state).map(|check| check.state);
        assert_eq!(judged(), None);
        std::fs::create_dir(&state).expect("makes it");
        assert_eq!(judged(), Some(State::Degraded));
        std::fs::write(state.join("synchronized"), "").expect("writes");
        assert_eq!(judged(), Some(State::Ok));
    }
}
