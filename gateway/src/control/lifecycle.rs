//! Opening, closing and reaping brokers: the steps, and how each is undone.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::{error, info, warn};

use crate::broker::allocator::{Allocator, Lease, NoFreePort};
use crate::broker::table::Table;
use crate::broker::ticket::{Token, random_hex};
use crate::broker::{Broker, Door, Doors, Stop, Target};
use crate::kernel::filter::{FilterError, Gate};
use crate::metrics::Metrics;

use super::inventory::{Inventory, InventoryError, target};
use super::store::{BrokerRow, Imported, InstanceRow, Store, StoreError, WallTime};

/// Times of a broker.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// An unused broker is closed after this, where the request names no other.
    pub ttl: Duration,
    /// A used one is closed so long after its last session.
    pub linger: Duration,
}

/// Longest time to live that a request may name.
pub const TTL_MAX: Duration = Duration::from_secs(24 * 60 * 60);

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
    #[error("listen on {endpoint}: {source}")]
    Listen {
        /// Address and port.
        endpoint: SocketAddr,
        /// What the system said.
        source: std::io::Error,
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
    /// When it is closed if nobody uses it.
    pub expires_at: WallTime,
}

/// What an open broker holds.
struct Held {
    broker: Arc<Broker>,
    door: Door,
    lease: Lease,
    ttl: Duration,
    expires_at: WallTime,
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
    /// The filter.
    pub gate: Gate,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Times of a broker.
    pub times: Times,
}

/// Opens and closes brokers. Only writer of the table.
pub struct Lifecycle {
    parts: Parts,
    held: Mutex<HashMap<String, Held>>,
    stopping: std::sync::atomic::AtomicBool,
}

/// Foreign sockets that may be met before giving up; each is passed over for one rest.
const FOREIGN_PORTS: usize = 16;

impl Lifecycle {
    /// Nothing is open.
    pub fn new(parts: Parts) -> Arc<Self> {
        Arc::new(Self { parts, held: Mutex::default(), stopping: false.into() })
    }

    /// Opens a broker for the instance. Runs to its end also when the caller goes away: a client that
    /// hangs up leaves nothing half open.
    ///
    /// # Errors
    /// See [`OpenError`]; every step that was taken is undone then.
    pub async fn open(
        self: &Arc<Self>,
        instance_id: &str,
        ttl: Option<Duration>,
    ) -> Result<Opened, OpenError> {
        let (this, instance_id) = (self.clone(), instance_id.to_owned());
        let ttl = ttl.unwrap_or(self.parts.times.ttl);
        let work = tokio::spawn(async move { this.open_steps(&instance_id, ttl).await });
        work.await.unwrap_or(Err(OpenError::Stopping))
    }

    /// The steps: target, port, door, record, table, and the filter last, so that nothing is let in
    /// before someone answers. Leases and doors undo themselves when dropped.
    async fn open_steps(self: &Arc<Self>, instance_id: &str, ttl: Duration) -> Result<Opened, OpenError> {
        let Parts { inventory, store, table, gate, metrics, .. } = &self.parts;
        let target = inventory.find(instance_id).await?;
        let (mut lease, door) = self.listen().await?;

        let (endpoint, now) = (lease.endpoint(), Instant::now());
        let id = format!("b-{}", random_hex::<8>()?);
        let token = Token::random()?;
        let expires_at = WallTime::now().after(ttl);
        let ticket = token.hash();
        let row = BrokerRow {
            broker_id: id.clone(),
            instance_id: instance_id.into(),
            endpoint,
            expires_at,
            ticket,
        };
        let recorded = store.add_broker(&row).await;
        recorded.inspect_err(|_| metrics.store_failed())?;

        let broker = Arc::new(Broker::new(id, endpoint, instance_id.into(), target, now));
        broker.add_ticket(&token, now + ttl);
        table.insert(broker.clone());
        if let Err(error) = gate.open(endpoint).await {
            metrics.filter_failed();
            table.remove(endpoint);
            self.record_close(&broker, "not opened").await;
            return Err(error.into());
        }

        lease.used();
        let held = Held { broker: broker.clone(), door, lease, ttl, expires_at };
        self.held().insert(broker.id.clone(), held);
        metrics.broker_opened();
        info!(broker_id = broker.id, instance_id, %endpoint, "broker opened");
        if self.stopping.load(std::sync::atomic::Ordering::SeqCst) {
            // `stop` has listed what to close already, perhaps without this one.
            self.close(&broker.id, "stopped", Stop::Stopping).await;
            return Err(OpenError::Stopping);
        }
        Ok(Opened { broker, token, expires_at })
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
                Err(source) => return Err(OpenError::Listen { endpoint, source }),
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
        let Held { broker, door, lease, .. } = held;
        if let Err(error) = self.parts.gate.close(broker.endpoint).await {
            // The keeper does not renew it any more: the kernel closes it at its deadline.
            self.parts.metrics.filter_failed();
            error!(broker_id = broker.id, %error, "filter not closed");
        }
        self.parts.table.remove(broker.endpoint);
        drop(door);
        broker.stop(stop);
        self.record_close(&broker, reason).await;
        drop(lease);
        self.parts.metrics.broker_closed();
        info!(broker_id = broker.id, instance_id = broker.instance_id, reason, "broker closed");
    }

