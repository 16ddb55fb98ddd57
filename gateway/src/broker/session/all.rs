//! All sessions: those that have a connection, by what limits them, and those that may have one again.

use std::borrow::Borrow;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use crate::broker::{Protocol, Refusal, lock};

use super::{Session, Settled};

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
    /// There is no memory for more.
    no_more: AtomicBool,
    live: RwLock<Live>,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Live {
    /// With the number of places that each holds.
    by_id: HashMap<String, (Arc<Session>, usize)>,
    /// How many there are of each instance, and of each client.
    of_instance: HashMap<String, usize>,
    of_client: HashMap<IpAddr, usize>,
}

/// Those that had a connection, and may have one again: since when, in the order of that. One that came back
/// meanwhile is in twice.
type Waiting = VecDeque<(Instant, Arc<Session>)>;

impl Live {
    /// The limit that another session like this one would exceed.
    fn reached(&self, session: &Session, limits: Limits) -> Option<Refusal> {
        let is = |count: usize, limit: usize| limit > 0 && count >= limit;
        if is(self.by_id.len(), limits.total) {
            Some(Refusal::Full)
        } else if is(count(&self.of_instance, &session.instance_id), limits.per_instance) {
            Some(Refusal::InstanceFull)
        } else if is(count(&self.of_client, &session.client), limits.per_client) {
            Some(Refusal::ClientFull)
        } else {
            None
        }
    }

    fn insert(&mut self, session: &Arc<Session>) {
        *self.of_instance.entry(session.instance_id.clone()).or_default() += 1;
        *self.of_client.entry(session.client).or_default() += 1;
        self.by_id.insert(session.id.clone(), (session.clone(), 1));
    }

    fn remove(&mut self, session: &Session) {
        self.by_id.remove(&session.id);
        one_less(self.of_instance.entry(session.instance_id.clone()));
        one_less(self.of_client.entry(session.client));
    }
}

fn count<K: Hash + Eq + Borrow<Q>, Q: Hash + Eq + ?Sized>(of: &HashMap<K, usize>, key: &Q) -> usize {
    of.get(key).copied().unwrap_or_default()
}

fn one_less<K>(count: Entry<'_, K, usize>) {
    if let Entry::Occupied(mut count) = count {
        *count.get_mut() -= 1;
        if *count.get() == 0 {
            count.remove();
        }
    }
}

impl Sessions {
    /// None yet, and no more than `limits`.
    pub fn new(limits: Limits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// Counts the session until the value is dropped. One that is in already is counted once.
    ///
    /// # Errors
    /// The limit that is reached; [`Refusal::Full`] without memory.
    pub fn admit(self: &Arc<Self>, session: &Arc<Session>) -> Result<Admitted, Refusal> {
        let mut live = self.write();
        if let Some((_, places)) = live.by_id.get_mut(&session.id) {
            *places += 1;
        } else if self.no_more.load(Ordering::Relaxed) {
            return Err(Refusal::Full);
        } else if let Some(refusal) = live.reached(session, self.limits) {
            return Err(refusal);
        } else {
            live.insert(session);
        }
        Ok(Admitted { sessions: self.clone(), session: session.clone() })
    }

    /// From now on none is let in that is not in already, or they are again.
    pub fn admit_no_more(&self, no_more: bool) {
        self.no_more.store(no_more, Ordering::Relaxed);
    }

    /// A session that has a connection.
    pub fn get(&self, id: &str) -> Option<Arc<Session>> {
        self.read().by_id.get(id).map(|(session, _)| session.clone())
    }

    /// All that have a connection.
    pub fn all(&self) -> Vec<Arc<Session>> {
        self.read().by_id.values().map(|(session, _)| session.clone()).collect()
    }

    /// Those that are over since the last call: what they spoke, and how their last connection ended.
    /// `window` is always the same.
    pub fn settle(&self, now: Instant, window: Duration) -> Vec<(Protocol, &'static str)> {
        let mut ended = Vec::new();
        let mut again = Vec::new();
        let mut waiting = lock(&self.waiting);
        while let Some((since, session)) = waiting.pop_front() {
            if now.saturating_duration_since(since) < window && !session.is_killed() {
                waiting.push_front((since, session));
                break;
            }
            match session.settle(now, window) {
                Settled::Over(end) => ended.extend(end.map(|end| (session.protocol, end))),
                Settled::Perhaps => again.push((now, session)),
                Settled::No => {}
            }
        }
        waiting.extend(again);
        ended
    }

    /// Nobody comes back to these any more: those without a connection are settled next.
    pub fn closed(&self, sessions: Vec<Arc<Session>>) {
        let now = Instant::now();
        let mut waiting = lock(&self.waiting);
        sessions.into_iter().for_each(|session| waiting.push_front((now, session)));
    }

    /// How many have a connection.
    pub fn len(&self) -> usize {
        self.read().by_id.len()
    }

    /// Whether none has.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    // Each critical section leaves a whole map, also where it panics.
    fn read(&self) -> RwLockReadGuard<'_, Live> {
        self.live.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Live> {
        self.live.write().unwrap_or_else(PoisonError::into_inner)
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
        let Some((_, places)) = live.by_id.get_mut(&self.session.id) else { return };
        *places -= 1;
        if *places > 0 {
            return;
        }
        live.remove(&self.session);
        drop(live);
        if self.session.is_recorded() {
            let mut waiting = lock(&self.sessions.waiting);
            let session = (Instant::now(), self.session.clone());
            // Nobody comes back to one that was killed; it is settled next.
            if self.session.is_killed() { waiting.push_front(session) } else { waiting.push_back(session) }
        }
    }
}
