//! A channel of one between the two pumps of a session, which run in one task.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::task::{Context, Poll, Waker};

use super::ws::{Control, Opcode};

/// A control frame for the client: the upstream pump and the watch put it in, the downstream pump,
/// the only writer of the client, takes it out.
#[derive(Default)]
pub struct Mailbox {
    letter: RefCell<Option<(Opcode, Control)>>,
    /// Both sides live in one task, so there is one waker to call.
    waker: Cell<Option<Waker>>,
}

impl Mailbox {
    /// Puts a frame in as soon as the one before is taken. Cancelling loses nothing but the frame.
    pub async fn put(&self, opcode: Opcode, payload: Control) {
        let mut letter = Some((opcode, payload));
        poll_fn(|cx| {
            if self.letter.borrow().is_some() {
                self.waker.set(Some(cx.waker().clone()));
                return Poll::Pending;
            }
            self.letter.replace(letter.take());
            self.wake();
            Poll::Ready(())
        })
        .await;
    }

    /// Puts a frame in if there is room.
    pub fn offer(&self, opcode: Opcode, payload: Control) {
        if self.letter.borrow().is_none() {
            self.letter.replace(Some((opcode, payload)));
            self.wake();
        }
    }

    /// Takes the frame out, if there is one; otherwise the task is woken by the next.
    pub fn poll_take(&self, cx: &mut Context<'_>) -> Poll<(Opcode, Control)> {
        let Some(letter) = self.letter.take() else {
            self.waker.set(Some(cx.waker().clone()));
            return Poll::Pending;
        };
        self.wake();
        Poll::Ready(letter)
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}
