//! What the kernel tells of interfaces and addresses as it happens, as one stream that misses nothing
//! without saying so. It does not ask: who reads it asks once at the beginning, and again after
//! [`Event::Lost`].

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use futures_util::{Stream, StreamExt, stream};
use rtnetlink::packet_core::NetlinkPayload;
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};
use rtnetlink::packet_route::link::{LinkAttribute, LinkMessage};
use rtnetlink::{MulticastGroup, new_multicast_connection};
use tokio::task::JoinHandle;

/// Interfaces, and the addresses of both families.
const GROUPS: [MulticastGroup; 3] =
    [MulticastGroup::Link, MulticastGroup::Ipv4Ifaddr, MulticastGroup::Ipv6Ifaddr];
/// Pause before the socket is opened again, where it could not be.
const AGAIN: Duration = Duration::from_secs(1);

/// Something happened in this network namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// An interface is there, was changed (up, down, carrier, name), or is gone.
    Link {
        /// Its index; one that is made anew has another.
        index: u32,
        /// Its name; empty if the kernel did not say.
        name: String,
        /// Whether it is there no more.
        gone: bool,
    },
    /// An address is on an interface, was changed there (tentative, lifetime), or is gone.
    Address {
        /// Index of the interface.
        index: u32,
        /// The address; on point-to-point links the one on this side.
        address: IpAddr,
        /// Whether it is there no more.
        gone: bool,
    },
    /// Events were lost: the socket ran over, or had to be opened again. Look at everything anew.
    Lost,
}

/// The events from now on, until the stream is dropped. To be called in a runtime; the namespace is that of
/// the calling thread.
///
/// # Errors
/// The socket could not be opened.
pub fn events() -> io::Result<impl Stream<Item = Event> + Send + Unpin> {
    let messages = Messages::open()?;
    Ok(stream::unfold(messages, |messages| async { Some(next(messages).await) }).boxed())
}

/// The next event, and where to read those after it.
async fn next(mut messages: Messages) -> (Event, Messages) {
    while let Some(payload) = messages.receive().await {
        // A socket that ran over takes nothing more until it was read empty, and does not say when that is. A
        // fresh one hears everything from its first moment, and `Lost` comes after that.
        if matches!(payload, NetlinkPayload::Overrun(_)) {
            break;
        }
        if let Some(event) = event(payload) {
            return (event, messages);
        }
    }
    drop(messages);
    (Event::Lost, reopened().await)
}

async fn reopened() -> Messages {
    loop {
        match Messages::open() {
            Ok(messages) => return messages,
            Err(error) => tracing::warn!(%error, "netlink: events not heard; tried again"),
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// An open socket, and the task that reads it.
struct Messages {
    from: Box<dyn Stream<Item = NetlinkPayload<RouteNetlinkMessage>> + Send + Unpin>,
    reader: JoinHandle<()>,
}

impl Messages {
    fn open() -> io::Result<Self> {
        let (connection, _, messages) = new_multicast_connection(&GROUPS)?;
        let from = Box::new(messages.map(|(message, _)| message.payload));
        Ok(Self { from, reader: tokio::spawn(connection) })
    }

    async fn receive(&mut self) -> Option<NetlinkPayload<RouteNetlinkMessage>> {
        self.from.next().await
    }
}

impl Drop for Messages {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// What a message says, if it is one of ours.
fn event(payload: NetlinkPayload<RouteNetlinkMessage>) -> Option<Event> {
    match payload {
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) => Some(of_link(link, false)),
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelLink(link)) => Some(of_link(link, true)),
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewAddress(address)) => of_address(&address, false),
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelAddress(address)) => of_address(&address, true),
        _ => None,
    }
}

fn of_link(link: LinkMessage, gone: bool) -> Event {
    let index = link.header.index;
    Event::Link { index, name: link_name(link.attributes).unwrap_or_default(), gone }
}

fn of_address(message: &AddressMessage, gone: bool) -> Option<Event> {
    Some(Event::Address { index: message.header.index, address: local(message)?, gone })
}

/// The name among the attributes of an interface.
pub(super) fn link_name(attributes: Vec<LinkAttribute>) -> Option<String> {
    attributes.into_iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name),
        _ => None,
    })
}

/// The address on this side. On point-to-point links `Address` is the far side, and `Local` ours; elsewhere
/// they are the same, or there is but one.
pub(super) fn local(message: &AddressMessage) -> Option<IpAddr> {
    let attributes = &message.attributes;
    let ours = attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    let any = attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Address(address) => Some(*address),
        _ => None,
    });
    ours.or(any)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(message: RouteNetlinkMessage) -> Option<Event> {
        event(NetlinkPayload::InnerMessage(message))
    }

    #[test]
    fn messages_become_events() {
        let mut link = LinkMessage::default();
        link.header.index = 7;
        link.attributes = vec![LinkAttribute::Mtu(1500), LinkAttribute::IfName("eth0".into())];
        let is = |gone| Some(Event::Link { index: 7, name: "eth0".into(), gone });
        assert_eq!(said(RouteNetlinkMessage::NewLink(link.clone())), is(false));
        assert_eq!(said(RouteNetlinkMessage::DelLink(link)), is(true));
        assert_eq!(event(NetlinkPayload::Noop), None);
    }

    #[test]
    fn of_a_point_to_point_link_it_is_the_near_address() {
        let (near, far) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let mut message = AddressMessage::default();
        message.header.index = 3;
        assert_eq!(said(RouteNetlinkMessage::NewAddress(message.clone())), None, "it has no address");
        message.attributes = vec![AddressAttribute::Address(far)];
        assert_eq!(local(&message), Some(far));
        message.attributes.push(AddressAttribute::Local(near));
        let gone = Event::Address { index: 3, address: near, gone: true };
        assert_eq!(said(RouteNetlinkMessage::DelAddress(message)), Some(gone));
    }
}