    async fn record_close(&self, broker: &Broker, reason: &str) {
        if let Err(error) = self.parts.store.close_broker(&broker.id, reason).await {
            // The next start records it.
            self.parts.metrics.store_failed();
            error!(broker_id = broker.id, %error, "close not recorded");
        }
    }

    /// Closes what nobody uses: brokers that were never used past their time to live, used ones a while
    /// after their last session.
    pub async fn reap(self: &Arc<Self>, now: Instant) {
        let due: Vec<(String, &'static str)> = {
            let held = self.held();
            held.values()
                .filter_map(|held| {
                    let (used, since) = held.broker.unused_since()?;
                    let (limit, reason) =
                        if used { (self.parts.times.linger, "done") } else { (held.ttl, "expired") };
                    (now.saturating_duration_since(since) >= limit).then(|| (held.broker.id.clone(), reason))
                })
                .collect()
        };
        for (id, reason) in due {
            self.close(&id, reason, Stop::Closed).await;
        }
    }

    /// Writes an instance, and points its brokers at it. Returns whether it is new.
    ///
    /// # Errors
    /// The row is not one, or could not be written.
    pub async fn put_instance(
        &self,
        row: &InstanceRow,
        password: Option<&str>,
    ) -> Result<bool, InventoryError> {
        let target: Target = target(row)?;
        let new = self.parts.store.put_instance(row, password).await;
        let new = new.inspect_err(|_| self.parts.metrics.store_failed())?;
        for broker in self.of_instance(&row.instance_id) {
            broker.retarget(target.clone());
        }
        Ok(new)
    }

    /// Writes all instances, each with its password, or none, and points their brokers at them. Runs to
    /// its end also when the caller goes away: no broker keeps leading to where its machine was.
    ///
    /// # Errors
    /// A row is not one, or they could not be written.
    pub async fn put_instances(
        self: &Arc<Self>,
        rows: Vec<(InstanceRow, Option<String>)>,
    ) -> Result<Imported, InventoryError> {
        let this = self.clone();
        let work = tokio::spawn(async move { this.put_all(&rows).await });
        // It is never cancelled; a panic goes on where it would have without the task.
        work.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
    }

    async fn put_all(&self, rows: &[(InstanceRow, Option<String>)]) -> Result<Imported, InventoryError> {
        let named = rows.iter().map(|(row, _)| Ok((row.instance_id.as_str(), target(row)?)));
        let targets = named.collect::<Result<HashMap<&str, Target>, InventoryError>>()?;
        let imported = self.parts.store.put_instances(rows).await;
        let imported = imported.inspect_err(|_| self.parts.metrics.store_failed())?;
        for held in self.held().values() {
            if let Some(target) = targets.get(held.broker.instance_id.as_str()) {
                held.broker.retarget(target.clone());
            }
        }
        info!(created = imported.created, updated = imported.updated, "instances imported");
        Ok(imported)
    }

    /// Removes an instance and closes its brokers. Returns whether there was one.
    ///
    /// # Errors
    /// The row could not be removed.
    pub async fn remove_instance(self: &Arc<Self>, instance_id: &str) -> Result<bool, StoreError> {
        let removed = self.parts.store.remove_instance(instance_id).await;
        let removed = removed.inspect_err(|_| self.parts.metrics.store_failed())?;
        for broker in self.of_instance(instance_id) {
            self.close(&broker.id, "instance removed", Stop::Closed).await;
        }
        Ok(removed)
    }

    fn of_instance(&self, instance_id: &str) -> Vec<Arc<Broker>> {
        let held = self.held();
        let brokers = held.values().map(|held| &held.broker);
        brokers.filter(|broker| broker.instance_id == instance_id).cloned().collect()
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

    /// Opens no more, and closes everything.
    pub async fn stop(self: &Arc<Self>) {
        self.stopping.store(true, std::sync::atomic::Ordering::SeqCst);
        let ids: Vec<String> = self.held().keys().cloned().collect();
        for id in ids {
            self.close(&id, "stopped", Stop::Stopping).await;
        }
    }

    /// Every critical section is one call on the map, so a poisoned lock holds a whole one.
    fn held(&self) -> MutexGuard<'_, HashMap<String, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
