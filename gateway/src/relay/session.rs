//! One client from arrival to farewell. Each step is a type that the next one consumes: a relay
//! without a handshake, or an answer 101 without a target, cannot be written down.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tracing::info;

use crate::broker::table::Table;
use crate::broker::ticket::Claim;
use crate::broker::{Broker, Desk, Presence, Refusal, Stop, canonical};
use crate::metrics::Metrics;
use crate::web;

use super::answer::Answer;
use super::core::Live;
use super::handshake::{Ask, HeadTimes, NoHead, Upgrade, read_head};
use super::pump::{self, End, Pace, RelayError, Traffic};
use super::socket;
use super::stream::{self, ClientStream, NoStream, Tls};
use super::target::tcp::{Destinations, DialError};
use super::ws::{Close, CloseCode};

/// What every session needs; one value for all cores.
pub struct Shared {
    /// The open brokers.
    pub table: Arc<Table>,
    /// The control side.
    pub desk: Arc<dyn Desk>,
    /// Which targets may be dialled.
    pub destinations: Destinations,
    /// Whether clients may speak TLS, or have to.
    pub tls: Tls,
    /// Deadlines of the request.
    pub head: HeadTimes,
    /// Deadline of the dialling.
    pub dial: Duration,
    /// Times of the relay.
    pub pace: Pace,
    /// Counters.
    pub metrics: Arc<Metrics>,
}

/// Serves one connection to its end.
pub async fn serve(stream: TcpStream, client: SocketAddr, shared: &Shared, live: &Live) {
    // The way in needs much more state than the relay; in a box of its own it is gone by then.
    let admitted =
        Box::pin(async { Arrival::receive(stream, canonical(client), shared).await?.admit(shared).await })
            .await;
    if let Some(connected) = admitted {
        connected.relay(shared, live).await;
    }
}

/// A client of which nothing is known yet, but that it may send a request.
struct Arrival {
    stream: ClientStream,
    client: SocketAddr,
    broker: Option<Arc<Broker>>,
}

/// Why a connection does not become a session.
enum Otherwise {
    /// It is told why.
    Refused(Refusal),
    /// It asked for something else, and gets it.
    Answered(Answer),
    /// It left.
    Gone,
}

impl From<Refusal> for Otherwise {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<NoHead> for Otherwise {
    fn from(no_head: NoHead) -> Self {
        match no_head {
            NoHead::Gone => Self::Gone,
            NoHead::Refused(refusal) => Self::Refused(refusal),
        }
    }
}

impl Arrival {
    /// TLS, where the client begins with it. `None` where it left, or was refused.
    async fn receive(stream: TcpStream, client: SocketAddr, shared: &Shared) -> Option<Self> {
        let broker = stream.local_addr().ok().and_then(|endpoint| shared.table.get(endpoint));
        // A connection that ended already is noticed at its first read.
        let _ = socket::prepare(&stream, shared.pace.peer);
        match stream::receive(stream, &shared.tls, shared.head.first_byte).await {
            Ok(stream) => Some(Self { stream, client, broker }),
            Err(NoStream::Gone) => None,
            Err(NoStream::Refused(refusal, plain)) => {
                refused(refusal, broker.as_deref(), client, shared);
                if let Some(mut plain) = plain {
                    Answer::refusal(refusal).send(&mut plain).await;
                }
                None
            }
        }
    }

    /// Request, ticket, target, 101. `None` where the client was answered otherwise, or left.
    async fn admit(mut self, shared: &Shared) -> Option<Connected> {
        let broker = self.broker.take();
        match self.ask(broker.as_ref(), shared).await {
            Ok(reached) => reached.accept(self).await,
            Err(Otherwise::Answered(answer)) => {
                answer.send(&mut self.stream).await;
                None
            }
            Err(Otherwise::Refused(refusal)) => {
                refused(refusal, broker.as_deref(), self.client, shared);
                Answer::refusal(refusal).send(&mut self.stream).await;
                None
            }
            Err(Otherwise::Gone) => None,
        }
    }

