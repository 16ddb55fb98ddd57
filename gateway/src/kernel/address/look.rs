//! Where addresses are; nothing is changed here.

use std::net::IpAddr;

use ipnet::IpNet;
use rtnetlink::packet_route::address::{AddressFlags, AddressMessage};

use super::AddressError;
use super::ask::{Rtnetlink, flags, is_marked};
use crate::kernel::netlink::local;

/// Where one address is, among all that the kernel told of.
#[derive(Clone, Copy, Debug)]
pub(super) enum Spot<'a> {
    /// We put it there.
    Ours(&'a AddressMessage),
    /// It is there, by somebody else's doing.
    Others(&'a AddressMessage),
    /// It is there and must not be used: another node holds it (RFC 4862 section 5.4).
    Duplicate(&'a AddressMessage),
    /// It is on no interface.
    Nowhere,
}

impl Spot<'_> {
    /// Whether clients can reach it.
    pub(super) const fn is_there(self) -> bool {
        matches!(self, Self::Ours(_) | Self::Others(_))
    }
}

/// Where `wanted` is.
pub(super) fn spot(present: &[AddressMessage], wanted: IpAddr) -> Spot<'_> {
    let carriers: Vec<_> = present.iter().filter(|message| carries(message, wanted)).collect();
    let (failed, good): (Vec<_>, Vec<_>) =
        carriers.into_iter().partition(|message| flags(message).contains(AddressFlags::Dadfailed));
    let ours = good.iter().find(|message| is_marked(message));
    match (ours, good.first(), failed.first()) {
        (Some(message), _, _) => Spot::Ours(message),
        (None, Some(message), _) => Spot::Others(message),
        (None, None, Some(message)) => Spot::Duplicate(message),
        (None, None, None) => Spot::Nowhere,
    }
}

/// Where an address is, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// On an interface; `ours` if a daemon put it there.
    On {
        /// Name of the interface.
        interface: String,
        /// Whether it is taken off when that daemon stops.
        ours: bool,
    },
    /// On an interface, unused, because another node holds it.
    Duplicate {
        /// Name of the interface.
        interface: String,
    },
    /// On none; `holder` answered for it lately on the interface for addresses, if somebody did.
    Nowhere {
        /// Its Ethernet address.
        holder: Option<String>,
    },
}

/// What there is of addresses on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survey {
    /// Where each is.
    pub places: Vec<(IpAddr, Place)>,
    /// Whether the interface that they would be put on is up and has a carrier; true without one.
    pub ready: bool,
}

/// Where each of `addresses` is. `interface` is the one that they would be put on.
///
/// # Errors
/// See [`AddressError`]; that an address is nowhere is none.
pub async fn survey(addresses: &[IpAddr], interface: Option<&str>) -> Result<Survey, AddressError> {
    let netlink = Rtnetlink::connect()?;
    let link = match interface {
        Some(name) => {
            Some(netlink.link(name).await?.ok_or_else(|| AddressError::NoInterface(name.to_owned()))?)
        }
        None => None,
    };
    let index = link.as_ref().map(|link| link.index);
    let present = netlink.addresses().await?;
    let mut places = Vec::new();
    for address in addresses {
        places.push((*address, place(&netlink, spot(&present, *address), *address, index).await?));
    }
    Ok(Survey { places, ready: link.is_none_or(|link| link.ready) })
}

async fn place(
    netlink: &Rtnetlink,
    spot: Spot<'_>,
    address: IpAddr,
    link: Option<u32>,
) -> Result<Place, AddressError> {
    let name = async |message: &AddressMessage| netlink.name(message.header.index).await;
    Ok(match spot {
        Spot::Ours(message) => Place::On { interface: name(message).await?.unwrap_or_default(), ours: true },
        Spot::Others(message) => {
            Place::On { interface: name(message).await?.unwrap_or_default(), ours: false }
        }
        Spot::Duplicate(message) => Place::Duplicate { interface: name(message).await?.unwrap_or_default() },
        Spot::Nowhere => {
            let holder = match link {
                Some(index) => netlink.neighbour(index, address).await?,
                None => None,
            };
            Place::Nowhere { holder: holder.map(|mac| mac.to_string()) }
        }
    })
}

/// The names of the interfaces that carry `addresses`, each once. An address that only lies in the
/// network of a loopback interface is carried by it: all of 127.0.0.0/8 is local.
///
/// # Errors
/// See [`AddressError`].
pub async fn carriers(addresses: &[IpAddr]) -> Result<Vec<String>, AddressError> {
    let netlink = Rtnetlink::connect()?;
    let present = netlink.addresses().await?;
    let mut names = Vec::new();
    for address in addresses {
        let carrier = present.iter().find(|message| carries(message, *address));
        let index = carrier.ok_or(AddressError::Nowhere(*address))?.header.index;
        let name = netlink.name(index).await?.ok_or(AddressError::Nowhere(*address))?;
        if !names.contains(&name) {
            names.push(name);
        }
    }
    Ok(names)
}

fn carries(message: &AddressMessage, wanted: IpAddr) -> bool {
    let Some(address) = local(message) else { return false };
    let network = IpNet::new(address, message.header.prefix_len);
    address == wanted || address.is_loopback() && network.is_ok_and(|network| network.contains(&wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn loopback_carries_all_of_its_network() {
        let addresses = ["127.0.0.1", "127.0.80.1"].map(|ip| ip.parse().expect("an address"));
        assert_eq!(carriers(&addresses).await.expect("netlink"), ["lo"]);
        let place = Place::On { interface: "lo".into(), ours: false };
        let places = addresses.map(|address| (address, place.clone())).to_vec();
        let expected = Survey { places, ready: true };
        assert_eq!(survey(&addresses, Some("lo")).await.expect("netlink"), expected);
    }

    #[tokio::test]
    async fn an_address_that_nobody_has_is_an_error() {
        // TEST-NET-3 (RFC 5737): given to no interface.
        let address = "203.0.113.77".parse().expect("an address");
        let error = carriers(&[address]).await.expect_err("nobody has it");
        assert_eq!(error.to_string(), "no interface has the broker address 203.0.113.77");
        let nowhere = Place::Nowhere { holder: None };
        let expected = Survey { places: vec![(address, nowhere)], ready: true };
        assert_eq!(survey(&[address], None).await.expect("netlink"), expected);
    }

    #[tokio::test]
    async fn an_interface_that_is_not_there_is_an_error() {
        let error = survey(&[], Some("no-such-one")).await.expect_err("it is not there");
        assert_eq!(error.to_string(), "address_interface = \"no-such-one\": there is no such interface");
    }
}
