//! What the byte side asks: the implementation of [`Desk`].

use std::sync::Arc;

use tokio::runtime::Handle;
use tracing::{error, warn};

use crate::broker::{BoxFuture, Broker, Desk, Refusal, Target};
use crate::metrics::Metrics;

use super::inventory::{Inventory, InventoryError};
use super::store::Store;

/// Answers on the control runtime, so that no database connection is driven by a relay thread.
pub struct ControlDesk {
    inventory: Inventory,
    store: Store,
    metrics: Arc<Metrics>,
    control: Handle,
}

impl ControlDesk {
    /// Works on the runtime of the caller.
    pub fn new(inventory: Inventory, store: Store, metrics: Arc<Metrics>) -> Self {
        Self { inventory, store, metrics, control: Handle::current() }
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

    fn use_ticket(&self, hash: [u8; 32]) -> BoxFuture<'static, Result<(), Refusal>> {
        let (store, metrics) = (self.store.clone(), self.metrics.clone());
        self.run(async move {
            match store.use_ticket(&hash).await {
                Ok(true) => Ok(()),
                Ok(false) => Err(Refusal::TicketUsed),
                Err(error) => {
                    error!(%error, "use of a ticket not recorded");
                    metrics.store_failed();
                    Err(Refusal::Unavailable)
                }
            }
        })
    }
}
