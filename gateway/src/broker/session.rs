//! A session: all connections that one ticket let in, and who is in now.

mod all;
mod desktop;
mod window;

use std::net::IpAddr;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

pub use all::{Admitted, Limits, Sessions};
use desktop::Desktop;
pub use desktop::OpenChannel;
pub use window::{Size, Window};

use super::bell::Bell;
use super::rate::Rates;
use super::{Protocol, Refusal, Stop, lock};

/// A session. It may have no connection for a while, between two that one ticket let in.
#[derive(Debug)]
pub struct Session {
    /// `s-` and 16 hexadecimal digits.
    pub id: String,
    /// Its broker.
    pub broker_id: String,
    /// Its instance.
    pub instance_id: String,
    /// What the console speaks.
    pub protocol: Protocol,
    /// Where all of its connections come from.
    pub client: IpAddr,
    /// It was let in by that address alone, without a ticket.
    pub by_address: bool,
    /// Payload bytes of all connections, client to target.
    pub up: AtomicU64,
    /// Payload bytes of all connections, target to client.
    pub down: AtomicU64,
    /// Connections so far.
    pub connections: AtomicU32,
    presence: Mutex<Presence>,
    /// The store was told that it begins, whether or not it heard.
    told: AtomicBool,
    rates: OnceLock<Rates>,
    /// In a box: only SPICE has it.
    desktop: Option<Box<Desktop>>,
    /// Where it is a terminal.
    window: OnceLock<Arc<Window>>,
    /// Raised by each connection that replaces those before it; `KILLED` ends all.
    turn: Bell<u64>,
}

/// A turn that no connection has.
const KILLED: u64 = u64::MAX;

#[derive(Debug, Default)]
struct Presence {
    /// On their way in: target not dialled yet.
    pending: usize,
    live: usize,
    /// The session is in the store, and its ticket used for good.
    recorded: bool,
    /// No connection comes in any more.
    killed: bool,
    /// It is over, and was counted.
    settled: bool,
    /// When the last connection ended.
    left: Option<Instant>,
    /// How it ended; `None` as long as none has.
    end: Option<&'static str>,
}

/// What a session belongs to.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The broker.
    pub broker_id: String,
    /// The instance.
    pub instance_id: String,
    /// What the console speaks.
    pub protocol: Protocol,
    /// The client showed no ticket.
    pub by_address: bool,
}

impl Session {
    /// A session that nobody is in yet.
    pub fn new(id: String, origin: Origin, client: IpAddr) -> Arc<Self> {
        let Origin { broker_id, instance_id, protocol, by_address } = origin;
        Arc::new(Self {
            id,
            broker_id,
            instance_id,
            protocol,
            client,
            by_address,
            up: AtomicU64::new(0),
            down: AtomicU64::new(0),
            connections: AtomicU32::new(0),
            presence: Mutex::default(),
            told: AtomicBool::new(false),
            rates: OnceLock::new(),
            desktop: (protocol == Protocol::Spice).then(Box::default),
            window: OnceLock::new(),
            turn: Bell::new(0),
        })
    }

    /// A session of a daemon before this one, whose last connection ended `ago` before now.
    pub fn recovered(id: String, origin: Origin, client: IpAddr, left: Instant) -> Arc<Self> {
        let session = Self::new(id, origin, client);
        session.told.store(true, Ordering::Relaxed);
        *lock(&session.presence) = Presence { recorded: true, left: Some(left), ..Presence::default() };
        session
    }

    /// Lets a connection of `client` begin to come in.
    ///
    /// # Errors
    /// [`Refusal::TicketUsed`] for any other address, or when the time to come back is over.
    pub(super) fn join(&self, client: IpAddr, now: Instant, window: Duration) -> Result<(), Refusal> {
        let mut presence = lock(&self.presence);
        let empty = presence.pending + presence.live == 0;
        let too_late = presence.left.is_some_and(|left| now.saturating_duration_since(left) > window);
        if self.client != client || presence.killed || (empty && too_late) {
            return Err(Refusal::TicketUsed);
        }
        presence.pending += 1;
        Ok(())
    }

    /// A connection did not come in after all. Returns whether the session never was.
    pub(super) fn give_up(&self) -> bool {
        let mut presence = lock(&self.presence);
        presence.pending -= 1;
        presence.pending + presence.live == 0 && !presence.recorded
    }

