//! The server's half of the handshake: the gateway toward a client.

use std::io::{self, IoSlice};
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::view_only::Filter;
use super::{NONE, VERSION_LEN, Version};
use crate::relay::pipe::Leg;
use crate::relay::ws::ProtocolError;

/// A target that was authenticated to, as a client finds it: it offers RFB 3.8 and security type None, and
/// no other (RFC 6143 sections 7.1.1 to 7.1.3 and 7.2.1). What is read from it is for the client, what is
/// written to it is from the client.
///
/// From ClientInit on, it is `S` without a copy between. A write that brings more than the handshake takes
/// only that, as a short write; what is left belongs to the target, as the next write.
///
/// Until the client has answered, the target is not read: it has nothing to say before ClientInit. There is
/// no deadline.
///
/// # Errors
/// Reads and writes fail with [`io::ErrorKind::InvalidData`] around a [`ProtocolError`] once a client
/// answered badly: the fault is the client's, though it shows at the target's side.
#[derive(Debug)]
pub struct Fronted<S> {
    target: S,
    /// Gone when the client has read the last byte of the handshake.
    front: Option<Box<Front>>,
    /// The client may look, and do nothing.
    looking: Option<Box<Looking>>,
}

/// What a client may only look through.
#[derive(Debug, Default)]
struct Looking {
    filter: Filter,
    /// What passed, and the target has not taken yet.
    due: Vec<u8>,
    /// It sent what nobody knows.
    refused: Option<ProtocolError>,
    /// Who waits for something to read.
    reader: Option<Waker>,
}

impl Looking {
    fn check(&self) -> io::Result<()> {
        self.refused.map_or(Ok(()), |error| Err(io::Error::new(io::ErrorKind::InvalidData, error)))
    }

    /// Gives the target what passed.
    fn poll_push(
        &mut self,
        target: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while !self.due.is_empty() {
            match ready!(Pin::new(&mut *target).poll_write(cx, &self.due))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                len => drop(self.due.drain(..len)),
            }
        }
        Poll::Ready(self.check())
    }

    fn hear(&mut self, bytes: &[u8]) {
        if let Err(error) = self.filter.take(bytes, &mut self.due) {
            self.refused = Some(error);
            if let Some(reader) = self.reader.take() {
                reader.wake();
            }
        }
    }
}

/// What a client may not answer: a ProtocolVersion that is not 3.3, 3.7 or 3.8, or none at all; another
/// security type than None.
const NO_VERSION: ProtocolError = ProtocolError::Console("there is no such version of RFB");
const NOT_OFFERED: ProtocolError = ProtocolError::Console("this security type of RFB was not offered");

impl<S> Fronted<S> {
    /// `target` waits for ClientInit.
    pub fn new(target: S) -> Self {
        Self { target, front: Some(Box::default()), looking: None }
    }

    /// The same for a client that may look, and do nothing.
    pub fn for_viewing(target: S) -> Self {
        Self { target, front: Some(Box::default()), looking: Some(Box::default()) }
    }

    /// `target` with nothing in front.
    pub const fn open(target: S) -> Self {
        Self { target, front: None, looking: None }
    }

    /// The client's part of the handshake, while there is one to come.
    fn listening(&mut self) -> Option<&mut Front> {
        self.front.as_deref_mut().filter(|front| front.step != Step::Done)
    }
}

/// The handshake under way.
#[derive(Debug)]
struct Front {
    step: Step,
    /// Said, and not read by the client yet.
    due: Vec<u8>,
    /// Who waits for something to read.
    reader: Option<Waker>,
}

/// What the client is to answer next.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// Its version; so far it said this.
    Version(Vec<u8>),
    /// Its choice of a security type, of which there is one.
    Security(Version),
    /// Nothing.
    Done,
    /// Nothing any more: it answered badly.
    Refused(ProtocolError),
    /// Nothing any more: its side was shut down.
    Left,
}

impl Default for Front {
    fn default() -> Self {
        Self { step: Step::Version(Vec::new()), due: Version::V3_8.message().to_vec(), reader: None }
    }
}

