//! What is open: the one place where the byte side and the control side meet.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::{Broker, canonical};

/// The open brokers by address and port. `control::lifecycle` is the only writer; the relay reads it
/// once for each connection.
#[derive(Debug, Default)]
pub struct Table(RwLock<HashMap<SocketAddr, Arc<Broker>>>);

impl Table {
    /// The broker at `endpoint`.
    pub fn get(&self, endpoint: SocketAddr) -> Option<Arc<Broker>> {
        self.read().get(&canonical(endpoint)).cloned()
    }

    /// Lets connections to the broker in.
    pub fn insert(&self, broker: Arc<Broker>) {
        self.write().insert(broker.endpoint, broker);
    }

    /// Lets no more connections to `endpoint` in.
    pub fn remove(&self, endpoint: SocketAddr) -> Option<Arc<Broker>> {
        self.write().remove(&endpoint)
    }

    /// All open brokers.
    pub fn all(&self) -> Vec<Arc<Broker>> {
        self.read().values().cloned().collect()
    }

    /// The broker with this id.
    pub fn by_id(&self, id: &str) -> Option<Arc<Broker>> {
        self.read().values().find(|broker| broker.id == id).cloned()
    }

    /// How many brokers are open.
    pub fn len(&self) -> usize {
        self.read().len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    // Each critical section is one call on the map, so a poisoned lock holds a whole map.
    fn read(&self) -> RwLockReadGuard<'_, HashMap<SocketAddr, Arc<Broker>>> {
        self.0.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<SocketAddr, Arc<Broker>>> {
        self.0.write().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
