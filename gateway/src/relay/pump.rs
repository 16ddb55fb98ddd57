//! The hot path: between a client that speaks WebSocket and a target that speaks bytes.
//!
//! A session is one value, [`Pump`], whose two directions are polled in turn: `poll_up` is the only reader
//! of the client and the only writer of the target, `poll_down` the reverse. What is read but not yet written
//! stands in its inbox and outbox, so that a session can be stopped, or parked, between any two polls without
//! losing its place in the stream. Absent on purpose: configuration, metrics, kinds of targets, tickets,
//! logging, and timers.

use std::future::poll_fn;
use std::io;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::timeout;

use super::buffer::{Buffer, HEADROOM, READ_MAX, READ_MIN};
use super::haste::Haste;
use super::inbox::Inbox;
use super::outbox::Outbox;
use super::pipe::{Leg, Pipe};
use super::pulse::{Over, Pulse};
use super::traffic::Traffic;
use super::ws::{Close, CloseCode, Control, Opcode, Piece, ProtocolError};

/// How a session ended, when nothing was wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The client sent a close frame.
    ClientClosed,
    /// The client's connection ended between frames, without a close frame.
    ClientGone,
    /// The client answered nothing, pings neither, for [`Pace::peer`](super::pulse::Pace::peer).
    ClientSilent,
    /// The target ended its stream.
    TargetClosed,
    /// No payload moved for [`Pace::idle`](super::pulse::Pace::idle).
    Idle,
    /// [`Pace::longest`](super::pulse::Pace::longest) is over.
    TooLong,
    /// The gateway ended it.
    Stopped(Close),
}

