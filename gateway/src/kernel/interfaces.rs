//! Which interfaces are to have the filter, and that they have it: followed as they appear, vanish, are renamed
//! and made anew.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::{error, info, warn};

use super::address::{AddressError, carriers};
use super::filter::FilterError;
use super::hook::{Hook, Hooks, Interface};
use super::netlink::{self, Event};
use super::pins;

/// Which interfaces are to have the filter.
#[derive(Clone, Debug)]
pub enum Wanted {
    /// Those with these names, or with names like these.
    Named(Vec<String>),
    /// Those that carry these addresses.
    Carrying(Vec<IpAddr>),
}

/// Why the wanted interfaces are not known.
#[derive(Debug, thiserror::Error)]
pub enum WantedError {
    /// A name that is no pattern has no interface.
    #[error("there is no interface {0}")]
    NoSuch(String),
    /// The kernel does not list interfaces.
    #[error("list the interfaces: {0}")]
    List(nix::errno::Errno),
    /// The carriers of the addresses are not known.
    #[error(transparent)]
    Address(#[from] AddressError),
}

impl Wanted {
    /// The interfaces as they are now, in the order of their numbers. An address that is nowhere has none.
    ///
    /// # Errors
    /// See [`WantedError`].
    pub async fn find(&self) -> Result<Vec<Interface>, WantedError> {
        let names = match self {
            Self::Named(patterns) => patterns.clone(),
            Self::Carrying(addresses) => {
                let mut names = Vec::new();
                for address in addresses {
                    match carriers(&[*address]).await {
                        Ok(carriers) => names.extend(carriers),
                        Err(AddressError::Nowhere(_)) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
                names
            }
        };
        Ok(named(&names, &present()?))
    }

    /// The same at the start, when a name without an interface and an address that is nowhere are mistakes.
    ///
    /// # Errors
    /// See [`WantedError`].
    pub async fn find_all(&self) -> Result<Vec<Interface>, WantedError> {
        let present = present()?;
        let patterns = match self {
            Self::Named(patterns) => patterns.clone(),
            Self::Carrying(addresses) => carriers(addresses).await?,
        };
        let missing = |name: &&String| !is_pattern(name) && !present.iter().any(|there| there.name == **name);
        match patterns.iter().find(missing) {
            Some(name) => Err(WantedError::NoSuch(name.clone())),
            None => Ok(named(&patterns, &present)),
        }
    }
}

fn is_pattern(name: &str) -> bool {
    name.contains(['*', '?', '['])
}

fn named(patterns: &[String], present: &[Interface]) -> Vec<Interface> {
    // The configuration takes nothing that is no pattern.
    let patterns: Vec<_> = patterns.iter().filter_map(|pattern| glob::Pattern::new(pattern).ok()).collect();
    let wanted = |interface: &&Interface| patterns.iter().any(|pattern| pattern.matches(&interface.name));
    present.iter().filter(wanted).cloned().collect()
}

fn present() -> Result<Vec<Interface>, WantedError> {
    let list = nix::net::if_::if_nameindex().map_err(WantedError::List)?;
    let mut present: Vec<_> = (list.iter())
        .map(|entry| Interface { index: entry.index(), name: entry.name().to_string_lossy().into_owned() })
        .collect();
    present.sort_unstable();
    Ok(present)
}

/// A wanted interface: the filter's hook on it, or why there is none.
#[derive(Clone, Debug)]
pub struct Seat {
    /// The interface.
    pub interface: Interface,
    /// Its hook.
    pub hook: Result<Hook, String>,
}

/// Who attaches.
pub enum Hold {
    /// This process, for as long as it holds them.
    Own(Hooks),
    /// A loader: the links are pinned in this folder, and can only be looked at.
    Pinned(PathBuf),
}

impl Hold {
    /// Attaches where that is ours to do, and tells what is attached.
    pub fn seat(&mut self, interfaces: &[Interface]) -> Result<Vec<Seat>, FilterError> {
        let (hooks, failed) = match self {
            Self::Own(hooks) => {
                let failed = hooks.set(interfaces);
                (hooks.list(), failed)
            }
            Self::Pinned(folder) => (pins::links(folder)?, Vec::new()),
        };
        let seat = |interface: &Interface| {
            let hook = hooks.iter().find(|(_, index)| *index == interface.index).map(|(hook, _)| *hook);
            let why = failed.iter().find(|(other, _)| other == interface).map(|(_, error)| error.to_string());
            let none = || why.unwrap_or_else(|| "`portcullis kernel load` takes the filter there".into());
            Seat { interface: interface.clone(), hook: hook.ok_or_else(none) }
        };
        Ok(interfaces.iter().map(seat).collect())
    }
}

/// How soon what failed is tried again.
const AGAIN: Duration = Duration::from_secs(5);

/// Follows the interfaces until it is dropped; then what this process attached is detached.
pub struct Follower {
    task: JoinHandle<()>,
    seats: watch::Receiver<Vec<Seat>>,
}

impl Follower {
    /// Begins with `seats`, as they are.
    ///
    /// # Errors
    /// Netlink cannot be listened to.
    pub fn start(wanted: Wanted, hold: Hold, seats: Vec<Seat>) -> std::io::Result<Self> {
        let events = netlink::events()?;
        let (tell, seats) = watch::channel(seats);
        Ok(Self { task: tokio::spawn(follow(events, wanted, hold, tell)), seats })
    }

    /// The wanted interfaces and their hooks, from now on.
    pub fn seats(&self) -> watch::Receiver<Vec<Seat>> {
        self.seats.clone()
    }

    /// Ends it, and waits until everything is detached.
    pub async fn stop(self) {
        self.task.abort();
        // It was told to end, so that it "failed" is what is wanted.
        let _ = self.task.await;
    }
}

async fn follow(
    mut events: impl futures_util::Stream<Item = Event> + Send + Unpin,
    wanted: Wanted,
    mut hold: Hold,
    tell: watch::Sender<Vec<Seat>>,
) {
    loop {
        let failed = tell.borrow().iter().any(|seat| seat.hook.is_err());
        let event = tokio::time::timeout(if failed { AGAIN } else { Duration::MAX }, events.next());
        if matches!(event.await, Ok(None)) {
            return;
        }
        // Many come at once: one look at all is enough.
        while events.next().now_or_never().flatten().is_some() {}
        match wanted.find().await {
            Ok(interfaces) => match hold.seat(&interfaces) {
                Ok(seats) => {
                    report(&tell.borrow(), &seats);
                    tell.send_replace(seats);
                }
                Err(error) => error!(%error, "where the filter is attached is not known"),
            },
            Err(error) => warn!(%error, "the filter stays where it is"),
        }
    }
}

fn report(before: &[Seat], now: &[Seat]) {
    let same =
        |seat: &Seat, other: &Seat| seat.interface.index == other.interface.index && seat.hook == other.hook;
    for seat in now.iter().filter(|seat| !before.iter().any(|old| same(seat, old))) {
        match &seat.hook {
            Ok(hook) => info!(interface = seat.interface.name, hook = hook.name(), "filter attached"),
            Err(error) => error!(interface = seat.interface.name, error, "no filter"),
        }
    }
    for seat in
        before.iter().filter(|seat| !now.iter().any(|new| new.interface.index == seat.interface.index))
    {
        info!(interface = seat.interface.name, "filter gone with its interface");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_patterns_choose() {
        let names = ["lo", "eth0", "eth1", "eth10", "bond0"];
        let present: Vec<_> =
            (1..).zip(names).map(|(index, name)| Interface { index, name: name.into() }).collect();
        let check = |patterns: &[&str], expected: &[&str]| {
            let patterns: Vec<_> = patterns.iter().map(ToString::to_string).collect();
            let found = named(&patterns, &present);
            let found: Vec<_> = found.iter().map(|interface| interface.name.as_str()).collect();
            assert_eq!(found, expected, "{patterns:?}");
        };
        check(&["eth1"], &["eth1"]);
        check(&["eth?"], &["eth0", "eth1"]);
        check(&["bond*", "eth*", "eth0"], &["eth0", "eth1", "eth10", "bond0"]);
        check(&["wlan*"], &[]);
    }

    #[tokio::test]
    async fn a_name_without_an_interface_is_a_mistake_and_a_pattern_is_not() {
        let found = Wanted::Named(vec!["lo".into(), "nosuch*".into()]).find_all().await.expect("lo");
        assert_eq!(found.into_iter().map(|interface| interface.name).collect::<Vec<_>>(), ["lo"]);
        let error = Wanted::Named(vec!["nosuch0".into()]).find_all().await.expect_err("there is none");
        assert_eq!(error.to_string(), "there is no interface nosuch0");
    }
}
