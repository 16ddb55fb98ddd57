//! The hot path: two pumps between a client that speaks WebSocket and a target that speaks bytes.
//!
//! `upstream` is the only reader of the client and the only writer of the target, `downstream` the
//! reverse. Both run in one task. What is read but not yet written stands in [`Outbox`]es outside
//! of both, so that a session can be stopped, or parked, at any await without losing its place in
//! the stream. Absent on purpose: configuration, metrics, kinds of targets, tickets, logging.

use std::cell::{Cell, RefCell};
use std::future::{pending, poll_fn};
use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, sleep, timeout};

use super::buffer::{Buffer, HEADROOM, READ_LEN};
use super::mail::Mailbox;
use super::traffic::Traffic;
use super::ws::frame::put_header;
use super::ws::{Close, CloseCode, Control, Decoder, Opcode, Piece, ProtocolError};

/// How a session ended, when nothing was wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The client sent a close frame.
    ClientClosed,
    /// The client's connection ended between frames, without a close frame.
    ClientGone,
    /// The client answered nothing, pings neither, for [`Pace::peer`].
    ClientSilent,
    /// The target ended its stream.
    TargetClosed,
    /// No payload moved for [`Pace::idle`].
    Idle,
    /// [`Pace::longest`] is over.
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
    fn of_target(error: io::Error) -> Self {
        error.downcast().map_or_else(Self::Target, Self::Protocol)
    }
}

/// The times of a session; zero switches one off.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// A client that is silent for so long, pings unanswered, is gone.
    pub peer: Duration,
    /// Longest time without payload either way.
    pub idle: Duration,
    /// Longest time in all.
    pub longest: Duration,
}

/// Time to say farewell in: finish the frame under way, send a close frame, wait for the answer.
const FAREWELL: Duration = Duration::from_secs(3);

/// Moves bytes until one side ends, something breaks, a time is over, or `stop` resolves; then takes
/// leave of the client with the right close code. `early` are bytes that came behind the handshake.
///
/// # Errors
/// Which side broke, and how. A peer that just leaves is an [`End`].
pub async fn run(
    client: impl AsyncRead + AsyncWrite + Unpin,
    target: impl AsyncRead + AsyncWrite + Unpin,
    early: &[u8],
    pace: &Pace,
    traffic: &Traffic,
    stop: impl Future<Output = Close>,
) -> Result<End, RelayError> {
    let (client, target) = (&RefCell::new(client), &RefCell::new(target));
    let (mail, signs) = (Mailbox::default(), Signs::default());
    let mut upstream = Upstream::new(early);
    let mut to_client = Outbox::default();

    let end = tokio::select! {
        // A stop comes before any byte: what may not be seen any more is not shown.
        biased;
        close = stop => Ok(End::Stopped(close)),
        end = upstream.run(client, target, &mail, &signs, traffic) => end,
        end = downstream(&mut to_client, client, target, &mail, &signs, traffic) => end,
        end = watch(pace, &mail, &signs, traffic) => Ok(end),
    };
    // The client may be dead or stuck; the end stands whatever becomes of the farewell.
    let _ = timeout(FAREWELL, farewell(&end, to_client, upstream, client)).await;
    end
}

/// Client to target. One buffer holds what was read and what of it is payload by now.
struct Upstream {
    decoder: Decoder,
    buffer: Option<Buffer>,
    /// Decoded payload that the target has not got yet; always before `raw`.
    ready: Range<usize>,
    /// Bytes that are not decoded yet.
    raw: Range<usize>,
    /// The client's close frame, and what it said.
    closed: Option<Option<Close>>,
    /// The target takes nothing more.
    deaf: bool,
}

impl Upstream {
    fn new(early: &[u8]) -> Self {
        let mut upstream = Self {
            decoder: Decoder::default(),
            buffer: None,
            ready: 0..0,
            raw: 0..early.len(),
            closed: None,
            deaf: false,
        };
        if !early.is_empty() {
            let mut buffer = Buffer::borrow();
            buffer[..early.len()].copy_from_slice(early);
            upstream.buffer = Some(buffer);
        }
        upstream
    }

    async fn run(
        &mut self,
        client: &RefCell<impl AsyncRead + Unpin>,
        target: &RefCell<impl AsyncWrite + Unpin>,
        mail: &Mailbox,
        signs: &Signs,
        traffic: &Traffic,
    ) -> Result<End, RelayError> {
        loop {
            let control = self.decode(traffic)?;
            if let Some(Piece::Close(close)) = &control {
                self.closed = Some(close.clone());
            }
            if let (Some(buffer), false) = (&self.buffer, self.deaf) {
                // A target that takes nothing more may still have something to say: what the client sends
                // is dropped from then on, and `downstream` meets the target's end.
                self.deaf = write(buffer, &mut self.ready, target, &signs.target_stuck).await.is_err();
            }
            match control {
                Some(Piece::Ping(payload)) => mail.put(Opcode::Pong, payload).await,
                Some(Piece::Close(_)) => return Ok(End::ClientClosed),
                Some(Piece::Pong(_) | Piece::Data { .. }) => {}
                None if !self.read(client, traffic).await? => return Ok(End::ClientGone),
                None => signs.heard.set(true),
            }
        }
    }

