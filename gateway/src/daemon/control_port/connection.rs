//! One client of API or metrics: TLS if it has to, and then request after request, each within its time.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use futures_util::StreamExt;
use futures_util::stream::unfold;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

use crate::broker::Refusal;
use crate::control::api::code::Code;
use crate::control::api::problem::{CONTENT_TYPE_PROBLEM, Problem, SLOW, SlowBody};
use crate::relay::answer::Answer;
use crate::relay::handshake::HEAD_MAX;
use crate::relay::socket;
use crate::relay::stream::{ClientStream, Handshake, NoStream, Patience, Tls, receive};

use super::{Arrival, stopped};

/// A client that is gone, or takes nothing of what waits for it, is noticed within this.
const PEER: Duration = Duration::from_secs(5 * 60);

/// Longest time that the end of a connection may take.
const FAREWELL: Duration = Duration::from_secs(10);

/// Serves a client to its end. Told to `stop`, it still answers what was asked.
pub async fn serve(
    arrival: Arrival,
    tls: Option<Handshake>,
    routes: Router,
    request: Duration,
    mut stop: watch::Receiver<bool>,
) {
    match arrival {
        Arrival::Unix(stream) => converse(stream, routes, request, stop).await,
        Arrival::Tcp(stream) => {
            // A connection that ended already is noticed at its first read.
            let _ = socket::prepare(&stream, PEER);
            match tls {
                None => converse(stream, routes, request, stop).await,
                Some(handshake) => {
                    if let Some(stream) = shake(stream, handshake, &mut stop).await {
                        converse(stream, routes, request, stop).await;
                    }
                }
            }
        }
    }
}

async fn shake(
    stream: TcpStream,
    handshake: Handshake,
    stop: &mut watch::Receiver<bool>,
) -> Option<ClientStream> {
    let within = handshake.within;
    let patience = Patience { first_byte: within, quiet: None };
    match receive(stream, &Tls::Required(handshake), patience, pin!(stopped(stop))).await {
        Ok(stream) => Some(stream),
        Err(NoStream::Refused(refusal @ Refusal::TlsRequired, Some(mut plain))) => {
            tell(&Problem::new(Code::TlsRequired, refusal.to_string()), &mut plain).await;
            None
        }
        Err(_) => None,
    }
}

/// Requests and answers, by HTTP/1.1.
async fn converse<S>(stream: S, routes: Router, request: Duration, mut stop: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let asked = Arc::new(AtomicBool::new(false));
    let routes = TowerToHyperService::new(routes);
    let service = service_fn(|arrived: Request<Incoming>| {
        asked.store(true, Ordering::Relaxed);
        Box::pin(routes.call(arrived.map(|body| within(body, request))))
    });
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(request).max_buf_size(HEAD_MAX);
    let mut connection = server.serve_connection(TokioIo::new(stream), service);
    let mut stopping = false;
    let end = loop {
        tokio::select! {
            end = poll_fn(|context| connection.poll_without_shutdown(context)) => break end,
            () = stopped(&mut stop), if !stopping => {
                // Who has not asked for anything yet is not waited for.
                if !asked.load(Ordering::Relaxed) {
                    return;
                }
                stopping = true;
                Pin::new(&mut connection).graceful_shutdown();
            }
        }
    };
    let http1::Parts { io, read_buf, .. } = connection.into_parts();
    let mut stream = io.into_inner();
    match end {
        // One that began a request is told; one that was only silent is closed.
        Err(error) if error.is_timeout() && !read_buf.is_empty() => {
            tell(&Problem::new(Code::Slow, SLOW), &mut stream).await;
        }
        // The client left, or its bytes were no HTTP, which it was told.
        _ => drop(timeout(FAREWELL, stream.shutdown()).await),
    }
}

/// The body of a request, of which all has to come within `time` from now.
fn within(body: Incoming, time: Duration) -> Body {
    let deadline = Instant::now() + time;
    let parts = unfold(Body::new(body).into_data_stream(), move |mut parts| async move {
        let part = match timeout_at(deadline, parts.next()).await {
            Ok(part) => part?.map_err(axum::BoxError::from),
            Err(_) => Err(SlowBody.into()),
        };
        Some((part, parts))
    });
    Body::from_stream(parts)
}

async fn tell(problem: &Problem, stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) {
    // Text and numbers; they can be written.
    let document = serde_json::to_vec(&problem.document()).unwrap_or_default();
    let status = problem.code().status();
    Answer::new(status, CONTENT_TYPE_PROBLEM, "no-store", document.into()).send(stream).await;
}
