//! A client arrives: accept loops, and the two ways in which a broker's port leads to one.
//!
//! `ports` has a socket per broker, `steering` a pair per core that the kernel steers to. What is
//! done with an arrival is handed in.

pub mod ports;
pub mod steering;

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;
use tracing::warn;

/// After the system could not accept.
const PAUSE: Duration = Duration::from_millis(100);

/// Accepts for ever; `arrived` must not wait.
pub async fn accept(listener: TcpListener, arrived: impl Fn(TcpStream, SocketAddr)) {
    accept_from(|| listener.accept(), arrived).await;
}

/// The same of a listener of any kind, by what accepts the next one.
pub async fn accept_from<S, A, F>(next: impl Fn() -> F, arrived: impl Fn(S, A))
where
    F: Future<Output = std::io::Result<(S, A)>>,
{
    let mut failing = false;
    loop {
        match next().await {
            Ok((stream, client)) => {
                failing = false;
                arrived(stream, client);
            }
            // That client left before it was accepted.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                // For want of descriptors or memory, mostly. The connection stays in the queue; without a
                // pause this would spin. Said once, until it goes on.
                if !std::mem::replace(&mut failing, true) {
                    warn!(%error, "clients are not accepted");
                }
                sleep(PAUSE).await;
            }
        }
    }
}

/// Connections that wait to be accepted, per listener.
const BACKLOG: i32 = 1024;

/// A listening socket on `address`.
///
/// # Errors
/// What the system said, with the address.
pub fn bind(address: SocketAddr) -> std::io::Result<std::net::TcpListener> {
    let socket = socket(address)?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// A socket that is bound to `address`, and does not listen yet.
fn socket(address: SocketAddr) -> std::io::Result<socket2::Socket> {
    let socket = socket2::Socket::new(
        socket2::Domain::for_address(address),
        socket2::Type::STREAM,
        Some(socket2::Protocol::TCP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // Sessions of an earlier broker on this port may still be closing.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}