    /// Waits for bytes of the client, without a buffer. `false` at its end.
    async fn read(
        &mut self,
        client: &RefCell<impl AsyncRead + Unpin>,
        traffic: &Traffic,
    ) -> Result<bool, RelayError> {
        self.buffer = None;
        let read = poll_fn(|cx| {
            let room = ready!(traffic.up.poll_room(cx));
            poll_read(client, room, cx)
        });
        let (buffer, len) = read.await.map_err(RelayError::Client)?;
        if len == 0 && !self.decoder.is_between_frames() {
            return Err(RelayError::Client(io::ErrorKind::UnexpectedEof.into()));
        }
        self.buffer = Some(buffer);
        self.raw = HEADROOM..HEADROOM + len;
        Ok(len > 0)
    }

    /// Decodes what was read, up to a control frame. The payload of all frames on the way is moved
    /// together into one piece, `ready`: many small frames are one write.
    fn decode(&mut self, traffic: &Traffic) -> Result<Option<Piece>, ProtocolError> {
        let Some(buffer) = &mut self.buffer else { return Ok(None) };
        self.ready = self.raw.start..self.raw.start;
        while let Some((used, piece)) = self.decoder.next(&mut buffer[self.raw.clone()])? {
            let start = self.raw.start;
            self.raw.start += used;
            let Piece::Data { payload, .. } = piece else { return Ok(Some(piece)) };
            let payload = start + payload.start..start + payload.end;
            traffic.up.add(payload.len());
            if self.ready.is_empty() {
                self.ready = payload;
            } else {
                let end = self.ready.end + payload.len();
                buffer.copy_within(payload, self.ready.end);
                self.ready.end = end;
            }
        }
        self.raw.start = self.raw.end;
        Ok(None)
    }
}

/// Target to client: one read becomes one frame and one write.
async fn downstream(
    out: &mut Outbox,
    client: &RefCell<impl AsyncWrite + Unpin>,
    target: &RefCell<impl AsyncRead + Unpin>,
    mail: &Mailbox,
    signs: &Signs,
    traffic: &Traffic,
) -> Result<End, RelayError> {
    loop {
        out.flush(client, &signs.client_stuck).await.map_err(RelayError::Client)?;
        let next = poll_fn(|cx| match mail.poll_take(cx) {
            Poll::Ready((opcode, payload)) => Poll::Ready(Ok(Some(Outbox::control(opcode, &payload)))),
            Poll::Pending => {
                let room = ready!(traffic.down.poll_room(cx));
                let (buffer, len) = ready!(poll_read(target, room, cx))?;
                traffic.down.add(len);
                Poll::Ready(Ok((len > 0).then(|| Outbox::frame(Opcode::Binary, buffer, len))))
            }
        });
        match next.await.map_err(RelayError::of_target)? {
            Some(frame) => *out = frame,
            None => return Ok(End::TargetClosed),
        }
    }
}

/// Watches the clock of a session: pings a client that is silent, and ends what took too long.
async fn watch(pace: &Pace, mail: &Mailbox, signs: &Signs, traffic: &Traffic) -> End {
    let Some(tick) = pace.tick() else { return pending().await };
    let start = Instant::now();
    let (mut heard, mut moved, mut bytes) = (start, start, 0);
    loop {
        sleep(tick).await;
        let now = Instant::now();
        let over = |since: Instant, limit: Duration| !limit.is_zero() && now - since >= limit;
        // A session that waits for its target, or for its rate, does not read the client, and one that waits
        // for its client cannot ping it: silence proves nothing then, and TCP_USER_TIMEOUT sees to it.
        let deaf = signs.target_stuck.get() || signs.client_stuck.get() || traffic.up.is_held();
        if signs.heard.take() || deaf {
            heard = now;
        } else if over(heard, pace.peer / 4) {
            mail.offer(Opcode::Ping, Control::default());
        }
        if bytes != traffic.up.bytes() + traffic.down.bytes() {
            bytes = traffic.up.bytes() + traffic.down.bytes();
            moved = now;
        }
        if over(heard, pace.peer) {
            return End::ClientSilent;
        } else if over(moved, pace.idle) {
            return End::Idle;
        } else if over(start, pace.longest) {
            return End::TooLong;
        }
    }
}

impl Pace {
    /// One timer serves all three, a quarter of the shortest at a time.
    fn tick(&self) -> Option<Duration> {
        [self.peer, self.idle, self.longest]
            .into_iter()
            .filter(|time| !time.is_zero())
            .min()
            .map(|time| time / 4)
    }
}

/// What the pumps tell the watch.
#[derive(Default)]
struct Signs {
    /// Bytes came from the client since the last look.
    heard: Cell<bool>,
    /// The target does not take what the client sent.
    target_stuck: Cell<bool>,
    /// The client does not take what is meant for it.
    client_stuck: Cell<bool>,
}

