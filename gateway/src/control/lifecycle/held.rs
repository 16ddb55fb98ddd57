//! What open brokers hold, by broker and by instance.

use std::collections::HashMap;
use std::collections::hash_map::{Entry, Values};
use std::sync::Arc;

use crate::broker::allocator::Lease;
use crate::broker::{Broker, Door};
use crate::control::store::WallTime;
use crate::metrics::Stage;

/// What an open broker holds.
pub(super) struct Held {
    pub(super) broker: Arc<Broker>,
    pub(super) door: Door,
    pub(super) lease: Lease,
    pub(super) expires_at: WallTime,
    pub(super) open: Stage,
}

/// The open brokers.
#[derive(Default)]
pub(super) struct AllHeld {
    by_id: HashMap<String, Held>,
    /// The same brokers; no instance without one.
    by_instance: HashMap<String, Vec<Arc<Broker>>>,
}

impl AllHeld {
    pub(super) fn insert(&mut self, held: Held) {
        let broker = held.broker.clone();
        // Ids are random: none comes twice.
        self.by_id.insert(broker.id.clone(), held);
        self.by_instance.entry(broker.instance_id.clone()).or_default().push(broker);
    }

    pub(super) fn remove(&mut self, id: &str) -> Option<Held> {
        let held = self.by_id.remove(id)?;
        if let Entry::Occupied(mut of_instance) = self.by_instance.entry(held.broker.instance_id.clone()) {
            of_instance.get_mut().retain(|broker| broker.id != id);
            if of_instance.get().is_empty() {
                of_instance.remove();
            }
        }
        Some(held)
    }

    pub(super) fn get(&self, id: &str) -> Option<&Held> {
        self.by_id.get(id)
    }

    pub(super) fn get_mut(&mut self, id: &str) -> Option<&mut Held> {
        self.by_id.get_mut(id)
    }

    /// All of them.
    pub(super) fn values(&self) -> Values<'_, String, Held> {
        self.by_id.values()
    }

    /// The brokers of an instance.
    pub(super) fn of_instance(&self, instance_id: &str) -> &[Arc<Broker>] {
        self.by_instance.get(instance_id).map_or(&[], Vec::as_slice)
    }

    /// Leaves none.
    pub(super) fn take(&mut self) -> Vec<Held> {
        self.by_instance.clear();
        self.by_id.drain().map(|(_, held)| held).collect()
    }
}
