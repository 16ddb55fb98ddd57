//! Options of the sockets on both legs.

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

/// Unsent bytes that the kernel queues for a slow client: what the user sees is fresh.
const NOTSENT_LOWAT: u32 = 128 * 1024;

/// No delay for small messages; a dead peer is noticed within `peer` (zero: when TCP gives up).
///
/// # Errors
/// The connection ended meanwhile.
pub fn prepare(stream: &TcpStream, peer: Duration) -> io::Result<()> {
    stream.set_nodelay(true)?;
    if !peer.is_zero() {
        let socket = SockRef::from(stream);
        let third = (peer / 3).max(Duration::from_secs(1));
        socket
            .set_tcp_keepalive(&TcpKeepalive::new().with_time(third).with_interval(third).with_retries(2))?;
        socket.set_tcp_user_timeout(Some(peer))?;
    }
    Ok(())
}

/// Bounds what is queued for a client that reads slowly.
///
/// # Errors
/// The kernel does not know the option.
pub fn bound_queue(stream: &TcpStream) -> io::Result<()> {
    SockRef::from(stream).set_tcp_notsent_lowat(NOTSENT_LOWAT)
}

/// Whether the client has ended its side already. What it sent and is not read yet counts as being
/// there.
pub fn has_left(stream: &TcpStream) -> bool {
    let mut byte = [std::mem::MaybeUninit::uninit()];
    // The socket does not block: without anything to read this is an error, which is being there.
    SockRef::from(stream).peek(&mut byte).is_ok_and(|len| len == 0)
}
