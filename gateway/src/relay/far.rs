//! The far side of a session: a target that was dialled, and authenticated to where the gateway does that.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;
use tracing::{info, warn};

use crate::broker::channels::Channels;
use crate::broker::passwords::{Passwords, Turn};
use crate::broker::session::Session;
use crate::broker::target::tls::{Start, Trust};
use crate::broker::target::{Local, TargetTls};
use crate::broker::viewer_file::ViewerTls;
use crate::broker::{LastRefusal, Protocol, Refusal, Secret, Target};
use crate::descriptors;
use crate::metrics::Metrics;

use super::console::spice::pieces::Place;
use super::console::spice::ticket::Own;
use super::console::spice::{Linked, Welcome};
use super::console::terminal::{Histories, Terminal};
use super::console::vnc::{self, Fronted, VncError};
use super::pipe::Leg;
use super::socket;
use super::target::TargetStream;
use super::target::pty::{CommandError, Commands};
use super::target::tcp::{Destinations, DialError};
use super::target::tls::{Connector, TargetTlsError};
use super::target::unix::Sockets;

pub mod rdp;

/// A target that is there; in front of one that the gateway authenticates to, what lets the client in without.
pub enum Far {
    /// As it is, or behind RFB's security.
    Fronted(Fronted<TargetStream>),
    /// Behind SPICE's link.
    Linked(Linked<TargetStream>),
}

impl Far {
    /// A console that nobody stands in front of.
    pub fn through(stream: TcpStream) -> Self {
        Self::Fronted(Fronted::open(TargetStream::Tcp(stream)))
    }

    /// Where in what a target of SPICE says its client is.
    pub fn spice_place(&self) -> Place {
        match self {
            Self::Fronted(_) => Place::first(),
            Self::Linked(linked) => linked.place(),
        }
    }
}

/// Does the same with whatever is inside.
macro_rules! inside {
    ($far:expr, $inner:ident => $body:expr) => {
        match $far {
            Self::Fronted($inner) => $body,
            Self::Linked($inner) => $body,
        }
    };
}

impl Leg for Far {
    fn bare(&self) -> Option<&TcpStream> {
        inside!(self, far => far.bare())
    }
}

impl AsyncRead for Far {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, room: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        inside!(self.get_mut(), far => Pin::new(far).poll_read(cx, room))
    }
}

impl AsyncWrite for Far {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        inside!(self.get_mut(), far => Pin::new(far).poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        inside!(self.get_mut(), far => Pin::new(far).poll_write_vectored(cx, parts))
    }

    fn is_write_vectored(&self) -> bool {
        inside!(self, far => far.is_write_vectored())
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        inside!(self.get_mut(), far => Pin::new(far).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        inside!(self.get_mut(), far => Pin::new(far).poll_shutdown(cx))
    }
}

/// For whom a target is reached.
pub struct Guest<'a> {
    /// The session that the connection is to come into.
    pub session: &'a Arc<Session>,
    /// It showed a ticket, or was awaited: the machine's secret is used for it.
    pub trusted: bool,
    /// It may look, and do nothing.
    pub view_only: bool,
}

/// How targets are reached.
pub struct Reach {
    /// Which may be dialled.
    pub destinations: Destinations,
    /// Which sockets of this machine may be.
    pub sockets: Sockets,
    /// What may be run in a terminal.
    pub commands: Commands,
    /// What terminals showed last.
    pub histories: Arc<Histories>,
    /// Deadline of each step.
    pub within: Duration,
    /// A dead target is noticed within this; zero leaves it to TCP.
    pub peer: Duration,
    /// Whether the gateway authenticates to consoles itself.
    pub inject_secrets: bool,
    /// Those that targets refused lately.
    pub passwords: Arc<Passwords>,
    /// The key of the gateway's links in front of SPICE, and which channels may be opened.
    pub spice: (Own, Channels),
    /// TLS on the way to them.
    pub tls: Connector,
    /// Counts it.
    pub metrics: Arc<Metrics>,
}

