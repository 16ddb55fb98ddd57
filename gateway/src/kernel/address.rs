//! Addresses on interfaces, by netlink.

use std::net::IpAddr;

use futures_util::TryStreamExt;
use ipnet::IpNet;
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};
use rtnetlink::packet_route::link::LinkAttribute;

/// Why the interfaces of the addresses are not known.
#[derive(Debug, thiserror::Error)]
pub enum AddressError {
    /// Netlink could not be asked.
    #[error("netlink: {0}")]
    Netlink(rtnetlink::Error),
    /// No socket for netlink.
    #[error("netlink: {0}")]
    Socket(std::io::Error),
    /// No interface has the address.
    #[error("no interface has the broker address {0}")]
    Nowhere(IpAddr),
}

/// The names of the interfaces that carry `addresses`, each once. An address that only lies in the
/// network of a loopback interface is carried by it: all of 127.0.0.0/8 is local.
///
/// # Errors
/// See [`AddressError`].
pub async fn carriers(addresses: &[IpAddr]) -> Result<Vec<String>, AddressError> {
    let (connection, handle, _) = rtnetlink::new_connection().map_err(AddressError::Socket)?;
    let connection = tokio::spawn(connection);
    let found = find(&handle, addresses).await;
    connection.abort();
    found
}

async fn find(handle: &rtnetlink::Handle, addresses: &[IpAddr]) -> Result<Vec<String>, AddressError> {
    let present: Vec<AddressMessage> =
        handle.address().get().execute().try_collect().await.map_err(AddressError::Netlink)?;
    let mut names = Vec::new();
    for address in addresses {
        let carrier = present.iter().find(|message| carries(message, *address));
        let index = carrier.ok_or(AddressError::Nowhere(*address))?.header.index;
        let mut links = handle.link().get().match_index(index).execute();
        let link = links.try_next().await.map_err(AddressError::Netlink)?;
        let attributes = link.map(|link| link.attributes).unwrap_or_default();
        let name = attributes.into_iter().find_map(|attribute| match attribute {
            LinkAttribute::IfName(name) => Some(name),
            _ => None,
        });
        let name = name.ok_or(AddressError::Nowhere(*address))?;
        if !names.contains(&name) {
            names.push(name);
        }
    }
    Ok(names)
}

fn carries(message: &AddressMessage, wanted: IpAddr) -> bool {
    // On point-to-point links `Address` is the far side, and `Local` ours; elsewhere they are the same,
    // or there is but one.
    let local = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    let any = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Address(address) => Some(*address),
        _ => None,
    });
    let Some(address) = local.or(any) else { return false };
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
    }

    #[tokio::test]
    async fn an_address_that_nobody_has_is_an_error() {
        // TEST-NET-3 (RFC 5737): given to no interface.
        let error =
            carriers(&["203.0.113.77".parse().expect("an address")]).await.expect_err("nobody has it");
        assert_eq!(error.to_string(), "no interface has the broker address 203.0.113.77");
    }
}
