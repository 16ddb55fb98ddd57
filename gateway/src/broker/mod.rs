//! The hall: what a broker is, and the rules about it, without I/O.
//!
//! The byte side reads [`table::Table`]; the lifecycle is its only writer. What the byte side must
//! ask of the control side is the trait [`Desk`]; what the lifecycle must ask of the listeners is
//! [`Doors`]. The daemon hands both in.

pub mod allocator;
pub mod begun;
mod bell;
pub mod channels;
mod free;
pub mod passwords;
pub mod pseudo_name;
pub mod rate;
pub mod refusal;
pub mod session;
pub mod sources;
pub mod table;
pub mod target;
pub mod ticket;
pub mod viewer_file;
pub mod web_origin;

use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ipnet::IpNet;

pub use begun::Begun;
use bell::Bell;
pub use refusal::Refusal;
use session::{Origin, Session};
use target::tls::Fingerprint;
pub use target::{Protocol, Secret, Target};
use ticket::{Claim, Ticket, Tickets, Token, new_id};

/// A future that a trait object returns.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Why the gateway ends a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The broker was closed.
    Closed,
    /// The gateway stops.
    Stopping,
    /// A newer connection of the same session took its place.
    Replaced,
    /// The session was killed.
    Killed,
}

/// Where a broker is between its first step and its last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BrokerState {
    /// Its port is leased, and nobody is let in yet.
    Opening,
    /// Who has a ticket is let in.
    Open,
    /// Nobody is let in any more; its port is not given back yet.
    Closing,
}

impl BrokerState {
    /// All of them, with their names in metrics.
    pub const ALL: [(Self, &'static str); 3] =
        [(Self::Opening, "opening"), (Self::Open, "open"), (Self::Closing, "closing")];

    /// The name.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(state, _)| *state == self).map_or("", |(_, name)| name)
    }
}

/// Who is let in.
#[derive(Clone, Copy, Debug)]
pub struct Admission {
    /// Where clients come from; `None` for anywhere.
    pub client: Option<IpNet>,
    /// Clients without a ticket are let in too. Only together with `client`.
    pub tickets_optional: bool,
    /// Clients may look, and do nothing.
    pub view_only: bool,
    /// How long a session waits for its client to come back.
    pub window: Duration,
}

/// Why a client was not let in.
#[derive(Clone, Copy, Debug)]
pub struct LastRefusal {
    /// Why.
    pub why: Refusal,
    /// A try before is of no use, if that is known.
    pub not_before: Option<Instant>,
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
    /// Who is let in.
    pub admission: Admission,
    /// Where the console was when the broker was made, or retargeted.
    target: Mutex<Target>,
    /// The inventory may know another place.
    in_doubt: AtomicBool,
    tickets: Mutex<Tickets>,
    /// When it is over if nobody uses it.
    expires: Mutex<Instant>,
    used: AtomicBool,
    last_refusal: Mutex<Option<LastRefusal>>,
    stop: Bell<Option<Stop>>,
}

impl Broker {
    /// A broker without tickets.
    pub fn new(
        id: String,
        endpoint: SocketAddr,
        instance_id: String,
        target: Target,
        admission: Admission,
        expires: Instant,
    ) -> Self {
        Self {
            id,
            endpoint,
            instance_id,
            protocol: target.protocol,
            admission,
            target: Mutex::new(target),
            in_doubt: AtomicBool::new(false),
            tickets: Mutex::default(),
            expires: Mutex::new(expires),
            used: AtomicBool::new(false),
            last_refusal: Mutex::default(),
            stop: Bell::new(None),
        }
    }

    /// Where the console is, as the broker knows.
    pub fn target(&self) -> Target {
        lock(&self.target).clone()
    }

    /// Whether the console is at `target`, as the broker knows.
    pub fn is_at(&self, target: &Target) -> bool {
        *lock(&self.target) == *target
    }

    /// Where the console is, if that is sure.
    pub fn sure_target(&self) -> Option<Target> {
        let target = lock(&self.target);
        (!self.in_doubt.load(Ordering::Relaxed)).then(|| target.clone())
    }