impl Front {
    /// Takes what the client says; returns how much of it belongs to the handshake.
    fn hear(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut heard = 0;
        while heard < bytes.len() && self.step != Step::Done {
            self.step = match mem::replace(&mut self.step, Step::Done) {
                Step::Version(so_far) => self.hear_version(so_far, bytes[heard]),
                Step::Security(version) => self.hear_security(version, bytes[heard]),
                over => over,
            };
            self.check()?;
            heard += 1;
        }
        Ok(heard)
    }

    fn hear_version(&mut self, mut so_far: Vec<u8>, byte: u8) -> Step {
        so_far.push(byte);
        match Version::ALL.into_iter().find(|version| version.message().starts_with(&so_far)) {
            None => Step::Refused(NO_VERSION),
            Some(_) if so_far.len() < VERSION_LEN => Step::Version(so_far),
            Some(Version::V3_3) => {
                // It is told, not asked, and there is no result.
                self.due.extend(u32::from(NONE).to_be_bytes());
                Step::Done
            }
            Some(version) => {
                self.due.extend([1, NONE]);
                Step::Security(version)
            }
        }
    }

    fn hear_security(&mut self, version: Version, choice: u8) -> Step {
        if choice != NONE {
            return Step::Refused(NOT_OFFERED);
        }
        if version == Version::V3_8 {
            // SecurityResult; RFB 3.7 has none for None.
            self.due.extend([0; 4]);
        }
        Step::Done
    }

    /// Whether the client can still be spoken with.
    fn check(&self) -> io::Result<()> {
        match self.step {
            Step::Refused(answer) => Err(io::Error::new(io::ErrorKind::InvalidData, answer)),
            Step::Left => Err(io::ErrorKind::BrokenPipe.into()),
            Step::Version(_) | Step::Security(_) | Step::Done => Ok(()),
        }
    }

    /// Gives what is due to the client.
    fn poll_say(&mut self, cx: &mut Context<'_>, room: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.due.is_empty() {
            let len = self.due.len().min(room.remaining());
            room.put_slice(&self.due[..len]);
            self.due.drain(..len);
            return Poll::Ready(Ok(()));
        }
        if self.step == Step::Left {
            return Poll::Ready(Ok(()));
        }
        self.check()?;
        self.reader = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Whoever waits for something to read looks again.
    fn wake(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Fronted<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, room: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Some(front) = &mut this.front {
            if front.step != Step::Done || !front.due.is_empty() {
                return front.poll_say(cx, room);
            }
            this.front = None;
        }
        if let Some(looking) = this.looking.as_deref_mut() {
            looking.check()?;
            looking.reader = Some(cx.waker().clone());
        }
        Pin::new(&mut this.target).poll_read(cx, room)
    }
}

impl<S: Leg> Leg for Fronted<S> {
    fn bare(&self) -> Option<&TcpStream> {
        (self.front.is_none() && self.looking.is_none()).then(|| self.target.bare())?
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Fronted<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if let Some(front) = this.listening() {
            let heard = front.hear(bytes);
            front.wake();
            return Poll::Ready(heard);
        }
        if let Some(looking) = this.looking.as_deref_mut() {
            ready!(looking.poll_push(&mut this.target, cx))?;
            looking.hear(bytes);
            // What cannot go now goes with the flush behind it.
            return match looking.poll_push(&mut this.target, cx) {
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                _ => Poll::Ready(Ok(bytes.len())),
            };
        }
        Pin::new(&mut this.target).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.looking.is_some() || self.listening().is_some() {
            let first = parts.iter().find(|part| !part.is_empty());
            return self.poll_write(cx, first.map_or(&[], |part| part));
        }
        Pin::new(&mut self.get_mut().target).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.target.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Some(looking) = this.looking.as_deref_mut() {
            ready!(looking.poll_push(&mut this.target, cx))?;
        }
        Pin::new(&mut this.target).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Some(front) = this.listening() {
            // No answer will come, so nobody may wait for what it would bring.
            if front.check().is_ok() {
                front.step = Step::Left;
            }
            front.wake();
        }
        Pin::new(&mut this.target).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
