//! The payload of one connection: how much moved, and how much may be read next where its session's rate
//! is limited.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use crate::broker::rate::{Rate, Rates};

use super::buffer::READ_MAX;

/// Both directions of a connection.
#[derive(Debug, Default)]
pub struct Traffic {
    /// Client to target.
    pub up: Flow,
    /// Target to client.
    pub down: Flow,
}

impl Traffic {
    /// Held to `rates`, if there are any.
    pub fn new(rates: Option<&Rates>) -> Self {
        rates.map_or_else(Self::default, |Rates { up, down }| Self {
            up: Flow::new(up),
            down: Flow::new(down),
        })
    }
}

/// One direction. Without a limit it counts, and nothing else.
#[derive(Debug, Default)]
pub struct Flow {
    bytes: Cell<u64>,
    reported: Cell<u64>,
    limit: Option<Box<Limit>>,
}

#[derive(Debug)]
struct Limit {
    rate: Arc<Rate>,
    /// When the next bytes may be read.
    due: Cell<Instant>,
    /// Since when they are waited for.
    hold: RefCell<Option<(Instant, Pin<Box<Sleep>>)>>,
    /// Time that was waited, and not reported yet.
    held: Cell<Duration>,
}

impl Flow {
    fn new(rate: &Arc<Rate>) -> Self {
        // What its session owes already, a new connection owes too.
        let due = Cell::new(rate.take(0, Instant::now().into_std()).into());
        let (hold, held) = (RefCell::default(), Cell::default());
        Self { limit: Some(Box::new(Limit { rate: rate.clone(), due, hold, held })), ..Self::default() }
    }

    /// Payload bytes that moved.
    pub fn bytes(&self) -> u64 {
        self.bytes.get()
    }

    /// Counts payload that was read.
    pub fn add(&self, bytes: usize) {
        self.bytes.set(self.bytes.get() + bytes as u64);
        if let Some(Limit { rate, due, .. }) = self.limit.as_deref() {
            due.set(rate.take(bytes, Instant::now().into_std()).into());
        }
    }

    /// Ready as soon as something may be read: with how many bytes at most, from 1 to [`READ_MAX`].
    pub fn poll_room(&self, cx: &mut Context<'_>) -> Poll<usize> {
        self.limit.as_ref().map_or(Poll::Ready(READ_MAX), |limit| limit.poll_room(cx))
    }

    /// Whether something may not be read yet that is waited for.
    pub fn is_held(&self) -> bool {
        self.limit.as_ref().is_some_and(|limit| limit.hold.borrow().is_some())
    }

    /// Bytes that moved, and time that they were held back, since the last call.
    pub fn unreported(&self) -> (u64, Duration) {
        let bytes = self.bytes.get() - self.reported.replace(self.bytes.get());
        (bytes, self.limit.as_ref().map_or(Duration::ZERO, |limit| limit.held.take()))
    }
}

impl Limit {
    fn poll_room(&self, cx: &mut Context<'_>) -> Poll<usize> {
        let mut hold = self.hold.borrow_mut();
        let (now, due) = (Instant::now(), self.due.get());
        if due > now {
            let (_, sleep) = hold.get_or_insert_with(|| (now, Box::pin(sleep_until(due))));
            ready!(sleep.as_mut().poll(cx));
        }
        if let Some((since, _)) = hold.take() {
            self.held.set(self.held.get() + since.elapsed());
        }
        Poll::Ready(self.rate.portion().min(READ_MAX))
    }
}

#[cfg(test)]
mod tests;
