//! One client from arrival to farewell. Each step is a type that the next one consumes: a relay
//! without a handshake, or an answer 101 without a target, cannot be written down.

use std::cell::Cell;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU64;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tracing::{debug, info};

use crate::broker::session::{Admitted, Connection, Sessions};
use crate::broker::sources::Sources;
use crate::broker::table::Table;
use crate::broker::ticket::{Claim, Token};
use crate::broker::web_origin::WebOrigin;
use crate::broker::{Broker, Desk, Refusal, Stop, canonical};
use crate::descriptors;
use crate::metrics::Metrics;
use crate::web::{self, Site};

use super::answer::Answer;
use super::core::{Live, Vital};
use super::far::{Far, Reach, Refused};
use super::forwarded::{Proxies, take_header};
use super::handshake::{Ask, HeadTimes, NoHead, Upgrade, read_head};
use super::pulse::{Pace, Pulse};
use super::pump::{End, Pump, RelayError};
use super::stream::{self, ClientStream, NoStream, Tls};
use super::traffic::Traffic;
use super::ws::{Close, CloseCode};

/// What every session needs; one value for all cores.
pub struct Shared {
    /// The open brokers.
    pub table: Arc<Table>,
    /// The sessions that have a connection.
    pub sessions: Arc<Sessions>,
    /// What each source may do before it has shown a ticket.
    pub sources: Arc<Sources>,
    /// The control side.
    pub desk: Arc<dyn Desk>,
    /// How targets are reached.
    pub reach: Reach,
    /// Whether clients may speak TLS, or have to.
    pub tls: Tls,
    /// Deadlines of the request.
    pub head: HeadTimes,
    /// Whose pages may show a ticket in a cookie, beside the own ones.
    pub allowed_origins: Vec<WebOrigin>,
    /// Who is believed whom they speak for.
    pub proxies: Proxies,
    /// Deadline of each question to the control side.
    pub answer: Duration,
    /// Times of the relay.
    pub pace: Pace,
    /// What a session may move in each direction; `None` for no limit.
    pub bytes_per_s: Option<NonZeroU64>,
    /// Counters.
    pub metrics: Arc<Metrics>,
}

/// Serves one connection to its end. `stopping` resolves when the gateway stops.
pub async fn serve(
    stream: TcpStream,
    client: SocketAddr,
    shared: &Shared,
    live: &Live,
    stopping: impl Future<Output = ()>,
) {
    // The way in needs much more state than the relay; in a box of its own it is gone by then, and leaves
    // nothing here but the box of the relay.
    let way_in = Box::pin(async {
        let connected = Arrival { stream, client: canonical(client) }.admit(shared, stopping).await;
        connected.map(|connected| Box::pin(connected.relay(shared, live)))
    });
    if let Some(relay) = way_in.await {
        relay.await;
    }
}

/// A connection of which nothing is known yet.
struct Arrival {
    stream: TcpStream,
    client: SocketAddr,
}

/// A client that may send its request: plain, or by TLS.
struct Caller {
    stream: ClientStream,
    client: SocketAddr,
}

/// Why a connection does not become a session.
enum Otherwise {
    /// It is told why.
    Refused(Refused),
    /// It asked for something else, and gets it.
    Answered(Answer),
    /// It left.
    Gone,
}

impl From<Refusal> for Otherwise {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal.into())
    }
}