/// Why a client is not let in, and when to come again, if that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Why.
    pub why: Refusal,
    /// It is of no use before.
    pub again_after: Option<Duration>,
}

impl Refused {
    /// What is told to who asks later than `now`.
    pub fn noted(self, now: Instant) -> LastRefusal {
        LastRefusal { why: self.why, not_before: self.again_after.map(|wait| now + wait) }
    }
}

impl From<Refusal> for Refused {
    fn from(why: Refusal) -> Self {
        Self { why, again_after: None }
    }
}

/// The password of a target is not right, and is not tried again for so long.
const fn not_now(wait: Duration) -> Refused {
    Refused { why: Refusal::TargetPassword, again_after: Some(wait) }
}

impl Reach {
    /// Reaches `target` for `guest`.
    ///
    /// # Errors
    /// [`Refusal::TargetRefused`], [`Refusal::TargetTimeout`], [`Refusal::Full`]; [`Refusal::TargetTls`] where
    /// it is to speak TLS; [`Refusal::TargetNotVnc`], [`Refusal::TargetSecurity`] and
    /// [`Refusal::TargetPassword`] where the gateway authenticates.
    pub async fn far(&self, target: &Target, guest: Guest<'_>) -> Result<Far, Refused> {
        let Guest { session, trusted, view_only } = guest;
        let broker_id = session.broker_id.as_str();
        // What most targets need is dialling. In boxes: only who needs more has room for it.
        if target.protocol.is_terminal() {
            let line = Box::pin(self.line(target, session)).await?;
            let recorder = self.histories.join(target, session);
            let terminal = Terminal::new(line, session.window().clone(), recorder);
            return Ok(Far::Fronted(Fronted::open(TargetStream::Terminal(Box::new(terminal)))));
        }
        // The secret is used for who showed a ticket, and for nobody else.
        let secret = target.secret.as_ref().filter(|_| self.inject_secrets && trusted);
        let begins_tls = target.tls.as_ref().is_some_and(|tls| tls.start == Start::Protocol);
        match secret {
            Some(secret) if target.protocol == Protocol::Spice => {
                let welcome = Welcome { session: session.clone(), password: secret.reveal().to_owned() };
                Ok(Far::Linked(Box::pin(self.linked(target, broker_id, Some(welcome))).await?))
            }
            Some(_) if target.protocol.speaks_rfb() => {
                Box::pin(self.in_front(target, secret, view_only, broker_id)).await
            }
            // The gateway has to see what is said: to who may only look, and before TLS.
            _ if view_only || begins_tls && target.protocol.speaks_rfb() => {
                Box::pin(self.in_front(target, None, view_only, broker_id)).await
            }
            _ => Ok(Far::Fronted(Fronted::open(self.stream(target, broker_id).await?))),
        }
    }

    /// A target of SPICE with the gateway's link in front. Without a `welcome` one is to follow.
    ///
    /// # Errors
    /// [`Refusal::TargetRefused`], [`Refusal::TargetTimeout`], [`Refusal::TargetTls`], [`Refusal::Full`],
    /// [`Refusal::Unavailable`] without random numbers.
    pub async fn linked(
        &self,
        target: &Target,
        broker_id: &str,
        welcome: Option<Welcome>,
    ) -> Result<Linked<TargetStream>, Refusal> {
        let (own, allowed) = &self.spice;
        let key = own.key().await.map_err(|error| {
            warn!(broker_id, %error, "no key for SPICE");
            Refusal::Unavailable
        })?;
        Ok(Linked::new(self.stream(target, broker_id).await?, key, *allowed, welcome))
    }

    /// The machine's password, where the gateway is to use it.
    pub fn password(&self, target: &Target) -> String {
        let secret = target.secret.as_ref().filter(|_| self.inject_secrets);
        secret.map(|secret| secret.reveal().to_owned()).unwrap_or_default()
    }

