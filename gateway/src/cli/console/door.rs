//! The way to a broker port: a connection, plain or by TLS, and the two requests that a terminal makes there.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::header::AUTHORIZATION;
use tokio_tungstenite::tungstenite::{Error, error::UrlError};
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::broker::session::Size;
use crate::cli::client::{Failure, trusted};
use crate::control::api::wire::CreatedBroker;
use crate::tls;

/// From the first segment to the gateway's answer. It dials the machine meanwhile.
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection, of whatever kind.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

pub type Socket = WebSocketStream<Box<dyn Stream>>;

/// A broker port that a ticket opens. Clones are as good.
#[derive(Clone)]
pub struct Door {
    host: String,
    port: u16,
    token: String,
    tls: Option<TlsConnector>,
}

impl Door {
    /// That of `created`; of one with TLS, the certificate is vouched for in `ca_file`, or else by whom the system
    /// trusts.
    pub fn new(created: &CreatedBroker, ca_file: Option<&Path>) -> Result<Self, Failure> {
        let tls = created.ws_url.starts_with("wss:").then(|| connector(ca_file)).transpose()?;
        let (host, port) = (created.broker.broker_host.clone(), created.broker.broker_port);
        Ok(Self { host, port, token: created.token.clone(), tls })
    }

    /// Opens the console, in a window of this size.
    pub async fn open(&self, size: Option<Size>) -> Result<Socket, Failure> {
        let window = size.map(window).unwrap_or_default();
        let request = format!("ws://{}/websockify?{window}", self.authority());
        let mut request = request.into_client_request().context("its name")?;
        request.headers_mut().insert(AUTHORIZATION, self.bearer().parse().context("its ticket")?);
        let opened = async { client_async(request, self.connect().await?).await };
        let opened = timeout(PATIENCE, opened).await.map_err(|_| anyhow!("the gateway does not answer"))?;
        match opened {
            Ok((socket, _)) => Ok(socket),
            Err(Error::Http(response)) => Err(refused(response.body().as_deref().unwrap_or_default())),
            Err(error) => Err(anyhow!(error).context(format!("connect to {}", self.authority())).into()),
        }
    }

    /// Tells the machine of another size of the window, while the console goes on. One that is not told shows as
    /// much as before.
    pub fn resize(&self, size: Option<Size>) {
        let (door, Some(size)) = (self.clone(), size) else { return };
        tokio::spawn(async move {
            let _ = timeout(PATIENCE, door.tell(size)).await;
        });
    }

    async fn tell(&self, size: Size) -> Result<(), Error> {
        let mut stream = self.connect().await?;
        let (authority, bearer) = (self.authority(), self.bearer());
        let request = format!(
            "GET /resize?{} HTTP/1.1\r\nHost: {authority}\r\nAuthorization: {bearer}\r\nConnection: close\r\n\r\n",
            window(size)
        );
        stream.write_all(request.as_bytes()).await?;
        stream.read_to_end(&mut Vec::new()).await?;
        Ok(())
    }

    async fn connect(&self) -> Result<Box<dyn Stream>, Error> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        stream.set_nodelay(true)?;
        let Some(tls) = &self.tls else { return Ok(Box::new(stream)) };
        let name = ServerName::try_from(self.host.clone()).map_err(|_| UrlError::NoHostName)?;
        Ok(Box::new(tls.connect(name, stream).await?))
    }

    fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        format!("{host}:{}", self.port)
    }

    fn bearer(&self) -> String {
        format!("Bearer {}", self.token)
    }
}

fn window(Size { columns, rows }: Size) -> String {
    format!("columns={columns}&rows={rows}")
}

fn connector(ca_file: Option<&Path>) -> Result<TlsConnector, Failure> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(trusted(ca_file)?);
    let config = ClientConfig::builder_with_provider(tls::provider());
    let config = config.with_safe_default_protocol_versions().context("TLS")?;
    Ok(Arc::new(config.with_root_certificates(roots).with_no_client_auth()).into())
}

/// What the gateway said instead of opening: `{code, message}`.
fn refused(body: &[u8]) -> Failure {
    let said: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |key: &str| said[key].as_str().unwrap_or("no reason given").to_owned();
    Failure::Refused(format!("{} ({})", text("message"), text("code")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn door(host: &str) -> Door {
        Door { host: host.into(), port: 10_000, token: "t".into(), tls: None }
    }

    #[test]
    fn addresses_are_written_as_urls_have_them() {
        assert_eq!(door("node1.example").authority(), "node1.example:10000");
        assert_eq!(door("fd00::1").authority(), "[fd00::1]:10000");
    }

    #[test]
    fn what_the_gateway_says_is_said() {
        for (body, said) in [
            (&br#"{"code": "target_refused", "message": "it refused"}"#[..], "it refused (target_refused)"),
            (b"<html>", "no reason given (no reason given)"),
        ] {
            assert!(matches!(refused(body), Failure::Refused(why) if why == said));
        }
    }
}