impl From<Refused> for Otherwise {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

impl From<NoHead> for Otherwise {
    fn from(no_head: NoHead) -> Self {
        match no_head {
            NoHead::Gone => Self::Gone,
            NoHead::Refused(refusal) => refusal.into(),
        }
    }
}

impl Arrival {
    /// TLS, request, ticket, target, 101. `None` where the client was answered otherwise, or left.
    async fn admit(self, shared: &Shared, stopping: impl Future<Output = ()>) -> Option<Connected> {
        let Self { mut stream, mut client } = self;
        let broker = stream.local_addr().ok().and_then(|endpoint| shared.table.get(endpoint));
        let mut stopping = pin!(stopping);
        // Counted to the end of the way in.
        let handshake = if descriptors::is_of_reserve(&stream) {
            Err(Refusal::Full)
        } else if shared.proxies.has(client.ip()) {
            // In a box: only who comes by a proxy pays for it.
            match Box::pin(introduced(&mut stream, shared, &mut stopping)).await {
                Ok(Some(ip)) => client.set_ip(ip),
                Ok(None) => {}
                Err(NoHead::Gone) => return None,
                Err(NoHead::Refused(refusal)) => {
                    refused(refusal, broker, client, shared);
                    Answer::refusal(refusal).send(&mut stream).await;
                    return None;
                }
            }
            if shared.proxies.has(client.ip()) {
                shared.sources.handshake_of_somebody()
            } else {
                shared.sources.handshake(client.ip())
            }
        } else {
            shared.sources.handshake(client.ip())
        };
        let received = match &handshake {
            Ok(_) => stream::receive(stream, &shared.tls, shared.head.first_byte, &mut stopping).await,
            Err(refusal) => Err(NoStream::Refused(*refusal, Some(stream))),
        };
        match received {
            Ok(stream) => Caller { stream, client }.admit(broker, shared, stopping).await,
            Err(NoStream::Gone) => None,
            Err(NoStream::Refused(refusal, plain)) => {
                refused(refusal, broker, client, shared);
                if let Some(mut plain) = plain {
                    Answer::refusal(refusal).send(&mut plain).await;
                }
                None
            }
        }
    }
}

/// Whom a proxy says that it speaks for, before anything else is said.
async fn introduced(
    stream: &mut TcpStream,
    shared: &Shared,
    stopping: impl Future<Output = ()>,
) -> Result<Option<IpAddr>, NoHead> {
    let introduced = tokio::select! {
        introduced = timeout(shared.head.first_byte, take_header(stream)) => introduced,
        () = stopping => return Err(Refusal::Stopping.into()),
    };
    match introduced.map_err(|_| Refusal::Slow)? {
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(Refusal::BadHandshake.into()),
        introduced => Ok(introduced?),
    }
}

impl Caller {
    async fn admit(
        mut self,
        broker: Option<Arc<Broker>>,
        shared: &Shared,
        stopping: impl Future<Output = ()>,
    ) -> Option<Connected> {
        let asked = tokio::select! {
            asked = self.ask(broker.as_ref(), shared) => asked,
            () = stopping => Err(Refusal::Stopping.into()),
        };
        match asked {
            Ok(reached) => reached.accept(self, shared).await,
            Err(Otherwise::Answered(answer)) => {
                answer.send(&mut self.stream).await;
                None
            }
            Err(Otherwise::Refused(Refused { why, again_after })) => {
                refused(why, broker, self.client, shared);
                let mut answer = Answer::refusal(why);
                if let Some(wait) = again_after {
                    answer = answer.again_after(wait);
                }
                answer.send(&mut self.stream).await;
                None
            }
            Err(Otherwise::Gone) => None,
        }
    }

    async fn ask(&mut self, broker: Option<&Arc<Broker>>, shared: &Shared) -> Result<Reached, Otherwise> {
        let head = read_head(&mut self.stream, shared.head).await?;
        if shared.proxies.has(self.client.ip())
            && let Some(client) = head.forwarded(&shared.proxies)
        {
            self.client.set_ip(client);
        }
        let (upgrade, token) =
            match head.ask(broker.map(|broker| broker.id.as_str()), &shared.allowed_origins)? {
                Ask::Upgrade(upgrade, token) => (Some(upgrade), token),
                Ask::Status(token) => (None, token),
                Ask::Page(path) => {
                    let page = web::page(Site::Console, &path).ok_or(Refusal::NoPage)?;
                    let policy = web::policy(broker.map(|broker| broker.protocol));
                    return Err(Otherwise::Answered(Answer::page(page, policy, self.stream.is_tls())));
                }
            };
        let broker = broker.ok_or(Refusal::NoBroker)?;
        let claim = self.claim(broker, token.as_ref(), shared)?;
        if let Some(size) = head.window().filter(|_| broker.protocol.is_terminal()) {
            claim.session().window().set(size);
        }
        let Some(upgrade) = upgrade else {
            // To ask is not to use: the claim is given back.
            return Err(Otherwise::Answered(Answer::status(broker)));
        };
        let upgraded = Upgraded { broker: broker.clone(), claim, upgrade, early: head.rest };
        // A broker that is closed, or whose machine is deleted, must not show anything any more.
        let reached = tokio::select! {
            biased;
            why = broker.stopped() => Err(match why {
                Stop::Stopping => Refusal::Stopping,
                _ => Refusal::NoBroker,
            }
            .into()),
            reached = upgraded.reach(&mut self.stream, shared) => reached,
        };
        // Only what became of a good ticket is worth telling its holder afterwards.
        broker.note_refusal(reached.as_ref().err().map(|refused| refused.noted(Instant::now())));
        Ok(reached?)
    }

