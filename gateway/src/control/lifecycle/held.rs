//! What open brokers hold, by broker and by instance.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{Hash, Hasher};
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
    by_id: HashMap<ById, Box<Held>>,
    /// The same brokers; no instance without one.
    by_instance: HashMap<String, Vec<Arc<Broker>>>,
}

/// A broker by its id, which stands in memory once.
struct ById(Arc<Broker>);

impl Borrow<str> for ById {
    fn borrow(&self) -> &str {
        &self.0.id
    }
}

impl PartialEq for ById {
    fn eq(&self, other: &Self) -> bool {
        self.0.id == other.0.id
    }
}

impl Eq for ById {}

impl Hash for ById {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        // As `str` does, by which it is looked up.
        self.0.id.as_str().hash(hasher);
    }
}

impl AllHeld {
    pub(super) fn insert(&mut self, held: Held) {
        let broker = held.broker.clone();
        // Ids are random: none comes twice.
        self.by_id.insert(ById(broker.clone()), Box::new(held));
        self.by_instance.entry(broker.instance_id.clone()).or_default().push(broker);
    }

    pub(super) fn remove(&mut self, id: &str) -> Option<Held> {
        let held = *self.by_id.remove(id)?;
        if let Entry::Occupied(mut of_instance) = self.by_instance.entry(held.broker.instance_id.clone()) {
            of_instance.get_mut().retain(|broker| broker.id != id);
            if of_instance.get().is_empty() {
                of_instance.remove();
            }
        }
        Some(held)
    }

    pub(super) fn get(&self, id: &str) -> Option<&Held> {
        self.by_id.get(id).map(|held| &**held)
    }

    pub(super) fn get_mut(&mut self, id: &str) -> Option<&mut Held> {
        self.by_id.get_mut(id).map(|held| &mut **held)
    }

    /// All of them.
    pub(super) fn values(&self) -> impl Iterator<Item = &Held> {
        self.by_id.values().map(|held| &**held)
    }

    /// The brokers of an instance.
    pub(super) fn of_instance(&self, instance_id: &str) -> &[Arc<Broker>] {
        self.by_instance.get(instance_id).map_or(&[], Vec::as_slice)
    }

    /// Leaves none.
    pub(super) fn take(&mut self) -> Vec<Held> {
        self.by_instance.clear();
        self.by_id.drain().map(|(_, held)| *held).collect()
    }
}
