//! Frames for packet verdicts, field by field.

use std::net::{IpAddr, SocketAddr};

/// TCP flags (RFC 9293 section 3.1).
pub const SYN: u8 = 0x02;
/// See [`SYN`].
pub const FIN: u8 = 0x01;
/// See [`SYN`].
pub const RST: u8 = 0x04;
/// See [`SYN`].
pub const ACK: u8 = 0x10;

const CLIENT_V4: [u8; 4] = [10, 77, 0, 2];

/// A TCP segment to `destination`, with `flags`, in an Ethernet frame.
pub fn tcp(destination: SocketAddr, flags: u8) -> Vec<u8> {
    ethernet(destination, &packet(destination, &[], flags))
}

/// The same from `source`, which is of the same family.
pub fn tcp_from(source: IpAddr, destination: SocketAddr, flags: u8) -> Vec<u8> {
    let mut frame = tcp(destination, flags);
    match source {
        IpAddr::V4(v4) => frame[26..30].copy_from_slice(&v4.octets()),
        IpAddr::V6(v6) => frame[22..38].copy_from_slice(&v6.octets()),
    }
    frame
}

/// The same as [`tcp`] with VLAN tags of these types.
pub fn tagged(tags: &[u16], destination: SocketAddr, flags: u8) -> Vec<u8> {
    let plain = tcp(destination, flags);
    let mut frame = plain[..12].to_vec();
    for tag in tags {
        frame.extend(tag.to_be_bytes());
        frame.extend([0, 7]);
    }
    frame.extend(&plain[12..]);
    frame
}

/// An IPv4 packet with `words` words of options, or an IPv6 packet with these extension headers: type
/// and bytes, whose first byte is filled in.
pub fn with_extras(destination: SocketAddr, extras: &[(u8, Vec<u8>)], flags: u8) -> Vec<u8> {
    ethernet(destination, &packet(destination, extras, flags))
}

/// An IPv4 fragment at `offset` words of eight bytes.
pub fn fragment_v4(destination: SocketAddr, offset: u16, flags: u8) -> Vec<u8> {
    let mut frame = tcp(destination, flags);
    // More fragments follow.
    frame[20..22].copy_from_slice(&(0x2000 | offset).to_be_bytes());
    frame
}

/// A frame of another kind: `ethertype` and payload.
pub fn other(ethertype: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![2; 12];
    frame.extend(ethertype.to_be_bytes());
    frame.extend(payload);
    frame.resize(frame.len().max(60), 0);
    frame
}

/// UDP to `destination`.
pub fn udp(destination: SocketAddr) -> Vec<u8> {
    let mut frame = tcp(destination, SYN);
    match destination {
        SocketAddr::V4(_) => frame[23] = 17,
        SocketAddr::V6(_) => frame[20] = 17,
    }
    frame
}

fn ethernet(destination: SocketAddr, packet: &[u8]) -> Vec<u8> {
    let mut frame = vec![2; 12];
    let ethertype: u16 = if destination.is_ipv4() { 0x0800 } else { 0x86dd };
    frame.extend(ethertype.to_be_bytes());
    frame.extend(packet);
    frame
}

fn packet(destination: SocketAddr, extras: &[(u8, Vec<u8>)], flags: u8) -> Vec<u8> {
    let segment = segment(destination.port(), flags);
    match destination.ip() {
        IpAddr::V4(v4) => {
            let options: Vec<u8> = extras.iter().flat_map(|(_, bytes)| bytes.clone()).collect();
            assert!(options.len().is_multiple_of(4) && options.len() <= 40, "IPv4 options");
            let len = 20 + options.len();
            let mut packet = vec![0x40 | (len / 4) as u8, 0];
            packet.extend(((len + segment.len()) as u16).to_be_bytes());
            packet.extend([0, 1, 0, 0, 64, 6, 0, 0]);
            packet.extend(CLIENT_V4);
            packet.extend(v4.octets());
            packet.extend(options);
            packet.extend(segment);
            packet
        }
        IpAddr::V6(v6) => {
            let mut kinds: Vec<u8> = extras.iter().map(|(kind, _)| *kind).collect();
            kinds.push(6);
            let extension_len: usize = extras.iter().map(|(_, bytes)| bytes.len()).sum();
            let mut packet = vec![0x60, 0, 0, 0];
            packet.extend(((extension_len + segment.len()) as u16).to_be_bytes());
            packet.extend([kinds[0], 64]);
            packet.extend([0xfd; 16]);
            packet.extend(v6.octets());
            for ((_, bytes), next) in extras.iter().zip(&kinds[1..]) {
                packet.push(*next);
                packet.extend(&bytes[1..]);
            }
            packet.extend(segment);
            packet
        }
    }
}

/// A TCP header to `port` with `flags`, without a checksum.
pub fn segment(port: u16, flags: u8) -> Vec<u8> {
    let mut segment = 40_000_u16.to_be_bytes().to_vec();
    segment.extend(port.to_be_bytes());
    segment.extend([0; 8]);
    segment.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    segment
}
