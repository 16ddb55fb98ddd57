//! A client's stream, plain or TLS: which of the two is told by its first byte, so that one broker
//! port serves both.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::info;

use crate::broker::Refusal;

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
    /// Certificate and key.
    pub acceptor: TlsAcceptor,
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

/// Why there is no stream to read a request from.
pub enum NoStream {
    /// The client left, or its connection broke.
    Gone,
    /// It is to be told in the clear; without a stream it spoke TLS so far, and nothing more can be said.
    Refused(Refusal, Option<TcpStream>),
}

/// What a client sends in, after its TLS handshake if it wants one. Its first byte has to come within
/// `first_byte`. With [`Tls::Off`] nothing is waited for.
///
/// # Errors
/// See [`NoStream`]; refusals are [`Refusal::Slow`], [`Refusal::TlsRequired`], [`Refusal::TlsFailed`].
pub async fn receive(stream: TcpStream, tls: &Tls, first_byte: Duration) -> Result<ClientStream, NoStream> {
    let (Tls::Optional(handshake) | Tls::Required(handshake)) = tls else {
        return Ok(ClientStream::Plain(stream));
    };
    let mut first = [0];
    match timeout(first_byte, stream.peek(&mut first)).await {
        Err(_) => Err(NoStream::Refused(Refusal::Slow, Some(stream))),
        Ok(Ok(0) | Err(_)) => Err(NoStream::Gone),
        // In a box: only clients that speak TLS pay for what it needs.
        Ok(Ok(_)) if first[0] == TLS_FIRST_BYTE => Box::pin(handshake.with(stream)).await,
        Ok(Ok(_)) if matches!(tls, Tls::Required(_)) => {
            Err(NoStream::Refused(Refusal::TlsRequired, Some(stream)))
        }
        Ok(Ok(_)) => Ok(ClientStream::Plain(stream)),
    }
}

impl Handshake {
    async fn with(&self, stream: TcpStream) -> Result<ClientStream, NoStream> {
        match timeout(self.within, self.acceptor.accept(stream)).await {
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
