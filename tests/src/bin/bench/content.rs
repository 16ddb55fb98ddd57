//! What is sent, made beforehand: comparing it costs less than any relay takes to move it.

use portcullis_tests::pattern;

/// Bytes of a piece: one write of a console, one frame of a client.
pub const PIECE: usize = 64 * 1024;
/// Pieces after which the content begins anew. All of them differ.
const PIECES: usize = 61;
/// Bytes in front of a client's piece (RFC 6455 section 5.2): length in eight bytes, and the mask.
const HEADER: usize = 14;

/// A stream of pieces without an end.
pub struct Content {
    plain: Vec<u8>,
    frames: Vec<u8>,
}

impl Content {
    /// The stream of pattern `seed`.
    pub fn new(seed: u64) -> Self {
        let mut plain = vec![0; PIECES * PIECE];
        pattern::fill(seed, 0, &mut plain);
        let masks = (1..).map(|number: u32| number.wrapping_mul(0x9e37_79b9).to_be_bytes());
        let frames = plain.chunks(PIECE).zip(masks).flat_map(|(piece, mask)| masked(piece, mask)).collect();
        Self { plain, frames }
    }

    /// Piece `number`.
    pub fn piece(&self, number: u64) -> &[u8] {
        part(&self.plain, number, PIECE)
    }

    /// The same as a client's frame.
    pub fn frame(&self, number: u64) -> &[u8] {
        part(&self.frames, number, HEADER + PIECE)
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

fn part(block: &[u8], number: u64, len: usize) -> &[u8] {
    let start = (number % PIECES as u64) as usize * len;
    &block[start..start + len]
}

/// A client's binary frame.
fn masked(piece: &[u8], mask: [u8; 4]) -> Vec<u8> {
    let mut frame = vec![0x82, 0xff];
    frame.extend((piece.len() as u64).to_be_bytes());
    frame.extend(mask);
    frame.extend(piece.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_byte_is_found_in_any_round() {
        let content = Content::new(1);
        let round = (PIECES * PIECE) as u64;
        let mut arrived = [content.piece(PIECES as u64 - 1), content.piece(PIECES as u64)].concat();
        content.check(3 * round - PIECE as u64, &arrived);
        arrived[PIECE + 5] ^= 1;
        let check = || content.check(3 * round - PIECE as u64, &arrived);
        assert!(std::panic::catch_unwind(check).is_err());
    }

    #[test]
    fn a_frame_is_its_piece_under_a_mask() {
        let content = Content::new(1);
        let (header, payload) = content.frame(7).split_at(HEADER);
        assert_eq!(header[..10], [0x82, 0xff, 0, 0, 0, 0, 0, 1, 0, 0]);
        let mask = header[10..].iter().cycle();
        let piece: Vec<_> = payload.iter().zip(mask).map(|(byte, mask)| byte ^ mask).collect();
        assert!(piece == content.piece(7) && payload != content.piece(7));
    }
}
