//! The histories of all consoles that have a session.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::broker::Target;
use crate::broker::session::Session;

use super::history::History;

/// A console is an instance where it was: one that moved shows nothing of before.
type Console = (String, Target);

/// What consoles showed last, each as long as a session of it lives.
#[derive(Default)]
pub struct Histories {
    limit: usize,
    window: Duration,
    kept: Mutex<HashMap<Console, Kept>>,
    writers: AtomicU64,
}

struct Kept {
    history: Arc<Mutex<History>>,
    /// Who may still come back to it.
    sessions: Vec<Arc<Session>>,
}

impl Histories {
    /// Of `limit` bytes each; 0 keeps nothing. `window` is how long a session waits for its client.
    pub fn new(limit: usize, window: Duration) -> Self {
        Self { limit, window, ..Self::default() }
    }

    /// What the console at `target` showed while a session of it lived, for a connection of `session`, which
    /// goes on with it.
    pub fn join(&self, target: &Target, session: &Arc<Session>) -> Option<Recorder> {
        if self.limit == 0 {
            return None;
        }
        let mut consoles = lock(&self.kept);
        let kept =
            consoles.entry((session.instance_id.clone(), target.clone())).or_insert_with(|| self.none());
        kept.sessions.retain(|session| !session.is_killed());
        if kept.sessions.is_empty() {
            *kept = self.none();
        }
        if !kept.sessions.iter().any(|known| Arc::ptr_eq(known, session)) {
            kept.sessions.push(session.clone());
        }
        let writer = self.writers.fetch_add(1, Ordering::Relaxed);
        Some(Recorder { history: kept.history.clone(), writer })
    }

    fn none(&self) -> Kept {
        Kept { history: Arc::new(Mutex::new(History::new(self.limit))), sessions: Vec::new() }
    }

    /// Forgets what nobody comes back to.
    pub fn forget(&self, now: Instant) {
        lock(&self.kept).retain(|_, kept| {
            kept.sessions.retain(|session| !session.is_over(now, self.window));
            !kept.sessions.is_empty()
        });
    }
}

/// A connection's hold on the history of its console.
pub struct Recorder {
    history: Arc<Mutex<History>>,
    writer: u64,
}

impl Recorder {
    /// See [`History::replay`].
    pub fn replay(&self) -> Vec<u8> {
        lock(&self.history).replay()
    }

    /// Keeps what the console said.
    pub fn write(&self, said: &[u8]) {
        lock(&self.history).write(self.writer, said);
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        lock(&self.history).leave(self.writer);
    }
}

/// What a console said is in no log.
impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").field("writer", &self.writer).finish_non_exhaustive()
    }
}

/// What is behind these locks is whole at every point where a panic could happen.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::Protocol;
    use crate::broker::session::Origin;

    fn session() -> Arc<Session> {
        let origin = Origin {
            broker_id: "b-1".into(),
            instance_id: "i-1".into(),
            protocol: Protocol::Serial,
            by_address: false,
        };
        Session::new("s-1".into(), origin, "127.0.0.1".parse().expect("an address"))
    }

    fn target(port: u16) -> Target {
        Target::new("host", port, Protocol::Serial)
    }

    #[test]
    fn who_comes_later_sees_what_was_shown() {
        let histories = Histories::new(100, Duration::ZERO);
        let (first, second) = (session(), session());
        let recorder = histories.join(&target(1), &first).expect("a history");
        assert_eq!(recorder.replay(), b"");
        recorder.write(b"login: ");
        let late = histories.join(&target(1), &second).expect("a history");
        assert_eq!(late.replay(), b"login: ");
        // Elsewhere it is another machine, or another disk of it.
        assert_eq!(histories.join(&target(2), &first).expect("a history").replay(), b"");
        let other = Arc::new(Histories::new(0, Duration::ZERO));
        assert!(other.join(&target(1), &first).is_none());
    }

    #[test]
    fn nothing_outlives_the_last_session() {
        let histories = Histories::new(100, Duration::ZERO);
        let first = session();
        histories.join(&target(1), &first).expect("a history").write(b"secret");
        first.kill();
        // Its place is taken before anybody looked.
        assert_eq!(histories.join(&target(1), &session()).expect("a history").replay(), b"");
        // Sessions that never had a connection are over.
        histories.forget(Instant::now());
        assert!(lock(&histories.kept).is_empty());
    }
}
