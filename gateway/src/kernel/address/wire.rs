//! Whole Ethernet frames on one interface: a packet socket (packet(7)), which needs CAP_NET_RAW. It blocks.

use std::io;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use nix::sys::socket::{LinkAddr, bind};
use socket2::{Domain, Protocol, Socket, Type};

use super::frame::Mac;

/// Of all frames only these are received.
const ETH_P_ARP: u16 = 0x0806;
const ARPHRD_ETHER: u16 = 1;

/// A socket on an Ethernet interface.
pub struct Wire {
    socket: Socket,
    /// The interface's own address.
    pub mac: Mac,
}

impl Wire {
    /// Opens one on `interface`; `None` if nobody there is asked by ARP, as on loopback.
    ///
    /// # Errors
    /// `NotFound` if there is no such interface, `PermissionDenied` without the capability, or what the
    /// system says.
    pub fn on(interface: &str) -> io::Result<Option<Self>> {
        let (address, flags) = link_address(interface)?;
        let (Some(mac), ARPHRD_ETHER, false) =
            (address.addr(), address.hatype(), flags.contains(InterfaceFlags::IFF_NOARP))
        else {
            return Ok(None);
        };
        let protocol = Protocol::from(i32::from(ETH_P_ARP.to_be()));
        let socket = Socket::new(Domain::PACKET, Type::RAW, Some(protocol))?;
        // The list of interfaces names no protocol, and then that of the socket stays.
        bind(socket.as_raw_fd(), &address)?;
        Ok(Some(Self { socket, mac: Mac(mac) }))
    }

    /// Sends one frame.
    ///
    /// # Errors
    /// What the system says.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        self.socket.send(frame).map(drop)
    }

    /// Receives one ARP frame, and says how long it is; what does not fit into `buffer` is cut off. `None` if
    /// none comes before `until`.
    ///
    /// # Errors
    /// What the system says.
    pub fn receive(&self, buffer: &mut [u8], until: Instant) -> io::Result<Option<usize>> {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        // Less than a microsecond would be none, and mean for ever.
        self.socket.set_read_timeout(Some(left.max(Duration::from_micros(1))))?;
        match io::Read::read(&mut &self.socket, buffer) {
            Ok(length) => Ok(Some(length)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            // With a timeout, no system call is begun again by the kernel (signal(7)).
            Err(error) if error.kind() == io::ErrorKind::Interrupted => self.receive(buffer, until),
            Err(error) => Err(error),
        }
    }
}

/// Index, type and Ethernet address of an interface, in the shape in which a socket is bound to it, and its
/// flags.
fn link_address(interface: &str) -> io::Result<(LinkAddr, InterfaceFlags)> {
    let found = getifaddrs()?.find_map(|entry| {
        let address = entry.address.filter(|_| entry.interface_name == interface)?;
        Some((*address.as_link_addr()?, entry.flags))
    });
    found.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no such interface"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_no_wire() {
        assert!(Wire::on("lo").expect("it is there").is_none());
        let missing = Wire::on("no-such-one").err().expect("it is not there");
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }
}
