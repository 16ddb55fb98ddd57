//! A session: all connections that one ticket let in, and who is in now.

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

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
    /// Payload bytes of all connections, client to target.
    pub up: AtomicU64,
    /// Payload bytes of all connections, target to client.
    pub down: AtomicU64,
    /// Connections so far.
    pub connections: AtomicU32,
    presence: Mutex<Presence>,
    rates: OnceLock<Rates>,
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
}

impl Session {
    /// A session that nobody is in yet.
    pub fn new(id: String, origin: Origin, client: IpAddr) -> Arc<Self> {
        let Origin { broker_id, instance_id, protocol } = origin;
        Arc::new(Self {
            id,
            broker_id,
            instance_id,
            protocol,
            client,
            up: AtomicU64::new(0),
            down: AtomicU64::new(0),
            connections: AtomicU32::new(0),
            presence: Mutex::default(),
            rates: OnceLock::new(),
            turn: Bell::new(0),
        })
    }

    /// A session of a daemon before this one, whose last connection ended `ago` before now.
    pub fn recovered(id: String, origin: Origin, client: IpAddr, left: Instant) -> Arc<Self> {
        let session = Self::new(id, origin, client);
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

    /// Whether it is recorded already, so that a further connection is a return.
    pub fn is_recorded(&self) -> bool {
        lock(&self.presence).recorded
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

    /// If it is over, keeps it so, and returns how its last connection ended: `Some(None)` if it never had
    /// one.
    fn settle(&self, now: Instant, window: Duration) -> Option<Option<&'static str>> {
        let mut presence = lock(&self.presence);
        if !presence.is_over(now, window) {
            return None;
        }
        // A connection that began to come in a moment before `now` is too late as well.
        presence.killed = true;
        Some(presence.end)
    }
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

/// How many sessions there may be; zero is no limit.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    /// In all.
    pub total: usize,
    /// Of one instance.
    pub per_instance: usize,
    /// From one client address.
    pub per_client: usize,
}

/// The sessions that have a connection, and those that wait for one.
#[derive(Debug, Default)]
pub struct Sessions {
    limits: Limits,
    /// With the number of places that it holds.
    live: RwLock<Live>,
    /// They had a connection, and may have one again.
    waiting: Mutex<HashMap<String, Arc<Session>>>,
}

type Live = HashMap<String, (Arc<Session>, usize)>;

impl Sessions {
    /// None yet, and no more than `limits`.
    pub fn new(limits: Limits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// Counts the session until the value is dropped. One that is in already is counted once.
    ///
    /// # Errors
    /// The limit that is reached.
    pub fn admit(self: &Arc<Self>, session: &Arc<Session>) -> Result<Admitted, Refusal> {
        let mut live = self.write();
        if let Some((_, places)) = live.get_mut(&session.id) {
            *places += 1;
        } else {
            let Limits { total, per_instance, per_client } = self.limits;
            let reached = |limit: usize, same: &dyn Fn(&Session) -> bool| {
                limit > 0 && live.values().filter(|(other, _)| same(other)).count() >= limit
            };
            if total > 0 && live.len() >= total {
                return Err(Refusal::Full);
            } else if reached(per_instance, &|other| other.instance_id == session.instance_id) {
                return Err(Refusal::InstanceFull);
            } else if reached(per_client, &|other| other.client == session.client) {
                return Err(Refusal::ClientFull);
            }
            live.insert(session.id.clone(), (session.clone(), 1));
        }
        Ok(Admitted { sessions: self.clone(), session: session.clone() })
    }

    /// A session that has a connection.
    pub fn get(&self, id: &str) -> Option<Arc<Session>> {
        self.read().get(id).map(|(session, _)| session.clone())
    }

    /// All that have a connection.
    pub fn all(&self) -> Vec<Arc<Session>> {
        self.read().values().map(|(session, _)| session.clone()).collect()
    }

    /// Those that are over since the last call: what they spoke, and how their last connection ended.
    pub fn settle(&self, now: Instant, window: Duration) -> Vec<(Protocol, &'static str)> {
        let mut ended = Vec::new();
        lock(&self.waiting).retain(|_, session| match session.settle(now, window) {
            None => true,
            Some(end) => {
                ended.extend(end.map(|end| (session.protocol, end)));
                false
            }
        });
        ended
    }

    /// How many have a connection.
    pub fn len(&self) -> usize {
        self.read().len()
    }

    /// Whether none has.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    // Each critical section leaves a whole map, also where it panics.
    fn read(&self) -> RwLockReadGuard<'_, Live> {
        self.live.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Live> {
        self.live.write().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// A session's place among those that have a connection; each of its connections holds one.
#[derive(Debug)]
pub struct Admitted {
    sessions: Arc<Sessions>,
    session: Arc<Session>,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut live = self.sessions.write();
        if let Some((_, places)) = live.get_mut(&self.session.id) {
            *places -= 1;
            if *places == 0 {
                live.remove(&self.session.id);
                if self.session.is_recorded() {
                    lock(&self.sessions.waiting).insert(self.session.id.clone(), self.session.clone());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
