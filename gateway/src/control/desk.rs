//! What the byte side asks and tells: the implementation of [`Desk`].

use std::net::IpAddr;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tracing::{error, warn};

use crate::broker::session::Session;
use crate::broker::{BoxFuture, Broker, Desk, Refusal, Target};
use crate::metrics::Metrics;

use super::events::{Event, Events};
use super::inventory::{Inventory, InventoryError};
use super::store::Store;

/// Answers on the control runtime, so that no database connection is driven by a relay thread.
pub struct ControlDesk {
    inventory: Inventory,
    store: Store,
    metrics: Arc<Metrics>,
    events: Events,
    control: Handle,
    ends: mpsc::UnboundedSender<(Arc<Session>, &'static str)>,
}

impl ControlDesk {
    /// Works on the runtime of the caller. The task records the ends of sessions, one after the other;
    /// it is done when the desk is gone and all are recorded.
    pub fn new(
        inventory: Inventory,
        store: Store,
        metrics: Arc<Metrics>,
        events: Events,
    ) -> (Self, tokio::task::JoinHandle<()>) {
        let (ends, queue) = mpsc::unbounded_channel();
        let recorder = tokio::spawn(record(queue, store.clone(), metrics.clone(), events.clone()));
        (Self { inventory, store, metrics, events, control: Handle::current(), ends }, recorder)
    }

    /// Runs `work` on the control runtime. A runtime that is gone means that the daemon stops.
    fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Refusal>> + Send + 'static,
    ) -> BoxFuture<'static, Result<T, Refusal>> {
        let work = self.control.spawn(work);
        Box::pin(async { work.await.unwrap_or(Err(Refusal::Stopping)) })
    }
}

/// Sessions end one by one, so a queue of ends is as long as sessions are many.
async fn record(
    mut queue: mpsc::UnboundedReceiver<(Arc<Session>, &'static str)>,
    store: Store,
    metrics: Arc<Metrics>,
    events: Events,
) {
    while let Some((session, end)) = queue.recv().await {
        if let Err(error) = store.end_session(&session, end).await {
            metrics.record_lost();
            error!(session_id = session.id, %error, "end of a session not recorded");
        }
        events.say(Event::session_ended(&session, end));
    }
}

impl Desk for ControlDesk {
    fn resolve(&self, broker: Arc<Broker>) -> BoxFuture<'static, Result<Target, Refusal>> {
        let (inventory, metrics) = (self.inventory.clone(), self.metrics.clone());
        self.run(async move {
            match inventory.find(&broker.instance_id).await {
                Ok(target) if target == broker.target() => Ok(target),
                // It moved behind our back: who asks for a new broker gets the right place.
                Ok(_) | Err(InventoryError::Unknown(_)) => Err(Refusal::InstanceGone),
                Err(error) => {
                    warn!(broker_id = broker.id, %error, "instance not resolved");
                    metrics.store_failed();
                    Err(Refusal::Unavailable)
                }
            }
        })
    }

    fn begin(
        &self,
        session: Arc<Session>,
        hash: Option<[u8; 32]>,
    ) -> BoxFuture<'static, Result<(), Refusal>> {
        let (store, metrics, events) = (self.store.clone(), self.metrics.clone(), self.events.clone());
        self.run(async move {
            match store.begin_session(&session, hash.as_ref()).await {
                Ok(true) => {
                    events.say(Event::session_began(&session));
                    Ok(())
                }
                Ok(false) => Err(Refusal::TicketUsed),
                Err(error) => {
                    error!(session_id = session.id, %error, "begin of a session not recorded");
                    metrics.store_failed();
                    Err(Refusal::Unavailable)
                }
            }
        })
    }

    fn end(&self, session: Arc<Session>, end: &'static str) {
        // Nobody records any more when the daemon is gone.
        let _ = self.ends.send((session, end));
    }

    fn refused(&self, broker: Option<Arc<Broker>>, client: IpAddr, refusal: Refusal) {
        use Refusal::{BadHandshake, HeadTooLong, NoPage, Slow, TooMany};
        // What anybody can cause without a ticket is counted in metrics; the audit log would be a way to
        // fill the disk.
        if !matches!(refusal, BadHandshake | HeadTooLong | NoPage | Slow | TooMany) {
            self.events.say(Event::refused(broker.as_deref(), client, refusal));
        }
    }
}
