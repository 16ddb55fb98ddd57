//! The frames that ask for an address and announce it, byte by byte, without I/O: ARP (RFC 826, as RFC 5227
//! uses it) and the neighbour advertisement (RFC 4861 section 4.4), both on Ethernet.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

/// An Ethernet address.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Mac(pub [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

const EVERYBODY: Mac = Mac([0xff; 6]);
/// The group ff02::1, all nodes of the link (RFC 2464 section 7).
const ALL_NODES: Mac = Mac([0x33, 0x33, 0, 0, 0, 1]);
const ETHERNET_HEADER: usize = 14;
const ETHERTYPE_ARP: [u8; 2] = [0x08, 0x06];
const ETHERTYPE_IPV6: [u8; 2] = [0x86, 0xdd];

/// Ethernet (1) and IPv4 (0x0800), with addresses of 6 and 4 bytes.
const ARP_KIND: [u8; 6] = [0, 1, 0x08, 0, 6, 4];
const ARP_REQUEST: [u8; 2] = [0, 1];
/// An ARP packet with its Ethernet header.
pub const ARP_FRAME: usize = ETHERNET_HEADER + 28;

/// Asks who holds `address` without claiming it (RFC 5227 section 2.1.1).
pub fn arp_probe(from: Mac, address: Ipv4Addr) -> [u8; ARP_FRAME] {
    arp_request(from, Ipv4Addr::UNSPECIFIED, address)
}

/// Says that `from` has `address` (RFC 5227 section 2.3).
pub fn arp_announcement(from: Mac, address: Ipv4Addr) -> [u8; ARP_FRAME] {
    arp_request(from, address, address)
}

fn arp_request(from: Mac, sender: Ipv4Addr, target: Ipv4Addr) -> [u8; ARP_FRAME] {
    let mut frame = [0; ARP_FRAME];
    ethernet(&mut frame, EVERYBODY, from, ETHERTYPE_ARP);
    let arp = &mut frame[ETHERNET_HEADER..];
    arp[0..6].copy_from_slice(&ARP_KIND);
    arp[6..8].copy_from_slice(&ARP_REQUEST);
    arp[8..14].copy_from_slice(&from.0);
    arp[14..18].copy_from_slice(&sender.octets());
    // The target's Ethernet address stays zero: it is what is asked for.
    arp[24..28].copy_from_slice(&target.octets());
    frame
}

fn ethernet(frame: &mut [u8], to: Mac, from: Mac, kind: [u8; 2]) {
    frame[0..6].copy_from_slice(&to.0);
    frame[6..12].copy_from_slice(&from.0);
    frame[12..14].copy_from_slice(&kind);
}

/// Who holds `address`, or is about to take it, as far as `frame` says so (RFC 5227 section 2.1.1): the sender
/// of whatever has it as its own address, and who else probes for it. What `us` sent says nothing.
pub fn holder(frame: &[u8], us: Mac, address: Ipv4Addr) -> Option<Mac> {
    let arp = frame.get(ETHERNET_HEADER..ARP_FRAME)?;
    if frame[12..14] != ETHERTYPE_ARP || arp[0..6] != ARP_KIND {
        return None;
    }
    let sender = Mac(arp[8..14].try_into().ok()?);
    let (has, wants) = (&arp[14..18], &arp[24..28]);
    let holds = has == address.octets();
    let probes = arp[6..8] == ARP_REQUEST && has == [0; 4] && wants == address.octets();
    (sender != us && (holds || probes)).then_some(sender)
}

const IPV6_HEADER: usize = 40;
const ICMPV6: u8 = 58;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
/// What others remember of the address is to be replaced.
const OVERRIDE: u8 = 0x20;
/// The option with the sender's Ethernet address, of one unit of 8 bytes (RFC 4861 section 4.6.1).
const TARGET_LINK_ADDRESS: [u8; 2] = [2, 1];
/// ICMPv6 header, target and one option.
const ADVERTISEMENT: usize = 8 + 16 + 8;
/// A neighbour advertisement with its headers.
pub const ADVERTISEMENT_FRAME: usize = ETHERNET_HEADER + IPV6_HEADER + ADVERTISEMENT;

/// Says to all nodes of the link, unasked, that `from` has `address` (RFC 4861 section 7.2.6).
pub fn advertisement(from: Mac, address: Ipv6Addr) -> [u8; ADVERTISEMENT_FRAME] {
    let all_nodes = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    let mut frame = [0; ADVERTISEMENT_FRAME];
    ethernet(&mut frame, ALL_NODES, from, ETHERTYPE_IPV6);
    let (ip, icmp) = frame[ETHERNET_HEADER..].split_at_mut(IPV6_HEADER);
    ip[0] = 6 << 4;
    ip[5] = ADVERTISEMENT as u8;
    ip[6] = ICMPV6;
    // Others take it for one from beyond a router otherwise.
    ip[7] = 255;
    ip[8..24].copy_from_slice(&address.octets());
    ip[24..40].copy_from_slice(&all_nodes.octets());
    icmp[0] = NEIGHBOUR_ADVERTISEMENT;
    icmp[4] = OVERRIDE;
    icmp[8..24].copy_from_slice(&address.octets());
    icmp[24..26].copy_from_slice(&TARGET_LINK_ADDRESS);
    icmp[26..32].copy_from_slice(&from.0);
    let sum = checksum(address, all_nodes, icmp);
    icmp[2..4].copy_from_slice(&sum.to_be_bytes());
    frame
}

