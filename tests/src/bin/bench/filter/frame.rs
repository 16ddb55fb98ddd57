//! SYNs as a sender hands them to the driver.

use portcullis_tests::frames::{SYN, tcp_from};
use portcullis_tests::namespace::THERE;

use super::ours::endpoint;

/// Least that Ethernet carries, without the checksum (IEEE 802.3 section 3.2.8).
const LEN: usize = 60;
/// Where the headers of network and transport begin.
const IPV4: usize = 14;
const TCP: usize = 34;
/// Where a TCP header without options ends.
const END: usize = 54;

/// Whether TCP takes it, or throws it away after whatever stands before it had its say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    Right,
    Wrong,
}

/// A SYN from the neighbour's `source` port to a broker port. `to` and `from` are the addresses of the links.
pub fn syn(to: [u8; 6], from: [u8; 6], source: u16, port: u16, checksum: Checksum) -> Vec<u8> {
    let mut frame = tcp_from(THERE[0].parse().expect("an address"), endpoint(port), SYN);
    frame[..6].copy_from_slice(&to);
    frame[6..12].copy_from_slice(&from);
    frame[TCP..TCP + 2].copy_from_slice(&source.to_be_bytes());
    let header = sum(&[&frame[IPV4..TCP]]);
    frame[IPV4 + 10..IPV4 + 12].copy_from_slice(&header.to_be_bytes());
    let right = transport(&frame);
    let written = if checksum == Checksum::Right { right } else { right ^ 0x5555 };
    frame[TCP + 16..TCP + 18].copy_from_slice(&written.to_be_bytes());
    frame.resize(LEN, 0);
    frame
}

/// The checksum of the segment with what RFC 9293 section 3.1 puts before it: both addresses, protocol and
/// length.
fn transport(frame: &[u8]) -> u16 {
    let segment = &frame[TCP..END];
    sum(&[&frame[IPV4 + 12..IPV4 + 20], &[0, 6], &(segment.len() as u16).to_be_bytes(), segment])
}

/// The Internet checksum (RFC 1071) over parts of even length.
fn sum(parts: &[&[u8]]) -> u16 {
    let pairs = parts.iter().flat_map(|part| part.chunks_exact(2));
    let sum: u32 = pairs.map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !((folded & 0xffff) + (folded >> 16)) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_is_that_of_the_rfc() {
        // The example of RFC 1071 section 3, whose sum before it is inverted is ddf2.
        assert_eq!(sum(&[&[0x00, 0x01, 0xf2, 0x03], &[0xf4, 0xf5, 0xf6, 0xf7]]), !0xddf2);
    }

    #[test]
    fn what_has_its_checksum_in_it_sums_up_to_nothing() {
        let right = syn([1; 6], [2; 6], 40_000, 10_000, Checksum::Right);
        assert_eq!((sum(&[&right[IPV4..TCP]]), transport(&right), right.len()), (0, 0, LEN));
        let wrong = syn([1; 6], [2; 6], 40_000, 10_000, Checksum::Wrong);
        assert_eq!(sum(&[&wrong[IPV4..TCP]]), 0);
        assert_ne!(transport(&wrong), 0);
    }
}
