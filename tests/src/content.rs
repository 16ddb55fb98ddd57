//! What is sent, made beforehand: comparing it costs less than any relay takes to move it.

use std::ops::Range;

use crate::pattern;

/// Bytes of a piece in bulk: one write of a console, one frame of a client.
pub const PIECE: usize = 64 * 1024;
/// Bytes after which the content begins anew, about.
const ROUND: usize = 61 * PIECE;
/// Longest header of a client's frame (RFC 6455 section 5.2).
const HEADER_MAX: usize = 14;

/// A stream of pieces without an end, as a console sends it and as a client does.
pub struct Content {
    piece: usize,
    /// Pieces that one write takes.
    batch: u64,
    plain: Vec<u8>,
    frames: Vec<u8>,
}

/// Whether what a client sends is in frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// By RFC 6455.
    WebSocket,
    /// Bytes alone, as a console sends them.
    Raw,
}

impl Content {
    /// The stream of pattern `seed`, in pieces of [`PIECE`].
    pub fn new(seed: u64) -> Self {
        Self::of(seed, PIECE, 1)
    }

    /// The same in pieces of that many bytes, of which a write takes `batch`.
    pub fn of(seed: u64, piece: usize, batch: u64) -> Self {
        let writes = ROUND / (piece * batch as usize);
        let mut plain = vec![0; writes * batch as usize * piece];
        pattern::fill(seed, 0, &mut plain);
        let masks = (1..).map(|number: u32| number.wrapping_mul(0x9e37_79b9).to_be_bytes());
        let frames = plain.chunks(piece).zip(masks).flat_map(|(piece, mask)| masked(piece, mask)).collect();
        Self { piece, batch, plain, frames }
    }

    /// The bytes of a client's frames for these pieces, or of the pieces alone, in the parts that one write takes.
    pub fn writes(&self, pieces: &Range<u64>, framing: Framing) -> impl Iterator<Item = &[u8]> {
        let block = if framing == Framing::Raw { &self.plain } else { &self.frames };
        let write = block.len() / (self.plain.len() / (self.piece * self.batch as usize));
        let writes = pieces.start / self.batch..pieces.end / self.batch;
        assert_eq!(writes.end * self.batch, pieces.end, "the last write is not full");
        writes.map(move |number| {
            let start = (number % (block.len() / write) as u64) as usize * write;
            &block[start..start + write]
        })
    }

    /// From which byte to which these pieces are.
    pub const fn bytes(&self, pieces: &Range<u64>) -> Range<u64> {
        pieces.start * self.piece as u64..pieces.end * self.piece as u64
    }

    /// Compares what arrived with what stands at byte `at`.
    ///
    /// # Panics
    /// They differ.
    pub fn check(&self, mut at: u64, mut arrived: &[u8]) {
        while !arrived.is_empty() {
            let rest = &self.plain[(at % self.plain.len() as u64) as usize..];
            let len = rest.len().min(arrived.len());
            assert!(rest[..len] == arrived[..len], "a wrong byte between {at} and {}", at + len as u64);
            at += len as u64;
            arrived = &arrived[len..];
        }
    }
}

/// A client's binary frame.
fn masked(piece: &[u8], mask: [u8; 4]) -> Vec<u8> {
    let len = piece.len() as u64;
    let mut frame = Vec::with_capacity(HEADER_MAX + piece.len());
    frame.push(0x82);
    match len {
        ..=125 => frame.push(0x80 | len as u8),
        126..=0xffff => {
            frame.push(0xfe);
            frame.extend((len as u16).to_be_bytes());
        }
        _ => {
            frame.push(0xff);
            frame.extend(len.to_be_bytes());
        }
    }
    frame.extend(mask);
    frame.extend(piece.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The pieces one after the other.
    fn plain(content: &Content, pieces: Range<u64>) -> Vec<u8> {
        content.writes(&pieces, Framing::Raw).collect::<Vec<_>>().concat()
    }

    #[test]
    fn a_wrong_byte_is_found_in_any_round() {
        let content = Content::new(1);
        let mut arrived = plain(&content, 60..62);
        content.check(3 * ROUND as u64 - PIECE as u64, &arrived);
        arrived[PIECE + 5] ^= 1;
        let check = || content.check(3 * ROUND as u64 - PIECE as u64, &arrived);
        assert!(std::panic::catch_unwind(check).is_err());
    }

    #[test]
    fn a_frame_is_its_piece_under_a_mask() {
        for (piece, start) in [
            (PIECE, &[0x82, 0xff, 0, 0, 0, 0, 0, 1, 0, 0][..]),
            (16 * 1024, &[0x82, 0xfe, 0x40, 0]),
            (100, &[0x82, 0x80 | 100]),
        ] {
            let content = Content::of(1, piece, 1);
            let frame: Vec<_> = content.writes(&(7..8), Framing::WebSocket).collect();
            let (header, payload) = frame[0].split_at(start.len() + 4);
            assert_eq!(header[..start.len()], *start);
            let mask = header[start.len()..].iter().cycle();
            let unmasked: Vec<_> = payload.iter().zip(mask).map(|(byte, mask)| byte ^ mask).collect();
            assert!(unmasked == plain(&content, 7..8) && payload != unmasked);
        }
    }

    #[test]
    fn a_batch_is_one_write() {
        let content = Content::of(1, 100, 8);
        let writes: Vec<_> = content.writes(&(16..32), Framing::WebSocket).map(<[u8]>::len).collect();
        assert_eq!(writes, [8 * 106; 2]);
        content.check(1600, &plain(&content, 16..32));
    }
}
