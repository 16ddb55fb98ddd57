//! One connection of a client: TLS, requests for files one after the other, and then a session, or none.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::header::{HOST, UPGRADE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{HeaderMap, Method, Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tracing::{info, warn};

use crate::broker::Refusal as RelayRefusal;
use crate::relay::answer::Answer;
use crate::relay::handshake::{HEAD_MAX, agree};
use crate::relay::open::{self, Ended};
use crate::relay::session::end_name;
use crate::relay::stream::{ClientStream, NoStream, Patience, TLS_FIRST_BYTE, Tls, receive};
use crate::relay::target::TargetStream;
use crate::relay::ws::{Close, CloseCode};

use super::answer::{Body, Refusal};
use super::auth::Visitor;
use super::destination::Destination;
use super::house::{Counted, House};
use super::plan::Aim;
use super::tap::{Tap, Tape};
use super::{dial, files};

/// From the connection to its first byte.
const FIRST_BYTE: Duration = Duration::from_secs(10);
/// Nobody waits for its target to speak first.
const PATIENCE: Patience = Patience { first_byte: FIRST_BYTE, quiet: None };
/// For the head of each request, and between two of them.
const HEAD: Duration = Duration::from_secs(10);
/// For the answer of whoever knows where a token leads.
const LOOKUP: Duration = Duration::from_secs(15);
/// For the end of a connection.
const FAREWELL: Duration = Duration::from_secs(3);

/// A client, as long as it asks.
struct Visit {
    house: Arc<House>,
    client: String,
    number: u64,
    /// In DER, if TLS found it good.
    certificate: Option<Vec<u8>>,
    /// What it was let in to.
    granted: Cell<Option<Granted>>,
}

/// A session that begins when 101 is written.
struct Granted {
    session: Counted,
    destination: Destination,
    target: TargetStream,
    tape: Option<Tape>,
}

/// Serves a connection to its end. `number` is its place among all.
pub async fn serve(stream: TcpStream, client: String, number: u64, house: &Arc<House>) {
    let Some(stream) = Box::pin(enter(stream, &client, house)).await else { return };
    let certificate = shown(&stream);
    let visit = Visit { house: house.clone(), client, number, certificate, granted: Cell::default() };
    // In boxes: what asking needs is gone by the time that bytes move.
    if let Some((stream, early, granted)) = Box::pin(visit.converse(stream)).await {
        Box::pin(visit.relay(stream, &early, granted)).await;
    }
}

/// The stream that requests come by, after TLS if the client wants it.
async fn enter(stream: TcpStream, client: &str, house: &House) -> Option<ClientStream> {
    let tls = house.plan.certificates.now();
    if matches!(tls, Tls::Off) && speaks_tls(&stream).await {
        info!(client, code = RelayRefusal::NoTls.answer().1, "refused");
        Answer::refusal(RelayRefusal::NoTls).send(&mut { stream }).await;
        return None;
    }
    match receive(stream, &tls, PATIENCE, pin!(house.stopping())).await {
        Ok(stream) => Some(stream),
        Err(NoStream::Gone) => None,
        Err(NoStream::Refused(refusal, plain)) => {
            info!(client, code = refusal.answer().1, "refused");
            if let Some(mut plain) = plain {
                Answer::refusal(refusal).send(&mut plain).await;
            }
            None
        }
    }
}

/// Whether the first byte says so; none in time says no.
async fn speaks_tls(stream: &TcpStream) -> bool {
    let mut first = [0];
    let peeked = timeout(FIRST_BYTE, stream.peek(&mut first)).await;
    matches!(peeked, Ok(Ok(1)) if first[0] == TLS_FIRST_BYTE)
}

/// The certificate of the client.
fn shown(stream: &ClientStream) -> Option<Vec<u8>> {
    let ClientStream::Tls(stream) = stream else { return None };
    let chain = stream.get_ref().1.peer_certificates()?;
    chain.first().map(|certificate| certificate.to_vec())
}

impl Visit {
    /// Requests and answers, by HTTP/1.1, until one of them is an upgrade: then the stream, and what came behind it.
    async fn converse(&self, stream: ClientStream) -> Option<(ClientStream, Vec<u8>, Granted)> {
        let service =
            service_fn(|request| Box::pin(async { Ok::<_, Infallible>(self.answer(request).await) }));
        let mut server = http1::Builder::new();
        server.timer(TokioTimer::new()).header_read_timeout(HEAD).max_buf_size(HEAD_MAX);
        server.title_case_headers(true);
        let mut connection = server.serve_connection(TokioIo::new(stream), service);
        let end = tokio::select! {
            end = poll_fn(|cx| connection.poll_without_shutdown(cx)) => end,
            () = self.house.stopping() => return None,
        };
        let http1::Parts { io, read_buf, .. } = connection.into_parts();
        let mut stream = io.into_inner();
        match (end, self.granted.take()) {
            (Ok(()), Some(granted)) => return Some((stream, read_buf.to_vec(), granted)),
            // One that began a request is told; one that was only silent is closed.
            (Err(error), _) if error.is_timeout() && !read_buf.is_empty() => {
                info!(client = self.client, code = RelayRefusal::Slow.answer().1, "refused");
                Answer::refusal(RelayRefusal::Slow).send(&mut stream).await;
            }
            // The client left, or its bytes were no HTTP, which it was told.
            _ => drop(timeout(FAREWELL, stream.shutdown()).await),
        }
        None
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let answered = match *request.method() {
            Method::GET if is_upgrade(request.headers()) => self.upgrade(&request).await,
            Method::GET | Method::HEAD => self.file(request).await,
            _ => Err(Refusal::NoSuchMethod),
        };
        answered.unwrap_or_else(|refusal| {
            info!(client = self.client, code = refusal.answer().1, "refused");
            refusal.response()
        })
    }