/// Of an ICMPv6 message whose checksum is zero (RFC 4443 section 2.3, RFC 8200 section 8.1).
fn checksum(source: Ipv6Addr, destination: Ipv6Addr, message: &[u8]) -> u16 {
    let addresses = source.segments().into_iter().chain(destination.segments());
    let words = message.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
    let pseudo_header = message.len() as u32 + u32::from(ICMPV6);
    let mut sum: u32 = addresses.chain(words).map(u32::from).sum::<u32>() + pseudo_header;
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: Mac = Mac([2, 0, 0, 0, 0, 1]);
    const THEM: Mac = Mac([2, 0, 0, 0, 0, 2]);
    const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 9);

    #[test]
    fn an_announcement_is_a_request_for_oneself() {
        let expected = [
            0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1, 8, 6, // Ethernet
            0, 1, 8, 0, 6, 4, 0, 1, // a request, of IPv4 on Ethernet
            2, 0, 0, 0, 0, 1, 10, 77, 0, 9, // from us
            0, 0, 0, 0, 0, 0, 10, 77, 0, 9, // for the same
        ];
        assert_eq!(arp_announcement(US, ADDRESS), expected);
    }

    #[test]
    fn a_probe_claims_nothing() {
        let probe = arp_probe(US, ADDRESS);
        let mut expected = arp_announcement(US, ADDRESS);
        expected[28..32].fill(0);
        assert_eq!(probe, expected);
    }

    #[test]
    fn who_says_that_it_is_theirs_holds_it() {
        let mut reply = arp_announcement(THEM, ADDRESS).to_vec();
        assert_eq!(holder(&reply, US, ADDRESS), Some(THEM), "an announcement");
        reply[21] = 2;
        assert_eq!(holder(&reply, US, ADDRESS), Some(THEM), "a reply");
        reply.resize(60, 0);
        assert_eq!(holder(&reply, US, ADDRESS), Some(THEM), "padded to Ethernet's least");
        assert_eq!(holder(&arp_probe(THEM, ADDRESS), US, ADDRESS), Some(THEM), "wants it too");
        assert_eq!(holder(&reply, THEM, ADDRESS), None, "it is us");
        assert_eq!(
            holder(&arp_announcement(THEM, Ipv4Addr::LOCALHOST), US, ADDRESS),
            None,
            "another address"
        );
    }

    #[test]
    fn a_question_and_what_is_no_arp_say_nothing() {
        let question = arp_request(THEM, Ipv4Addr::new(10, 77, 0, 2), ADDRESS);
        assert_eq!(holder(&question, US, ADDRESS), None);
        let claim = arp_announcement(THEM, ADDRESS);
        for length in 0..ARP_FRAME {
            assert_eq!(holder(&claim[..length], US, ADDRESS), None, "cut at {length}");
        }
        for at in 12..20 {
            let mut other = claim;
            other[at] ^= 1;
            assert_eq!(holder(&other, US, ADDRESS), None, "byte {at}");
        }
    }

    #[test]
    fn an_advertisement_overrides_and_sums_up() {
        let address = Ipv6Addr::new(0xfd00, 0x77, 0, 0, 0, 0, 0, 9);
        let frame = advertisement(US, address);
        assert_eq!(frame[0..14], [0x33, 0x33, 0, 0, 0, 1, 2, 0, 0, 0, 0, 1, 0x86, 0xdd]);
        assert_eq!(frame[14..22], [0x60, 0, 0, 0, 0, 32, 58, 255]);
        let icmp = &frame[54..];
        assert_eq!((icmp[0], icmp[1], icmp[4]), (136, 0, 0x20));
        assert_eq!(icmp[8..24], address.octets());
        assert_eq!(icmp[24..32], [2, 1, 2, 0, 0, 0, 0, 1]);
        // With its checksum in it, a message sums up to nothing.
        let all_nodes = "ff02::1".parse().expect("an address");
        assert_eq!(checksum(address, all_nodes, icmp), 0);
        assert_ne!(icmp[2..4], [0, 0]);
    }

    #[test]
    fn the_checksum_is_that_of_a_message_worked_out_by_hand() {
        // ::1 to ::2, an echo request without anything: 1 + 2 + 8 (length) + 58 + 0x8000.
        let of = |last| Ipv6Addr::new(0, 0, 0, 0, 0, 0, 0, last);
        assert_eq!(checksum(of(1), of(2), &[0x80, 0, 0, 0, 0, 0, 0, 0]), !0x8045);
    }

    #[test]
    fn an_ethernet_address_is_written_as_everywhere() {
        assert_eq!(Mac([2, 0xab, 0, 0, 0, 0x1f]).to_string(), "02:ab:00:00:00:1f");
    }
}
