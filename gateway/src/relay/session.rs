//! One client from its arrival to the question whether it may come in. Each step is a type that the next one consumes;
//! what comes after a yes is `welcome`.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU64;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tracing::info;

use crate::broker::pseudo_name::Way;
use crate::broker::session::Sessions;
use crate::broker::sources::Sources;
use crate::broker::table::Table;
use crate::broker::ticket::{Claim, Token};
use crate::broker::viewer_file::{By, Form, Viewer};
use crate::broker::web_origin::WebOrigin;
use crate::broker::{Broker, Desk, Protocol, Refusal, Stop, canonical};
use crate::descriptors;
use crate::metrics::Metrics;
use crate::web::{self, NO_STORE, Site};

use super::answer::Answer;
use super::core::Live;
use super::far::{Reach, Refused};
use super::forwarded::{Proxies, take_header};
use super::handshake::{Ask, Head, HeadTimes, NoHead, Opening, read_opening};
use super::pulse::Pace;
use super::sniff::Kind;
use super::stream::{self, ClientStream, NoStream, Patience, Tls};

mod clean_path;
mod end;
mod rdp;
mod spice;
mod through;
mod welcome;

pub use end::{END_NAMES, end_name};
use welcome::{Connected, Greeting, Reached, TUNNEL, Welcome};

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
    /// Files for native viewers, and how those name a broker to a proxy.
    pub viewer: Arc<Viewer>,
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

/// Resolves when the gateway stops. Of one type, however often a client begins anew.
type Stopping<'a> = Pin<&'a mut dyn Future<Output = ()>>;

/// A connection of which nothing is known yet.
struct Arrival {
    stream: TcpStream,
    client: SocketAddr,
}

/// A client that may say what it wants: plain, or by TLS.
struct Caller {
    stream: ClientStream,
    client: SocketAddr,
    /// For so long it may be quiet, where a native client may come.
    quiet: Option<Duration>,
    /// What it speaks, as far as is known.
    speaks: Kind,
    /// It is in a tunnel that it asked for.
    tunnelled: bool,
}

/// Who says nothing for so long waits for the console to speak first.
const QUIET: Duration = Duration::from_millis(300);

/// Why a connection does not become a session.
enum Otherwise {
    /// It is told why.
    Refused(Refused),
    /// It asked for something else, and gets it.
    Answered(Answer),
    /// It is to have its tunnel, and begins anew in it.
    Tunnel,
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
        let awaits_native =
            broker.as_ref().is_some_and(|broker| broker.awaits_native(client.ip(), Instant::now()));
        let quiet = awaits_native.then_some(QUIET);
        match &handshake {
            Ok(_) => Self { stream, client }.receive(broker, quiet, false, shared, stopping).await,
            Err(refusal) => refuse(*refusal, broker, client, Some(stream), shared).await,
        }
    }

    /// TLS, where it is spoken, and the rest of the way in.
    async fn receive(
        self,
        broker: Option<Arc<Broker>>,
        mut quiet: Option<Duration>,
        tunnelled: bool,
        shared: &Shared,
        mut stopping: Stopping<'_>,
    ) -> Option<Connected> {
        let Self { stream, client } = self;
        let patience = Patience { first_byte: shared.head.first_byte, quiet };
        match stream::receive(stream, &shared.tls, patience, &mut stopping).await {
            Ok(stream) => {
                if !stream.is_tls() && matches!(shared.tls, Tls::Optional(_)) {
                    // It was waited for already, and spoke or did not.
                    quiet = quiet.map(|_| Duration::ZERO);
                }
                let caller = Caller { stream, client, quiet, speaks: Kind::Http, tunnelled };
                caller.admit(broker, shared, stopping).await
            }
            Err(NoStream::Gone) => None,
            Err(NoStream::Refused(refusal, plain)) => refuse(refusal, broker, client, plain, shared).await,
        }
    }
}

