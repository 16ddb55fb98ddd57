//! The connection to a target, whatever it is made of.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::pty::Program;
use crate::relay::console::terminal::Terminal;
use crate::relay::pipe::Leg;

/// A connection to a target.
#[derive(Debug)]
pub enum TargetStream {
    /// TCP as it is.
    Tcp(TcpStream),
    /// TLS on it. In a box: the state of TLS is large, and plain sessions should not pay for it.
    Tls(Box<TlsStream<TcpStream>>),
    /// A program in a terminal of ours.
    Program(Box<Program>),
    /// Any of these, with a terminal's manners.
    Terminal(Box<Terminal>),
}

/// Does the same with whatever is inside.
macro_rules! inside {
    ($stream:expr, $inner:ident => $body:expr) => {
        match $stream {
            Self::Tcp($inner) => $body,
            Self::Tls($inner) => $body,
            Self::Program($inner) => $body,
            Self::Terminal($inner) => $body,
        }
    };
}

impl Leg for TargetStream {
    fn bare(&self) -> Option<&TcpStream> {
        match self {
            Self::Tcp(stream) => Some(stream),
            Self::Tls(_) | Self::Program(_) | Self::Terminal(_) => None,
        }
    }
}

impl AsyncRead for TargetStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, room: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        inside!(self.get_mut(), stream => Pin::new(stream).poll_read(cx, room))
    }
}

impl AsyncWrite for TargetStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        inside!(self.get_mut(), stream => Pin::new(stream).poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        inside!(self.get_mut(), stream => Pin::new(stream).poll_write_vectored(cx, parts))
    }

    fn is_write_vectored(&self) -> bool {
        inside!(self, stream => stream.is_write_vectored())
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        inside!(self.get_mut(), stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        inside!(self.get_mut(), stream => Pin::new(stream).poll_shutdown(cx))
    }
}
