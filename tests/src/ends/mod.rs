//! What both ends of a session read and write, at less cost than what stands between them: the bytes of a
//! connection, plain or TLS, and the frames of a server.

mod frames;
mod stream;

use std::io::{Read, Write};
use std::ops::Range;

use crate::content::{Content, Framing, PIECE};
pub use frames::Frames;
pub use stream::{Stream, Tls};

/// Sends these pieces.
///
/// # Panics
/// The other end takes no more.
pub fn send(to: &mut impl Write, content: &Content, pieces: &Range<u64>, framing: Framing) {
    for bytes in content.writes(pieces, framing) {
        to.write_all(bytes).expect("an end writes");
    }
}

/// Reads what a console gets of these pieces, and compares every byte.
///
/// # Panics
/// They differ, or it ends.
pub fn take(console: &mut impl Read, content: &Content, pieces: &Range<u64>) {
    let mut buffer = vec![0; 4 * PIECE];
    let Range { start: mut at, end } = content.bytes(pieces);
    while at < end {
        let len = console.read(&mut buffer).expect("the console reads");
        assert_ne!(len, 0, "an end at byte {at}");
        content.check(at, &buffer[..len]);
        at += len as u64;
    }
    assert_eq!(at, end, "too many bytes");
}
