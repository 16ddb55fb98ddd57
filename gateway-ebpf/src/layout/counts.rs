//! What the filter counted for one broker.

use crate::verdict::Verdict;

/// Value of [`super::COUNTS`]. The kernel alone writes it.
///
/// A place is used by one broker after the other. The first segment of a new one finds another generation
/// here and begins anew, so that opening a broker need not clear anything; until then the counts of its
/// place are another's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Counts {
    /// Whose counts these are: [`super::Slot::generation`].
    pub generation: u32,
    /// Zero.
    pub reserved: u32,
    /// When all new connections so far are paid for; see [`super::Limit`].
    pub paid_ns: u64,
    /// Segments that begin a connection and were let in.
    pub open: u64,
    /// Refused: from outside of the client's network.
    pub wrong_source: u64,
    /// Refused: past the deadline.
    pub expired: u64,
    /// Refused: over a limit.
    pub rate_limited: u64,
}

/// [`Counts`] as the daemon reads it from the map.
pub type CountsWords = [u64; 6];

impl Counts {
    /// From the same bytes as integers.
    pub fn from_words([first, paid_ns, open, wrong_source, expired, rate_limited]: CountsWords) -> Self {
        let b = first.to_ne_bytes();
        let generation = u32::from_ne_bytes([b[0], b[1], b[2], b[3]]);
        Self { generation, reserved: 0, paid_ns, open, wrong_source, expired, rate_limited }
    }

    /// The count of `verdict`; `None` where brokers have none.
    #[inline(always)]
    pub fn of(&mut self, verdict: Verdict) -> Option<&mut u64> {
        match verdict {
            Verdict::Open => Some(&mut self.open),
            Verdict::WrongSource => Some(&mut self.wrong_source),
            Verdict::Expired => Some(&mut self.expired),
            Verdict::RateLimited => Some(&mut self.rate_limited),
            Verdict::NotJudged | Verdict::Closed => None,
        }
    }
}

// The kernel writes the structure, the daemon reads words.
const _: () = {
    use core::mem::offset_of;
    assert!(size_of::<Counts>() == size_of::<CountsWords>());
    assert!(offset_of!(Counts, generation) == 0);
    assert!(offset_of!(Counts, paid_ns) == 8);
    assert!(offset_of!(Counts, open) == 16);
    assert!(offset_of!(Counts, wrong_source) == 24);
    assert!(offset_of!(Counts, expired) == 32);
    assert!(offset_of!(Counts, rate_limited) == 40);
};