    /// A connection is in. What replaces its elders ends them.
    pub(super) fn enter(self: &Arc<Self>) -> Connection {
        let first = {
            let mut presence = lock(&self.presence);
            presence.pending -= 1;
            presence.live += 1;
            !std::mem::replace(&mut presence.recorded, true)
        };
        self.connections.fetch_add(1, Ordering::Relaxed);
        // One console has one viewer; SPICE's channels and RDP's double connect belong together.
        let replaces = !matches!(self.protocol, Protocol::Spice | Protocol::Rdp);
        let turn = self.turn.ring(|turn| if replaces && turn != KILLED { turn + 1 } else { turn });
        Connection { session: self.clone(), turn, first }
    }

    /// Ends all connections, and lets no other in.
    pub fn kill(&self) {
        self.close();
        self.turn.ring(|_| KILLED);
    }

    /// Lets no other connection in.
    pub(super) fn close(&self) {
        lock(&self.presence).killed = true;
    }

    /// What all of its connections share of so many bytes a second in each direction.
    pub fn rates(&self, bytes_per_s: NonZeroU64) -> &Rates {
        self.rates.get_or_init(|| Rates::new(bytes_per_s, Instant::now()))
    }

    /// The window of its client's terminal.
    pub fn window(&self) -> &Arc<Window> {
        self.window.get_or_init(Arc::default)
    }

    /// Whether it is recorded already, so that a further connection is a return.
    pub fn is_recorded(&self) -> bool {
        lock(&self.presence).recorded
    }

    /// Notes that the store is told of it. Returns whether that is the first time.
    pub fn tell_once(&self) -> bool {
        !self.told.swap(true, Ordering::Relaxed)
    }

    /// How its last connection ended, if one has.
    pub fn last_end(&self) -> Option<&'static str> {
        lock(&self.presence).end
    }

    /// Connections that run.
    pub fn live(&self) -> usize {
        lock(&self.presence).live
    }

    /// Whether nobody is in, nobody is coming, and it is too late to come back.
    pub fn is_over(&self, now: Instant, window: Duration) -> bool {
        lock(&self.presence).is_over(now, window)
    }

    /// Whether it is over, which it stays then, and is said once.
    fn settle(&self, now: Instant, window: Duration) -> Settled {
        let mut presence = lock(&self.presence);
        if presence.is_over(now, window) && !presence.settled {
            // A connection that began to come in a moment before `now` is too late as well.
            (presence.killed, presence.settled) = (true, true);
            return Settled::Over(presence.end);
        }
        if presence.pending > 0 && presence.live == 0 { Settled::Perhaps } else { Settled::No }
    }

    /// Whether no other connection comes in.
    pub fn is_killed(&self) -> bool {
        lock(&self.presence).killed
    }
}

/// What became of a session that has had a connection.
enum Settled {
    /// It is over, and so its last connection ended, if it ever had one.
    Over(Option<&'static str>),
    /// A connection is coming in, or not.
    Perhaps,
    /// It goes on, or its end was said before.
    No,
}

impl Presence {
    fn is_over(&self, now: Instant, window: Duration) -> bool {
        let too_late = self.left.is_none_or(|left| now.saturating_duration_since(left) >= window);
        self.pending + self.live == 0 && (self.killed || too_late)
    }
}

/// A connection that is in.
#[derive(Debug)]
pub struct Connection {
    session: Arc<Session>,
    turn: u64,
    first: bool,
}

impl Connection {
    /// Its session.
    pub const fn session(&self) -> &Arc<Session> {
        &self.session
    }

    /// Whether the session began with it.
    pub const fn is_first(&self) -> bool {
        self.first
    }

    /// It ended, and how.
    pub fn end(self, how: &'static str) {
        lock(&self.session.presence).end = Some(how);
    }

    /// Resolves when a newer connection replaces this one, or the session is killed.
    pub async fn stopped(&self) -> Stop {
        let over = |turn| match turn {
            // Also where it was killed before this connection was in.
            KILLED => Some(Stop::Killed),
            turn => (turn != self.turn).then_some(Stop::Replaced),
        };
        self.session.turn.wait_for(over).await
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let mut presence = lock(&self.session.presence);
        presence.live -= 1;
        presence.left = Some(Instant::now());
    }
}

#[cfg(test)]
mod tests;
