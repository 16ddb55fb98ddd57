//! Changing instances: brokers follow them.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tracing::info;

use crate::broker::{Broker, Stop};
use crate::control::events::Event;
use crate::control::inventory::{InventoryError, target};
use crate::control::store::{Imported, InstanceRow};

use super::Lifecycle;

impl Lifecycle {
    /// Writes an instance, and points its brokers at it; those of another protocol are closed. Runs to
    /// its end also when the caller goes away. Returns whether the instance is new.
    ///
    /// # Errors
    /// The row is not one, or could not be written.
    pub async fn put_instance(self: &Arc<Self>, row: InstanceRow) -> Result<bool, InventoryError> {
        let this = self.clone();
        let work = tokio::spawn(async move {
            target(&row)?;
            let new = this.parts.store.put_instance(&row).await;
            let new = new.inspect_err(|_| this.not_written(&row.instance_id))?;
            this.follow(&row.instance_id).await;
            this.parts.events.say(Event::instance("instance.put", &row.instance_id));
            Ok(new)
        });
        work.await.unwrap_or(Err(InventoryError::Stopping))
    }

    /// Points the brokers of an instance at where it is now. Read anew, so that of two writers at a time
    /// the later row counts.
    async fn follow(self: &Arc<Self>, instance_id: &str) {
        for broker in self.of_instance(instance_id) {
            let _pointing = self.pointing.lock().await;
            match self.parts.inventory.find(instance_id).await {
                Ok(target) if target.protocol == broker.protocol => broker.retarget(target),
                Ok(_) => drop(self.close(&broker.id, "instance changed", Stop::Closed).await),
                Err(error) => {
                    // Sessions look it up once more, and are refused.
                    broker.doubt();
                    self.note(&error);
                }
            }
        }
    }

    /// A change that failed may have been made all the same: nobody trusts what the brokers know.
    fn not_written(&self, instance_id: &str) {
        self.parts.metrics.store_failed();
        self.of_instance(instance_id).iter().for_each(|broker| broker.doubt());
    }

    /// Writes all instances, and points their brokers at them. Runs to its end also when the caller goes
    /// away: no broker keeps leading to where its machine was.
    ///
    /// # Errors
    /// A row is not one, or they could not be written.
    pub async fn put_instances(self: &Arc<Self>, rows: Vec<InstanceRow>) -> Result<Imported, InventoryError> {
        let this = self.clone();
        let work = tokio::spawn(async move {
            rows.iter().try_for_each(|row| target(row).map(drop))?;
            let imported = this.parts.store.put_instances(&rows).await;
            let imported = imported.inspect_err(|_| {
                rows.iter().for_each(|row| this.not_written(&row.instance_id));
            })?;
            for row in &rows {
                this.follow(&row.instance_id).await;
            }
            for row in &rows {
                this.parts.events.say(Event::instance("instance.put", &row.instance_id));
            }
            info!(created = imported.created, updated = imported.updated, "instances imported");
            Ok(imported)
        });
        work.await.unwrap_or(Err(InventoryError::Stopping))
    }

    /// Removes an instance and closes its brokers. Runs to its end also when the caller goes away. Returns
    /// whether there was one.
    ///
    /// # Errors
    /// The row could not be removed.
    pub async fn remove_instance(self: &Arc<Self>, instance_id: &str) -> Result<bool, InventoryError> {
        let (this, instance_id) = (self.clone(), instance_id.to_owned());
        let work = tokio::spawn(async move {
            let removed = this.parts.store.remove_instance(&instance_id).await;
            let removed = removed.inspect_err(|_| this.not_written(&instance_id))?;
            let brokers = this.of_instance(&instance_id);
            let closing =
                brokers.iter().map(|broker| this.close(&broker.id, "instance removed", Stop::Closed));
            futures_util::future::join_all(closing).await;
            if removed {
                this.parts.events.say(Event::instance("instance.removed", &instance_id));
            }
            Ok(removed)
        });
        work.await.unwrap_or(Err(InventoryError::Stopping))
    }

    /// The brokers that a change of the instance, which is made, has to reach. Those that are not open yet
    /// see it by themselves.
    fn of_instance(&self, instance_id: &str) -> Vec<Arc<Broker>> {
        self.changes.fetch_add(1, Ordering::SeqCst);
        self.held().of_instance(instance_id).to_vec()
    }
}
