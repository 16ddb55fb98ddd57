//! Between a native client and a target: bytes both ways, as they are. What `pump` is for WebSocket, without
//! frames.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::buffer::{Buffer, HEADROOM};
use super::outbox::poll_write;
use super::pulse::{Over, Pulse};
use super::pump::{End, FAREWELL, RelayError, Stride, TURN, poll_read, poll_turn};
use super::traffic::{Flow, Traffic};
use super::ws::Close;

/// Two connections, and what was read from each and is not written to the other.
pub struct BarePump<C, T> {
    client: C,
    target: T,
    up: Lane,
    down: Lane,
    /// The target takes nothing more.
    deaf: bool,
}

/// One direction.
#[derive(Default)]
struct Lane {
    buffer: Option<Buffer>,
    /// What of it is not written yet.
    ready: Range<usize>,
    stride: Stride,
}

impl<C: AsyncRead + AsyncWrite + Unpin, T: AsyncRead + AsyncWrite + Unpin> BarePump<C, T> {
    /// Nothing has moved. `early` are bytes of the client that were read already.
    ///
    /// # Panics
    /// They are more than [`READ_MAX`](super::buffer::READ_MAX).
    pub fn new(client: C, target: T, early: &[u8]) -> Self {
        Self { client, target, up: Lane::new(early), down: Lane::default(), deaf: false }
    }

    /// Moves bytes until one side ends, something breaks, `pulse` says that a time is over, or `stop` resolves.
    ///
    /// # Errors
    /// Which side broke, and how.
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
        // The end stands whether or not the client hears of it.
        let _ = Box::pin(timeout(FAREWELL, self.client.shutdown())).await;
        end
    }

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
            // There is nothing to ask such a client with; TCP sees to whether it is there.
            pulse.heard();
        }
        let mut turn = TURN;
        if let Poll::Ready(end) = self.poll_up(pulse, &traffic.up, &mut turn, cx) {
            return Poll::Ready(end);
        }
        let Self { client, target, down, .. } = self;
        match ready!(down.poll_move(target, client, &traffic.down, &mut turn, &pulse.client_stuck, cx)) {
            Ok(()) => Poll::Ready(Ok(End::TargetClosed)),
            Err(Broken::From(error)) => Poll::Ready(Err(RelayError::of_target(error))),
            Err(Broken::To(error)) => Poll::Ready(Err(RelayError::Client(error))),
        }
    }

    fn poll_up(
        &mut self,
        pulse: &Pulse,
        up: &Flow,
        turn: &mut usize,
        cx: &mut Context<'_>,
    ) -> Poll<Result<End, RelayError>> {
        if self.deaf {
            return Poll::Pending;
        }
        let Self { client, target, up: lane, .. } = self;
        match ready!(lane.poll_move(client, target, up, turn, &pulse.target_stuck, cx)) {
            Ok(()) => Poll::Ready(Ok(End::ClientGone)),
            Err(Broken::From(error)) => Poll::Ready(Err(RelayError::Client(error))),
            // A target that takes nothing more may still have something to say.
            Err(Broken::To(_)) => {
                self.deaf = true;
                Poll::Pending
            }
        }
    }
}

/// Which side of a lane broke.
enum Broken {
    From(io::Error),
    To(io::Error),
}

impl Lane {
    fn new(early: &[u8]) -> Self {
        if early.is_empty() {
            return Self::default();
        }
        let mut buffer = Buffer::borrow();
        buffer[..early.len()].copy_from_slice(early);
        Self { buffer: Some(buffer), ready: 0..early.len(), stride: Stride::default() }
    }

