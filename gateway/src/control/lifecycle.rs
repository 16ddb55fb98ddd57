//! Opening, closing and reaping brokers: the steps, and how each is undone.

mod held;
mod instances;
mod recovery;
mod several;

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use tracing::{error, info, warn};

use crate::broker::allocator::{Allocator, Lease, NoFreePort};
use crate::broker::session::{Session, Sessions};
use crate::broker::table::Table;
use crate::broker::ticket::{Token, new_id};
use crate::broker::{Admission, Broker, BrokerState, Door, Doors, Protocol, Stop};
use crate::kernel::filter::{FilterError, Gate};
use crate::metrics::Metrics;

use super::events::{Event, Events};
use super::inventory::{Inventory, InventoryError};
use super::store::{BrokerRow, Store, StoreError, WallTime};
use held::{AllHeld, Held};

/// Times of a broker.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// An unused broker is closed after this, where the request names no other.
    pub ttl: Duration,
    /// A session waits so long for its client to come back.
    pub window: Duration,
}

/// Longest time to live that a request may name.
pub const TTL_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// A client without a ticket has so long to come, where one may.
const NATIVE: Duration = Duration::from_secs(60);

/// What is asked for.
#[derive(Clone, Debug, Default)]
pub struct Wish {
    /// The instance whose console is asked for.
    pub instance_id: String,
    /// Closed after this if nobody uses it.
    pub ttl: Option<Duration>,
    /// Where clients come from.
    pub client: Option<IpNet>,
    /// Clients need no ticket.
    pub tickets_optional: bool,
    /// One client without a ticket is let in by its address, soon. Only together with `client`.
    pub native: bool,
    /// Clients may look, and do nothing.
    pub view_only: bool,
    /// A broker that is open already for the same is as good; it gets a further ticket.
    pub reuse: bool,
}

