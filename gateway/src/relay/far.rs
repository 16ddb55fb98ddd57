//! The far side of a session: a target that was dialled, and authenticated to where the gateway does that.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::time::timeout;
use tracing::{info, warn};

use crate::broker::passwords::{Passwords, Turn};
use crate::broker::session::Session;
use crate::broker::target::tls::{Start, Trust};
use crate::broker::target::{Local, TargetTls};
use crate::broker::{LastRefusal, Protocol, Refusal, Secret, Target};
use crate::descriptors;
use crate::metrics::Metrics;

use super::console::terminal::{Histories, Terminal};
use super::console::vnc::{self, Fronted, VncError};
use super::socket;
use super::target::TargetStream;
use super::target::pty::{CommandError, Commands};
use super::target::tcp::{Destinations, DialError};
use super::target::tls::Connector;
use super::target::unix::Sockets;

/// A target that is there; in front of one that the gateway authenticated to, what lets the client in without.
pub type Far = Fronted<TargetStream>;

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
    /// Reaches `target` for a connection of `session`, which showed a ticket, or did not.
    ///
    /// # Errors
    /// [`Refusal::TargetRefused`], [`Refusal::TargetTimeout`], [`Refusal::Full`]; [`Refusal::TargetTls`] where
    /// it is to speak TLS; [`Refusal::TargetNotVnc`], [`Refusal::TargetSecurity`] and
    /// [`Refusal::TargetPassword`] where the gateway authenticates.
    pub async fn far(&self, target: &Target, ticket: bool, session: &Arc<Session>) -> Result<Far, Refused> {
        let broker_id = session.broker_id.as_str();
        if target.protocol.is_terminal() {
            let line = self.line(target, session).await?;
            let recorder = self.histories.join(target, session);
            let terminal = Terminal::new(line, session.window().clone(), recorder);
            return Ok(Far::open(TargetStream::Terminal(Box::new(terminal))));
        }
        // The secret is used for who showed a ticket, and for nobody else.
        let inject = self.inject_secrets && ticket && speaks_rfb(target.protocol);
        let Some(secret) = target.secret.as_ref().filter(|_| inject) else {
            return Ok(Far::open(self.stream(target, broker_id).await?));
        };
        let turn = timeout(self.within, self.passwords.turn(target)).await;
        let turn = turn.map_err(|_| Refusal::TargetTimeout)?.map_err(not_now)?;
        let stream = self.stream(target, broker_id).await?;
        self.authenticate(stream, secret, turn, broker_id).await
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
            Some(tls) if tls.start == Start::Connect => self.encrypt(stream, target, tls, broker_id).await,
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
        let connected = timeout(self.within, self.tls.connect(stream, &target.host, tls)).await;
        let stream = connected.map_err(|_| Refusal::TargetTimeout)?.map_err(|error| {
            info!(broker_id, %error, "no TLS with the target");
            Refusal::TargetTls
        })?;
        if tls.trust == Trust::Insecure {
            warn!(broker_id, host = target.host, "TLS with a target that anybody could be");
        }
        self.metrics.target_tls(tls.trust.name());
        Ok(TargetStream::Tls(Box::new(stream)))
    }

    async fn dial(&self, target: &Target, broker_id: &str) -> Result<TcpStream, Refusal> {
        let began = Instant::now();
        let dialled = match target.local.as_deref() {
            Some(Local::Socket(path)) => self.sockets.dial(path, self.within).await,
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

    async fn authenticate(
        &self,
        mut stream: TargetStream,
        secret: &Secret,
        turn: Turn,
        broker_id: &str,
    ) -> Result<Far, Refused> {
        let authenticated = vnc::authenticate(&mut stream, Some(secret.reveal()));
        let authenticated = timeout(self.within, authenticated).await.map_err(|_| Refusal::TargetTimeout)?;
        let Err(error) = authenticated else {
            turn.accepted();
            return Ok(Far::new(stream));
        };
        info!(broker_id, %error, "target not authenticated to");
        Err(match error {
            VncError::NotRfb => Refusal::TargetNotVnc.into(),
            VncError::Refused { .. } | VncError::Unsupported { .. } => Refusal::TargetSecurity.into(),
            VncError::PasswordNeeded => Refusal::TargetPassword.into(),
            VncError::WrongPassword => not_now(turn.refused()),
            VncError::Io(_) => Refusal::TargetRefused.into(),
        })
    }
}

const fn speaks_rfb(protocol: Protocol) -> bool {
    matches!(protocol, Protocol::Vnc | Protocol::Ikvm)
}
