//! A server of RDP for a browser: the gateway negotiates TLS, and does it.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tracing::info;

use crate::broker::target::TargetTls;
use crate::broker::target::tls::Fingerprint;
use crate::broker::{Refusal, Target};
use crate::relay::console::rdp::x224::{Confirm, PACKET_MAX, protocol};
use crate::relay::console::vnc::Fronted;
use crate::relay::target::TargetStream;

use super::{Far, NoTls, Reach};

/// A server that waits for what comes behind TLS.
pub struct Server {
    stream: TargetStream,
    /// What it confirmed, as it came.
    pub confirm: Vec<u8>,
    /// Its certificates in DER, its own first.
    pub chain: Vec<Vec<u8>>,
}

impl Server {
    /// Its own certificate, if it showed one.
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        self.chain.first().map(|own| Fingerprint::of(own))
    }

    /// What the relay needs of it.
    pub fn into_far(self) -> Far {
        Far::Fronted(Fronted::open(self.stream))
    }
}

/// Why there is no server.
#[derive(Debug)]
pub enum NoServer {
    /// It was not reached, or is none.
    Refused(Refusal),
    /// It confirmed no security that a browser has, and said this.
    Negotiation(Vec<u8>),
    /// No TLS with it, and the alert where it is known.
    Tls(Option<u8>),
}

impl From<Refusal> for NoServer {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl NoServer {
    /// What is counted and told otherwise.
    pub const fn refusal(&self) -> Refusal {
        match self {
            Self::Refused(refusal) => *refusal,
            Self::Negotiation(_) => Refusal::TargetSecurity,
            Self::Tls(_) => Refusal::TargetTls,
        }
    }
}

impl Reach {
    /// Reaches the server at `target`, asks it `request`, X.224's connection request, and does TLS with it.
    ///
    /// # Errors
    /// See [`NoServer`].
    pub async fn rdp(
        &self,
        target: &Target,
        tls: &TargetTls,
        request: &[u8],
        broker_id: &str,
    ) -> Result<Server, NoServer> {
        let mut stream = self.dial(target, broker_id).await?;
        let asked = timeout(self.within, ask(&mut stream, request)).await;
        let confirm = asked.map_err(|_| Refusal::TargetTimeout)??;
        let encrypted = self.handshake(stream, target, tls, broker_id).await;
        let stream = encrypted.map_err(|no_tls| match no_tls {
            NoTls::Refused(refusal) => NoServer::Refused(refusal),
            NoTls::Failed(error) => NoServer::Tls(error.alert()),
        })?;
        let shown = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let chain = shown.iter().map(|certificate| certificate.to_vec()).collect();
        Ok(Server { stream: TargetStream::Tls(stream), confirm, chain })
    }
}

/// What the server confirms, where it is TLS ([MS-RDPBCGR] section 2.2.1.2.1).
async fn ask(stream: &mut TcpStream, request: &[u8]) -> Result<Vec<u8>, NoServer> {
    stream.write_all(request).await.map_err(gone)?;
    let mut said = Vec::with_capacity(PACKET_MAX);
    loop {
        match Confirm::parse(&said) {
            Ok(None) => {}
            // It has nothing to say behind it before TLS.
            Ok(Some((len, _))) if len != said.len() => return Err(Refusal::TargetNotRdp.into()),
            Ok(Some((_, Confirm::Selected { protocol, .. }))) if is_tls(protocol) => return Ok(said),
            Ok(Some(_)) => return Err(NoServer::Negotiation(said)),
            Err(error) => {
                info!(%error, "no server of RDP");
                return Err(Refusal::TargetNotRdp.into());
            }
        }
        let mut room = stream.take((PACKET_MAX - said.len()) as u64);
        if room.read_buf(&mut said).await.map_err(gone)? == 0 {
            return Err(Refusal::TargetNotRdp.into());
        }
    }
}

const fn is_tls(selected: u32) -> bool {
    matches!(selected, protocol::TLS | protocol::HYBRID | protocol::HYBRID_EX)
}

fn gone(_: io::Error) -> NoServer {
    Refusal::TargetRefused.into()
}