/// What went wrong, and on which side.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// The client's connection failed, or ended inside a frame.
    #[error("client: {0}")]
    Client(#[source] io::Error),
    /// The client broke the WebSocket protocol, or that of the console.
    #[error("client: {0}")]
    Protocol(#[from] ProtocolError),
    /// The target's connection failed.
    #[error("target: {0}")]
    Target(#[source] io::Error),
}

impl RelayError {
    /// What stands in front of a target may find that it was the client.
    pub(super) fn of_target(error: io::Error) -> Self {
        error.downcast().map_or_else(Self::Target, Self::Protocol)
    }
}

/// Time to say farewell in: finish the frame under way, send a close frame, wait for the answer.
pub(super) const FAREWELL: Duration = Duration::from_secs(3);

/// Bytes that a session may move in one turn before the others of its core have theirs.
pub(super) const TURN: usize = 1024 * 1024;

/// All that a session is while it runs: two connections, and the place in both streams. Nothing else has to
/// be kept to go on with it elsewhere.
pub struct Pump<C, T> {
    client: C,
    target: T,
    inbox: Inbox,
    outbox: Outbox,
    /// What is in the outbox is the answer to the client's request, and nobody tried to write it yet.
    answers: bool,
    /// What stood behind the payload in the inbox, and has its turn after it.
    control: Option<Piece>,
    /// A control frame for the client; it goes out between two others.
    mail: Option<(Opcode, Control)>,
    up: Stride,
    down: Stride,
    haste: Haste,
    /// The target takes nothing more, for this reason.
    deaf: Option<io::ErrorKind>,
}

impl<C: Leg, T: Leg> Pump<C, T> {
    /// Nothing has moved. `early` are bytes of the client that came behind its handshake.
    ///
    /// # Panics
    /// They are more than [`READ_MAX`].
    pub fn new(client: C, target: T, early: &[u8]) -> Self {
        Self {
            client,
            target,
            inbox: Inbox::new(early),
            outbox: Outbox::default(),
            answers: false,
            control: None,
            mail: None,
            up: Stride::default(),
            down: Stride::default(),
            haste: Haste::default(),
            deaf: None,
        }
    }

    /// Before anything else the client is told `answer`. What the console has said by then leaves in the same write.
    ///
    /// # Panics
    /// It is longer than [`READ_MAX`] less [`READ_MIN`].
    pub fn answering(mut self, answer: &[u8]) -> Self {
        self.outbox = Outbox::answer(answer);
        self.answers = true;
        self
    }

    /// Moves bytes until one side ends, something breaks, `pulse` says that a time is over, or `stop`
    /// resolves; then takes leave of the client with the right close code.
    ///
    /// # Errors
    /// Which side broke, and how. A peer that just leaves is an [`End`].
    pub async fn run(
        &mut self,
        pulse: &Pulse,
        traffic: &Traffic,
        mut stop: impl Future<Output = Close> + Unpin,
    ) -> Result<End, RelayError> {
        let moving = poll_fn(|cx| match Pin::new(&mut stop).poll(cx) {
            // A stop comes before any byte: what may not be seen any more is not shown.
            Poll::Ready(close) => Poll::Ready(Ok(End::Stopped(close))),
            Poll::Pending => self.poll(pulse, traffic, cx),
        });
        let end = moving.await;
        // The client may be dead or stuck; the end stands whatever becomes of the farewell. In a box: no
        // session needs room for it before its end.
        let _ = Box::pin(timeout(FAREWELL, self.farewell(&end))).await;
        end
    }

    /// Moves what can be moved, at most about [`TURN`] bytes.
    fn poll(
        &mut self,
        pulse: &Pulse,
        traffic: &Traffic,
        cx: &mut Context<'_>,
    ) -> Poll<Result<End, RelayError>> {
        match pulse.over(cx) {
            Some(Over::Peer) => return Poll::Ready(Ok(End::ClientSilent)),
            Some(Over::Idle) => return Poll::Ready(Ok(End::Idle)),
            Some(Over::Longest) => return Poll::Ready(Ok(End::TooLong)),
            None => {}
        }
        if pulse.wants_ping() {
            self.mail.get_or_insert_with(|| (Opcode::Ping, Control::default()));
        }
        let mut turn = TURN;
        loop {
            if let Poll::Ready(end) = self.poll_up(pulse, traffic, &mut turn, cx) {
                return Poll::Ready(end);
            }
            // All that one direction can wait for in the other: a ping for room for its pong.
            let waits = self.control.is_some() && self.mail.is_some();
            if let Poll::Ready(end) = self.poll_down(pulse, traffic, &mut turn, cx) {
                return Poll::Ready(end);
            }
            if !waits || self.mail.is_some() {
                return Poll::Pending;
            }
        }
    }

    /// Client to target: what was read is written before more is read; many small frames are one write.
    fn poll_up(
        &mut self,
        pulse: &Pulse,
        traffic: &Traffic,
        turn: &mut usize,
        cx: &mut Context<'_>,
    ) -> Poll<Result<End, RelayError>> {
        loop {
            if self.deaf.is_none() {
                let written = self.inbox.poll_write(&mut self.target, cx);
                pulse.target_stuck.set(written.is_pending());
                if written.is_pending() {
                    self.up.waits();
                }
                // A target that takes nothing more may still have something to say: what the client sends is
                // dropped from then on, and `poll_down` meets the target's end.
                self.deaf = ready!(written).err().map(|error| error.kind());
            }
            match self.control.take() {
                Some(Piece::Close(_)) => return Poll::Ready(Ok(End::ClientClosed)),
                Some(ping @ Piece::Ping(_)) if self.mail.is_some() => {
                    self.control = Some(ping);
                    return Poll::Pending;
                }
                Some(Piece::Ping(payload)) => self.mail = Some((Opcode::Pong, payload)),
                Some(Piece::Pong(_) | Piece::Data { .. }) | None => {}
            }
            if self.inbox.is_decoded() {
                ready!(poll_turn(*turn, cx));
                let room = ready!(traffic.up.poll_room(cx)).min(self.up.0);
                let len =
                    ready!(self.inbox.poll_read(&mut self.client, room, cx)).map_err(RelayError::Client)?;
                if len == 0 {
                    return Poll::Ready(self.client_left());
                }
                pulse.heard();
                self.up.took(len);
                *turn = turn.saturating_sub(len);
            }
            self.control = self.inbox.decode(&traffic.up)?;
        }
    }

    fn client_left(&self) -> Result<End, RelayError> {
        if self.inbox.is_between_frames() {
            return Ok(End::ClientGone);
        }
        Err(RelayError::Client(io::ErrorKind::UnexpectedEof.into()))
    }

    /// What broke a connection is told once, to who looks first: a write may have taken it.
    fn target_left(&self) -> Result<End, RelayError> {
        match self.deaf {
            None | Some(io::ErrorKind::BrokenPipe) => Ok(End::TargetClosed),
            Some(kind) => Err(RelayError::Target(kind.into())),
        }
    }

    /// Target to client: one read becomes one frame and one write.
    fn poll_down(
        &mut self,
        pulse: &Pulse,
        traffic: &Traffic,
        turn: &mut usize,
        cx: &mut Context<'_>,
    ) -> Poll<Result<End, RelayError>> {
        if mem::take(&mut self.answers)
            && let Poll::Ready(room) = traffic.down.poll_room(cx)
        {
            let len = self.outbox.follow(&mut self.target, room, cx).map_err(RelayError::of_target)?;
            traffic.down.add(len);
        }
        loop {
            let flushed = self.outbox.poll_flush(&mut self.client, &pulse.client_stuck, cx);
            if flushed.is_pending() {
                self.down.waits();
            }
            ready!(flushed).map_err(RelayError::Client)?;
            if let Some((opcode, payload)) = self.mail.take() {
                self.outbox = Outbox::control(opcode, &payload);
                continue;
            }
            ready!(poll_turn(*turn, cx));
            let room = ready!(traffic.down.poll_room(cx)).min(self.down.0);
            let len = ready!(self.poll_fetch(room, cx)).map_err(RelayError::of_target)?;
            if len == 0 {
                return Poll::Ready(self.target_left());
            }
            traffic.down.add(len);
            self.down.took(len);
            self.haste.took(len, self.client.bare(), self.target.bare());
            *turn = turn.saturating_sub(len);
        }
    }

    /// Reads the target into the outbox, by a pipe where much comes and nobody has to see it.
    fn poll_fetch(&mut self, room: usize, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.down.is_long()
            && let (Some(target), Some(_)) = (self.target.bare(), self.client.bare())
            && let Some(mut pipe) = Pipe::borrow()
        {
            let len = ready!(pipe.poll_fill(target, room, cx))?;
            if len > 0 {
                self.outbox = Outbox::pages(pipe);
            }
            return Poll::Ready(Ok(len));
        }
        let (buffer, len) = ready!(poll_read(&mut self.target, room, cx))?;
        if len > 0 {
            self.outbox = Outbox::frame(Opcode::Binary, buffer, len);
        }
        Poll::Ready(Ok(len))
    }

    /// Finishes the frame under way, sends a close frame, and waits until the client has answered and
    /// left: closing with unread bytes would reset the connection and might overtake the close frame.
    async fn farewell(&mut self, end: &Result<End, RelayError>) -> Result<(), RelayError> {
        let close = match end {
            Ok(End::ClientGone | End::ClientSilent) | Err(RelayError::Client(_)) => return Ok(()),
            // An empty close is answered with an empty one, any other with its own code.
            Ok(End::ClientClosed) => self.inbox.closed().cloned().flatten(),
            Ok(End::TargetClosed) => Some(Close::new(CloseCode::NORMAL, "target closed")),
            Ok(End::Idle) => Some(Close::new(CloseCode::GOING_AWAY, "idle")),
            Ok(End::TooLong) => Some(Close::new(CloseCode::GOING_AWAY, "time is over")),
            Ok(End::Stopped(close)) => Some(close.clone()),
            Err(RelayError::Protocol(error)) => Some(Close::new(error.close_code(), error.to_string())),
            Err(RelayError::Target(_)) => Some(Close::new(CloseCode::INTERNAL, "target connection lost")),
        };
        let payload = close.map(|close| close.payload()).unwrap_or_default();
        self.flush().await?;
        self.outbox = Outbox::control(Opcode::Close, &payload);
        if matches!(end, Err(RelayError::Protocol(_))) || self.inbox.closed().is_some() {
            let stuck = Default::default();
            poll_fn(|cx| self.outbox.poll_flush_last(&mut self.client, &stuck, cx))
                .await
                .map_err(RelayError::Client)?;
        } else {
            self.flush().await?;
            self.hear_out().await?;
        }
        poll_fn(|cx| Pin::new(&mut self.client).poll_shutdown(cx)).await.map_err(RelayError::Client)?;
        while self.read_away().await? > 0 {}
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), RelayError> {
        let stuck = Default::default();
        poll_fn(|cx| self.outbox.poll_flush(&mut self.client, &stuck, cx)).await.map_err(RelayError::Client)
    }

    /// Reads until the client has closed, or left.
    async fn hear_out(&mut self) -> Result<(), RelayError> {
        // What still comes is nobody's, and is not held to any rate.
        let unneeded = Traffic::default();
        while self.inbox.closed().is_none() {
            if self.inbox.is_decoded() && self.read_away().await? == 0 {
                return Ok(());
            }
            self.inbox.decode(&unneeded.up)?;
        }
        Ok(())
    }

    async fn read_away(&mut self) -> Result<usize, RelayError> {
        let read = poll_fn(|cx| self.inbox.poll_read(&mut self.client, READ_MAX, cx));
        read.await.map_err(RelayError::Client)
    }
}

/// Pending where a turn is over; the next one comes by itself.
pub(super) fn poll_turn(left: usize, cx: &Context<'_>) -> Poll<()> {
    if left > 0 {
        return Poll::Ready(());
    }
    cx.waker().wake_by_ref();
    Poll::Pending
}

/// How many bytes the next read of a direction may bring: twice as many after one that brought all it could,
/// half after one that brought little, and no more than [`STRIDE_LONG`] behind one that has to wait: thousands
/// of slow sessions are not to hold much each, and what their users see is to be fresh.
pub(super) struct Stride(pub(super) usize);

/// From here on it pays to set a pipe up.
const STRIDE_LONG: usize = 64 * 1024;

impl Default for Stride {
    fn default() -> Self {
        Self(READ_MIN)
    }
}

impl Stride {
    pub(super) fn took(&mut self, len: usize) {
        if len >= self.0 {
            self.0 = (2 * self.0).min(READ_MAX);
        } else if len < self.0 / 4 {
            self.0 = (self.0 / 2).max(READ_MIN);
        }
    }

    /// What was read has to wait.
    pub(super) fn waits(&mut self) {
        self.0 = self.0.min(STRIDE_LONG);
    }

    /// Whether so much comes that it pays to set a pipe up for it.
    const fn is_long(&self) -> bool {
        self.0 >= STRIDE_LONG
    }
}

/// Reads once, at most `room` bytes, behind the headroom. The buffer is borrowed only while the stream has
/// something to say.
pub(super) fn poll_read(
    from: &mut (impl AsyncRead + Unpin),
    room: usize,
    cx: &mut Context<'_>,
) -> Poll<io::Result<(Buffer, usize)>> {
    let mut buffer = Buffer::borrow();
    let mut room = ReadBuf::new(&mut buffer[HEADROOM..HEADROOM + room]);
    ready!(Pin::new(from).poll_read(cx, &mut room))?;
    let len = room.filled().len();
    Poll::Ready(Ok((buffer, len)))
}

#[cfg(test)]
pub mod tests;