/// Why a broker was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The instance has no target.
    #[error(transparent)]
    Inventory(#[from] InventoryError),
    /// All ports are taken or rest.
    #[error(transparent)]
    NoFreePort(#[from] NoFreePort),
    /// No socket could be opened on a broker port.
    #[error("listen on {endpoint}: {cause}")]
    Listen {
        /// Address and port.
        endpoint: SocketAddr,
        /// What the system said.
        cause: std::io::Error,
    },
    /// The broker could not be recorded.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The filter could not be opened.
    #[error(transparent)]
    Filter(#[from] Arc<FilterError>),
    /// The system has no random numbers.
    #[error("no random numbers: {0}")]
    Random(#[from] std::io::Error),
    /// Nothing of the gateway's can tell looking from doing in what this console speaks.
    #[error("view_only is for consoles of VNC, and this one speaks {protocol}")]
    NotForViewing {
        /// What it speaks.
        protocol: Protocol,
    },
    /// The instance was changed while the broker was opened.
    #[error("the instance was changed meanwhile, ask again")]
    Changed,
    /// The daemon stops.
    #[error("the gateway is stopping")]
    Stopping,
}

/// A broker that was opened, with the one copy of its ticket.
#[derive(Debug)]
pub struct Opened {
    /// The broker.
    pub broker: Arc<Broker>,
    /// For its holder.
    pub token: Token,
    /// It was not open before; else this is a further ticket.
    pub new: bool,
    /// When it is closed if nobody uses it.
    pub expires_at: WallTime,
}

/// Parts that the lifecycle works with.
pub struct Parts {
    /// Instance to target.
    pub inventory: Inventory,
    /// Broker ports.
    pub allocator: Allocator,
    /// Listeners.
    pub doors: Arc<dyn Doors>,
    /// Records.
    pub store: Store,
    /// What the byte side reads.
    pub table: Arc<Table>,
    /// The sessions that have a connection.
    pub sessions: Arc<Sessions>,
    /// The filter.
    pub gate: Gate,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Listeners and audit log.
    pub events: Events,
    /// Times of a broker.
    pub times: Times,
    /// Clients may stand behind proxies, so that the filter cannot tell where they come from.
    pub proxied: bool,
}

/// Opens and closes brokers. Only writer of the table.
pub struct Lifecycle {
    parts: Parts,
    held: Mutex<AllHeld>,
    /// Raised before brokers that are open are told of a change of their instances.
    changes: AtomicU64,
    /// Held from a look into the inventory until brokers are pointed at what was found: who looks last points last.
    pointing: tokio::sync::Mutex<()>,
    /// Ids of brokers that are closed, and why, where the store does not know it yet. As long as the store
    /// takes nothing no broker is opened, so these are no more than were open.
    unrecorded: Mutex<Vec<(String, &'static str)>>,
    stopping: AtomicBool,
}

/// Foreign sockets that may be met before giving up; each is passed over for one rest.
const FOREIGN_PORTS: usize = 16;

impl Lifecycle {
    /// Nothing is open.
    pub fn new(parts: Parts) -> Arc<Self> {
        Arc::new(Self {
            parts,
            held: Mutex::default(),
            changes: AtomicU64::new(0),
            pointing: tokio::sync::Mutex::default(),
            unrecorded: Mutex::default(),
            stopping: AtomicBool::new(false),
        })
    }

    /// Opens a broker. Runs to its end also when the caller goes away: a client that hangs up leaves
    /// nothing half open.
    ///
    /// # Errors
    /// See [`OpenError`]; every step that was taken is undone then.
    pub async fn open(self: &Arc<Self>, wish: Wish) -> Result<Opened, OpenError> {
        let this = self.clone();
        let work = tokio::spawn(async move {
            let began = Instant::now();
            let opened = match this.reusable(&wish) {
                Some(broker) => this.add_ticket(broker, &wish).await,
                None => this.open_steps(&wish).await,
            };
            opened.inspect(|_| this.parts.metrics.wish_granted(began.elapsed()))
        });
        work.await.unwrap_or(Err(OpenError::Stopping))
    }

    fn reusable(&self, wish: &Wish) -> Option<Arc<Broker>> {
        // Who is let in by an address is to be sure that it is the address of this wish.
        if !wish.reuse || wish.native {
            return None;
        }
        let held = self.held();
        let mut brokers = held.of_instance(&wish.instance_id).iter();
        let same = |admission: &Admission| {
            admission.client == wish.client
                && admission.tickets_optional == wish.tickets_optional
                && admission.view_only == wish.view_only
        };
        brokers.find(|broker| same(&broker.admission)).cloned()
    }

    async fn add_ticket(&self, broker: Arc<Broker>, wish: &Wish) -> Result<Opened, OpenError> {
        let ttl = wish.ttl.unwrap_or(self.parts.times.ttl);
        let token = Token::random()?;
        let (now, expires_at) = (Instant::now(), WallTime::now().after(ttl));
        let recorded = self.parts.store.add_ticket(&broker.id, &token.hash(), expires_at).await;
        recorded.inspect_err(|_| self.parts.metrics.store_failed())?;
        broker.add_ticket(token.hash(), now + ttl, now);
        let expires_at = match self.held().get_mut(&broker.id) {
            // It was closed meanwhile; its ticket opens nothing.
            None => return Err(OpenError::Changed),
            Some(held) => {
                held.expires_at = held.expires_at.max(expires_at);
                held.expires_at
            }
        };
        Ok(Opened { broker, token, new: false, expires_at })
    }

    /// A further ticket for a broker that is open. `None` where there is no such broker.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn ticket(self: &Arc<Self>, id: &str) -> Result<Option<Opened>, OpenError> {
        let Some((broker, _)) = self.broker(id) else { return Ok(None) };
        let this = self.clone();
        // Runs to its end also when the caller goes away.
        let work = tokio::spawn(async move { this.add_ticket(broker, &Wish::default()).await });
        work.await.unwrap_or(Err(OpenError::Stopping)).map(Some)
    }

    /// The steps: target, port, door, record, table, and the filter last, so that nothing is let in
    /// before someone answers. Leases and doors undo themselves when dropped.
    async fn open_steps(self: &Arc<Self>, wish: &Wish) -> Result<Opened, OpenError> {
        let Parts { inventory, store, metrics, times, .. } = &self.parts;
        let opening = metrics.broker_in(BrokerState::Opening);
        let changes = self.changes.load(Ordering::SeqCst);
        let target = inventory.find(&wish.instance_id).await.inspect_err(|error| self.note(error))?;
        if wish.view_only && !target.protocol.speaks_rfb() {
            return Err(OpenError::NotForViewing { protocol: target.protocol });
        }
        let (mut lease, door) = self.listen().await?;

        let (endpoint, now, created_at) = (lease.endpoint(), Instant::now(), WallTime::now());
        let ttl = wish.ttl.unwrap_or(times.ttl);
        let token = Token::random()?;
        let row = BrokerRow {
            broker_id: new_id('b')?,
            instance_id: wish.instance_id.clone(),
            endpoint,
            client: wish.client,
            tickets_optional: wish.tickets_optional,
            view_only: wish.view_only,
            created_at,
            expires_at: created_at.after(ttl),
        };
        let recorded = store.add_broker(&row, &token.hash()).await;
        recorded.inspect_err(|_| metrics.store_failed())?;

        let broker = Arc::new(self.broker_of(&row, target.clone(), now + ttl));
        broker.add_ticket(token.hash(), now + ttl, now);
        if wish.native {
            broker.admit_native(now + NATIVE.min(ttl));
        }
        if let Err(error) = self.let_in(&broker).await {
            self.record_close(&broker, "not opened").await;
            return Err(error.into());
        }

        lease.used();
        drop(opening);
        self.hold(broker.clone(), door, lease, row.expires_at);
        metrics.broker_opened();
        self.parts.events.say(Event::broker_opened(&broker));
        info!(broker_id = broker.id, instance_id = broker.instance_id, %endpoint, "broker opened");
        self.settle(&broker, changes).await?;
        Ok(Opened { broker, token, new: true, expires_at: row.expires_at })
    }

    fn broker_of(&self, row: &BrokerRow, target: crate::broker::Target, expires: Instant) -> Broker {
        let admission = Admission {
            client: row.client,
            tickets_optional: row.tickets_optional,
            view_only: row.view_only,
            window: self.parts.times.window,
        };
        Broker::new(row.broker_id.clone(), row.endpoint, row.instance_id.clone(), target, admission, expires)
    }

    /// Table and filter, or neither.
    async fn let_in(&self, broker: &Arc<Broker>) -> Result<(), Arc<FilterError>> {
        self.parts.table.insert(broker.clone());
        // Who stands behind a proxy is not seen in packets.
        let client = broker.admission.client.filter(|_| !self.parts.proxied);
        let opened = self.parts.gate.open(broker.endpoint, client).await;
        opened.inspect_err(|_| {
            self.parts.metrics.filter_failed();
            self.parts.table.remove(broker.endpoint);
        })
    }

    fn hold(&self, broker: Arc<Broker>, door: Door, lease: Lease, expires_at: WallTime) {
        let open = self.parts.metrics.broker_in(BrokerState::Open);
        self.held().insert(Held { broker, door, lease, expires_at, open });
    }

    /// What changed since `changes`, when the broker could not be found among the open ones yet: a machine
    /// that moved or was deleted, a daemon that stops. It is closed again then.
    async fn settle(self: &Arc<Self>, broker: &Arc<Broker>, changes: u64) -> Result<(), OpenError> {
        let why = if self.stopping.load(Ordering::SeqCst) {
            OpenError::Stopping
        } else if self.changes.load(Ordering::SeqCst) == changes {
            return Ok(());
        } else {
            let _pointing = self.pointing.lock().await;
            match self.parts.inventory.find(&broker.instance_id).await {
                Ok(target) if target.protocol == broker.protocol => {
                    broker.retarget(target);
                    return Ok(());
                }
                Ok(_) => OpenError::Changed,
                Err(error) => {
                    self.note(&error);
                    error.into()
                }
            }
        };
        self.close(&broker.id, "instance changed", Stop::Closed).await;
        Err(why)
    }

    fn note(&self, error: &InventoryError) {
        if matches!(error, InventoryError::Store(_)) {
            self.parts.metrics.store_failed();
        }
    }

    async fn listen(&self) -> Result<(Lease, Door), OpenError> {
        let mut foreign = 0;
        loop {
            let lease = self.parts.allocator.lease(Instant::now())?;
            let endpoint = lease.endpoint();
            match self.parts.doors.open(endpoint).await {
                Ok(door) => return Ok((lease, door)),
                Err(error) if error.kind() == ErrorKind::AddrInUse && foreign < FOREIGN_PORTS => {
                    warn!(%endpoint, "another socket has this broker port; range.exclude can name it");
                    lease.is_foreign();
                    foreign += 1;
                }
                Err(cause) => return Err(OpenError::Listen { endpoint, cause }),
            }
        }
    }

    /// Closes a broker: the steps of opening backwards, and its sessions end. Runs to its end also when
    /// the caller goes away. Returns whether there was one.
    pub async fn close(self: &Arc<Self>, id: &str, reason: &'static str, stop: Stop) -> bool {
        let Some(held) = self.held().remove(id) else { return false };
        let this = self.clone();
        let work = tokio::spawn(async move { this.close_steps(held, reason, stop).await });
        // A panic was reported by its hook; the values inside gave back what they held.
        let _ = work.await;
        true
    }

    async fn close_steps(&self, held: Held, reason: &'static str, stop: Stop) {
        let _closing = self.parts.metrics.broker_in(BrokerState::Closing);
        let Held { broker, door, lease, open, .. } = held;
        drop(open);
        self.shut(&broker, stop).await;
        drop(door);
        self.record_close(&broker, reason).await;
        drop(lease);
        self.parts.metrics.broker_closed();
        self.parts.events.say(Event::broker_closed(&broker, reason));
        info!(broker_id = broker.id, instance_id = broker.instance_id, reason, "broker closed");
    }

    /// Lets nobody in any more, and ends who is in.
    async fn shut(&self, broker: &Broker, stop: Stop) {
        if let Err(error) = self.parts.gate.close(broker.endpoint).await {
            // The keeper does not renew it any more: the kernel closes it at its deadline.
            self.parts.metrics.filter_failed();
            error!(broker_id = broker.id, %error, "filter not closed");
        }
        self.parts.table.remove(broker.endpoint);
        self.parts.sessions.closed(broker.stop(stop));
    }

    async fn record_close(&self, broker: &Broker, reason: &'static str) {
        if let Err(error) = self.parts.store.close_broker(&broker.id, reason).await {
            self.parts.metrics.store_failed();
            error!(broker_id = broker.id, %error, "close not recorded, to be tried again");
            self.unrecorded().push((broker.id.clone(), reason));
        }
    }

    /// Records the closes that the store would not take before. A daemon that ends meanwhile leaves brokers
    /// open in the store, and the next start closes those whose time is over.
    async fn record_again(&self) {
        let waiting = std::mem::take(&mut *self.unrecorded());
        for (at, (id, reason)) in waiting.iter().enumerate() {
            if self.parts.store.close_broker(id, reason).await.is_err() {
                self.parts.metrics.store_failed();
                self.unrecorded().extend_from_slice(&waiting[at..]);
                return;
            }
        }
    }

    /// Counts the sessions that are over, and closes the brokers that let nobody in any more.
    pub async fn reap(self: &Arc<Self>, now: Instant) {
        for (protocol, end) in self.parts.sessions.settle(now, self.parts.times.window) {
            self.parts.metrics.session_ended(protocol, end);
        }
        let due: Vec<(String, &'static str)> = {
            let held = self.held();
            let over = |held: &Held| Some((held.broker.id.clone(), held.broker.over(now)?));
            held.values().filter_map(over).collect()
        };
        let closing = due.iter().map(|(id, reason)| self.close(id, reason, Stop::Closed));
        futures_util::future::join_all(closing).await;
        // Last: a store that is slow to refuse keeps no broker open.
        self.record_again().await;
    }

    /// An open broker, and when it expires.
    pub fn broker(&self, id: &str) -> Option<(Arc<Broker>, WallTime)> {
        self.held().get(id).map(|held| (held.broker.clone(), held.expires_at))
    }

    /// Open brokers, in the order of their ids.
    pub fn brokers(&self) -> Vec<(Arc<Broker>, WallTime)> {
        let mut all: Vec<_> =
            self.held().values().map(|held| (held.broker.clone(), held.expires_at)).collect();
        all.sort_by(|(a, _), (b, _)| a.id.cmp(&b.id));
        all
    }

    /// The sessions that have a connection.
    pub fn sessions(&self) -> &Sessions {
        &self.parts.sessions
    }

    /// Ends a session; its ticket lets nobody in any more. Runs to its end also when the caller goes away.
    /// Returns the session, if it has a connection.
    pub async fn kill(self: &Arc<Self>, session_id: &str) -> Option<Arc<Session>> {
        let session = self.parts.sessions.get(session_id)?;
        session.kill();
        let (this, killed) = (self.clone(), session.clone());
        let work = tokio::spawn(async move {
            if let Err(error) = this.parts.store.kill_session(&killed.id).await {
                // The record of its end says so too, a moment later.
                this.parts.metrics.store_failed();
                error!(session_id = killed.id, %error, "kill not recorded");
            }
            this.parts.events.say(Event::session_killed(&killed));
        });
        // A panic was reported by its hook; the session is dead either way.
        let _ = work.await;
        Some(session)
    }

    /// Lets nobody in and opens nothing any more; sessions are told to end. The store keeps the brokers:
    /// the next start goes on with those whose time is not over.
    pub async fn stop(self: &Arc<Self>) {
        self.stopping.store(true, Ordering::SeqCst);
        let held: Vec<Held> = self.held().take();
        let shutting = held.iter().map(|held| self.shut(&held.broker, Stop::Stopping));
        futures_util::future::join_all(shutting).await;
        self.record_again().await;
        for _ in self.unrecorded().iter() {
            self.parts.metrics.record_lost();
        }
    }

    fn unrecorded(&self) -> MutexGuard<'_, Vec<(String, &'static str)>> {
        self.unrecorded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every critical section is one call on the map, so a poisoned lock holds a whole one.
    fn held(&self) -> MutexGuard<'_, AllHeld> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
