//! What is open: the one place where the byte side and the control side meet.

use std::borrow::Borrow;
use std::collections::HashSet;
use std::hash::{Hash, Hasher};
use std::net::SocketAddr;
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::{Broker, canonical};

/// The open brokers by address and port. `control::lifecycle` is the only writer; the relay reads it
/// once for each connection.
#[derive(Debug, Default)]
pub struct Table(RwLock<HashSet<ByEndpoint>>);

/// A broker by its address and port, which stand in memory once.
#[derive(Debug)]
struct ByEndpoint(Arc<Broker>);

impl Borrow<SocketAddr> for ByEndpoint {
    fn borrow(&self) -> &SocketAddr {
        &self.0.endpoint
    }
}

impl PartialEq for ByEndpoint {
    fn eq(&self, other: &Self) -> bool {
        self.0.endpoint == other.0.endpoint
    }
}

impl Eq for ByEndpoint {}

impl Hash for ByEndpoint {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        // As the key does, by which it is looked up.
        self.0.endpoint.hash(hasher);
    }
}

impl Table {
    /// The broker at `endpoint`.
    pub fn get(&self, endpoint: SocketAddr) -> Option<Arc<Broker>> {
        self.read().get(&canonical(endpoint)).map(|ByEndpoint(broker)| broker.clone())
    }

    /// Lets connections to the broker in.
    pub fn insert(&self, broker: Arc<Broker>) {
        // A set keeps what it has, and the newer one is to be found.
        self.write().replace(ByEndpoint(broker));
    }

    /// Lets no more connections to `endpoint` in.
    pub fn remove(&self, endpoint: SocketAddr) -> Option<Arc<Broker>> {
        self.write().take(&endpoint).map(|ByEndpoint(broker)| broker)
    }

    /// All open brokers.
    pub fn all(&self) -> Vec<Arc<Broker>> {
        self.read().iter().map(|ByEndpoint(broker)| broker.clone()).collect()
    }

    /// The broker with this id.
    pub fn by_id(&self, id: &str) -> Option<Arc<Broker>> {
        self.read().iter().find(|ByEndpoint(broker)| broker.id == id).map(|ByEndpoint(broker)| broker.clone())
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
    fn read(&self) -> RwLockReadGuard<'_, HashSet<ByEndpoint>> {
        self.0.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashSet<ByEndpoint>> {
        self.0.write().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
