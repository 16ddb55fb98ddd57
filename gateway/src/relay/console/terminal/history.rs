//! What a terminal showed last, for who comes later.

use std::collections::VecDeque;

use zeroize::Zeroize;

use super::question;

/// The last bytes of a terminal's output. Wiped when dropped.
pub struct History {
    bytes: VecDeque<u8>,
    limit: usize,
    /// More was said than is kept.
    cut: bool,
    /// Which of the connections to the console writes: what a console says to several is kept once.
    writer: Option<u64>,
}

/// A line that is longer than this may be shown without its beginning.
const LINE_MAX: usize = 4096;

impl History {
    /// Nothing yet, and at most `limit` bytes.
    pub const fn new(limit: usize) -> Self {
        Self { bytes: VecDeque::new(), limit, cut: false, writer: None }
    }

    /// Keeps what the console said to `writer`, if nobody else writes.
    pub fn write(&mut self, writer: u64, said: &[u8]) {
        if *self.writer.get_or_insert(writer) != writer {
            return;
        }
        // All of it at once: growing would leave copies behind that nobody wipes.
        self.bytes.reserve_exact(self.limit - self.bytes.len());
        let last = &said[said.len().saturating_sub(self.limit)..];
        let over = (self.bytes.len() + last.len()).saturating_sub(self.limit);
        self.cut |= over > 0 || last.len() < said.len();
        self.bytes.drain(..over);
        self.bytes.extend(last);
    }

    /// `writer` writes no more.
    pub fn leave(&mut self, writer: u64) {
        if self.writer == Some(writer) {
            self.writer = None;
        }
    }

    /// What a terminal is to show of it: from the beginning of a line where its beginning is lost, and without
    /// what asks the terminal something.
    pub fn replay(&self) -> Vec<u8> {
        let bytes: Vec<u8> = self.bytes.iter().copied().collect();
        let line = bytes.iter().take(LINE_MAX).position(|byte| *byte == b'\n');
        let start = if self.cut { line.map_or(0, |end| end + 1) } else { 0 };
        question::remove(&bytes[start..])
    }
}

impl Drop for History {
    fn drop(&mut self) {
        let (front, back) = self.bytes.as_mut_slices();
        front.zeroize();
        back.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(limit: usize, said: &[&[u8]], replayed: &[u8]) {
        let mut history = History::new(limit);
        said.iter().for_each(|said| history.write(1, said));
        assert_eq!(history.replay(), replayed, "{said:?}");
        assert!(history.bytes.len() <= limit);
    }

    #[test]
    fn the_last_is_kept_from_the_beginning_of_a_line() {
        check(10, &[b"one\n", b"two\n"], b"one\ntwo\n");
        check(10, &[b"one\n", b"two\n", b"three"], b"two\nthree");
        check(10, &[b"0123456789\nabc\nd"], b"abc\nd");
        check(10, &[b"0123456789abc"], b"3456789abc");
        check(10, &[b"", b""], b"");
    }

    #[test]
    fn one_writes_at_a_time() {
        let mut history = History::new(100);
        history.write(1, b"a");
        history.write(2, b"a");
        history.leave(2);
        history.write(2, b"b");
        assert_eq!(history.replay(), b"a");
        history.leave(1);
        history.write(2, b"b");
        assert_eq!(history.replay(), b"ab");
    }
}
