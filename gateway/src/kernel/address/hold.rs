//! Addresses put on an interface, held there, and taken off again.

use std::net::IpAddr;
use std::sync::Arc;

use futures_util::future::join_all;
use tokio::task::JoinHandle;
use tracing::{error, info};

use super::ask::Rtnetlink;
use super::claim::{Hold, Plan};
use super::look::spot;
use super::watch::Watch;
use super::{AddressError, Change, Tally};
use crate::kernel::netlink::events;

/// The broker addresses of a daemon. Dropped, it takes off what it added: its daemon did not start. One that
/// ran calls [`Addresses::withdraw`], and one that is killed leaves them for its successor.
pub struct Addresses {
    wanted: Arc<[IpAddr]>,
    tally: Arc<Tally>,
    held: Option<Held>,
}

/// Those that we put there.
struct Held {
    hold: Arc<Hold>,
    /// Since this daemon began.
    added: Vec<IpAddr>,
    watch: Option<JoinHandle<()>>,
}

impl Addresses {
    /// Puts those of `wanted` that are nowhere on `interface` and holds them there. Without `interface` they
    /// are somebody else's.
    ///
    /// # Errors
    /// See [`AddressError`]; what was added is taken off again.
    pub async fn start(wanted: &[IpAddr], interface: Option<&str>) -> Result<Self, AddressError> {
        let tally = Arc::new(Tally::default());
        let mut addresses = Self { wanted: wanted.into(), tally: tally.clone(), held: None };
        let Some(interface) = interface else { return Ok(addresses) };
        let hold = Arc::new(Hold { netlink: Rtnetlink::connect()?, interface: interface.into(), tally });
        // From here on dropping it takes off what is in `added`.
        let held = addresses.held.insert(Held { hold: hold.clone(), added: Vec::new(), watch: None });
        let Plan { adopted, put } = hold.plan(wanted).await?;
        held.put(&put).await?;
        if !(adopted.is_empty() && put.is_empty()) {
            let watch = Watch::new(hold, &adopted, &put);
            held.watch = Some(tokio::spawn(watch.run(events().map_err(AddressError::Netlink)?)));
        }
        Ok(addresses)
    }

    /// What metrics show.
    pub fn view(&self) -> View {
        View { wanted: self.wanted.clone(), tally: self.tally.clone() }
    }

    /// Takes off what this daemon added, and what one before it had.
    pub async fn withdraw(mut self) {
        let Some(Held { hold, watch, .. }) = self.held.take() else { return };
        if let Some(watch) = watch {
            watch.abort();
            // That it was aborted is no news.
            let _ = watch.await;
            // An order of its may still be under way. They are carried out one after the other, so that with
            // the answer to this one all are done.
            let _ = hold.link().await;
        }
        hold.take_off(&self.wanted).await;
    }
}

impl Drop for Addresses {
    fn drop(&mut self) {
        let Some(Held { hold, added, watch }) = self.held.take() else { return };
        if let Some(watch) = watch {
            watch.abort();
        }
        if !added.is_empty() {
            // The runtime may be this very thread's.
            std::thread::scope(|scope| drop(scope.spawn(|| take_back(&hold, &added)).join()));
        }
    }
}

/// Takes off `added`, in a runtime of its own.
fn take_back(hold: &Hold, added: &[IpAddr]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = runtime.map_err(AddressError::Netlink).and_then(|runtime| {
        runtime.block_on(async {
            let (interface, tally) = (hold.interface.clone(), hold.tally.clone());
            Hold { netlink: Rtnetlink::connect()?, interface, tally }.take_off(added).await;
            Ok(())
        })
    });
    if let Err(error) = done {
        error!(%error, ?added, "broker addresses not taken off");
    }
}

/// Counts of addresses and of what was done with them.
#[derive(Clone, Debug)]
pub struct View {
    wanted: Arc<[IpAddr]>,
    tally: Arc<Tally>,
}

impl View {
    /// How many of the addresses are on an interface now, and how many are not.
    ///
    /// # Errors
    /// Netlink could not be asked.
    pub async fn present_and_missing(&self) -> Result<(usize, usize), AddressError> {
        let present = Rtnetlink::connect()?.addresses().await?;
        let there = self.wanted.iter().filter(|address| spot(&present, **address).is_there()).count();
        Ok((there, self.wanted.len() - there))
    }

    /// How often it happened.
    pub fn count(&self, change: Change) -> u64 {
        self.tally.get(change)
    }
}

impl Held {
    /// Puts all of `addresses` there, at a time. The first error is told; what came well is in `added`.
    async fn put(&mut self, addresses: &[IpAddr]) -> Result<(), AddressError> {
        if addresses.is_empty() {
            return Ok(());
        }
        let hold = &self.hold;
        hold.await_ready().await?;
        let results = join_all(addresses.iter().map(async |address| (*address, hold.put(*address).await)));
        let (good, bad): (Vec<_>, Vec<_>) = results.await.into_iter().partition(|(_, done)| done.is_ok());
        for (address, _) in good {
            hold.tally.count(Change::Added);
            info!(%address, interface = hold.interface, "broker address added");
            self.added.push(address);
        }
        bad.into_iter().next().map_or(Ok(()), |(_, error)| error)
    }
}