    async fn file(&self, request: Request<Incoming>) -> Result<Response<Body>, Refusal> {
        let web = self.house.plan.web.as_ref().ok_or(Refusal::NotHere)?;
        if web.auth {
            self.admit(request.headers())?;
        }
        Ok(files::answer(web, request).await)
    }

    /// Handshake, token, who may, target: what fails is told before 101.
    async fn upgrade(&self, request: &Request<Incoming>) -> Result<Response<Body>, Refusal> {
        let agreed = agree(request).map_err(|_| Refusal::BadHandshake)?;
        let destination = self.destination(request).await?;
        self.admit(request.headers())?;
        let target = dial::dial(&destination, &self.house).await?;
        let tape = self.tape()?;
        let session = self.house.enter()?;
        self.granted.set(Some(Granted { session, destination, target, tape }));
        Ok(agreed.map(|()| UnsyncBoxBody::new(Empty::new().map_err(|never| match never {}))))
    }

    async fn destination(&self, request: &Request<Incoming>) -> Result<Destination, Refusal> {
        let in_host = match &self.house.plan.aim {
            Aim::One(destination) => return Ok(destination.clone()),
            Aim::ByToken { in_host, .. } => *in_host,
        };
        let token =
            if in_host { token_in_host(request.headers()) } else { token_in_query(request.uri().query()) };
        let token = token.ok_or(Refusal::NoToken)?;
        let house = self.house.clone();
        let find = spawn_blocking(move || match &house.plan.aim {
            Aim::ByToken { plugin, .. } => plugin.find(&token),
            Aim::One(destination) => Ok(Some(destination.clone())),
        });
        match timeout(LOOKUP, find).await {
            Ok(Ok(Ok(found))) => found.ok_or(Refusal::WrongToken),
            Ok(Ok(Err(error))) => {
                warn!(%error, "token not looked up");
                Err(Refusal::LookupFailed)
            }
            // It panicked, which its hook reported, or took too long.
            Ok(Err(_)) | Err(_) => Err(Refusal::LookupFailed),
        }
    }

    fn admit(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let Some(auth) = &self.house.plan.auth else { return Ok(()) };
        Ok(auth.admit(&Visitor { headers, certificate: self.certificate.as_deref() })?)
    }

    /// The recording, if there is to be one: without it there is no session either.
    fn tape(&self) -> Result<Option<Tape>, Refusal> {
        let Some(name) = &self.house.plan.record else { return Ok(None) };
        let mut path = name.clone().into_os_string();
        path.push(format!(".{}", self.number));
        let tape = Tape::begin(path.as_ref());
        tape.map(Some).map_err(|error| {
            warn!(file = ?path, %error, "session not recorded");
            Refusal::NotRecorded
        })
    }

    async fn relay(&self, stream: ClientStream, early: &[u8], granted: Granted) {
        let Granted { session, destination, target, tape } = granted;
        let Self { client, number, house, .. } = self;
        info!(client, number, target = %destination, "session begins");
        let began = Instant::now();
        let stop = pin!(async {
            house.stopping().await;
            Close::new(CloseCode::GOING_AWAY, "the gateway is stopping")
        });
        let (heartbeat, traffic) = (house.plan.heartbeat, house.plan.traffic);
        let Ended { end, up, down } = if tape.is_some() || traffic {
            let target = Tap::new(target, tape, traffic);
            open::relay(stream, target, early, heartbeat, stop).await
        } else {
            open::relay(stream, target, early, heartbeat, stop).await
        };
        drop(session);
        info!(
            client,
            number,
            target = %destination,
            end = end_name(&end, None),
            error = end.as_ref().err().map(ToString::to_string),
            up_bytes = up,
            down_bytes = down,
            seconds = began.elapsed().as_secs(),
            "session ended"
        );
    }
}

fn is_upgrade(headers: &HeaderMap) -> bool {
    headers.get(UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// The first `token` that has a value; a line's end behind it is not meant.
fn token_in_query(query: Option<&str>) -> Option<String> {
    let mut pairs = form_urlencoded::parse(query?.as_bytes());
    let (_, token) = pairs.find(|(name, value)| name == "token" && !value.is_empty())?;
    Some(token.trim_end_matches('\n').to_owned())
}

/// The host's name, without its port.
fn token_in_host(headers: &HeaderMap) -> Option<String> {
    let host = headers.get(HOST)?.to_str().ok()?;
    host.split(':').next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(query: &str, token: Option<&str>) {
        assert_eq!(token_in_query(Some(query)).as_deref(), token, "{query}");
    }

    #[test]
    fn a_token_is_read_from_the_query() {
        check("token=a", Some("a"));
        check("x=y&token=a&token=b", Some("a"));
        check("token=&token=b", Some("b"));
        check("token=a%20b%0A", Some("a b"));
        check("token=a+b", Some("a b"));
        check("token=", None);
        check("token", None);
        check("xtoken=a", None);
        check("", None);
        assert_eq!(token_in_query(None), None);
    }

    #[test]
    fn a_token_is_read_from_the_host() {
        for (host, token) in [("vm7.example:6080", "vm7.example"), ("vm7", "vm7")] {
            let headers = HeaderMap::from_iter([(HOST, host.parse().expect("a header"))]);
            assert_eq!(token_in_host(&headers).as_deref(), Some(token));
        }
        assert_eq!(token_in_host(&HeaderMap::new()), None);
    }
}
