//! What is on its way to the client: one frame at a time, in a buffer, or its payload in a pipe.

use std::cell::Cell;
use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

use super::buffer::{Buffer, HEADROOM, READ_MIN};
use super::pipe::{Leg, Pipe};
use super::ws::frame::put_header;
use super::ws::{Control, Opcode, SERVER_HEADER_LEN};

/// A frame of which some is not written yet, or none.
#[derive(Default)]
pub enum Outbox {
    /// Nothing is on its way.
    #[default]
    Empty,
    /// What is not written yet stands in a range of the buffer.
    Bytes(Buffer, Range<usize>),
    /// What is not written yet of the header, and behind it the pipe.
    Pages(Header, Pipe),
}

/// A header, and where what is not written of it starts.
pub struct Header {
    bytes: [u8; SERVER_HEADER_LEN],
    start: u8,
}

impl Outbox {
    /// What is no frame, and comes before all of them: the answer to the client's request.
    ///
    /// # Panics
    /// It leaves no room for what [`Self::follow`] puts behind it.
    pub fn answer(bytes: &[u8]) -> Self {
        let mut buffer = Buffer::borrow();
        assert!(bytes.len() + HEADROOM + READ_MIN <= buffer.len(), "an answer of {} bytes", bytes.len());
        buffer[..bytes.len()].copy_from_slice(bytes);
        Self::Bytes(buffer, 0..bytes.len())
    }

    /// Puts what `target` says already behind an answer of which nothing is written yet, as a frame: both leave in one
    /// write. Returns its length, of `room` and [`READ_MIN`] bytes at most; 0 where nothing is said yet, or no more.
    ///
    /// # Errors
    /// The target's connection failed. The answer stands.
    pub fn follow(
        &mut self,
        target: &mut (impl AsyncRead + Unpin),
        room: usize,
        cx: &mut Context<'_>,
    ) -> io::Result<usize> {
        let Self::Bytes(buffer, range) = self else { return Ok(0) };
        let answer = range.end;
        let payload = answer + HEADROOM;
        let mut read = ReadBuf::new(&mut buffer[payload..payload + room.min(READ_MIN)]);
        if let Poll::Ready(Err(error)) = Pin::new(target).poll_read(cx, &mut read) {
            return Err(error);
        }
        let len = read.filled().len();
        if len > 0 {
            // A short header stands at the end of its room, and the answer in front of it.
            let start = put_header(&mut buffer[answer..payload], Opcode::Binary, len);
            buffer.copy_within(..answer, start);
            *range = start..payload + len;
        }
        Ok(len)
    }

    /// The frame whose `len` bytes of payload stand behind the headroom of `buffer`.
    pub fn frame(opcode: Opcode, mut buffer: Buffer, len: usize) -> Self {
        let start = put_header(&mut buffer[..HEADROOM], opcode, len);
        Self::Bytes(buffer, start..HEADROOM + len)
    }

    /// A control frame.
    pub fn control(opcode: Opcode, payload: &Control) -> Self {
        let payload = payload.as_ref();
        let mut buffer = Buffer::borrow();
        buffer[HEADROOM..HEADROOM + payload.len()].copy_from_slice(payload);
        Self::frame(opcode, buffer, payload.len())
    }

    /// The binary frame whose payload is what `pipe` holds.
    pub fn pages(pipe: Pipe) -> Self {
        let mut bytes = [0; SERVER_HEADER_LEN];
        let start = put_header(&mut bytes, Opcode::Binary, pipe.len()) as u8;
        Self::Pages(Header { bytes, start }, pipe)
    }

    /// Writes all of it to the client; `stuck` is set while the client takes nothing. Called again it goes on
    /// where it was.
    ///
    /// # Errors
    /// The client's connection failed.
    pub fn poll_flush(
        &mut self,
        client: &mut impl Leg,
        stuck: &Cell<bool>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let flushed = match self {
            Self::Empty => return Poll::Ready(Ok(())),
            Self::Bytes(buffer, range) => poll_write(buffer, range, client, cx),
            Self::Pages(header, pipe) => poll_pages(header, pipe, client, cx),
        };
        stuck.set(flushed.is_pending());
        ready!(flushed)?;
        *self = Self::Empty;
        Poll::Ready(Ok(()))
    }

    /// Writes as [`Self::poll_flush`] what the end of the stream follows right behind: both leave in one segment, where
    /// the connection below is the client's.
    ///
    /// # Errors
    /// The client's connection failed.
    pub fn poll_flush_last(
        &mut self,
        client: &mut impl Leg,
        stuck: &Cell<bool>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        if let (Self::Bytes(buffer, range), Some(client)) = (&mut *self, client.bare()) {
            while range.start < range.end {
                range.start += ready!(poll_send_more(client, &buffer[range.clone()], cx))?;
            }
        }
        self.poll_flush(client, stuck, cx)
    }
}

/// Writes `range` of `buffer` to the last byte, and takes from its front what is written.
pub fn poll_write(
    buffer: &Buffer,
    range: &mut Range<usize>,
    to: &mut (impl AsyncWrite + Unpin),
    cx: &mut Context<'_>,
) -> Poll<io::Result<()>> {
    while range.start < range.end {
        match ready!(Pin::new(&mut *to).poll_write(cx, &buffer[range.clone()]))? {
            0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            len => range.start += len,
        }
    }
    // A stream of TLS takes what it is given before the connection below does.
    Pin::new(to).poll_flush(cx)
}

fn poll_pages(
    header: &mut Header,
    pipe: &mut Pipe,
    client: &impl Leg,
    cx: &mut Context<'_>,
) -> Poll<io::Result<()>> {
    let client = client.bare().ok_or(io::ErrorKind::NotConnected)?;
    while usize::from(header.start) < SERVER_HEADER_LEN {
        header.start += ready!(poll_send_more(client, &header.bytes[header.start.into()..], cx))? as u8;
    }
    while pipe.len() > 0 {
        if ready!(pipe.poll_drain(client, cx))? == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
    }
    Poll::Ready(Ok(()))
}

/// Sends what more follows right behind (tcp(7), `MSG_MORE`): both leave in one segment.
fn poll_send_more(to: &TcpStream, bytes: &[u8], cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
    loop {
        ready!(to.poll_write_ready(cx))?;
        let send = || SockRef::from(to).send_with_flags(bytes, nix::libc::MSG_MORE);
        match to.try_io(Interest::WRITABLE, send) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            sent => return Poll::Ready(sent),
        }
    }
}
