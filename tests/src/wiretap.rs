//! What goes over a link: all frames that arrive in a namespace.

use std::io::Read;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

use crate::PATIENCE;
use crate::namespace::Neighbour;

const ETH_P_ALL: u16 = 0x0003;
const ARP: [u8; 2] = [0x08, 0x06];
const IPV6: [u8; 2] = [0x86, 0xdd];

/// A packet socket (packet(7)) on all interfaces of a namespace.
pub struct Wiretap(Socket);

impl Wiretap {
    /// Listens at the neighbour's from now on.
    ///
    /// # Panics
    /// The system refuses.
    pub fn at(neighbour: &Neighbour) -> Self {
        let protocol = Protocol::from(i32::from(ETH_P_ALL.to_be()));
        let open = || Socket::new(Domain::PACKET, Type::RAW, Some(protocol)).expect("a packet socket");
        let socket = neighbour.inside(open);
        socket.set_read_timeout(Some(Duration::from_millis(100))).expect("a timeout");
        Self(socket)
    }

    /// Waits until `address` is announced, once more than before.
    ///
    /// # Panics
    /// It is not within [`PATIENCE`].
    pub fn announced(&self, address: IpAddr) {
        let began = Instant::now();
        let mut frame = [0; 2048];
        while began.elapsed() < PATIENCE {
            let length = (&self.0).read(&mut frame).unwrap_or(0);
            if announces(&frame[..length], address) {
                return;
            }
        }
        panic!("waited {PATIENCE:?} for {address} to be announced");
    }
}

/// Whether a frame is a gratuitous ARP request (RFC 5227 section 2.3) or an unsolicited neighbour advertisement
/// (RFC 4861 section 7.2.6) for `address`.
fn announces(frame: &[u8], address: IpAddr) -> bool {
    let is = |at: usize, bytes: &[u8]| frame.get(at..at + bytes.len()) == Some(bytes);
    match address {
        IpAddr::V4(address) => {
            let ours = address.octets();
            is(0, &[0xff; 6]) && is(12, &ARP) && is(20, &[0, 1]) && is(28, &ours) && is(38, &ours)
        }
        IpAddr::V6(address) => {
            let (icmp, override_only) = (54, [0x20, 0, 0, 0]);
            is(12, &IPV6)
                && is(icmp, &[136, 0])
                && is(icmp + 4, &override_only)
                && is(icmp + 8, &address.octets())
        }
    }
}