    /// Points the broker at another place of the same instance.
    pub fn retarget(&self, new: Target) {
        let mut target = lock(&self.target);
        *target = new;
        self.in_doubt.store(false, Ordering::Relaxed);
    }

    /// From now on, and until it is pointed at a place again, the inventory is asked where the console is.
    pub fn doubt(&self) {
        let _target = lock(&self.target);
        self.in_doubt.store(true, Ordering::Relaxed);
    }

    /// Adds a ticket that is good until `expires`, which is as long as the broker stays at least.
    pub fn add_ticket(&self, hash: [u8; 32], expires: Instant, now: Instant) {
        lock(&self.tickets).add(Ticket { hash, expires, session: None }, now, self.admission.window);
        let mut end = lock(&self.expires);
        *end = expires.max(*end);
    }

    /// Takes a ticket back that nobody was given. Returns whether others are there.
    pub fn withdraw_ticket(&self, hash: [u8; 32]) -> bool {
        lock(&self.tickets).withdraw(hash)
    }

    /// Adds a ticket of a daemon before this one.
    pub fn restore_ticket(&self, ticket: Ticket, now: Instant) {
        if ticket.session.is_some() {
            self.used.store(true, Ordering::Relaxed);
        }
        lock(&self.tickets).add(ticket, now, self.admission.window);
    }

    /// Lets one session of a client in that shows no ticket, by its address, if it begins before `until`.
    pub fn admit_native(&self, until: Instant) {
        lock(&self.tickets).admit_native(until);
    }

    /// Whether a client may come, or may have come, by its address.
    pub fn is_native(&self) -> bool {
        lock(&self.tickets).is_native()
    }

    /// Whether a client at `client` may come in by its address.
    pub fn awaits_native(&self, client: IpAddr, now: Instant) -> bool {
        self.is_for(client) && lock(&self.tickets).awaits_native(client, now, self.admission.window)
    }

    fn is_for(&self, client: IpAddr) -> bool {
        self.admission.client.is_none_or(|network| network.contains(&client))
    }

    /// Lets a connection of `client` begin to come in by its address: into the one session that may come in
    /// so, which is that address's from then on.
    ///
    /// # Errors
    /// [`Refusal::WrongSource`], [`Refusal::NoTicket`] where nobody comes in so, [`Refusal::TicketUsed`],
    /// [`Refusal::TicketExpired`].
    pub fn claim_native(self: &Arc<Self>, client: IpAddr, now: Instant) -> Result<Claim, Refusal> {
        if !self.is_for(client) {
            return Err(Refusal::WrongSource);
        }
        let new = || self.new_session(client, true);
        let session = lock(&self.tickets).claim_native(client, now, self.admission.window, new)?;
        self.used.store(true, Ordering::Relaxed);
        Ok(Claim::new_native(self.clone(), session))
    }

    fn new_session(&self, client: IpAddr, by_address: bool) -> Result<Arc<Session>, Refusal> {
        let id = new_id('s').map_err(|_| Refusal::Unavailable)?;
        let origin = Origin {
            broker_id: self.id.clone(),
            instance_id: self.instance_id.clone(),
            protocol: self.protocol,
            by_address,
        };
        Ok(Session::new(id, origin, client))
    }

    /// Lets a connection of `client` begin to come in, by its ticket, or without one where that is
    /// allowed.
    ///
    /// # Errors
    /// [`Refusal::WrongSource`], [`Refusal::NoTicket`], [`Refusal::WrongTicket`],
    /// [`Refusal::TicketUsed`], [`Refusal::TicketExpired`].
    pub fn claim(
        self: &Arc<Self>,
        token: Option<&Token>,
        client: IpAddr,
        now: Instant,
    ) -> Result<Claim, Refusal> {
        if !self.is_for(client) {
            return Err(Refusal::WrongSource);
        }
        let new = || self.new_session(client, token.is_none());
        let window = self.admission.window;
        let hash = token.map(Token::hash);
        let mut tickets = lock(&self.tickets);
        let session = match hash {
            Some(hash) => tickets.claim(hash, client, now, window, new)?,
            None if self.admission.tickets_optional => tickets.claim_without(client, now, window, new)?,
            None => return Err(Refusal::NoTicket),
        };
        self.used.store(true, Ordering::Relaxed);
        Ok(Claim::new(self.clone(), session, hash))
    }