    /// A target of RFB that the gateway authenticates to.
    async fn in_front(
        &self,
        target: &Target,
        secret: Option<&Secret>,
        view_only: bool,
        broker_id: &str,
    ) -> Result<Far, Refused> {
        let turn = timeout(self.within, self.passwords.turn(target)).await;
        let turn = turn.map_err(|_| Refusal::TargetTimeout)?.map_err(not_now)?;
        let password = secret.map(Secret::reveal);
        let stream = match &target.tls {
            Some(tls) if tls.start == Start::Protocol => {
                let mut stream = self.dial(target, broker_id).await?;
                let begun = vnc::vencrypt::begin(&mut stream, password.is_some());
                let begun = timeout(self.within, begun).await.map_err(|_| Refusal::TargetTimeout)?;
                let begun = begun.map_err(|error| unauthenticated(error, None, broker_id))?;
                let mut stream = self.encrypt(stream, target, tls, broker_id).await?;
                let finished =
                    timeout(self.within, vnc::vencrypt::finish(&mut stream, begun, password)).await;
                settle(finished.map_err(|_| Refusal::TargetTimeout)?, turn, broker_id)?;
                stream
            }
            _ => {
                let mut stream = self.stream(target, broker_id).await?;
                let done = timeout(self.within, vnc::authenticate(&mut stream, password)).await;
                settle(done.map_err(|_| Refusal::TargetTimeout)?, turn, broker_id)?;
                stream
            }
        };
        Ok(Far::Fronted(if view_only { Fronted::for_viewing(stream) } else { Fronted::new(stream) }))
    }

    /// What a terminal is in front of.
    async fn line(&self, target: &Target, session: &Session) -> Result<TargetStream, Refusal> {
        let Some(Local::Command(line)) = target.local.as_deref() else {
            return self.stream(target, &session.broker_id).await;
        };
        let program = self.commands.run(line, session.window().size()).map_err(|error| {
            info!(broker_id = session.broker_id, %error, "no program in a terminal");
            match error {
                CommandError::Run { source, .. } if descriptors::is_want(&source) => Refusal::Full,
                _ => Refusal::TargetRefused,
            }
        })?;
        Ok(TargetStream::Program(Box::new(program)))
    }

    /// A connection that is protected as the target wants it.
    async fn stream(&self, target: &Target, broker_id: &str) -> Result<TargetStream, Refusal> {
        let stream = self.dial(target, broker_id).await?;
        match &target.tls {
            None => Ok(TargetStream::Tcp(stream)),
            Some(tls) if tls.start == Start::Connect => {
                Box::pin(self.encrypt(stream, target, tls, broker_id)).await
            }
            // A native client negotiates TLS with its server itself, and speaks it to the end.
            Some(_) if target.protocol == Protocol::Rdp => Ok(TargetStream::Tcp(stream)),
            Some(_) => {
                info!(broker_id, protocol = %target.protocol, "TLS cannot be begun in this protocol yet");
                Err(Refusal::TargetTls)
            }
        }
    }

    /// TLS on a connection to `target`, as `tls` says.
    async fn encrypt(
        &self,
        stream: TcpStream,
        target: &Target,
        tls: &TargetTls,
        broker_id: &str,
    ) -> Result<TargetStream, Refusal> {
        let encrypted = self.handshake(stream, target, tls, broker_id).await;
        encrypted.map(TargetStream::Tls).map_err(|no_tls| match no_tls {
            NoTls::Refused(refusal) => refusal,
            NoTls::Failed(_) => Refusal::TargetTls,
        })
    }

    async fn handshake(
        &self,
        stream: TcpStream,
        target: &Target,
        tls: &TargetTls,
        broker_id: &str,
    ) -> Result<Box<TlsStream<TcpStream>>, NoTls> {
        let connected = timeout(self.within, self.tls.connect(stream, &target.host, tls)).await;
        let stream = connected.map_err(|_| NoTls::Refused(Refusal::TargetTimeout))?.map_err(|error| {
            info!(broker_id, %error, "no TLS with the target");
            NoTls::Failed(error)
        })?;
        if tls.trust == Trust::Insecure {
            warn!(broker_id, host = target.host, "TLS with a target that anybody could be");
        }
        self.metrics.target_tls(tls.trust.name());
        Ok(Box::new(stream))
    }