    fn claim(&self, broker: &Arc<Broker>, token: Option<&Token>, shared: &Shared) -> Result<Claim, Refusal> {
        let (client, now) = (self.client.ip(), Instant::now());
        shared.sources.may_try(client, now)?;
        let claim = broker.claim(token, client, now);
        if let Err(Refusal::WrongTicket) = claim {
            shared.sources.wrong_ticket(client, now);
        }
        claim
    }
}

fn refused(refusal: Refusal, broker: Option<Arc<Broker>>, client: SocketAddr, shared: &Shared) {
    shared.metrics.refused(refusal);
    let broker_id = broker.as_ref().map_or("-", |broker| &broker.id);
    info!(broker_id, %client, code = refusal.answer().1, "refused");
    shared.desk.refused(broker, client.ip(), refusal);
}

/// A good handshake with a good ticket.
struct Upgraded {
    broker: Arc<Broker>,
    claim: Claim,
    upgrade: Upgrade,
    early: Vec<u8>,
}

impl Upgraded {
    /// Resolves the instance once more, dials it, and records the session. Dropped at any point before
    /// that, the ticket is as it was.
    async fn reach(self, client: &mut ClientStream, shared: &Shared) -> Result<Reached, Refused> {
        let Self { broker, claim, upgrade, early } = self;
        let admitted = shared.sessions.admit(claim.session())?;
        let unanswered = |_| Refusal::Unavailable;
        let target =
            timeout(shared.answer, shared.desk.resolve(broker.clone())).await.map_err(unanswered)??;
        let far = shared.reach.far(&target, claim.hash().is_some(), claim.session()).await?;
        // What moved while it was dialled is somebody else's screen by now; who left meanwhile keeps a
        // ticket that is as good as before.
        if broker.target() != target {
            return Err(Refusal::InstanceGone.into());
        } else if client.has_left() {
            return Err(Refusal::Slow.into());
        }
        let recorded = shared.desk.begin(claim.session().clone(), claim.hash());
        let begun = timeout(shared.answer, recorded).await.map_err(unanswered)??;
        let connection = claim.enter();
        begun.keep();
        Ok(Reached { broker, connection, admitted, far, upgrade, early })
    }
}

/// A client that waits for its answer, and a target that is there.
struct Reached {
    broker: Arc<Broker>,
    connection: Connection,
    admitted: Admitted,
    far: Far,
    upgrade: Upgrade,
    early: Vec<u8>,
}

impl Reached {
    async fn accept(self, Caller { mut stream, client }: Caller, shared: &Shared) -> Option<Connected> {
        let Self { broker, connection, admitted, far, upgrade, early } = self;
        if connection.is_first() {
            shared.metrics.session_began(connection.session().protocol);
        }
        let answered = async {
            stream.write_all(upgrade.answer()).await?;
            stream.flush().await
        };
        if answered.await.is_err() {
            ended(connection, CLIENT_GONE, shared);
            return None;
        }
        Some(Connected { broker, connection, admitted, stream, far, client, early })
    }
}

/// A connection that is in.
struct Connected {
    broker: Arc<Broker>,
    // Before its place among the sessions, so that it is out when the place is given back.
    connection: Connection,
    admitted: Admitted,
    stream: ClientStream,
    far: Far,
    client: SocketAddr,
    early: Vec<u8>,
}

impl Connected {
    /// The rest of its life. Not an `async fn`: that has room for its arguments, and again for where they go.
    fn relay(self, shared: &Shared, live: &Live) -> impl Future<Output = ()> {
        let session = self.connection.session().clone();
        let traffic = Traffic::new(shared.bytes_per_s.map(|limit| session.rates(limit)));
        let vital = Rc::new(Vital { traffic, pulse: Pulse::default() });
        let counted = live.count(&vital, &session, shared.metrics.clone());
        let client = self.client;
        debug!(
            broker_id = self.broker.id,
            session_id = session.id,
            instance_id = self.broker.instance_id,
            %client,
            "session begins"
        );
        let began = Instant::now();
        let mut pump = Pump::new(self.stream, self.far, &self.early);
        async move {
            let stopped = Cell::new(None);
            let end = {
                let stop = pin!(async {
                    let why = tokio::select! {
                        why = self.broker.stopped() => why,
                        why = self.connection.stopped() => why,
                    };
                    stopped.set(Some(why));
                    farewell(why)
                });
                pump.run(&vital.pulse, &vital.traffic, stop).await
            };
            drop(counted);
            let name = end_name(&end, stopped.get());
            shared.metrics.ended(name);
            ended(self.connection, name, shared);
            drop(self.admitted);
            info!(
                broker_id = self.broker.id,
                session_id = session.id,
                %client,
                end = name,
                error = end.as_ref().err().map(ToString::to_string),
                up_bytes = vital.traffic.up.bytes(),
                down_bytes = vital.traffic.down.bytes(),
                seconds = began.elapsed().as_secs(),
                "session ended"
            );
        }
    }
}

/// A connection that was recorded is out, and that is recorded too.
fn ended(connection: Connection, end: &'static str, shared: &Shared) {
    let session = connection.session().clone();
    connection.end(end);
    shared.desk.end(session, end);
}

/// Close code of a connection whose place a newer one took, from the range of applications (RFC 6455
/// section 7.4.2).
const REPLACED: CloseCode = CloseCode(4000);
/// Close code of a session that an operator killed.
const KILLED: CloseCode = CloseCode(4001);

fn farewell(why: Stop) -> Close {
    match why {
        Stop::Closed => Close::new(CloseCode::GOING_AWAY, "the console was closed"),
        Stop::Stopping => Close::new(CloseCode::GOING_AWAY, "the gateway is stopping"),
        Stop::Replaced => Close::new(REPLACED, "replaced by a newer connection"),
        Stop::Killed => Close::new(KILLED, "ended by an operator"),
    }
}

const CLIENT_GONE: &str = "client_gone";

/// The names of all ends, in records and metrics.
pub const END_NAMES: [&str; 15] = [
    "client_closed",
    CLIENT_GONE,
    "client_silent",
    "target_closed",
    "target_gone",
    "target_silent",
    "idle",
    "too_long",
    "closed",
    "stopping",
    "replaced",
    "killed",
    "client_error",
    "protocol_error",
    "target_error",
];

/// How a session ended; `stopped` is why, where the gateway ended it. A peer that just leaves is an ordinary end.
pub fn end_name(end: &Result<End, RelayError>, stopped: Option<Stop>) -> &'static str {
    match end {
        Ok(End::ClientClosed) => "client_closed",
        Ok(End::ClientGone) => CLIENT_GONE,
        Ok(End::ClientSilent) => "client_silent",
        Ok(End::TargetClosed) => "target_closed",
        Ok(End::Idle) => "idle",
        Ok(End::TooLong) => "too_long",
        Ok(End::Stopped(_)) => match stopped {
            Some(Stop::Replaced) => "replaced",
            Some(Stop::Killed) => "killed",
            Some(Stop::Closed) => "closed",
            Some(Stop::Stopping) | None => "stopping",
        },
        Err(RelayError::Protocol(_)) => "protocol_error",
        Err(RelayError::Client(error)) => match Loss::of(error) {
            Some(Loss::Gone) => CLIENT_GONE,
            Some(Loss::Silent) => "client_silent",
            None => "client_error",
        },
        Err(RelayError::Target(error)) => match Loss::of(error) {
            Some(Loss::Gone) => "target_gone",
            Some(Loss::Silent) => "target_silent",
            None => "target_error",
        },
    }
}

