//! One interface, and the way onto it and off it for an address.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use rtnetlink::packet_route::address::{AddressFlags, AddressMessage};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout_at};
use tracing::{error, info, warn};

use super::announce;
use super::ask::{Link, Rtnetlink, flags, is_marked};
use super::look::{Spot, spot};
use super::{AddressError, Change, Tally};
use crate::kernel::netlink::{Event, events, local};

/// An interface that is just coming up gets so long; so does duplicate address detection, which takes one to
/// two seconds as a rule (RFC 4862 section 5.1).
const PATIENCE: Duration = Duration::from_secs(8);

/// What is to be done at the start.
pub(super) struct Plan {
    /// Left by a daemon before us, where they should be.
    pub(super) adopted: Vec<IpAddr>,
    /// Nowhere.
    pub(super) put: Vec<IpAddr>,
}

/// One interface, and the way onto it and off it.
pub(super) struct Hold {
    pub(super) netlink: Rtnetlink,
    pub(super) interface: String,
    pub(super) tally: Arc<Tally>,
}

impl Hold {
    /// The interface, if it is there.
    pub(super) async fn link(&self) -> Result<Option<Link>, AddressError> {
        self.netlink.link(&self.interface).await
    }

    /// What is to be done for `wanted`; what is where it must not be is taken off already.
    pub(super) async fn plan(&self, wanted: &[IpAddr]) -> Result<Plan, AddressError> {
        let link = self.link().await?.ok_or_else(|| AddressError::NoInterface(self.interface.clone()))?;
        let present = self.netlink.addresses().await?;
        let mut plan = Plan { adopted: Vec::new(), put: Vec::new() };
        for address in wanted {
            match spot(&present, *address) {
                Spot::Others(_) => {}
                Spot::Ours(message) if message.header.index == link.index => {
                    let events = events().map_err(AddressError::Netlink)?;
                    self.settled(link.index, *address, events).await?;
                    plan.adopted.push(*address);
                }
                // Left on what was the interface then, or found to be somebody else's: from the beginning.
                Spot::Ours(_) => self.take_off(&[*address]).await,
                Spot::Duplicate(message) if is_marked(message) => self.take_off(&[*address]).await,
                Spot::Duplicate(_) => return Err(self.duplicate(*address)),
                Spot::Nowhere => {}
            }
        }
        let present = self.netlink.addresses().await?;
        plan.put.extend(wanted.iter().filter(|address| !spot(&present, **address).is_there()));
        for address in &plan.adopted {
            self.tally.count(Change::Adopted);
            info!(%address, interface = self.interface, "broker address of a daemon before this one");
        }
        for stray in present.iter().filter(|message| is_marked(message)).filter_map(local) {
            if !wanted.contains(&stray) {
                warn!(address = %stray, "left by a daemon that was killed, or held by another; not ours to take off");
            }
        }
        Ok(plan)
    }

    fn duplicate(&self, address: IpAddr) -> AddressError {
        AddressError::Duplicate { address, interface: self.interface.clone() }
    }

    /// Waits for an interface that is coming up.
    pub(super) async fn await_ready(&self) -> Result<(), AddressError> {
        let mut events = events().map_err(AddressError::Netlink)?;
        let until = Instant::now() + PATIENCE;
        while !self.link().await?.is_some_and(|link| link.ready) {
            if timeout_at(until, events.next()).await.is_err() {
                return Err(AddressError::NotReady(self.interface.clone()));
            }
        }
        Ok(())
    }

    /// Puts `address` on the interface, if nobody on its link holds it, and announces it once.
    pub(super) async fn put(&self, address: IpAddr) -> Result<(), AddressError> {
        let claimed = self.claim(address).await;
        if claimed.as_ref().is_err_and(AddressError::is_conflict) {
            self.tally.count(Change::Conflict);
        }
        claimed?;
        self.announce(address);
        Ok(())
    }

    async fn claim(&self, address: IpAddr) -> Result<(), AddressError> {
        let link = self.link().await?.ok_or_else(|| AddressError::NoInterface(self.interface.clone()))?;
        if let IpAddr::V4(address) = address {
            self.ask(address).await?;
        }
        // Heard from before it is there, so that the end of its detection is not missed.
        let events = events().map_err(AddressError::Netlink)?;
        let put = self.netlink.put(link.index, address).await;
        put.map_err(|error| AddressError::Put { address, interface: self.interface.clone(), error })?;
        self.settled(link.index, address, events).await
    }

    /// Nobody on the link may hold `address`.
    async fn ask(&self, address: Ipv4Addr) -> Result<(), AddressError> {
        let interface = self.interface.clone();
        let asked = {
            let interface = interface.clone();
            spawn_blocking(move || announce::ask(&interface, address)).await
        };
        match asked.unwrap_or_else(|error| Err(error.into())) {
            Ok(None) => Ok(()),
            Ok(Some(holder)) => Err(AddressError::Held { address, holder, interface }),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                warn!(%address, interface, "nobody was asked whether they hold it: this needs CAP_NET_RAW");
                Ok(())
            }
            Err(error) => Err(AddressError::Probe { address, interface, error }),
        }
    }

    /// Waits until an address that was just put there may be used; one that must not be is taken off.
    async fn settled(
        &self,
        index: u32,
        address: IpAddr,
        mut events: impl Stream<Item = Event> + Unpin,
    ) -> Result<(), AddressError> {
        let until = Instant::now() + PATIENCE;
        loop {
            let present = self.netlink.addresses().await?;
            let found = present.into_iter().find(|message| is_alone(message, index, address));
            let Some(message) = found else { return Err(AddressError::Nowhere(address)) };
            let flags = flags(&message);
            let waits = flags.contains(AddressFlags::Tentative) && !flags.contains(AddressFlags::Optimistic);
            let wrong = if !is_marked(&message) {
                AddressError::NoMark
            } else if flags.contains(AddressFlags::Dadfailed) {
                self.duplicate(address)
            } else if !waits {
                return Ok(());
            } else if timeout_at(until, events.next()).await.is_ok() {
                continue;
            } else {
                AddressError::Tentative { address, interface: self.interface.clone() }
            };
            let taken = self.netlink.take(message).await;
            return taken.map_or_else(|error| Err(AddressError::Take { address, error }), |()| Err(wrong));
        }
    }

    /// Tells the link that `address` is here.
    pub(super) fn announce(&self, address: IpAddr) {
        if let Err(error) = announce::announce(&self.interface, address) {
            self.tally.count(Change::Unannounced);
            warn!(%address, interface = self.interface, %error, "broker address not announced");
        }
    }

    /// Takes off those of `addresses` that have our mark, wherever they are. What fails is logged.
    pub(super) async fn take_off(&self, addresses: &[IpAddr]) {
        let present = match self.netlink.addresses().await {
            Ok(present) => present,
            Err(error) => return error!(%error, ?addresses, "broker addresses not taken off"),
        };
        for message in present.into_iter().filter(is_marked) {
            let Some(address) = local(&message).filter(|address| addresses.contains(address)) else {
                continue;
            };
            match self.netlink.take(message).await {
                Ok(()) => {
                    self.tally.count(Change::Withdrawn);
                    info!(%address, "broker address taken off");
                }
                Err(error) => error!(error = %AddressError::Take { address, error }, "still there"),
            }
        }
    }
}

/// Whether it is `address` on the interface `index`, without a network around it.
fn is_alone(message: &AddressMessage, index: u32, address: IpAddr) -> bool {
    let alone = message.header.prefix_len == if address.is_ipv4() { 32 } else { 128 };
    alone && message.header.index == index && local(message) == Some(address)
}
