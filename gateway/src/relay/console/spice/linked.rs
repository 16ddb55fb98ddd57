//! A SPICE target with the gateway's link in front: the client shows its password to the gateway, and the target
//! gets the machine's from it.

use std::io::{self, IoSlice};
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tracing::warn;

use super::link::{self, Ask, KEY_LEN, MINI_HEADER, Reply};
use super::pieces::{HEADERS, Place};
use super::ticket::{Key, Sealed, TICKET_LEN, seal};
use crate::broker::channels::Channels;
use crate::broker::session::{OpenChannel, Session};
use crate::relay::pipe::Leg;

/// Common capability: the client names a way to authenticate (`SPICE_COMMON_CAP_PROTOCOL_AUTH_SELECTION`).
const CHOOSES: u32 = 0;
/// The way that is a password encrypted with RSA (`SPICE_COMMON_CAP_AUTH_SPICE`).
const BY_PASSWORD: u32 = 1;
/// Type of the main channel.
const MAIN: u8 = 1;

/// A target whose channel begins. What client and target can do they tell each other through it; key and password
/// are the gateway's own on each side. Behind the link it is `S` without a copy between.
///
/// A link that is refused is told to the client in SPICE's words, and ends then.
#[derive(Debug)]
pub struct Linked<S> {
    target: S,
    /// Gone when the link stands.
    link: Option<Box<Link>>,
    /// Its session shows it.
    open: Option<Box<OpenChannel>>,
}

/// Who comes in, and what the target is told for it.
#[derive(Clone, Debug)]
pub struct Welcome {
    /// All channels of a desktop are one.
    pub session: Arc<Session>,
    /// The machine's password; empty for none.
    pub password: String,
}

#[derive(Debug)]
struct Link {
    key: Arc<Key>,
    allowed: Channels,
    welcome: Option<Welcome>,
    step: Step,
    /// Said, and not taken by client or target yet.
    to_client: Vec<u8>,
    to_target: Vec<u8>,
    /// The target has let a channel of this type in.
    linked: Option<u8>,
    /// Whoever waits for the other side's turn: one task has both.
    waiting: Option<Waker>,
}

/// What comes next.
#[derive(Debug)]
enum Step {
    /// The client's link message; so far it said this.
    Ask(Vec<u8>),
    /// The target's answer; so far it said this.
    Reply(Ask, Vec<u8>),
    /// The client's way and password; so far it said this.
    Password(Channel, Vec<u8>),
    /// Somebody's word whether it is welcome.
    Shown(Channel, Box<Sealed>),
    /// What the target says about the link, of which so much is looked at, and behind it on the main channel the
    /// connection's id.
    Result(Channel, Vec<u8>),
    /// Nothing.
    Done,
    /// Nothing any more: it was refused.
    Over,
}

/// What is known of the channel that begins.
#[derive(Clone, Debug)]
struct Channel {
    connection_id: u32,
    channel_type: u8,
    /// The target's key.
    key: Box<[u8; KEY_LEN]>,
    chooses: bool,
    mini: bool,
}

impl<S> Linked<S> {
    /// `target` was dialled and has heard nothing. Without a `welcome`, one is waited for when the client has shown
    /// its password: see [`Self::shown`].
    pub fn new(target: S, key: Arc<Key>, allowed: Channels, welcome: Option<Welcome>) -> Self {
        let link = Link {
            key,
            allowed,
            welcome,
            step: Step::Ask(Vec::new()),
            to_client: Vec::new(),
            to_target: Vec::new(),
            linked: None,
            waiting: None,
        };
        Self { target, link: Some(Box::new(link)), open: None }
    }

    /// The password that the client showed, as it was sent, once it has.
    pub fn shown(&self) -> Option<Sealed> {
        match &self.link.as_deref()?.step {
            Step::Shown(_, sealed) => Some(**sealed),
            _ => None,
        }
    }

    /// Whether the client is to say something before anything else can happen.
    pub fn hears(&self) -> bool {
        self.link.as_deref().is_some_and(|link| {
            link.to_client.is_empty() && matches!(link.step, Step::Ask(_) | Step::Password(..))
        })
    }

    /// Where in what the target says the client is.
    pub fn place(&self) -> Place {
        match self.link.as_deref().map(|link| &link.step) {
            Some(Step::Password(channel, _) | Step::Shown(channel, _) | Step::Result(channel, _)) => {
                Place::result(channel.mini)
            }
            _ => Place::first(),
        }
    }

