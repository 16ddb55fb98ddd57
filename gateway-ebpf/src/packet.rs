//! From an Ethernet frame to the TCP segment that the filter judges.
//!
//! All packet access goes through [`Cursor::load`]. Whatever is not surely the start of a TCP
//! segment reads as `None`, and the filter passes it.

use crate::layout::{Address, address_v4, address_v6};

/// What the filter needs to know of a TCP segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Source address.
    pub source: Address,
    /// Destination address.
    pub address: Address,
    /// Destination port, host order.
    pub port: u16,
    /// Byte 13 of the header: CWR ECE URG ACK PSH RST SYN FIN (RFC 9293 section 3.1).
    pub flags: u8,
}

/// [`Segment::flags`]: the acknowledgment field is significant.
pub const ACK: u8 = 0x10;
/// [`Segment::flags`]: ends a connection that does not exist.
pub const RST: u8 = 0x04;
/// [`Segment::flags`]: opens a connection.
pub const SYN: u8 = 0x02;

const ETHERNET_LEN: usize = 14;
const VLAN_LEN: usize = 4;
const IPV4_LEN: usize = 20;
const IPV6_LEN: usize = 40;
const IPV6_ADDRESSES: usize = 8;
/// Up to the flags; the rest of the TCP header is not looked at.
const TCP_LEN: usize = 14;

/// Most VLAN tags before the network header: 802.1ad around 802.1Q.
const MAX_TAGS: usize = 2;
/// Most IPv6 extension headers before TCP. RFC 8200 section 4.1 orders seven.
const MAX_EXTENSIONS: usize = 7;

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const ETHERTYPE_VLAN: u16 = 0x8100;
const ETHERTYPE_QINQ: u16 = 0x88a8;

const TCP: u8 = 6;
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION: u8 = 60;

/// A place in a packet. Kept as integers, as the verifier sees it: the checked address and the
/// one that is read must be the same value, so a step forward makes a new `at` and nothing else.
pub struct Cursor {
    at: usize,
    end: usize,
}

impl Cursor {
    /// A cursor at `start` of a packet that ends before `end`.
    ///
    /// # Safety
    /// All bytes from `start` up to `end` must be readable while the cursor lives.
    #[inline(always)]
    pub const unsafe fn new(start: usize, end: usize) -> Self {
        Self { at: start, end }
    }

    /// The next `N` bytes, or `None` where the packet ends before.
    #[inline(always)]
    fn load<const N: usize>(&self) -> Option<&[u8; N]> {
        if self.at + N > self.end {
            return None;
        }
        // SAFETY: the N bytes from `at` lie before `end`, readable as `new` was promised; an array
        // of bytes has no alignment and no invalid values.
        Some(unsafe { &*(self.at as *const [u8; N]) })
    }

    #[inline(always)]
    fn skip(&mut self, bytes: usize) {
        self.at += bytes;
    }
}

/// The TCP segment that the frame at `cursor` carries, behind up to two VLAN tags, IPv4 with
/// options or IPv6 with extension headers. `None`: not TCP, cut short, or a later fragment (the
/// first one decides).
#[inline(always)]
pub fn parse(mut cursor: Cursor) -> Option<Segment> {
    let ethernet = cursor.load::<ETHERNET_LEN>()?;
    let mut ethertype = u16::from_be_bytes([ethernet[12], ethernet[13]]);
    cursor.skip(ETHERNET_LEN);

    for _ in 0..MAX_TAGS {
        if ethertype == ETHERTYPE_VLAN || ethertype == ETHERTYPE_QINQ {
            let tag = cursor.load::<VLAN_LEN>()?;
            ethertype = u16::from_be_bytes([tag[2], tag[3]]);
            cursor.skip(VLAN_LEN);
        }
    }

    let (source, address) = match ethertype {
        ETHERTYPE_IPV4 => ipv4(&mut cursor)?,
        ETHERTYPE_IPV6 => ipv6(&mut cursor)?,
        _ => return None,
    };
    let tcp = cursor.load::<TCP_LEN>()?;
    Some(Segment { source, address, port: u16::from_be_bytes([tcp[2], tcp[3]]), flags: tcp[13] })
}

/// RFC 791 section 3.1: source and destination. Leaves the cursor at the TCP header.
#[inline(always)]
fn ipv4(cursor: &mut Cursor) -> Option<(Address, Address)> {
    let header = cursor.load::<IPV4_LEN>()?;
    let len = (header[0] & 0x0f) as usize * 4;
    let offset = u16::from_be_bytes([header[6], header[7]]) & 0x1fff;
    if header[0] >> 4 != 4 || len < IPV4_LEN || offset != 0 || header[9] != TCP {
        return None;
    }
    let source = address_v4([header[12], header[13], header[14], header[15]]);
    let destination = address_v4([header[16], header[17], header[18], header[19]]);
    cursor.skip(len);
    Some((source, destination))
}

/// RFC 8200 sections 3 and 4: source and destination. Leaves the cursor at the TCP header.
#[inline(always)]
fn ipv6(cursor: &mut Cursor) -> Option<(Address, Address)> {
    let header = cursor.load::<IPV6_LEN>()?;
    if header[0] >> 4 != 6 {
        return None;
    }
    let mut next = header[6];
    cursor.skip(IPV6_ADDRESSES);
    let source = address_v6(cursor.load()?);
    cursor.skip(16);
    let destination = address_v6(cursor.load()?);
    cursor.skip(IPV6_LEN - IPV6_ADDRESSES - 16);

    for _ in 0..MAX_EXTENSIONS {
        if next == TCP {
            return Some((source, destination));
        }
        let extension = cursor.load::<8>()?;
        let len = match next {
            HOP_BY_HOP | ROUTING | DESTINATION => (extension[1] as usize + 1) * 8,
            // RFC 4302 section 2.2 counts in words of four bytes, less two.
            AUTHENTICATION => (extension[1] as usize + 2) * 4,
            FRAGMENT if u16::from_be_bytes([extension[2], extension[3]]) & 0xfff8 == 0 => 8,
            _ => return None,
        };
        next = extension[0];
        cursor.skip(len);
    }
    if next == TCP { Some((source, destination)) } else { None }
}
