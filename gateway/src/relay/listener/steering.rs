//! One pair of listening sockets per core; the kernel steers every open broker port to them.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

use crate::broker::{BoxFuture, Door, Doors};

use super::{bind, socket};

/// The sockets of one core.
#[derive(Debug)]
pub struct Pair {
    /// Bound to 127.0.0.1, is given IPv4 connections.
    pub v4: TcpListener,
    /// Bound to ::1, is given IPv6 connections; `None` where the system has no IPv6.
    pub v6: Option<TcpListener>,
}

impl Pair {
    /// Sockets on loopback ports that the system chooses: what is not steered cannot reach them from
    /// outside.
    ///
    /// # Errors
    /// What the system said.
    pub fn bind() -> std::io::Result<Self> {
        let v4 = bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let v6 = match bind(SocketAddr::from((Ipv6Addr::LOCALHOST, 0))) {
            Ok(listener) => Some(listener),
            Err(error) if has_no_ipv6(&error) => None,
            Err(error) => return Err(error),
        };
        Ok(Self { v4, v6 })
    }
}

fn has_no_ipv6(error: &std::io::Error) -> bool {
    matches!(error.raw_os_error(), Some(nix::libc::EAFNOSUPPORT | nix::libc::EADDRNOTAVAIL))
}

/// Nothing stays to be done for a single broker: its map entry opens filter and steering both.
pub struct Steered;

impl Doors for Steered {
    fn open(&self, endpoint: SocketAddr) -> BoxFuture<'_, std::io::Result<Door>> {
        // Steering comes before sockets: without a look, the port of somebody else's service would be
        // taken away from it. A socket that is bound and does not listen is in nobody's way.
        let free = socket(endpoint).map(drop);
        Box::pin(async { free.map(|()| Box::new(()) as Door) })
    }

    fn name(&self) -> &'static str {
        "sk_lookup"
    }
}
