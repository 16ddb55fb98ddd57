//! From a destination to a target that is there.

use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;
use tracing::info;

use crate::broker::target::TargetTls;
use crate::broker::target::tls::{Start, Trust};
use crate::broker::{Protocol, Target};
use crate::descriptors;
use crate::relay::socket;
use crate::relay::target::tcp::{Destinations, DialError};
use crate::relay::target::tls::Connector;
use crate::relay::target::{TargetStream, unix};

use super::answer::Refusal;
use super::destination::Destination;
use super::house::{House, PEER};

/// Time to connect in, and for TLS.
const WITHIN: Duration = Duration::from_secs(10);

/// A connection to where a client is led, with TLS if that is asked for.
pub async fn dial(destination: &Destination, house: &House) -> Result<TargetStream, Refusal> {
    let stream = connect(destination).await.map_err(|error| {
        info!(%error, "target not reached");
        match error {
            DialError::Refused { source, .. } if descriptors::is_want(&source) => Refusal::Full,
            DialError::TimedOut { .. } => Refusal::TargetTimeout,
            DialError::Refused { .. } | DialError::NotAllowed { .. } => Refusal::TargetRefused,
        }
    })?;
    if descriptors::is_of_reserve(&stream) {
        return Err(Refusal::Full);
    }
    match (house.plan.target_tls, destination) {
        (false, _) => Ok(TargetStream::Tcp(stream)),
        (true, Destination::Tcp(host, _)) => encrypt(stream, host, &house.connector).await,
        (true, Destination::Unix(path)) => {
            info!(path = %path.display(), "no certificate could be for a Unix socket");
            Err(Refusal::TargetTls)
        }
    }
}

/// Whoever wrote the command line or knows the tokens may name any place: nothing that a client sends is dialled.
async fn connect(destination: &Destination) -> Result<TcpStream, DialError> {
    match destination {
        Destination::Unix(path) => unix::dial(path, WITHIN).await,
        Destination::Tcp(host, port) => {
            let anywhere = Destinations { anywhere: true, ..Destinations::default() };
            let target = Target::new(host.clone(), *port, Protocol::Vnc);
            // A connection that ended already is noticed at its first read.
            anywhere.dial(&target, WITHIN).await.inspect(|stream| drop(socket::prepare(stream, PEER)))
        }
    }
}

async fn encrypt(stream: TcpStream, host: &str, connector: &Connector) -> Result<TargetStream, Refusal> {
    let policy = TargetTls { trust: Trust::Ca, start: Start::Connect, server_name: None };
    let connected = timeout(WITHIN, connector.connect(stream, host, &policy)).await;
    let stream = connected.map_err(|_| Refusal::TargetTimeout)?.map_err(|error| {
        info!(%error, "no TLS with the target");
        Refusal::TargetTls
    })?;
    Ok(TargetStream::Tls(Box::new(stream)))
}