    /// Connections that run.
    pub fn connections(&self) -> usize {
        lock(&self.tickets).sessions().map(|session| session.live()).sum()
    }

    /// Sessions that have a connection.
    pub fn sessions(&self) -> usize {
        lock(&self.tickets).sessions().filter(|session| session.live() > 0).count()
    }

    /// Whether somebody is in, or may come back.
    pub fn has_session(&self, now: Instant) -> bool {
        lock(&self.tickets).sessions().any(|session| !session.is_over(now, self.admission.window))
    }

    /// Why the broker is over: nothing lets anybody in any more. `None` while something does.
    pub fn over(&self, now: Instant) -> Option<&'static str> {
        // What may come without a ticket may come until the broker's own end.
        let open_to_all = self.admission.tickets_optional && *lock(&self.expires) > now;
        if open_to_all || !lock(&self.tickets).are_over(now, self.admission.window) {
            return None;
        }
        Some(if self.used.load(Ordering::Relaxed) { "done" } else { "expired" })
    }

    /// Why the last client with a good ticket was not let in. A browser cannot see the answer to a
    /// failed upgrade; its page asks for it afterwards, by the same ticket.
    pub fn last_refusal(&self) -> Option<LastRefusal> {
        *lock(&self.last_refusal)
    }

    /// Notes why a client was not let in, or that the last one was.
    pub fn note_refusal(&self, refusal: Option<LastRefusal>) {
        *lock(&self.last_refusal) = refusal;
    }

    /// Tells all connections to end. Returns the sessions to which nobody comes back: behind
    /// [`Stop::Closed`], all of them.
    pub fn stop(&self, why: Stop) -> Vec<Arc<Session>> {
        let closed: Vec<_> = match why {
            Stop::Closed => lock(&self.tickets).sessions().cloned().collect(),
            _ => Vec::new(),
        };
        closed.iter().for_each(|session| session.close());
        self.stop.ring(|_| Some(why));
        closed
    }

    /// Resolves when all connections are to end.
    pub async fn stopped(&self) -> Stop {
        self.stop.wait_for(|why| why).await
    }
}

/// What the byte side asks of the control side. Implemented by `control::desk`.
///
/// The calls come from the threads of the relay; the store is asked on the control runtime.
pub trait Desk: Send + Sync {
    /// Where the broker's instance is now. Called once at the start of each session, before the
    /// target is dialled. Asks nobody where the broker is sure of it.
    ///
    /// # Errors
    /// [`Refusal::InstanceGone`] if it was deleted or moved and the broker does not know,
    /// [`Refusal::Unavailable`] if nobody can tell.
    fn resolve(&self, broker: Arc<Broker>) -> BoxFuture<'static, Result<Target, Refusal>>;

    /// The certificate that an instance is known by where the one that is met first counts: `shown` from now on, if
    /// none was met before.
    ///
    /// # Errors
    /// [`Refusal::InstanceGone`] if it was deleted, [`Refusal::Unavailable`] if nobody can tell.
    fn recognise(
        &self,
        instance_id: String,
        shown: Fingerprint,
    ) -> BoxFuture<'static, Result<Fingerprint, Refusal>>;

    /// Records that a connection comes into a session, and that its ticket is used; the caller keeps the
    /// record when the connection is in. `hash` is the ticket's, if one was shown.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`] if it could not be recorded, [`Refusal::TicketUsed`] if it was used
    /// otherwise; the connection must not come in then.
    fn begin(
        &self,
        session: Arc<Session>,
        hash: Option<[u8; 32]>,
    ) -> BoxFuture<'static, Result<Begun, Refusal>>;

    /// Records that a connection of a session ended, and how. Never waits.
    fn end(&self, session: Arc<Session>, end: &'static str);

    /// Notes that a client was not let in. Never waits.
    fn refused(&self, broker: Option<Arc<Broker>>, client: IpAddr, refusal: Refusal);
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
