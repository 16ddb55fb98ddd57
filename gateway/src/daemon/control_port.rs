//! Listeners of the control side, API and metrics, with TLS or without.

use std::future::{IntoFuture, pending};
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::serve::Listener;
use tokio::io;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::broker::Refusal;
use crate::config::Listen;
use crate::control::api::code::Code;
use crate::control::api::problem::{CONTENT_TYPE_PROBLEM, Problem};
use crate::relay::answer::Answer;
use crate::relay::stream::{ClientStream, Handshake, NoStream, Tls, receive};

/// A bound listener, not served yet.
pub struct ControlPort {
    listener: TcpListener,
    tls: Option<Handshake>,
    /// Where it listens.
    pub address: SocketAddr,
}

impl ControlPort {
    /// Listens for `what` as `listen` says; `handshake` is there if it says TLS.
    ///
    /// # Errors
    /// The system refuses.
    pub async fn bind(what: &str, listen: Listen, handshake: Option<&Handshake>) -> anyhow::Result<Self> {
        let Listen { address, tls } = listen;
        let listener = TcpListener::bind(address).await;
        let listener = listener.with_context(|| format!("listen for {what} on {address}"))?;
        let address = listener.local_addr()?;
        let tls = tls.then(|| handshake.cloned().context("TLS without a certificate")).transpose()?;
        Ok(Self { listener, tls, address })
    }

    /// Its URL.
    pub fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// Serves `routes` until `stop` says so.
    pub fn serve(self, routes: Router, stop: &watch::Sender<bool>) -> JoinHandle<io::Result<()>> {
        let mut stop = stop.subscribe();
        let stopped = async move {
            // An error means that the sender is gone, which is a stop too.
            let _ = stop.wait_for(|stop| *stop).await;
        };
        match self.tls {
            None => {
                tokio::spawn(axum::serve(self.listener, routes).with_graceful_shutdown(stopped).into_future())
            }
            Some(handshake) => {
                let listener = Https::new(self.listener, handshake);
                tokio::spawn(axum::serve(listener, routes).with_graceful_shutdown(stopped).into_future())
            }
        }
    }
}

/// Handshakes at a time; who comes while there are more waits in the listener's queue.
const HANDSHAKES: usize = 256;

/// A listener whose clients have a handshake behind them when they are accepted. Handshakes are tasks,
/// so that nobody waits for somebody else's.
struct Https {
    listener: TcpListener,
    within: Duration,
    tls: Tls,
    handshakes: JoinSet<Option<(ClientStream, SocketAddr)>>,
}

impl Https {
    fn new(listener: TcpListener, handshake: Handshake) -> Self {
        let within = handshake.within;
        Self { listener, within, tls: Tls::Required(handshake), handshakes: JoinSet::new() }
    }
}

impl Listener for Https {
    type Io = ClientStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (ClientStream, SocketAddr) {
        loop {
            let has_room = self.handshakes.len() < HANDSHAKES;
            tokio::select! {
                // Without a stream the client left or was told off; a panic was reported by its hook.
                Some(done) = self.handshakes.join_next() => if let Ok(Some(arrived)) = done {
                    return arrived;
                },
                (stream, client) = Listener::accept(&mut self.listener), if has_room => {
                    let (tls, within) = (self.tls.clone(), self.within);
                    self.handshakes.spawn(async move { Some((shake(stream, &tls, within).await?, client)) });
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

async fn shake(stream: TcpStream, tls: &Tls, within: Duration) -> Option<ClientStream> {
    // Without it, an answer waits until the client has seen the end of the handshake. A connection that
    // ended already is noticed at its first read.
    let _ = stream.set_nodelay(true);
    match receive(stream, tls, within, pending()).await {
        Ok(stream) => Some(stream),
        Err(NoStream::Refused(refusal @ Refusal::TlsRequired, Some(mut plain))) => {
            let problem = Problem::new(Code::TlsRequired, refusal.to_string());
            // Text and numbers; they can be written.
            let document = serde_json::to_vec(&problem.document()).unwrap_or_default();
            Answer::new(problem.code().status(), CONTENT_TYPE_PROBLEM, "no-store", document.into())
                .send(&mut plain)
                .await;
            None
        }
        Err(_) => None,
    }
}
