//! Passwords that targets refused, so that no target is tried with a wrong one over and over: some lock out
//! whoever does that, and the gateway is one address for all of its clients.
//!
//! One connection at a time tries a password of which nobody knows whether it is right; the others wait for
//! what becomes of it. Where it was refused, nobody tries it again for a while. Another password, and the
//! same one of another place, is another matter: an instance that was corrected is shown at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::{Target, lock};

/// How long a password that was refused is not tried again: each time twice as long as the last.
pub const FIRST_WAIT: Duration = Duration::from_secs(5);
/// And at the most.
pub const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// A refusal is remembered for so long after its wait: the next one is the first again.
const MEMORY: Duration = Duration::from_secs(10 * 60);
/// Refusals that are remembered at most; more take the place of the oldest.
const REFUSALS: usize = 4096;

/// What is known of passwords that are in use, or were refused lately.
#[derive(Debug, Default)]
pub struct Passwords {
    known: Mutex<HashMap<Target, Known>>,
    /// Something became known.
    news: Notify,
}

#[derive(Debug, Default)]
struct Known {
    /// Connections that authenticate, or wait to.
    users: usize,
    /// One of them tries it first.
    trying: bool,
    /// One of them was let in.
    good: bool,
    refused: Option<Refused>,
}

#[derive(Clone, Copy, Debug)]
struct Refused {
    until: Instant,
    wait: Duration,
}

impl Refused {
    fn left(&self, now: Instant) -> Option<Duration> {
        self.until.checked_duration_since(now).filter(|left| !left.is_zero())
    }

    fn is_forgotten(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.until) > MEMORY
    }
}

impl Passwords {
    /// Waits until the password of `target` may be tried.
    ///
    /// # Errors
    /// It was refused a while ago; so long it is not tried again.
    pub async fn turn(self: &Arc<Self>, target: &Target) -> Result<Turn, Duration> {
        let waiting = Waiting::new(self, target);
        loop {
            // Made before the look, so that nothing that becomes known behind it is missed.
            let news = self.news.notified();
            match waiting.look(Instant::now()) {
                Look::Try { first } => return Ok(Turn { waiting, first }),
                Look::Refused(left) => return Err(left),
                Look::Wait => news.await,
            }
        }
    }
}

/// One connection that wants to use the password of a target.
#[derive(Debug)]
struct Waiting {
    passwords: Arc<Passwords>,
    target: Target,
}

enum Look {
    /// Before the others, or beside them.
    Try {
        first: bool,
    },
    Wait,
    Refused(Duration),
}

impl Waiting {
    fn new(passwords: &Arc<Passwords>, target: &Target) -> Self {
        lock(&passwords.known).entry(target.clone()).or_default().users += 1;
        Self { passwords: passwords.clone(), target: target.clone() }
    }

    fn look(&self, now: Instant) -> Look {
        self.change(|known| match known.refused.and_then(|refused| refused.left(now)) {
            Some(left) => Look::Refused(left),
            None if known.good => Look::Try { first: false },
            None if known.trying => Look::Wait,
            None => {
                known.trying = true;
                Look::Try { first: true }
            }
        })
    }

    fn change<T>(&self, change: impl FnOnce(&mut Known) -> T) -> T {
        change(lock(&self.passwords.known).entry(self.target.clone()).or_default())
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut known = lock(&self.passwords.known);
        if let Some(ours) = known.get_mut(&self.target) {
            ours.users -= 1;
            if ours.users == 0 && ours.refused.is_none() {
                known.remove(&self.target);
            }
        }
    }
}

/// Leave to try a password. Dropped without a result, it is the next one's turn.
#[derive(Debug)]
pub struct Turn {
    waiting: Waiting,
    first: bool,
}

impl Turn {
    /// The target let us in.
    pub fn accepted(self) {
        self.waiting.change(|known| (known.good, known.refused) = (true, None));
    }

    /// The target did not take it. Returns how long nobody tries again.
    pub fn refused(self) -> Duration {
        let now = Instant::now();
        let wait = self.waiting.change(|known| {
            let before = known.refused.filter(|refused| !refused.is_forgotten(now));
            let wait = before.map_or(FIRST_WAIT, |refused| (refused.wait * 2).min(LONGEST_WAIT));
            (known.good, known.refused) = (false, Some(Refused { until: now + wait, wait }));
            wait
        });
        forget(&mut lock(&self.waiting.passwords.known), now);
        wait
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if self.first {
            self.waiting.change(|known| known.trying = false);
            self.waiting.passwords.news.notify_waiters();
        }
    }
}

/// Keeps what is remembered of refusals within its bounds.
fn forget(known: &mut HashMap<Target, Known>, now: Instant) {
    let in_use = |known: &Known| known.users > 0;
    let until = |known: &Known| known.refused.map(|refused| refused.until);
    known.retain(|_, known| in_use(known) || known.refused.is_some_and(|refused| !refused.is_forgotten(now)));
    if known.len() > REFUSALS {
        let unused = known.iter().filter(|(_, known)| !in_use(known));
        let oldest = unused.min_by_key(|(_, known)| until(known)).map(|(target, _)| target.clone());
        oldest.map(|target| known.remove(&target));
    }
}

#[cfg(test)]
mod tests;
