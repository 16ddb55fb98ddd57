//! A client that may come in, from there to its farewell. Each step is a type that the next one consumes: a relay
//! without a handshake, or an answer 101 without a target, cannot be written down.

use std::cell::Cell;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use tokio::io::AsyncWriteExt;
use tokio::time::timeout;
use tracing::{debug, info};

use crate::broker::session::{Admitted, Connection};
use crate::broker::ticket::Claim;
use crate::broker::{Broker, Protocol, Refusal, Target};
use crate::relay::bare::BarePump;
use crate::relay::console::spice::pieces::Pieces;
use crate::relay::core::{Live, Vital};
use crate::relay::far::{Far, Guest, Refused};
use crate::relay::handshake::Upgrade;
use crate::relay::pulse::Pulse;
use crate::relay::pump::Pump;
use crate::relay::stream::ClientStream;
use crate::relay::traffic::Traffic;

use super::end::{CLIENT_GONE, end_name, farewell};
use super::{Caller, Shared};

/// What a client hears of the gateway when it is in.
pub(super) enum Greeting {
    /// Yes, to a WebSocket.
    Upgrade(Upgrade),
    /// Yes, to RDP in a WebSocket that was answered already.
    Message(Vec<u8>),
    /// Yes, to a tunnel.
    Tunnel,
    /// Nothing: the first word is the console's.
    Nothing,
}

/// The answer to a request for a tunnel.
pub(super) const TUNNEL: &[u8] = b"HTTP/1.1 200 Connection established\r\n\r\n";

impl Greeting {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Upgrade(upgrade) => upgrade.answer(),
            Self::Message(message) => message,
            Self::Tunnel => TUNNEL,
            Self::Nothing => &[],
        }
    }

    /// Whether the client speaks WebSocket.
    const fn is_framed(&self) -> bool {
        matches!(self, Self::Upgrade(_) | Self::Message(_))
    }
}

/// A client that may come in.
pub(super) struct Welcome {
    pub(super) broker: Arc<Broker>,
    pub(super) claim: Claim,
    pub(super) greeting: Greeting,
    pub(super) early: Vec<u8>,
    /// Where its ticket came by way of the target, that is dialled already.
    pub(super) dialled: Option<(Target, Far)>,
}

impl Welcome {
    /// Resolves the instance once more, dials it, and records the session. Dropped at any point before
    /// that, the ticket is as it was.
    pub(super) async fn reach(self, client: &mut ClientStream, shared: &Shared) -> Result<Reached, Refused> {
        let Self { broker, claim, greeting, early, dialled } = self;
        let admitted = shared.sessions.admit(claim.session())?;
        let unanswered = |_| Refusal::Unavailable;
        let (target, far) = match dialled {
            Some(dialled) => dialled,
            None => {
                let resolved = timeout(shared.answer, shared.desk.resolve(broker.clone())).await;
                let target = resolved.map_err(unanswered)??;
                let guest = Guest {
                    session: claim.session(),
                    trusted: claim.may_have_secret(),
                    view_only: broker.admission.view_only,
                };
                let far = match greeting {
                    // What is behind it is nobody's but the console's.
                    Greeting::Tunnel => Far::through(shared.reach.dial(&target, &broker.id).await?),
                    _ => shared.reach.far(&target, guest).await?,
                };
                (target, far)
            }
        };
        // What moved while it was dialled is somebody else's screen by now; who left meanwhile keeps a
        // ticket that is as good as before.
        if !broker.is_at(&target) {
            return Err(Refusal::InstanceGone.into());
        } else if client.has_left() {
            return Err(Refusal::Slow.into());
        }
        let recorded = shared.desk.begin(claim.session().clone(), claim.hash());
        let begun = timeout(shared.answer, recorded).await.map_err(unanswered)??;
        let connection = claim.enter();
        begun.keep();
        Ok(Reached { broker, connection, admitted, far, greeting, early })
    }
}

/// A client that waits for its answer, and a target that is there.
pub(super) struct Reached {
    broker: Arc<Broker>,
    connection: Connection,
    admitted: Admitted,
    far: Far,
    greeting: Greeting,
    early: Vec<u8>,
}

impl Reached {
    pub(super) async fn accept(
        self,
        Caller { mut stream, client, .. }: Caller,
        shared: &Shared,
    ) -> Option<Connected> {
        let Self { broker, connection, admitted, far, greeting, early } = self;
        if connection.is_first() {
            shared.metrics.session_began(connection.session().protocol);
        }
        if !greeting.is_framed() {
            let greeted = async {
                stream.write_all(greeting.bytes()).await?;
                stream.flush().await
            };
            if greeted.await.is_err() {
                ended(connection, CLIENT_GONE, shared);
                return None;
            }
        }
        Some(Connected { broker, connection, admitted, stream, far, client, greeting, early })
    }
}

/// A connection that is in.
pub(super) struct Connected {
    broker: Arc<Broker>,
    // Before its place among the sessions, so that it is out when the place is given back.
    connection: Connection,
    admitted: Admitted,
    stream: ClientStream,
    far: Far,
    client: SocketAddr,
    /// Where it speaks WebSocket, it is yet to be told.
    greeting: Greeting,
    early: Vec<u8>,
}

/// What moves the bytes of a connection.
#[expect(
    clippy::large_enum_variant,
    reason = "most connections are the larger one, and a box would be one more each"
)]
enum Mover {
    Framed(Pump<ClientStream, Far>),
    Bare(BarePump<ClientStream, Far>),
    InPieces(Box<BarePump<Pieces<ClientStream>, Far>>),
}

impl Connected {
    /// The rest of its life. Not an `async fn`: that has room for its arguments, and again for where they go.
    pub(super) fn relay(self, shared: &Shared, live: &Live) -> impl Future<Output = ()> {
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
        let mut mover = if self.greeting.is_framed() {
            let pump = Pump::new(self.stream, self.far, &self.early);
            Mover::Framed(pump.answering(self.greeting.bytes()))
        } else {
            vital.traffic.up.add(self.early.len());
            if session.protocol == Protocol::Spice && self.stream.is_tls() {
                let client = Pieces::new(self.stream, self.far.spice_place());
                Mover::InPieces(Box::new(BarePump::new(client, self.far, &self.early)))
            } else {
                Mover::Bare(BarePump::new(self.stream, self.far, &self.early))
            }
        };
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
                match &mut mover {
                    Mover::Framed(pump) => pump.run(&vital.pulse, &vital.traffic, stop).await,
                    Mover::Bare(pump) => pump.run(&vital.pulse, &vital.traffic, stop).await,
                    Mover::InPieces(pump) => pump.run(&vital.pulse, &vital.traffic, stop).await,
                }
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
