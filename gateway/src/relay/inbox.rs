//! What came from the client: bytes that are not decoded yet, and payload that the target has not got yet.

use std::io;
use std::ops::Range;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite};

use super::buffer::{Buffer, HEADROOM};
use super::outbox::poll_write;
use super::pump::poll_read;
use super::traffic::Flow;
use super::ws::{Close, Decoder, Piece, ProtocolError};

/// One buffer holds what was read and what of it is payload by now.
#[derive(Default)]
pub struct Inbox {
    decoder: Decoder,
    buffer: Option<Buffer>,
    /// Decoded payload that the target has not got yet; always before `raw`.
    ready: Range<usize>,
    /// Bytes that are not decoded yet.
    raw: Range<usize>,
    /// The client's close frame, and what it said.
    closed: Option<Option<Close>>,
}

impl Inbox {
    /// With `early` as the first bytes of the client.
    ///
    /// # Panics
    /// There are more of them than a buffer holds.
    pub fn new(early: &[u8]) -> Self {
        let mut inbox = Self::default();
        if !early.is_empty() {
            let mut buffer = Buffer::borrow();
            buffer[..early.len()].copy_from_slice(early);
            inbox.raw = 0..early.len();
            inbox.buffer = Some(buffer);
        }
        inbox
    }

    /// The client's close frame, if it has come, and what it said.
    pub const fn closed(&self) -> Option<&Option<Close>> {
        self.closed.as_ref()
    }

    /// Whether the client may end here without breaking a frame off.
    pub fn is_between_frames(&self) -> bool {
        self.decoder.is_between_frames()
    }

    /// Whether all that was read is decoded.
    pub fn is_decoded(&self) -> bool {
        self.raw.is_empty()
    }

    /// Reads at most `room` bytes of the client; holds no buffer while it waits. All that was read before must
    /// be decoded and written. Returns how many came; none at the end.
    ///
    /// # Errors
    /// The client's connection failed.
    pub fn poll_read(
        &mut self,
        client: &mut (impl AsyncRead + Unpin),
        room: usize,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        self.buffer = None;
        let (buffer, len) = ready!(poll_read(client, room, cx))?;
        self.buffer = Some(buffer);
        self.raw = HEADROOM..HEADROOM + len;
        Poll::Ready(Ok(len))
    }

    /// Decodes what was read, up to a control frame. The payload of all frames on the way is moved
    /// together into one piece: many small frames are one write.
    ///
    /// # Errors
    /// What the client did wrong.
    pub fn decode(&mut self, up: &Flow) -> Result<Option<Piece>, ProtocolError> {
        let Some(buffer) = &mut self.buffer else { return Ok(None) };
        self.ready = self.raw.start..self.raw.start;
        while let Some((used, piece)) = self.decoder.next(&mut buffer[self.raw.clone()])? {
            let start = self.raw.start;
            self.raw.start += used;
            let Piece::Data { payload, .. } = piece else {
                if let Piece::Close(close) = &piece {
                    self.closed = Some(close.clone());
                }
                return Ok(Some(piece));
            };
            let payload = start + payload.start..start + payload.end;
            up.add(payload.len());
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

    /// Writes the decoded payload to the target. Called again it goes on where it was.
    ///
    /// # Errors
    /// The target's connection failed.
    pub fn poll_write(
        &mut self,
        target: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        match &self.buffer {
            Some(buffer) => poll_write(buffer, &mut self.ready, target, cx),
            None => Poll::Ready(Ok(())),
        }
    }
}
