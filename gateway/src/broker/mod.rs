//! The hall: what a broker is, and the rules about it, without I/O.
//!
//! The byte side reads [`table::Table`]; the lifecycle is its only writer. What the byte side must
//! ask of the control side is the trait [`Desk`]; what the lifecycle must ask of the listeners is
//! [`Doors`]. The daemon hands both in.

pub mod allocator;
pub mod refusal;
pub mod table;
pub mod target;
pub mod ticket;

use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use tokio::sync::watch;

pub use refusal::Refusal;
pub use target::{Protocol, Target};
use ticket::{Claim, Tickets, Token};

/// A future that a trait object returns.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Why the gateway ends the sessions of a broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The broker was closed.
    Closed,
    /// The gateway stops.
    Stopping,
}

/// The promise that one address and port lead to one instance's console.
#[derive(Debug)]
pub struct Broker {
    /// `b-` and 16 hexadecimal digits.
    pub id: String,
    /// Broker address and port.
    pub endpoint: SocketAddr,
    /// The instance, as the cloud names it.
    pub instance_id: String,
    /// What the console speaks.
    pub protocol: Protocol,
    /// Where the console was when the broker was made, or retargeted.
    target: Mutex<Target>,
    tickets: Mutex<Tickets>,
    usage: Mutex<Usage>,
    last_refusal: Mutex<Option<Refusal>>,
    stop: watch::Sender<Option<Stop>>,
}

/// When a broker was used.
#[derive(Debug)]
struct Usage {
    live: usize,
    /// When it was made, or when the last session ended.
    since: Instant,
    used: bool,
}

impl Broker {
    /// A broker without tickets.
    pub fn new(id: String, endpoint: SocketAddr, instance_id: String, target: Target, now: Instant) -> Self {
        Self {
            id,
            endpoint,
            instance_id,
            protocol: target.protocol,
            target: Mutex::new(target),
            tickets: Mutex::default(),
            usage: Mutex::new(Usage { live: 0, since: now, used: false }),
            last_refusal: Mutex::default(),
            stop: watch::Sender::new(None),
        }
    }

    /// Where the console is, as the broker knows.
    pub fn target(&self) -> Target {
        lock(&self.target).clone()
    }

    /// Points the broker at another place of the same instance.
    pub fn retarget(&self, target: Target) {
        *lock(&self.target) = target;
    }

    /// Adds a ticket that is good until `expires`; the broker keeps its hash only.
    pub fn add_ticket(&self, token: &Token, expires: Instant) {
        lock(&self.tickets).add(token.hash(), expires);
    }

    /// Claims the ticket for one session. The ticket is free again when the claim is dropped before
    /// it was used.
    ///
    /// # Errors
    /// [`Refusal::WrongTicket`], [`Refusal::TicketUsed`], [`Refusal::TicketExpired`].
    pub fn claim(self: &Arc<Self>, token: &Token, now: Instant) -> Result<Claim, Refusal> {
        lock(&self.tickets).claim(token.hash(), now)?;
        Ok(Claim::new(self.clone(), token.hash()))
    }

    /// What [`Self::claim`] would answer.
    ///
    /// # Errors
    /// As [`Self::claim`].
    pub fn check(&self, token: &Token, now: Instant) -> Result<(), Refusal> {
        lock(&self.tickets).check(token.hash(), now)
    }

    /// Why the last client was not let in. A browser cannot see the answer to a failed upgrade; its
    /// page asks for it afterwards, by the same ticket.
    pub fn last_refusal(&self) -> Option<Refusal> {
        *lock(&self.last_refusal)
    }

    /// Notes why a client was not let in, or that the last one was.
    pub fn note_refusal(&self, refusal: Option<Refusal>) {
        *lock(&self.last_refusal) = refusal;
    }

    /// Counts a session for as long as the value lives.
    pub fn enter(self: &Arc<Self>) -> Presence {
        let mut usage = lock(&self.usage);
        usage.live += 1;
        usage.used = true;
        Presence(self.clone())
    }

    /// How many sessions run.
    pub fn sessions(&self) -> usize {
        lock(&self.usage).live
    }

    /// Whether a session ever ran, and since when none does; `None` while one runs.
    pub fn unused_since(&self) -> Option<(bool, Instant)> {
        let usage = lock(&self.usage);
        (usage.live == 0).then_some((usage.used, usage.since))
    }

    /// Tells the sessions to end.
    pub fn stop(&self, why: Stop) {
        self.stop.send_replace(Some(why));
    }

    /// Resolves when the sessions are to end.
    pub fn stopped(&self) -> impl Future<Output = Stop> + use<> {
        let mut stop = self.stop.subscribe();
        async move {
            loop {
                if let Some(why) = *stop.borrow_and_update() {
                    return why;
                }
                if stop.changed().await.is_err() {
                    return Stop::Closed;
                }
            }
        }
    }
}

/// A session that is counted.
#[derive(Debug)]
pub struct Presence(Arc<Broker>);

impl Drop for Presence {
    fn drop(&mut self) {
        let mut usage = lock(&self.0.usage);
        usage.live -= 1;
        usage.since = Instant::now();
    }
}

/// What the byte side asks of the control side. Implemented by `control::desk`.
///
/// The calls come from the threads of the relay; the work is done on the control runtime.
pub trait Desk: Send + Sync {
    /// Where the broker's instance is now. Called once at the start of each session, before the
    /// target is dialled.
    ///
    /// # Errors
    /// [`Refusal::InstanceGone`] if it was deleted or moved since the broker was made,
    /// [`Refusal::Unavailable`] if nobody can tell.
    fn resolve(&self, broker: Arc<Broker>) -> BoxFuture<'static, Result<Target, Refusal>>;

    /// Records that the ticket with this hash was used. After `Ok` it stays used, whatever happens.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`] if it could not be recorded; the session must not begin then.
    fn use_ticket(&self, hash: [u8; 32]) -> BoxFuture<'static, Result<(), Refusal>>;
}

/// What the lifecycle asks of the listeners: make sure that a connection to a broker is accepted.
pub trait Doors: Send + Sync {
    /// Opens the door of `endpoint`. It closes when the value is dropped.
    ///
    /// # Errors
    /// What the system said, `AddrInUse` where another socket has the port.
    fn open(&self, endpoint: SocketAddr) -> BoxFuture<'_, std::io::Result<Door>>;

    /// `sk_lookup` or `ports`.
    fn name(&self) -> &'static str;
}

/// An open door; what is inside gives it back when dropped.
pub type Door = Box<dyn Send + Sync>;

/// IPv4 addresses that came in over an IPv6 socket are IPv4 addresses.
pub fn canonical(address: SocketAddr) -> SocketAddr {
    let ip: IpAddr = address.ip().to_canonical();
    SocketAddr::new(ip, address.port())
}

/// The state behind these locks is whole at every point where a panic could happen, so a poisoned
/// lock is no reason to stop serving.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
