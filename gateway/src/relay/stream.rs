//! A client's stream, plain or TLS: which of the two is told by its first byte, so that one broker
//! port serves both.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt;
use rustls::ServerConfig;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::info;

use crate::broker::Refusal;
use crate::tls::Kept;

use super::pipe::Leg;
use super::socket;

/// First byte of a client that speaks TLS: a record of the handshake (RFC 8446 section 5.1).
pub const TLS_FIRST_BYTE: u8 = 0x16;

/// Whether broker ports speak TLS.
#[derive(Clone)]
pub enum Tls {
    /// They do not.
    Off,
    /// To clients that do.
    Optional(Handshake),
    /// And nothing else.
    Required(Handshake),
}

/// How TLS begins.
#[derive(Clone)]
pub struct Handshake {
    /// Certificates and what is asked of clients, as of now.
    pub server: Arc<Kept<ServerConfig>>,
    /// From the first byte to the end of the handshake.
    pub within: Duration,
}

/// A connection to a client.
pub enum ClientStream {
    /// As it is.
    Plain(TcpStream),
    /// In a box: the state of TLS is large, and plain sessions should not pay for it.
    Tls(Box<TlsStream<TcpStream>>),
}

/// How long a client may say nothing at first.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Longest wait for its first byte.
    pub first_byte: Duration,
    /// One that said nothing for so long waits for the console to speak. `None` where the console speaks to
    /// nobody so.
    pub quiet: Option<Duration>,
}

/// Why there is no stream to read a request from.
pub enum NoStream {
    /// The client left, or its connection broke.
    Gone,
    /// It is to be told in the clear; without a stream it spoke TLS so far, and nothing more can be said.
    Refused(Refusal, Option<TcpStream>),
}

/// What a client sends in, after its TLS handshake if it wants one. Its first byte has to come in time, and all
/// of it before `stopping` resolves. With [`Tls::Off`] nothing is waited for. Where clients may be quiet and
/// need no TLS, a quiet one is received as it is.
///
/// # Errors
/// See [`NoStream`]; refusals are [`Refusal::Slow`], [`Refusal::TlsRequired`], [`Refusal::TlsFailed`],
/// [`Refusal::Stopping`].
pub async fn receive(
    stream: TcpStream,
    tls: &Tls,
    patience: Patience,
    mut stopping: impl Future<Output = ()> + Unpin,
) -> Result<ClientStream, NoStream> {
    let (Tls::Optional(handshake) | Tls::Required(handshake)) = tls else {
        return Ok(ClientStream::Plain(stream));
    };
    let quiet = patience.quiet.filter(|_| matches!(tls, Tls::Optional(_)));
    let mut first = [0];
    let peeked = tokio::select! {
        peeked = timeout(quiet.unwrap_or(patience.first_byte), stream.peek(&mut first)) => match peeked {
            Err(_) if quiet.is_some() => return Ok(ClientStream::Plain(stream)),
            peeked => peeked.map_err(|_| Refusal::Slow),
        },
        () = &mut stopping => Err(Refusal::Stopping),
    };
    match peeked {
        Err(refusal) => Err(NoStream::Refused(refusal, Some(stream))),
        Ok(Ok(0) | Err(_)) => Err(NoStream::Gone),
        Ok(Ok(_)) if first[0] == TLS_FIRST_BYTE => tokio::select! {
            // In a box: only clients that speak TLS pay for what it needs.
            received = Box::pin(handshake.with(stream)) => received,
            () = stopping => Err(NoStream::Refused(Refusal::Stopping, None)),
        },
        Ok(Ok(_)) if matches!(tls, Tls::Required(_)) => {
            Err(NoStream::Refused(Refusal::TlsRequired, Some(stream)))
        }
        Ok(Ok(_)) => Ok(ClientStream::Plain(stream)),
    }
}

impl Handshake {
    async fn with(&self, stream: TcpStream) -> Result<ClientStream, NoStream> {
        match timeout(self.within, TlsAcceptor::from(self.server.current()).accept(stream)).await {
            Ok(Ok(stream)) => Ok(ClientStream::Tls(Box::new(stream))),
            // This is what TLS itself has to complain about; the client has had its alert, or sent one.
            Ok(Err(error)) if error.kind() == io::ErrorKind::InvalidData => {
                info!(%error, "no TLS with this client");
                Err(NoStream::Refused(Refusal::TlsFailed, None))
            }
            Ok(Err(_)) => Err(NoStream::Gone),
            Err(_) => Err(NoStream::Refused(Refusal::Slow, None)),
        }
    }
}

