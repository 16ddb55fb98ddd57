//! Listeners of the control side, API and metrics: TCP with TLS or without, or a Unix socket. A client has
//! so long for its request, and there are so many of them at a time.

mod connection;
mod socket_file;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use tokio::io;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep;
use tracing::warn;

use crate::config::{At, Listen, UNIX};
use crate::relay::stream::Handshake;

use socket_file::SocketFile;

/// A bound listener, not served yet.
pub struct ControlPort {
    listener: Listener,
    tls: Option<Handshake>,
    request: Duration,
    connections: usize,
}

enum Listener {
    Tcp(TcpListener, SocketAddr),
    Unix(UnixListener, SocketFile),
}

/// A connection of which nothing is known yet.
enum Arrival {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// After the system could not accept: descriptors are missing, and will be for a moment.
const PAUSE: Duration = Duration::from_millis(100);

impl ControlPort {
    /// Listens for `what` as `listen` says; with `tls`, to those who speak it.
    ///
    /// # Errors
    /// The system refuses, or something else is where a Unix socket is to be.
    pub async fn bind(what: &str, listen: &Listen, tls: Option<Handshake>) -> anyhow::Result<Self> {
        let Listen { at, request, connections, .. } = listen;
        let listener = Listener::bind(at).await.with_context(|| format!("listen for {what} on {at}"))?;
        Ok(Self { listener, tls, request: *request, connections: *connections })
    }

    /// Address and port, if it has these.
    pub const fn address(&self) -> Option<SocketAddr> {
        match self.listener {
            Listener::Tcp(_, address) => Some(address),
            Listener::Unix(..) => None,
        }
    }

    /// Its URL.
    pub fn url(&self) -> String {
        match &self.listener {
            Listener::Tcp(_, address) if self.tls.is_some() => format!("https://{address}"),
            Listener::Tcp(_, address) => format!("http://{address}"),
            Listener::Unix(_, file) => format!("{UNIX}{}", file.path().display()),
        }
    }

    /// Serves `routes` until `stop` says so, and then what is under way to its end.
    pub fn serve(self, routes: Router, stop: &watch::Sender<bool>) -> JoinHandle<()> {
        tokio::spawn(self.accept_all(routes, stop.subscribe()))
    }

    async fn accept_all(self, routes: Router, mut stop: watch::Receiver<bool>) {
        let Self { listener, tls, request, connections } = self;
        // Dropped with this future, it ends those who are still there.
        let mut clients = JoinSet::new();
        let mut failing = false;
        loop {
            let has_room = clients.len() < connections;
            tokio::select! {
                () = stopped(&mut stop) => break,
                // A panic was reported by its hook.
                Some(_) = clients.join_next() => {}
                arrival = listener.accept(), if has_room => match arrival {
                    Ok(arrival) => {
                        failing = false;
                        let (tls, routes, stop) = (tls.clone(), routes.clone(), stop.clone());
                        clients.spawn(connection::serve(arrival, tls, routes, request, stop));
                    }
                    Err(error) => {
                        // Said once, until it goes on.
                        if !std::mem::replace(&mut failing, true) {
                            warn!(%error, "clients of API or metrics are not accepted");
                        }
                        sleep(PAUSE).await;
                    }
                },
            }
        }
        drop(listener);
        while clients.join_next().await.is_some() {}
    }
}

impl Listener {
    async fn bind(at: &At) -> anyhow::Result<Self> {
        match at {
            At::Tcp(address) => {
                let listener = TcpListener::bind(address).await?;
                let address = listener.local_addr()?;
                Ok(Self::Tcp(listener, address))
            }
            At::Unix { path, mode } => {
                let (listener, file) = SocketFile::bind(path, *mode)?;
                listener.set_nonblocking(true)?;
                Ok(Self::Unix(UnixListener::from_std(listener)?, file))
            }
        }
    }

    async fn accept(&self) -> io::Result<Arrival> {
        Ok(match self {
            Self::Tcp(listener, _) => Arrival::Tcp(listener.accept().await?.0),
            Self::Unix(listener, _) => Arrival::Unix(listener.accept().await?.0),
        })
    }
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that the sender is gone, which is a stop too.
    let _ = stop.wait_for(|stop| *stop).await;
}