/// Finishes the frame under way, sends a close frame, and waits until the client has answered and
/// left: closing with unread bytes would reset the connection and might overtake the close frame.
async fn farewell(
    end: &Result<End, RelayError>,
    mut out: Outbox,
    mut upstream: Upstream,
    client: &RefCell<impl AsyncRead + AsyncWrite + Unpin>,
) -> Result<(), RelayError> {
    let close = match end {
        Ok(End::ClientGone | End::ClientSilent) | Err(RelayError::Client(_)) => return Ok(()),
        // An empty close is answered with an empty one, any other with its own code.
        Ok(End::ClientClosed) => upstream.closed.take().flatten(),
        Ok(End::TargetClosed) => Some(Close::new(CloseCode::NORMAL, "target closed")),
        Ok(End::Idle) => Some(Close::new(CloseCode::GOING_AWAY, "idle")),
        Ok(End::TooLong) => Some(Close::new(CloseCode::GOING_AWAY, "time is over")),
        Ok(End::Stopped(close)) => Some(close.clone()),
        Err(RelayError::Protocol(error)) => Some(Close::new(error.close_code(), error.to_string())),
        Err(RelayError::Target(_)) => Some(Close::new(CloseCode::INTERNAL, "target connection lost")),
    };
    let stuck = Cell::default();
    out.flush(client, &stuck).await.map_err(RelayError::Client)?;
    let payload = close.map(|close| close.payload()).unwrap_or_default();
    Outbox::control(Opcode::Close, &payload).flush(client, &stuck).await.map_err(RelayError::Client)?;

    // What still comes is nobody's, and is not held to any rate.
    let unneeded = Traffic::default();
    if upstream.closed.is_none() && !matches!(end, Ok(End::ClientClosed) | Err(RelayError::Protocol(_))) {
        while !matches!(upstream.decode(&unneeded)?, Some(Piece::Close(_))) {
            if upstream.raw.is_empty() && !upstream.read(client, &unneeded).await? {
                return Ok(());
            }
        }
    }
    poll_fn(|cx| Pin::new(&mut *client.borrow_mut()).poll_shutdown(cx)).await.map_err(RelayError::Client)?;
    while poll_fn(|cx| poll_read(client, READ_LEN, cx)).await.map_err(RelayError::Client)?.1 > 0 {}
    Ok(())
}

/// Reads once, at most `room` bytes. The buffer is borrowed only while the stream has something to say.
fn poll_read(
    from: &RefCell<impl AsyncRead + Unpin>,
    room: usize,
    cx: &mut Context<'_>,
) -> Poll<io::Result<(Buffer, usize)>> {
    let mut buffer = Buffer::borrow();
    let mut room = ReadBuf::new(&mut buffer[HEADROOM..HEADROOM + room]);
    ready!(Pin::new(&mut *from.borrow_mut()).poll_read(cx, &mut room))?;
    let len = room.filled().len();
    Poll::Ready(Ok((buffer, len)))
}

/// Writes `range` of `buffer`, and takes from its front what is written. Cancelled and called again,
/// it goes on where it was.
async fn write(
    buffer: &Buffer,
    range: &mut Range<usize>,
    to: &RefCell<impl AsyncWrite + Unpin>,
    stuck: &Cell<bool>,
) -> io::Result<()> {
    while range.start < range.end {
        let written = poll_fn(|cx| {
            let written = Pin::new(&mut *to.borrow_mut()).poll_write(cx, &buffer[range.clone()]);
            stuck.set(written.is_pending());
            written
        });
        match written.await? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            len => range.start += len,
        }
    }
    // A stream of TLS takes what it is given before the connection below does.
    let flushed = poll_fn(|cx| {
        let flushed = Pin::new(&mut *to.borrow_mut()).poll_flush(cx);
        stuck.set(flushed.is_pending());
        flushed
    });
    flushed.await
}

/// A frame on its way to the client.
#[derive(Default)]
struct Outbox {
    buffer: Option<Buffer>,
    range: Range<usize>,
}

impl Outbox {
    /// The frame whose `len` bytes of payload stand behind the headroom of `buffer`.
    fn frame(opcode: Opcode, mut buffer: Buffer, len: usize) -> Self {
        let start = put_header(&mut buffer[..HEADROOM], opcode, len);
        Self { buffer: Some(buffer), range: start..HEADROOM + len }
    }

    fn control(opcode: Opcode, payload: &Control) -> Self {
        let payload = payload.as_ref();
        let mut buffer = Buffer::borrow();
        buffer[HEADROOM..HEADROOM + payload.len()].copy_from_slice(payload);
        Self::frame(opcode, buffer, payload.len())
    }

    async fn flush(&mut self, to: &RefCell<impl AsyncWrite + Unpin>, stuck: &Cell<bool>) -> io::Result<()> {
        if let Some(buffer) = &self.buffer {
            write(buffer, &mut self.range, to, stuck).await?;
            self.buffer = None;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