impl ClientStream {
    /// The connection below.
    pub fn get_ref(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => stream.get_ref().0,
        }
    }

    /// Whether it is encrypted.
    pub const fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// Whether the client has ended its side already. What it sent and is not read yet counts as being
    /// there.
    pub fn has_left(&mut self) -> bool {
        match self {
            Self::Plain(stream) => socket::has_left(stream),
            // The end of TLS comes before that of the connection, and is bytes to it.
            Self::Tls(stream) => match stream.fill_buf().now_or_never() {
                Some(Ok(bytes)) => bytes.is_empty(),
                Some(Err(_)) => true,
                None => false,
            },
        }
    }

    /// Waits until there is something to read, or the end.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn readable(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.readable().await,
            // What came with the end of the handshake is in the TLS state already.
            Self::Tls(stream) => stream.fill_buf().await.map(drop),
        }
    }
}

impl Leg for ClientStream {
    fn bare(&self) -> Option<&TcpStream> {
        match self {
            Self::Plain(stream) => Some(stream),
            Self::Tls(_) => None,
        }
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, room: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, room),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, room),
        }
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, parts),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, parts),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::Arc;

    use rcgen::generate_simple_self_signed;
    use rustls::{ClientConfig, RootCertStore};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio_rustls::{TlsConnector, client};

    use super::super::console::spice::pieces::{Pieces, Place};
    use super::*;
    use crate::tls::{self, Clients, Identity, Server};

    /// For what is to end by its deadline, and for what is not.
    const SOON: Duration = Duration::from_millis(100);
    const LATE: Duration = Duration::from_secs(60);

    /// Nobody may be quiet.
    fn within(first_byte: Duration) -> Patience {
        Patience { first_byte, quiet: None }
    }

    fn pair(within: Duration) -> (Handshake, TlsConnector) {
        let folder = tempfile::tempdir().expect("a folder");
        let own = generate_simple_self_signed(["x".to_owned()]).expect("a certificate");
        let (certificate, key) = (folder.path().join("crt"), folder.path().join("key"));
        std::fs::write(&certificate, own.cert.pem()).expect("writes");
        std::fs::write(&key, own.signing_key.serialize_pem()).expect("writes");
        let identity = Identity { certificate, key };
        let server =
            Server { own: vec![identity], clients: Clients::Anybody }.kept().expect("files that are right");
        let mut roots = RootCertStore::empty();
        roots.add(own.cert.der().clone()).expect("a certificate");
        let config = ClientConfig::builder_with_provider(tls::provider());
        let config = config.with_safe_default_protocol_versions().expect("versions");
        let config = config.with_root_certificates(roots).with_no_client_auth();
        (Handshake { server, within }, Arc::new(config).into())
    }

    async fn connection() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let client = TcpStream::connect(listener.local_addr().expect("an address")).await.expect("connects");
        (client, listener.accept().await.expect("accepts").0)
    }

    async fn both() -> (client::TlsStream<TcpStream>, ClientStream) {
        let (handshake, connector) = pair(LATE);
        let (client, server) = connection().await;
        let tls = Tls::Required(handshake);
        let name = "x".try_into().expect("a name");
        let (client, server) =
            tokio::join!(connector.connect(name, client), receive(server, &tls, within(LATE), pending()));
        let Ok(server) = server else { panic!("no handshake") };
        (client.expect("a handshake"), server)
    }

    /// What `sent` is answered under `tls`: with a stream where it can be told in the clear.
    async fn check(tls: &Tls, sent: &[u8], refusal: Refusal, in_the_clear: bool) {
        let (mut client, server) = connection().await;
        client.write_all(sent).await.expect("writes");
        let first_byte = if sent.is_empty() { SOON } else { LATE };
        match receive(server, tls, within(first_byte), pending()).await {
            Err(NoStream::Refused(why, stream)) => {
                assert_eq!((why, stream.is_some()), (refusal, in_the_clear), "{sent:?}");
            }
            Err(NoStream::Gone) => panic!("{sent:?}: gone"),
            Ok(_) => panic!("{sent:?}: received"),
        }
    }

    #[tokio::test]
    async fn the_first_byte_decides() {
        let (handshake, _) = pair(SOON);
        for tls in [Tls::Optional(handshake.clone()), Tls::Required(handshake)] {
            check(&tls, b"", Refusal::Slow, true).await;
            check(&tls, &[TLS_FIRST_BYTE], Refusal::Slow, false).await;
        }
        let (handshake, _) = pair(LATE);
        let (optional, required) = (Tls::Optional(handshake.clone()), Tls::Required(handshake));
        check(&required, b"GET", Refusal::TlsRequired, true).await;
        for tls in [&optional, &required] {
            check(tls, &[TLS_FIRST_BYTE, 3, 1, 0, 4, 1, 0, 0, 0], Refusal::TlsFailed, false).await;
        }
        for tls in [&optional, &Tls::Off] {
            let (mut client, server) = connection().await;
            client.write_all(b"GET").await.expect("writes");
            let Ok(mut stream) = receive(server, tls, within(LATE), pending()).await else {
                panic!("refused")
            };
            let mut first = [0; 3];
            stream.read_exact(&mut first).await.expect("reads");
            assert_eq!(&first, b"GET");
        }
        for sent in [&[][..], &[TLS_FIRST_BYTE, 3]] {
            let (mut client, server) = connection().await;
            client.write_all(sent).await.expect("writes");
            drop(client);
            assert!(matches!(receive(server, &optional, within(LATE), pending()).await, Err(NoStream::Gone)));
        }
    }

    #[tokio::test]
    async fn a_quiet_client_is_received_where_it_may_be_one() {
        let (handshake, _) = pair(LATE);
        let quiet = Patience { first_byte: LATE, quiet: Some(SOON) };
        let (_client, server) = connection().await;
        let received = receive(server, &Tls::Optional(handshake.clone()), quiet, pending()).await;
        assert!(matches!(received, Ok(ClientStream::Plain(_))));
        // One that has to speak TLS does not wait for the console.
        let (_client, server) = connection().await;
        let quiet = Patience { first_byte: SOON, ..quiet };
        let received = receive(server, &Tls::Required(handshake), quiet, pending()).await;
        assert!(matches!(received, Err(NoStream::Refused(Refusal::Slow, Some(_)))));
    }

    #[tokio::test]
    async fn a_stop_is_told_where_it_can_be() {
        let (handshake, _) = pair(LATE);
        let tls = Tls::Optional(handshake);
        for (sent, in_the_clear) in [(&[][..], true), (&[TLS_FIRST_BYTE], false)] {
            let (mut client, server) = connection().await;
            client.write_all(sent).await.expect("writes");
            let stop = Box::pin(tokio::time::sleep(SOON));
            let received = receive(server, &tls, within(LATE), stop).await;
            let Err(NoStream::Refused(Refusal::Stopping, plain)) = received else { panic!("not stopped") };
            assert_eq!(plain.is_some(), in_the_clear);
        }
    }

    #[tokio::test]
    async fn who_has_left_is_seen_behind_tls() {
        let (mut client, mut server) = both().await;
        assert!(!server.has_left());
        client.write_all(b"early").await.expect("writes");
        server.readable().await.expect("bytes");
        assert!(!server.has_left(), "what it sent counts as being there");
        let mut bytes = [0; 5];
        server.read_exact(&mut bytes).await.expect("reads");
        assert!(!server.has_left());
        client.shutdown().await.expect("leaves");
        server.readable().await.expect("the end");
        assert!(server.has_left());

        // Cut off, without TLS's own end.
        let (client, mut server) = both().await;
        drop(client);
        assert!(server.readable().await.is_err());
        assert!(server.has_left());
    }

    /// What `relay::console::spice::pieces` rests on.
    #[tokio::test]
    async fn what_is_written_apart_is_in_records_of_its_own() {
        let (mut client, mut server) = both().await;
        // Tickets of TLS itself are out of the way with it.
        server.write_all(b"x").await.expect("writes");
        client.read_exact(&mut [0]).await.expect("reads");
        let message = |size: u8| [&[103, 0, size, 0, 0, 0][..], &vec![1; size.into()]].concat();
        let said = [vec![0; 4], message(9), message(200)];
        let mut pieces = Pieces::new(server, Place::result(true));
        pieces.write_all(&said.concat()).await.expect("writes");
        pieces.flush().await.expect("writes");
        for piece in &said {
            // Header, and behind what was written its real type and a tag (RFC 8446 section 5.2).
            let mut header = [0; 5];
            client.get_mut().0.read_exact(&mut header).await.expect("a record");
            let len = u16::from_be_bytes([header[3], header[4]]);
            assert_eq!((header[0], usize::from(len)), (23, piece.len() + 17));
            client.get_mut().0.read_exact(&mut vec![0; len.into()]).await.expect("the rest of it");
        }
    }
}
