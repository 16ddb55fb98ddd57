//! A browser that speaks RDP: its WebSocket is answered first, and its ticket may come in the first message there. The
//! gateway speaks TLS with the server for it.

use std::sync::Arc;
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;
use tracing::{debug, info, warn};

use crate::broker::target::tls::Trust;
use crate::broker::ticket::{Claim, Token};
use crate::broker::{Broker, Refusal, Stop, Target};
use crate::relay::answer::{Answer, farewell_to_browser};
use crate::relay::console::rdp::clean_path::{self, Failure, Request};
use crate::relay::far::Refused;
use crate::relay::far::rdp::{NoServer, Server};
use crate::relay::handshake::{NoHead, Upgrade};
use crate::relay::sniff::Kind;
use crate::relay::ws::frame::message;
use crate::relay::ws::{self, Decoder, Opcode, Piece};

use super::{Caller, Greeting, Otherwise, Reached, Shared, Welcome, refused};

impl Caller {
    /// Upgrade, request, ticket, server. Nothing is dialled for who has not shown a ticket.
    pub(super) async fn ask_by_clean_path(
        &mut self,
        upgrade: &Upgrade,
        token: Option<&Token>,
        rest: Vec<u8>,
        broker: &Arc<Broker>,
        shared: &Shared,
    ) -> Result<Reached, Otherwise> {
        // As long as there are words of HTTP for what is wrong with it.
        let claim = token.map(|token| self.claim(broker, Some(token), shared)).transpose()?;
        let upgraded = async {
            self.stream.write_all(upgrade.answer()).await?;
            self.stream.flush().await
        };
        upgraded.await.map_err(NoHead::from)?;
        self.speaks = Kind::CleanPath;
        let gathered = timeout(shared.head.head, gather(&mut self.stream, rest)).await;
        let (request, early) = gathered.map_err(|_| Refusal::Slow)??;
        let claim = match claim {
            Some(claim) => claim,
            None => self.claim(broker, request.ticket().map(Token::from_client).as_ref(), shared)?,
        };
        let (target, server) = match self.serve_by_tls(&claim, &request, broker, shared).await {
            Ok(served) => served,
            Err(no_server) => return Err(self.tell(no_server, broker, shared)),
        };
        let Server { confirm, chain, .. } = &server;
        let address = broker.endpoint.to_string();
        let response = clean_path::response(confirm.clone(), chain.clone(), address);
        let response = response.map_err(|_| Refusal::TargetTls)?;
        let welcome = Welcome {
            broker: broker.clone(),
            claim,
            greeting: Greeting::Message(message(Opcode::Binary, &response)),
            early,
            dialled: Some((target, server.into_far())),
        };
        self.reach(welcome, shared).await
    }

    /// The broker's machine, behind TLS that is believed.
    async fn serve_by_tls(
        &self,
        claim: &Claim,
        request: &Request,
        broker: &Arc<Broker>,
        shared: &Shared,
    ) -> Result<(Target, Server), NoServer> {
        let serve = async {
            let resolved = timeout(shared.answer, shared.desk.resolve(broker.clone())).await;
            let target = resolved.map_err(|_| Refusal::Unavailable)??;
            let tls = target.tls.clone().ok_or(Refusal::TargetTls)?;
            let server = shared.reach.rdp(&target, &tls, &request.packet, &broker.id).await?;
            if tls.trust == Trust::FirstUse {
                recognise(&claim.session().instance_id, &server, &broker.id, shared).await?;
            }
            Ok((target, server))
        };
        tokio::select! {
            biased;
            why = broker.stopped() => Err(match why {
                Stop::Stopping => Refusal::Stopping,
                _ => Refusal::NoBroker,
            }
            .into()),
            served = serve => served,
        }
    }

    /// The words for a server that is not there; those of RDP where RDCleanPath carries them.
    fn tell(&self, no_server: NoServer, broker: &Arc<Broker>, shared: &Shared) -> Otherwise {
        let why = no_server.refusal();
        broker.note_refusal(Some(Refused::from(why).noted(Instant::now())));
        let failure = match no_server {
            NoServer::Negotiation(confirm) => Failure::Negotiation(confirm),
            NoServer::Tls(Some(alert)) => Failure::Tls(alert),
            NoServer::Refused(_) | NoServer::Tls(None) => return why.into(),
        };
        refused(why, Some(broker.clone()), self.client, shared);
        Otherwise::Answered(Answer::bare(farewell_to_browser(failure, why)))
    }
}

/// Whether the server shows the certificate that its instance showed first, which this may be.
async fn recognise(
    instance_id: &str,
    server: &Server,
    broker_id: &str,
    shared: &Shared,
) -> Result<(), Refusal> {
    let shown = server.fingerprint().ok_or(Refusal::TargetTls)?;
    let recognised = timeout(shared.answer, shared.desk.recognise(instance_id.to_owned(), shown)).await;
    let known = recognised.map_err(|_| Refusal::Unavailable)??;
    if known == shown {
        debug!(broker_id, instance_id, certificate = %shown, "known by its certificate, from now on or before");
        return Ok(());
    }
    warn!(broker_id, instance_id, %known, %shown, "the instance shows another certificate than it did first");
    Err(Refusal::TargetChanged)
}

/// Reads a request, whose last byte ends a message; `bytes` were read already. What came behind it is returned too.
/// There is no deadline.
///
/// # Errors
/// [`NoHead::Gone`]; [`Refusal::BadHandshake`] for what is no request.
async fn gather<S>(stream: &mut S, mut bytes: Vec<u8>) -> Result<(Request, Vec<u8>), NoHead>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut decoder = Decoder::default();
    let mut request = Vec::new();
    loop {
        let mut at = 0;
        while let Some((used, piece)) = decoder.next(&mut bytes[at..]).map_err(|_| Refusal::BadHandshake)? {
            let start = at;
            at += used;
            match piece {
                Piece::Data { payload, kind: ws::Kind::Binary, last } => {
                    request.extend_from_slice(&bytes[start + payload.start..start + payload.end]);
                    if request.len() > clean_path::REQUEST_MAX {
                        return Err(Refusal::HeadTooLong.into());
                    }
                    if last && let Some(request) = parse(&request)? {
                        return Ok((request, bytes.split_off(at)));
                    }
                }
                Piece::Data { .. } => return Err(Refusal::BadHandshake.into()),
                Piece::Ping(payload) => {
                    stream.write_all(&message(Opcode::Pong, payload.as_ref())).await?;
                    stream.flush().await?;
                }
                Piece::Pong(_) => {}
                Piece::Close(_) => return Err(NoHead::Gone),
            }
        }
        bytes.clear();
        if (&mut *stream).take(clean_path::REQUEST_MAX as u64).read_buf(&mut bytes).await? == 0 {
            return Err(NoHead::Gone);
        }
    }
}

fn parse(bytes: &[u8]) -> Result<Option<Request>, Refusal> {
    Request::parse(bytes).map_err(|error| {
        info!(%error, "no request of a browser");
        match error {
            clean_path::BadRequest::TooLong => Refusal::HeadTooLong,
            clean_path::BadRequest::Malformed | clean_path::BadRequest::NoPacket => Refusal::BadHandshake,
        }
    })
}
