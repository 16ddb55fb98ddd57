//! What was done with addresses, counted.

use std::sync::atomic::{AtomicU64, Ordering};

/// Something that happened to a broker address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It was nowhere, and was put on the interface when the daemon started.
    Added,
    /// A daemon before this one had put it there, and did not live to take it off.
    Adopted,
    /// Somebody took it away, and it was put back.
    Restored,
    /// It was taken off.
    Withdrawn,
    /// Somebody else held it, and it was left to them.
    Conflict,
    /// It could not be announced.
    Unannounced,
}

impl Change {
    /// All there are, with their names in metrics.
    pub const ALL: [(Self, &'static str); 6] = [
        (Self::Added, "added"),
        (Self::Adopted, "adopted"),
        (Self::Restored, "restored"),
        (Self::Withdrawn, "withdrawn"),
        (Self::Conflict, "conflict"),
        (Self::Unannounced, "unannounced"),
    ];
}

/// How often each of them happened.
#[derive(Debug, Default)]
pub struct Tally([AtomicU64; Change::ALL.len()]);

impl Tally {
    /// It happened once more.
    pub fn count(&self, change: Change) {
        self.0[change as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How often it happened so far.
    pub fn get(&self, change: Change) -> u64 {
        self.0[change as usize].load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_change_has_its_place() {
        let tally = Tally::default();
        for (times, (change, _)) in Change::ALL.into_iter().enumerate() {
            (0..times).for_each(|_| tally.count(change));
        }
        let counts = Change::ALL.map(|(change, _)| tally.get(change));
        assert_eq!(counts, [0, 1, 2, 3, 4, 5]);
    }
}