/// How a peer is lost without a word, in the ways that peers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loss {
    /// Its system broke the connection off.
    Gone,
    /// Nothing answers any more: TCP gave it up, or the network says that there is no way to it.
    Silent,
}

impl Loss {
    fn of(error: &io::Error) -> Option<Self> {
        use io::ErrorKind as Kind;
        match error.kind() {
            Kind::BrokenPipe | Kind::ConnectionAborted | Kind::ConnectionReset | Kind::UnexpectedEof => {
                Some(Self::Gone)
            }
            Kind::TimedOut | Kind::HostUnreachable | Kind::NetworkUnreachable | Kind::NetworkDown => {
                Some(Self::Silent)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Error, ErrorKind};

    use super::*;
    use crate::relay::ws::ProtocolError;

    fn check(end: Result<End, RelayError>, stopped: Option<Stop>, name: &str) {
        assert_eq!(end_name(&end, stopped), name, "{end:?}");
        assert!(END_NAMES.contains(&name), "{name}");
    }

    #[test]
    fn every_end_has_its_name() {
        for kind in [ErrorKind::BrokenPipe, ErrorKind::ConnectionReset, ErrorKind::UnexpectedEof] {
            check(Err(RelayError::Client(Error::from(kind))), None, "client_gone");
            check(Err(RelayError::Target(Error::from(kind))), None, "target_gone");
        }
        for kind in [ErrorKind::TimedOut, ErrorKind::HostUnreachable] {
            check(Err(RelayError::Client(Error::from(kind))), None, "client_silent");
            check(Err(RelayError::Target(Error::from(kind))), None, "target_silent");
        }
        check(Err(RelayError::Client(Error::from(ErrorKind::OutOfMemory))), None, "client_error");
        check(Err(RelayError::Target(Error::from(ErrorKind::OutOfMemory))), None, "target_error");
        check(Err(RelayError::Protocol(ProtocolError::Unmasked)), None, "protocol_error");
        for (end, name) in [
            (End::ClientClosed, "client_closed"),
            (End::ClientGone, "client_gone"),
            (End::ClientSilent, "client_silent"),
            (End::TargetClosed, "target_closed"),
            (End::Idle, "idle"),
            (End::TooLong, "too_long"),
        ] {
            check(Ok(end), None, name);
        }
        for (why, name) in [
            (Stop::Closed, "closed"),
            (Stop::Stopping, "stopping"),
            (Stop::Replaced, "replaced"),
            (Stop::Killed, "killed"),
        ] {
            check(Ok(End::Stopped(farewell(why))), Some(why), name);
        }
    }
}