    /// Lets the client in that has shown its password.
    pub fn welcome(&mut self, welcome: Welcome) {
        if let Some(link) = self.link.as_deref_mut() {
            link.welcome = Some(welcome);
            link.let_in();
        }
    }
}

impl Link {
    /// Takes what the client says; returns how much of it belongs to the link.
    fn hear_client(&mut self, bytes: &[u8]) -> usize {
        match mem::replace(&mut self.step, Step::Over) {
            Step::Ask(so_far) => self.hear_ask(so_far, bytes),
            Step::Password(channel, so_far) => self.hear_password(channel, so_far, bytes),
            step => {
                self.step = step;
                0
            }
        }
    }

    fn hear_ask(&mut self, mut so_far: Vec<u8>, bytes: &[u8]) -> usize {
        let known = so_far.len();
        so_far.extend(bytes);
        match Ask::parse(&so_far) {
            Ok(None) => {
                self.step = Step::Ask(so_far);
                bytes.len()
            }
            Ok(Some((len, ask))) => {
                if self.allowed.allow(ask.channel_type) {
                    self.to_target = ask.encode();
                    self.step = Step::Reply(ask, Vec::new());
                } else {
                    self.to_client = Reply::error(link::CHANNEL_NOT_AVAILABLE).encode();
                }
                len - known
            }
            Err(error) => {
                self.to_client = Reply::error(error.code()).encode();
                bytes.len()
            }
        }
    }

    fn hear_password(&mut self, channel: Channel, mut so_far: Vec<u8>, bytes: &[u8]) -> usize {
        let way_len = if channel.chooses { 4 } else { 0 };
        let wanted = (way_len + TICKET_LEN - so_far.len()).min(bytes.len());
        so_far.extend(&bytes[..wanted]);
        let (way, password) = so_far.split_at(way_len.min(so_far.len()));
        if way.len() == 4 && way != BY_PASSWORD.to_le_bytes() {
            // SASL: nothing that the gateway could answer.
            self.refuse(link::ERROR);
        } else if let Ok(sealed) = Sealed::try_from(password) {
            self.step = Step::Shown(channel, Box::new(sealed));
            self.let_in();
        } else {
            self.step = Step::Password(channel, so_far);
        }
        wanted
    }

    /// The target's answer goes on to the client, with the gateway's key.
    fn hear_reply(&mut self, ask: &Ask, mut reply: Reply) {
        let channel = Channel {
            connection_id: ask.connection_id,
            channel_type: ask.channel_type,
            key: Box::new(mem::replace(&mut reply.key, *self.key.public())),
            chooses: ask.can(CHOOSES) && reply.can(CHOOSES),
            mini: ask.can(MINI_HEADER) && reply.can(MINI_HEADER),
        };
        self.step = if reply.error == link::OK { Step::Password(channel, Vec::new()) } else { Step::Over };
        self.to_client = reply.encode();
    }

    /// Who has shown its password and is welcome gets the machine's; a channel of a session whose main channel was
    /// given another connection is none of it.
    fn let_in(&mut self) {
        let Some(Welcome { session, password }) = &self.welcome else { return };
        let Step::Shown(channel, _) = &self.step else { return };
        if channel.channel_type != MAIN && channel.connection_id != session.spice_connection() {
            return self.refuse(link::BAD_CONNECTION_ID);
        }
        let Ok(sealed) = seal(&channel.key, password) else { return self.refuse(link::ERROR) };
        if channel.chooses {
            self.to_target.extend(BY_PASSWORD.to_le_bytes());
        }
        self.to_target.extend(sealed);
        self.step = Step::Result(channel.clone(), Vec::new());
        self.wake();
    }

    /// Refuses a link that had an answer already.
    fn refuse(&mut self, error: u32) {
        self.to_client.extend(error.to_le_bytes());
        self.step = Step::Over;
        self.wake();
    }

    /// The channel, among those of its session as long as the value lives.
    fn opened(&self) -> Option<Box<OpenChannel>> {
        let channel_type = self.linked?;
        self.welcome.as_ref().map(|welcome| Box::new(welcome.session.channel(channel_type)))
    }