    /// The certificate that `target` shows, and who vouches for it.
    ///
    /// # Errors
    /// [`Refusal::TargetTls`] where it is not believed, or none is shown with the first byte;
    /// [`Refusal::TargetRefused`], [`Refusal::TargetTimeout`], [`Refusal::Full`].
    pub async fn face(&self, target: &Target, broker_id: &str) -> Result<ViewerTls, Refusal> {
        let tls = target.tls.as_ref().filter(|tls| tls.start == Start::Connect).ok_or(Refusal::TargetTls)?;
        let stream = self.dial(target, broker_id).await?;
        let TargetStream::Tls(stream) = self.encrypt(stream, target, tls, broker_id).await? else {
            return Err(Refusal::TargetTls);
        };
        let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let face = ViewerTls::of(chain.iter().map(AsRef::as_ref));
        if tls.trust != Trust::Ca {
            return Ok(face);
        }
        let authorities = self.tls.authorities().map_err(|error| {
            warn!(broker_id, %error, "targets.ca cannot be read");
            Refusal::Unavailable
        })?;
        Ok(face.with_authorities(authorities.iter().map(AsRef::as_ref)))
    }

    /// A connection to `target`, of which nothing is used yet.
    ///
    /// # Errors
    /// [`Refusal::TargetRefused`], [`Refusal::TargetTimeout`], [`Refusal::Full`].
    pub async fn dial(&self, target: &Target, broker_id: &str) -> Result<TcpStream, Refusal> {
        let began = Instant::now();
        let dialled = match target.local.as_deref() {
            Some(Local::Socket(path)) => Box::pin(self.sockets.dial(path, self.within)).await,
            _ => self.destinations.dial(target, self.within).await,
        };
        let stream = dialled.map_err(|error| {
            info!(broker_id, %error, "target not reached");
            match error {
                DialError::Refused { source, .. } if descriptors::is_want(&source) => Refusal::Full,
                DialError::TimedOut { .. } => Refusal::TargetTimeout,
                DialError::Refused { .. } | DialError::NotAllowed { .. } => Refusal::TargetRefused,
            }
        })?;
        let round_trip = began.elapsed();
        if descriptors::is_of_reserve(&stream) {
            return Err(Refusal::Full);
        }
        // A connection that ended already is noticed at its first read.
        let _ = socket::prepare(&stream, self.peer).and_then(|()| socket::bound_lead(&stream, round_trip));
        Ok(stream)
    }
}

/// Why there is no TLS with a target.
enum NoTls {
    Refused(Refusal),
    Failed(TargetTlsError),
}

/// What became of a password is kept for the next.
fn settle(outcome: Result<(), VncError>, turn: Turn, broker_id: &str) -> Result<(), Refused> {
    match outcome {
        Ok(()) => {
            turn.accepted();
            Ok(())
        }
        Err(error) => Err(unauthenticated(error, Some(turn), broker_id)),
    }
}

fn unauthenticated(error: VncError, turn: Option<Turn>, broker_id: &str) -> Refused {
    info!(broker_id, %error, "target not authenticated to");
    match (error, turn) {
        (VncError::NotRfb, _) => Refusal::TargetNotVnc.into(),
        (VncError::WrongPassword, Some(turn)) => not_now(turn.refused()),
        (VncError::WrongPassword | VncError::PasswordNeeded, _) => Refusal::TargetPassword.into(),
        (VncError::Io(_), _) => Refusal::TargetRefused.into(),
        (VncError::Refused { .. } | VncError::Unsupported { .. } | VncError::NoCertificate { .. }, _) => {
            Refusal::TargetSecurity.into()
        }
    }
}
