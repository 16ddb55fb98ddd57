//! Questions and orders to the kernel about addresses and interfaces, by rtnetlink.

use std::io;
use std::net::IpAddr;

use futures_util::TryStreamExt;
use nix::errno::Errno;
use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags, AddressMessage, AddressProtocol};
use rtnetlink::packet_route::link::LinkFlags;
use rtnetlink::packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage};
use rtnetlink::{Error, Handle};
use tokio::task::JoinHandle;

use super::AddressError;
use super::frame::Mac;
use crate::kernel::netlink::link_name;

/// Written beside each address that we put on an interface (IFA_PROTO, rtnetlink(7), since Linux 5.18), so
/// that it is known for ours by whoever comes after us. The kernel itself uses 1 to 3, and `ip address` none.
const MARK: AddressProtocol = AddressProtocol::Other(0x70);

/// A connection to the kernel. Orders are carried out in their order.
pub struct Rtnetlink {
    handle: Handle,
    connection: JoinHandle<()>,
}

/// An interface.
pub struct Link {
    /// Its index.
    pub index: u32,
    /// Whether it is up and has a carrier.
    pub ready: bool,
}

impl Rtnetlink {
    /// Connects. To be called in a runtime; the namespace is that of the calling thread.
    pub fn connect() -> Result<Self, AddressError> {
        let (connection, handle, _) = rtnetlink::new_connection().map_err(AddressError::Netlink)?;
        Ok(Self { handle, connection: tokio::spawn(connection) })
    }

    /// All addresses of all interfaces.
    pub async fn addresses(&self) -> Result<Vec<AddressMessage>, AddressError> {
        // A socket makes one list at a time and refuses another meanwhile, so that each has its own.
        let lists = Self::connect()?;
        let all = lists.handle.address().get().execute().try_collect();
        all.await.map_err(|error| AddressError::Netlink(reason(error)))
    }

    /// The interface `name`, if there is one.
    pub async fn link(&self, name: &str) -> Result<Option<Link>, AddressError> {
        let mut found = self.handle.link().get().match_name(name.to_owned()).execute();
        match found.try_next().await.map_err(reason) {
            Ok(link) => Ok(link.map(|link| {
                let ready = link.header.flags.contains(LinkFlags::Up | LinkFlags::LowerUp);
                Link { index: link.header.index, ready }
            })),
            Err(error) if error.raw_os_error() == Some(Errno::ENODEV as i32) => Ok(None),
            Err(error) => Err(AddressError::Netlink(error)),
        }
    }

    /// The name of the interface `index`, if there is one.
    pub async fn name(&self, index: u32) -> Result<Option<String>, AddressError> {
        let mut found = self.handle.link().get().match_index(index).execute();
        let link = found.try_next().await.map_err(|error| AddressError::Netlink(reason(error)))?;
        Ok(link.and_then(|link| link_name(link.attributes)))
    }

    /// Puts `address` alone (/32 or /128) on an interface, with our mark. It may be there already.
    pub async fn put(&self, index: u32, address: IpAddr) -> io::Result<()> {
        let length = if address.is_ipv4() { 32 } else { 128 };
        let mut request = self.handle.address().add(index, address, length).replace();
        request.message_mut().attributes.push(AddressAttribute::Protocol(MARK));
        request.execute().await.map_err(reason)
    }

    /// Takes an address off its interface. It may be gone already.
    pub async fn take(&self, message: AddressMessage) -> io::Result<()> {
        match self.handle.address().del(message).execute().await.map_err(reason) {
            Err(error) if error.raw_os_error() == Some(Errno::EADDRNOTAVAIL as i32) => Ok(()),
            Err(error) if error.raw_os_error() == Some(Errno::ENODEV as i32) => Ok(()),
            result => result,
        }
    }

    /// Who answers for `address` on the interface `index`, as far as the kernel remembers.
    pub async fn neighbour(&self, index: u32, address: IpAddr) -> Result<Option<Mac>, AddressError> {
        let lists = Self::connect()?;
        let all = lists.handle.neighbours().get().execute().try_collect();
        let all: Vec<_> = all.await.map_err(|error| AddressError::Netlink(reason(error)))?;
        Ok(all
            .iter()
            .filter(|message| message.header.ifindex == index)
            .find_map(|message| answers(message, address)))
    }
}

/// The Ethernet address of a neighbour, if it is that of `address` and was heard of.
fn answers(message: &NeighbourMessage, address: IpAddr) -> Option<Mac> {
    let mut attributes = message.attributes.iter();
    attributes.find(|attribute| match attribute {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => IpAddr::V4(*v4) == address,
        NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => IpAddr::V6(*v6) == address,
        _ => false,
    })?;
    message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::LinkLayerAddress(bytes) => bytes.as_slice().try_into().ok().map(Mac),
        _ => None,
    })
}

impl Drop for Rtnetlink {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

/// Whether we put it there.
pub fn is_marked(message: &AddressMessage) -> bool {
    message.attributes.contains(&AddressAttribute::Protocol(MARK))
}

/// The flags of an address; the header has room for the first eight only.
pub fn flags(message: &AddressMessage) -> AddressFlags {
    let all = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Flags(flags) => Some(*flags),
        _ => None,
    });
    all.unwrap_or_else(|| AddressFlags::from_bits_retain(message.header.flags.bits().into()))
}

/// The system's own words, where it is the system that refused.
pub fn reason(error: Error) -> io::Error {
    match error {
        Error::NetlinkError(message) => message.to_io(),
        other => io::Error::other(other),
    }
}