    /// Looks at what the target says first: the id of a main channel's connection (`SpiceMsgMainInit`). Returns
    /// whether the link stands by now.
    fn look(&mut self, bytes: &[u8]) -> bool {
        let Step::Result(channel, so_far) = &mut self.step else { return false };
        so_far.extend(bytes);
        let result = so_far.first_chunk().map_or(link::OK, |result| u32::from_le_bytes(*result));
        let refused = result != link::OK;
        if result == link::PERMISSION_DENIED
            && let Some(Welcome { session, .. }) = &self.welcome
        {
            warn!(broker_id = session.broker_id, "the console of SPICE does not take its password");
        }
        let id_at = 4 + HEADERS[usize::from(channel.mini)];
        let id = so_far.get(id_at..).and_then(|id| id.first_chunk());
        let done = match id {
            _ if channel.channel_type != MAIN => so_far.len() >= 4,
            Some(id) if !refused => {
                if let Some(welcome) = &self.welcome {
                    welcome.session.set_spice_connection(u32::from_le_bytes(*id));
                }
                true
            }
            _ => refused,
        };
        if done {
            self.linked = (!refused).then_some(channel.channel_type);
            self.step = Step::Done;
        }
        done && !refused
    }

    fn wake(&mut self) {
        if let Some(waiting) = self.waiting.take() {
            waiting.wake();
        }
    }

    fn wait<T>(&mut self, cx: &Context<'_>) -> Poll<T> {
        self.waiting = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Linked<S> {
    /// Gives the target what is due to it.
    fn poll_push(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(link) = self.link.as_deref_mut() else { return Poll::Ready(Ok(())) };
        while !link.to_target.is_empty() {
            match ready!(Pin::new(&mut self.target).poll_write(cx, &link.to_target))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                len => drop(link.to_target.drain(..len)),
            }
        }
        Pin::new(&mut self.target).poll_flush(cx)
    }

    /// Reads the target's answer, and nothing behind it: the target waits for a password then.
    fn poll_reply(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(link) = self.link.as_deref_mut() else { return Poll::Ready(Ok(())) };
        while let Step::Reply(_, so_far) = &mut link.step {
            let mut bytes = [0; 512];
            let mut room = ReadBuf::new(&mut bytes);
            ready!(Pin::new(&mut self.target).poll_read(cx, &mut room))?;
            if room.filled().is_empty() {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            so_far.extend(room.filled());
            let parsed =
                Reply::parse(so_far).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            let Some((_, reply)) = parsed else { continue };
            if let Step::Reply(ask, _) = mem::replace(&mut link.step, Step::Over) {
                link.hear_reply(&ask, reply);
                link.wake();
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Linked<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, room: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_push(cx))?;
        ready!(this.poll_reply(cx))?;
        let Some(link) = this.link.as_deref_mut() else {
            return Pin::new(&mut this.target).poll_read(cx, room);
        };
        if !link.to_client.is_empty() {
            let len = link.to_client.len().min(room.remaining());
            room.put_slice(&link.to_client[..len]);
            link.to_client.drain(..len);
            return Poll::Ready(Ok(()));
        }
        match link.step {
            Step::Over => Poll::Ready(Ok(())),
            Step::Ask(_) | Step::Reply(..) | Step::Password(..) | Step::Shown(..) => link.wait(cx),
            Step::Done => {
                this.link = None;
                Pin::new(&mut this.target).poll_read(cx, room)
            }
            Step::Result(..) => {
                let before = room.filled().len();
                ready!(Pin::new(&mut this.target).poll_read(cx, room))?;
                if link.look(&room.filled()[before..]) {
                    this.open = link.opened();
                }
                Poll::Ready(Ok(()))
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Linked<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_push(cx))?;
        let Some(link) = this.link.as_deref_mut() else {
            return Pin::new(&mut this.target).poll_write(cx, bytes);
        };
        match link.step {
            Step::Ask(_) | Step::Password(..) if !bytes.is_empty() => {
                let heard = link.hear_client(bytes);
                link.wake();
                Poll::Ready(Ok(heard))
            }
            Step::Reply(..) | Step::Shown(..) => link.wait(cx),
            // Nobody listens any more; that it is over is told by reading.
            Step::Over => Poll::Ready(Ok(bytes.len())),
            _ => Pin::new(&mut this.target).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.link.is_some() {
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
        ready!(this.poll_push(cx))?;
        Pin::new(&mut this.target).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Some(link) = this.link.as_deref_mut()
            && !matches!(link.step, Step::Result(..) | Step::Done)
        {
            // No answer will come, so nobody may wait for what it would bring.
            link.step = Step::Over;
            link.wake();
        }
        Pin::new(&mut this.target).poll_shutdown(cx)
    }
}

impl<S: Leg> Leg for Linked<S> {
    fn bare(&self) -> Option<&TcpStream> {
        self.link.as_ref().map_or_else(|| self.target.bare(), |_| None)
    }
}

#[cfg(test)]
mod tests;
