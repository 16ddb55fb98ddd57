//! What can go wrong with an address.

use std::io;
use std::net::{IpAddr, Ipv4Addr};

use super::frame::Mac;

/// Why an address is not where it should be, or why that is not known.
#[derive(Debug, thiserror::Error)]
pub enum AddressError {
    /// Netlink could not be asked.
    #[error("netlink: {0}")]
    Netlink(io::Error),
    /// No interface has the address.
    #[error("no interface has the broker address {0}")]
    Nowhere(IpAddr),
    /// The interface for the addresses is not there.
    #[error("address_interface = {0:?}: there is no such interface")]
    NoInterface(String),
    /// Nobody can be asked there who holds an address.
    #[error("interface {0} is down or has no carrier")]
    NotReady(String),
    /// The kernel refused to put it on the interface.
    #[error("put {address} on {interface}: {error}")]
    Put {
        /// The address.
        address: IpAddr,
        /// The interface.
        interface: String,
        /// Why.
        error: io::Error,
    },
    /// The kernel refused to take it off its interface.
    #[error("take {address} off its interface: {error}")]
    Take {
        /// The address.
        address: IpAddr,
        /// Why.
        error: io::Error,
    },
    /// The link could not be asked who holds the address.
    #[error("ask on {interface} who holds {address}: {error}")]
    Probe {
        /// The address.
        address: Ipv4Addr,
        /// The interface.
        interface: String,
        /// Why.
        error: io::Error,
    },
    /// Somebody answers for the address.
    #[error("{address} is held by {holder} on {interface}, and was not taken")]
    Held {
        /// The address.
        address: Ipv4Addr,
        /// Who answered.
        holder: Mac,
        /// The interface.
        interface: String,
    },
    /// Duplicate address detection (RFC 4862 section 5.4) found somebody.
    #[error("{address} is held by another node on {interface}, and was not taken")]
    Duplicate {
        /// The address.
        address: IpAddr,
        /// The interface.
        interface: String,
    },
    /// Duplicate address detection did not come to an end.
    #[error("{address} on {interface} is still tentative")]
    Tentative {
        /// The address.
        address: IpAddr,
        /// The interface.
        interface: String,
    },
    /// The kernel does not keep who added an address.
    #[error("this kernel does not keep who added an address; address_interface needs Linux 5.18 or newer")]
    NoMark,
}

impl AddressError {
    /// Whether somebody else has the address.
    pub const fn is_conflict(&self) -> bool {
        matches!(self, Self::Held { .. } | Self::Duplicate { .. })
    }
}
