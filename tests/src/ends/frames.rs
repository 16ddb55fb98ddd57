//! What a client reads: the frames of a server, or one message without an end where there are no frames.

use std::io::Read;
use std::ops::Range;

use crate::content::{Content, Framing, PIECE};

/// Longest header of a server's frame.
const HEADER_MAX: usize = 10;

/// Where a reader stands.
pub struct Frames {
    buffer: Vec<u8>,
    /// What is read and not looked at.
    raw: Range<usize>,
    /// Payload of the frame under way that is still to come, and whether it is data.
    left: (u64, bool),
}

impl Frames {
    /// At the beginning of a stream.
    pub const fn new(framing: Framing) -> Self {
        let left = match framing {
            Framing::WebSocket => (0, false),
            Framing::Raw => (u64::MAX, true),
        };
        Self { buffer: Vec::new(), raw: 0..0, left }
    }

    /// Reads these pieces of `content`, which are the last for a while.
    ///
    /// # Panics
    /// Something else comes, or the end.
    pub fn check(&mut self, from: &mut impl Read, content: &Content, pieces: &Range<u64>) {
        self.room(4 * PIECE);
        self.take(from, content, pieces);
        self.take_controls();
        // Thousands are open and idle: of those, each keeps only what it has to.
        self.buffer = self.buffer[self.raw.clone()].to_vec();
        self.raw = 0..self.buffer.len();
    }

    /// Makes room for so many bytes of one read.
    pub fn room(&mut self, bytes: usize) {
        self.buffer.resize(bytes, 0);
    }

    /// Reads these pieces of `content`; there is [room](Self::room).
    ///
    /// # Panics
    /// Something else comes, or the end.
    pub fn take(&mut self, from: &mut impl Read, content: &Content, pieces: &Range<u64>) {
        let Range { start: mut at, end } = content.bytes(pieces);
        while at < end {
            at += self.part(from, content, at);
        }
        assert_eq!(at, end, "too many bytes");
    }

    /// Reads what comes next, which is from byte `at` on of `content`, and says how much it was; there is
    /// [room](Self::room).
    ///
    /// # Panics
    /// Something else comes, or the end.
    pub fn part(&mut self, from: &mut impl Read, content: &Content, at: u64) -> u64 {
        let payload = self.next(from);
        content.check(at, &self.buffer[payload.clone()]);
        payload.len() as u64
    }

    /// Takes what may stand behind the last message: pings of a relay that asks whether its client is there.
    fn take_controls(&mut self) {
        while !self.raw.is_empty() {
            let (left, data) = self.left;
            assert!(left == 0 || !data, "bytes behind the last message");
            let len = left.min(self.raw.len() as u64);
            if len == 0 && !self.header() {
                return;
            }
            self.raw.start += len as usize;
            self.left.0 -= len;
        }
    }

    /// A part of a message.
    fn next(&mut self, from: &mut impl Read) -> Range<usize> {
        loop {
            let (left, data) = self.left;
            let len = left.min(self.raw.len() as u64);
            if len > 0 {
                let part = self.raw.start..self.raw.start + len as usize;
                self.raw.start = part.end;
                self.left.0 -= len;
                if data {
                    return part;
                }
            } else if left > 0 || !self.header() {
                self.read(from);
            }
        }
    }

    /// Takes a frame's header, if all of it is there.
    fn header(&mut self) -> bool {
        let raw = &self.buffer[self.raw.clone()];
        let (Some(&first), Some(&second)) = (raw.first(), raw.get(1)) else { return false };
        let used = match second {
            ..=125 => 2,
            126 => 4,
            127 => HEADER_MAX,
            _ => panic!("a server's frame has a mask"),
        };
        if raw.len() < used {
            return false;
        }
        let long = raw[2..used].iter().fold(0, |len, byte| len << 8 | u64::from(*byte));
        let len = if used == 2 { u64::from(second) } else { long };
        let data = match first & 0x0f {
            0..=2 => true,
            9 | 10 => false,
            opcode => panic!("a frame with opcode {opcode}"),
        };
        self.raw.start += used;
        self.left = (len, data);
        true
    }

    fn read(&mut self, from: &mut impl Read) {
        // Only the beginning of a header can be left, which goes to the front.
        self.buffer.copy_within(self.raw.clone(), 0);
        let kept = self.raw.len();
        let len = from.read(&mut self.buffer[kept..]).expect("the client reads");
        assert_ne!(len, 0, "an end in the middle");
        self.raw = 0..kept + len;
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    /// Gives seven bytes at a time.
    struct Sevens<'a>(Cursor<&'a [u8]>);

    impl Read for Sevens<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let len = buffer.len().min(7);
            self.0.read(&mut buffer[..len])
        }
    }

    fn pieces(content: &Content, pieces: Range<u64>) -> Vec<u8> {
        content.writes(&pieces, Framing::Raw).collect::<Vec<_>>().concat()
    }

    #[test]
    fn frames_are_read_wherever_they_are_cut() {
        let content = Content::new(1);
        let whole = pieces(&content, 0..2);
        let (short, rest) = whole.split_at(100);
        let (middle, long) = rest.split_at(1000);
        let frames = [
            &[0x82, 100][..],
            short,
            &[0x89, 2, 7, 7],
            &[0x82, 126, 3, 232],
            middle,
            &[0x02, 127, 0, 0, 0, 0, 0, 1, 0xfb, 0xb4],
            long,
            &[0x89, 2, 7, 7],
        ]
        .concat();
        let mut server = Sevens(Cursor::new(&frames));
        Frames::new(Framing::WebSocket).check(&mut server, &content, &(0..2));
    }

    #[test]
    fn bytes_alone_are_one_message() {
        let content = Content::new(1);
        let (mut frames, bytes) = (Frames::new(Framing::Raw), pieces(&content, 0..3));
        let (first, rest) = bytes.split_at(PIECE);
        frames.check(&mut Sevens(Cursor::new(first)), &content, &(0..1));
        frames.check(&mut Sevens(Cursor::new(rest)), &content, &(1..3));
    }
}