/// Tells a client why it is not let in, where it can be told.
async fn refuse(
    refusal: Refusal,
    broker: Option<Arc<Broker>>,
    client: SocketAddr,
    plain: Option<TcpStream>,
    shared: &Shared,
) -> Option<Connected> {
    refused(refusal, broker, client, shared);
    if let Some(mut plain) = plain {
        Answer::refusal(refusal).send(&mut plain).await;
    }
    None
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
        mut stopping: Stopping<'_>,
    ) -> Option<Connected> {
        let asked = tokio::select! {
            asked = self.ask(broker.as_ref(), shared) => asked,
            () = &mut stopping => Err(Refusal::Stopping.into()),
        };
        match asked {
            Ok(reached) => reached.accept(self, shared).await,
            Err(Otherwise::Answered(answer)) => {
                answer.send(&mut self.stream).await;
                None
            }
            Err(Otherwise::Refused(Refused { why, again_after })) => {
                refused(why, broker, self.client, shared);
                let mut answer = Answer::refusal_to(self.speaks, why);
                if let Some(wait) = again_after {
                    answer = answer.again_after(wait);
                }
                answer.send(&mut self.stream).await;
                None
            }
            Err(Otherwise::Tunnel) => Box::pin(self.tunnel(broker, shared, stopping)).await,
            Err(Otherwise::Gone) => None,
        }
    }

    /// Answers a request for a tunnel, and takes the client at its word again: what it speaks behind it, by TLS or
    /// not, is what it would have spoken without.
    async fn tunnel(
        mut self,
        broker: Option<Arc<Broker>>,
        shared: &Shared,
        stopping: Stopping<'_>,
    ) -> Option<Connected> {
        let answered = async {
            self.stream.write_all(TUNNEL).await?;
            self.stream.flush().await
        };
        answered.await.ok()?;
        let Self { stream, client, quiet, .. } = self;
        let ClientStream::Plain(stream) = stream else {
            // TLS in TLS would be of no use to anybody.
            return Self { stream, client, quiet, speaks: Kind::Http, tunnelled: true }
                .admit(broker, shared, stopping)
                .await;
        };
        let arrival = Arrival { stream, client };
        arrival.receive(broker, quiet, true, shared, stopping).await
    }

    async fn ask(&mut self, broker: Option<&Arc<Broker>>, shared: &Shared) -> Result<Reached, Otherwise> {
        match read_opening(&mut self.stream, shared.head, self.quiet).await? {
            Opening::Head(head) => self.ask_by_http(head, broker, shared).await,
            Opening::Native(kind, early) => {
                self.speaks = kind;
                self.ask_natively(early, broker.ok_or(Refusal::NoBroker)?, shared).await
            }
            Opening::Connect(name, token) => {
                let broker = broker.ok_or(Refusal::NoBroker)?;
                match self.way(&name, broker, shared).ok_or(Refusal::WrongName)? {
                    Way::Ended => Err(Otherwise::Tunnel),
                    Way::Passed => Box::pin(self.ask_to_pass(token, broker, shared)).await,
                }
            }
            Opening::Quiet => {
                let broker = broker.ok_or(Refusal::NoBroker)?;
                self.speaks = server_first(broker.protocol).ok_or(Refusal::Slow)?;
                self.ask_natively(Vec::new(), broker, shared).await
            }
        }
    }

    /// How a tunnel to `name` leads to the broker. The name only selects, and there is nothing to select in a tunnel.
    fn way(&self, name: &str, broker: &Broker, shared: &Shared) -> Option<Way> {
        let said = shared.viewer.names.read(name, &broker.id).filter(|_| !self.tunnelled)?;
        (said.is_fresh || broker.has_session(Instant::now())).then_some(said.way)
    }

    async fn ask_by_http(
        &mut self,
        head: Head,
        broker: Option<&Arc<Broker>>,
        shared: &Shared,
    ) -> Result<Reached, Otherwise> {
        if shared.proxies.has(self.client.ip())
            && let Some(client) = head.forwarded(&shared.proxies)
        {
            self.client.set_ip(client);
        }
        let (upgrade, token) =
            match head.ask(broker.map(|broker| broker.id.as_str()), &shared.allowed_origins)? {
                Ask::Upgrade(upgrade, token) => (Some(upgrade), token),
                Ask::Status(token) => (None, token),
                Ask::ViewerFile(form, token) => return Err(self.viewer_file(form, broker, token, shared)?),
                Ask::Page(path) => {
                    let page = web::page(Site::Console, &path).ok_or(Refusal::NoPage)?;
                    let policy = web::policy(broker.map(|broker| broker.protocol));
                    return Err(Otherwise::Answered(Answer::page(page, policy, self.stream.is_tls())));
                }
            };
        let broker = broker.ok_or(Refusal::NoBroker)?;
        if let (Protocol::Rdp, Some(upgrade)) = (broker.protocol, &upgrade) {
            // In a box: only RDP pays for what it needs.
            let asked = self.ask_by_clean_path(upgrade, token.as_ref(), head.rest, broker, shared);
            return Box::pin(asked).await;
        }
        let claim = self.claim(broker, token.as_ref(), shared)?;
        if let Some(size) = head.window().filter(|_| broker.protocol.is_terminal()) {
            claim.session().window().set(size);
        }
        let Some(upgrade) = upgrade else {
            // To ask is not to use: the claim is given back.
            return Err(Otherwise::Answered(Answer::status(broker)));
        };
        let greeting = Greeting::Upgrade(upgrade);
        let welcome = Welcome { broker: broker.clone(), claim, greeting, early: head.rest, dialled: None };
        self.reach(welcome, shared).await
    }

    /// Without a ticket, by its address, where the broker lets one client in so.
    async fn ask_natively(
        &mut self,
        early: Vec<u8>,
        broker: &Arc<Broker>,
        shared: &Shared,
    ) -> Result<Reached, Otherwise> {
        if !is_spoken(self.speaks, broker.protocol) {
            return Err(Refusal::OtherProtocol.into());
        }
        if self.speaks == Kind::Spice && self.shows_ticket_later(shared) {
            return Box::pin(self.ask_by_link(early, broker, shared)).await;
        }
        if self.speaks == Kind::Rdp {
            return Box::pin(self.ask_by_opening(early, broker, shared)).await;
        }
        let claim = broker.claim_native(self.client.ip(), Instant::now())?;
        let greeting = Greeting::Nothing;
        let welcome = Welcome { broker: broker.clone(), claim, greeting, early, dialled: None };
        self.reach(welcome, shared).await
    }

    async fn reach(&mut self, welcome: Welcome, shared: &Shared) -> Result<Reached, Otherwise> {
        let broker = welcome.broker.clone();
        // A broker that is closed, or whose machine is deleted, must not show anything any more.
        let reached = tokio::select! {
            biased;
            why = broker.stopped() => Err(match why {
                Stop::Stopping => Refusal::Stopping,
                _ => Refusal::NoBroker,
            }
            .into()),
            reached = welcome.reach(&mut self.stream, shared) => reached,
        };
        // Only what became of a good ticket is worth telling its holder afterwards.
        broker.note_refusal(reached.as_ref().err().map(|refused| refused.noted(Instant::now())));
        Ok(reached?)
    }

    /// A file for a native viewer, with the ticket that was shown: what a viewer opens by it is the same session.
    fn viewer_file(
        &self,
        form: Form,
        broker: Option<&Arc<Broker>>,
        token: Option<Token>,
        shared: &Shared,
    ) -> Result<Otherwise, Refusal> {
        let broker = broker.ok_or(Refusal::NoBroker)?;
        drop(self.claim(broker, token.as_ref(), shared)?);
        let token = token.ok_or(Refusal::NoTicket)?;
        let file = match form {
            Form::Vv => shared.viewer.file(broker, &token, &By::Port),
            Form::Rdp => shared.viewer.rdp_file(broker, &token),
        };
        let file = file.map_err(|_| Refusal::NoPage)?.into_bytes();
        Ok(Otherwise::Answered(Answer::new(200, form.content_type(), NO_STORE, file.into())))
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

/// What a client speaks that waits for such a console to speak first. `None` where none does.
const fn server_first(protocol: Protocol) -> Option<Kind> {
    match protocol {
        Protocol::Vnc | Protocol::Ikvm => Some(Kind::Rfb),
        Protocol::Serial | Protocol::Container => Some(Kind::Other),
        Protocol::Spice | Protocol::Rdp => None,
    }
}

/// Whether a native client that begins so may be one of such a console. What is typed into a serial line may be
/// anything.
const fn is_spoken(kind: Kind, protocol: Protocol) -> bool {
    match protocol {
        Protocol::Vnc | Protocol::Ikvm => matches!(kind, Kind::Rfb),
        Protocol::Spice => matches!(kind, Kind::Spice),
        Protocol::Rdp => matches!(kind, Kind::Rdp),
        Protocol::Serial | Protocol::Container => matches!(kind, Kind::Other),
    }
}

fn refused(refusal: Refusal, broker: Option<Arc<Broker>>, client: SocketAddr, shared: &Shared) {
    shared.metrics.refused(refusal);
    let broker_id = broker.as_ref().map_or("-", |broker| &broker.id);
    info!(broker_id, %client, code = refusal.answer().1, "refused");
    shared.desk.refused(broker, client.ip(), refusal);
}