    async fn ask(&mut self, broker: Option<&Arc<Broker>>, shared: &Shared) -> Result<Reached, Otherwise> {
        let head = read_head(&mut self.stream, shared.head).await?;
        let (upgrade, token) = match head.ask()? {
            Ask::Upgrade(upgrade, token) => (upgrade, token),
            Ask::Status(token) => {
                let broker = broker.ok_or(Refusal::NoBroker)?;
                broker.check(&token.ok_or(Refusal::NoTicket)?, Instant::now())?;
                return Err(Otherwise::Answered(Answer::status(broker)));
            }
            Ask::Page(path) => {
                let page = web::page(&path).ok_or(Refusal::NoPage)?;
                return Err(Otherwise::Answered(Answer::page(page)));
            }
        };
        let broker = broker.ok_or(Refusal::NoBroker)?;
        let claim = broker.claim(&token.ok_or(Refusal::NoTicket)?, Instant::now())?;
        let upgraded = Upgraded { broker: broker.clone(), claim, upgrade, early: head.rest };
        // Only what became of a good ticket is worth telling its holder afterwards.
        let reached = upgraded.reach(shared).await;
        broker.note_refusal(reached.as_ref().err().copied());
        Ok(reached?)
    }
}

fn refused(refusal: Refusal, broker: Option<&Broker>, client: SocketAddr, shared: &Shared) {
    shared.metrics.refused(refusal);
    let broker_id = broker.map_or("-", |broker| &broker.id);
    info!(broker_id, %client, code = refusal.answer().1, "refused");
}

/// A good handshake with a good ticket.
struct Upgraded {
    broker: Arc<Broker>,
    claim: Claim,
    upgrade: Upgrade,
    early: Vec<u8>,
}

impl Upgraded {
    /// Resolves the instance once more, dials it, and uses the ticket up. Dropped at any point before
    /// that, the ticket is free again.
    async fn reach(self, shared: &Shared) -> Result<Reached, Refusal> {
        let target = shared.desk.resolve(self.broker.clone()).await?;
        let stream = shared.destinations.dial(&target, shared.dial).await.map_err(|error| {
            info!(broker_id = self.broker.id, %error, "target not reached");
            match error {
                DialError::TimedOut { .. } => Refusal::TargetTimeout,
                DialError::Refused { .. } | DialError::NotAllowed { .. } => Refusal::TargetRefused,
            }
        })?;
        let _ = socket::prepare(&stream, shared.pace.peer);
        shared.desk.use_ticket(self.claim.hash()).await?;
        self.claim.use_up();
        let presence = self.broker.enter();
        Ok(Reached {
            broker: self.broker,
            presence,
            target: stream,
            upgrade: self.upgrade,
            early: self.early,
        })
    }
}

/// A client that waits for its answer, and a target that is there.
struct Reached {
    broker: Arc<Broker>,
    presence: Presence,
    target: TcpStream,
    upgrade: Upgrade,
    early: Vec<u8>,
}

impl Reached {
    async fn accept(self, Arrival { mut stream, client, .. }: Arrival) -> Option<Connected> {
        stream.write_all(self.upgrade.answer()).await.ok()?;
        stream.flush().await.ok()?;
        // The queue is bounded for the picture's sake only; it works without.
        let _ = socket::bound_queue(stream.get_ref());
        let Self { broker, presence, target, early, .. } = self;
        Some(Connected { broker, _presence: presence, stream, target, client, early })
    }
}

/// A session that runs.
struct Connected {
    broker: Arc<Broker>,
    _presence: Presence,
    stream: ClientStream,
    target: TcpStream,
    client: SocketAddr,
    early: Vec<u8>,
}

impl Connected {
    async fn relay(self, shared: &Shared, live: &Live) {
        let Self { broker, stream, target, client, early, _presence } = self;
        info!(broker_id = broker.id, instance_id = broker.instance_id, %client, "session begins");
        let began = Instant::now();
        let traffic = Rc::new(Traffic::default());
        let counted = live.count(&traffic, shared.metrics.clone());
        let stopped = broker.stopped();
        let stop = async move {
            Close::new(
                CloseCode::GOING_AWAY,
                match stopped.await {
                    Stop::Closed => "the console was closed",
                    Stop::Stopping => "the gateway is stopping",
                },
            )
        };
        let end = pump::run(stream, target, &early, &shared.pace, &traffic, stop).await;
        drop(counted);
        let name = end_name(&end);
        shared.metrics.ended(name);
        info!(
            broker_id = broker.id,
            %client,
            end = name,
            error = end.as_ref().err().map(ToString::to_string),
            up_bytes = traffic.up.get(),
            down_bytes = traffic.down.get(),
            seconds = began.elapsed().as_secs(),
            "session ended"
        );
    }
}

/// The names of all ends, in records and metrics.
pub const END_NAMES: [&str; 10] = [
    "client_closed",
    "client_gone",
    "client_silent",
    "target_closed",
    "idle",
    "too_long",
    "stopped",
    "client_error",
    "protocol_error",
    "target_error",
];

/// How a session ended. A peer that just leaves is an ordinary end.
fn end_name(end: &Result<End, RelayError>) -> &'static str {
    let index = match end {
        Ok(End::ClientClosed) => 0,
        Ok(End::ClientGone) => 1,
        Ok(End::ClientSilent) => 2,
        Ok(End::TargetClosed) => 3,
        Ok(End::Idle) => 4,
        Ok(End::TooLong) => 5,
        Ok(End::Stopped(_)) => 6,
        Err(RelayError::Client(error)) if is_departure(error) => 1,
        Err(RelayError::Client(_)) => 7,
        Err(RelayError::Protocol(_)) => 8,
        Err(RelayError::Target(error)) if is_departure(error) => 3,
        Err(RelayError::Target(_)) => 9,
    };
    END_NAMES[index]
}

/// Whether a peer just left, in the ways that peers do.
fn is_departure(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
}

#[cfg(test)]
mod tests {
    use std::io::{Error, ErrorKind};

    use super::*;
    use crate::relay::ws::ProtocolError;

    fn check(end: Result<End, RelayError>, name: &str) {
        assert_eq!(end_name(&end), name, "{end:?}");
    }

    #[test]
    fn a_peer_that_leaves_is_no_error() {
        for kind in [ErrorKind::BrokenPipe, ErrorKind::ConnectionReset, ErrorKind::UnexpectedEof] {
            check(Err(RelayError::Client(Error::from(kind))), "client_gone");
            check(Err(RelayError::Target(Error::from(kind))), "target_closed");
        }
        check(Err(RelayError::Client(Error::from(ErrorKind::TimedOut))), "client_error");
        check(Err(RelayError::Target(Error::from(ErrorKind::TimedOut))), "target_error");
        check(Err(RelayError::Protocol(ProtocolError::Unmasked)), "protocol_error");
        check(Ok(End::ClientClosed), "client_closed");
    }
}
