//! A word that many wait for. Small: each broker and each session has one.

use std::sync::Mutex;

use tokio::sync::Notify;

use super::lock;

/// A value, and who waits for another one.
#[derive(Debug)]
pub(super) struct Bell<T> {
    word: Mutex<T>,
    rung: Notify,
}

impl<T: Copy> Bell<T> {
    /// Says `word` from the beginning.
    pub(super) fn new(word: T) -> Self {
        Self { word: Mutex::new(word), rung: Notify::new() }
    }

    /// What it says.
    pub(super) fn word(&self) -> T {
        *lock(&self.word)
    }

    /// Says something else: `next` of what it says.
    pub(super) fn ring(&self, next: impl FnOnce(T) -> T) -> T {
        let word = {
            let mut word = lock(&self.word);
            *word = next(*word);
            *word
        };
        self.rung.notify_waiters();
        word
    }

    /// Waits until it says what `heard` takes a value from.
    pub(super) async fn wait_for<V>(&self, heard: impl Fn(T) -> Option<V>) -> V {
        loop {
            // Before the look: it hears what is rung between the two.
            let rung = self.rung.notified();
            if let Some(value) = heard(self.word()) {
                return value;
            }
            rung.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn all_that_wait_hear_it() {
        let bell = Bell::new(0);
        let above = |limit| bell.wait_for(move |word| (word > limit).then_some(word));
        let ring = async {
            for _ in 0..3 {
                tokio::task::yield_now().await;
                bell.ring(|word| word + 1);
            }
        };
        let (first, second, ()) = tokio::join!(above(0), above(2), ring);
        assert_eq!((first, second), (1, 3));
        assert_eq!(above(2).await, 3, "who comes later hears it too");
    }
}