    /// Ready when `from` has ended and all of it is written. What was read is written before more is read, and no
    /// buffer is held while nothing comes.
    fn poll_move(
        &mut self,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
        flow: &Flow,
        turn: &mut usize,
        stuck: &Cell<bool>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Broken>> {
        loop {
            if let Some(buffer) = &self.buffer {
                let written = poll_write(buffer, &mut self.ready, to, cx);
                stuck.set(written.is_pending());
                if written.is_pending() {
                    self.stride.waits();
                }
                ready!(written).map_err(Broken::To)?;
                self.buffer = None;
            }
            ready!(poll_turn(*turn, cx));
            let room = ready!(flow.poll_room(cx)).min(self.stride.0);
            let (buffer, len) = ready!(poll_read(from, room, cx)).map_err(Broken::From)?;
            if len == 0 {
                return Poll::Ready(Ok(()));
            }
            flow.add(len);
            self.stride.took(len);
            *turn = turn.saturating_sub(len);
            self.ready = HEADROOM..HEADROOM + len;
            self.buffer = Some(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, DuplexStream, duplex};

    use super::*;
    use crate::relay::pulse::Pace;
    use crate::relay::ws::CloseCode;

    type Ends = (DuplexStream, DuplexStream, BarePump<DuplexStream, DuplexStream>);

    fn between(early: &[u8]) -> Ends {
        let ((client, outer), (inner, target)) = (duplex(64), duplex(64));
        (client, target, BarePump::new(outer, inner, early))
    }

    /// Runs the pump while `peers` do what they do.
    async fn run(
        mut pump: BarePump<DuplexStream, DuplexStream>,
        peers: impl Future<Output = ()>,
    ) -> (Result<End, RelayError>, Traffic) {
        let (pulse, traffic) = (Pulse::default(), Traffic::default());
        let (end, ()) = tokio::join!(pump.run(&pulse, &traffic, Box::pin(pending())), peers);
        (end, traffic)
    }

    async fn reads(from: &mut DuplexStream, expected: &[u8]) {
        let mut bytes = vec![0; expected.len()];
        from.read_exact(&mut bytes).await.expect("reads");
        assert_eq!(bytes, expected);
    }

    #[tokio::test]
    async fn bytes_move_as_they_are() {
        let (mut client, mut target, pump) = between(b"early ");
        let peers = async {
            client.write_all(b"question").await.expect("writes");
            reads(&mut target, b"early question").await;
            // More than is on its way at once.
            let (answer, mut heard) = (vec![7; 100_000], Vec::new());
            let answers = async {
                target.write_all(&answer).await.expect("writes");
                drop(target);
            };
            let ((), read) = tokio::join!(answers, client.read_to_end(&mut heard));
            read.expect("reads");
            assert_eq!(heard, answer);
        };
        let (end, traffic) = run(pump, peers).await;
        assert_eq!(end.expect("an end"), End::TargetClosed);
        assert_eq!((traffic.up.bytes(), traffic.down.bytes()), (8, 100_000));
    }

    #[tokio::test]
    async fn a_client_that_leaves_is_an_end() {
        let (mut client, mut target, pump) = between(b"");
        let peers = async {
            client.write_all(b"last").await.expect("writes");
            drop(client);
            reads(&mut target, b"last").await;
        };
        assert_eq!(run(pump, peers).await.0.expect("an end"), End::ClientGone);
    }

    #[tokio::test]
    async fn a_stop_ends_it_before_any_byte() {
        let (mut client, mut target, mut pump) = between(b"early");
        let stop = Box::pin(std::future::ready(Close::new(CloseCode::GOING_AWAY, "closed")));
        let end = pump.run(&Pulse::default(), &Traffic::default(), stop).await.expect("an end");
        assert!(matches!(end, End::Stopped(_)), "{end:?}");
        drop(pump);
        let (mut up, mut down) = (Vec::new(), Vec::new());
        target.read_to_end(&mut up).await.expect("reads");
        client.read_to_end(&mut down).await.expect("reads");
        assert!(up.is_empty() && down.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_no_fault_of_a_native_client() {
        let (_client, target, mut pump) = between(b"");
        let (pulse, traffic) = (Pulse::default(), Traffic::default());
        let pace = Pace { peer: Duration::from_secs(4), idle: Duration::ZERO, longest: Duration::ZERO };
        let clock = async {
            for _ in 0..100 {
                tokio::time::sleep(Duration::from_secs(1)).await;
                pulse.tick(&pace, &traffic, tokio::time::Instant::now());
            }
            drop(target);
        };
        let (end, ()) = tokio::join!(pump.run(&pulse, &traffic, Box::pin(pending())), clock);
        assert_eq!(end.expect("an end"), End::TargetClosed);
    }
}
